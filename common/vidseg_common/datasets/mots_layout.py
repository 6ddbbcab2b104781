"""Where the sequences of KITTI-MOTS and MOTSChallenge lie, and how long and large they are.

Source: spec common section 1.5.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from PIL import Image

from vidseg_common.datasets.annotations import Problem, Video
from vidseg_common.datasets.mots_files import read_seqmap
from vidseg_common.datasets.records import list_folders, list_images, read_name_list
from vidseg_common.errors import DatasetError

__all__ = ["KITTI_SPLITS", "Form", "MotsLayout", "MotsSequence", "find_layout", "sequence_file"]

Form = Literal["png", "txt", "challenge"]

_LAST_FRAMES = """
    153 446 232 143 313 296 269 799 389 802 293 372 77 339 105 375 208 144 338 1058 836
"""
KITTI_LAST_FRAMES = {f"{i:04d}": int(last) for i, last in enumerate(_LAST_FRAMES.split())}
"""Index of the last frame of each training sequence of KITTI-MOTS."""

_KITTI_VAL = (2, 6, 7, 8, 10, 13, 14, 16, 18)
KITTI_SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": tuple(name for name in KITTI_LAST_FRAMES if int(name) not in _KITTI_VAL),
    "val": tuple(f"{number:04d}" for number in _KITTI_VAL),
}
"""Sequences of the two parts of the KITTI-MOTS training set."""

_FOLDERS = {"png": ("instances",), "txt": ("instances_txt", "label_02")}
_TEST_IMAGES = "testing/image_02"
_IMAGE_FOLDERS = ("training/image_02", "image_02", "images", "train/images")
_Shape = tuple[int, int] | None


@dataclass(frozen=True)
class MotsSequence:
    """One sequence: its video and the text file or folder of masks that annotates it."""

    video: Video
    file: Path


@dataclass
class MotsLayout:
    """The sequences of a data set.

    Attributes:
        root: folder that was named.
        first_frame: number of the first frame, 1 in MOTSChallenge.
        image_root: folder of the images, None where it is not known.
        sequences: what was found.
        problems: what is missing.
        has_annotations: False for the sequences of a test set, of which no file exists.
    """

    root: Path
    first_frame: int = 0
    image_root: Path | None = None
    has_annotations: bool = True
    sequences: list[MotsSequence] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add(self, name: str, file: Path, length: int | None, more: _SequenceInfo) -> None:
        """Adds a sequence; what is not known of it is taken from its images, then its file."""
        if self.has_annotations and not file.exists():
            self.problems.append(Problem(file, "", "", f"sequence {name} not found"))
            return
        last, shape = -1, more.shape
        images = self._images(name, more.image_folder)
        if shape is None and images:
            shape = _image_shape(images[0])
        if file.exists() and ((length is None and not images) or shape is None):
            last, found = _extent(file)
            shape = shape or found
        names = _frame_names(name, images, length, last, self.first_frame, more)
        height, width = shape or (0, 0)
        number = len(self.sequences) + 1
        extra = {"first_frame": self.first_frame}
        video = Video(number, name, height, width, tuple(names), extra)
        self.sequences.append(MotsSequence(video, file))

    def _images(self, name: str, folder: str) -> Sequence[Path]:
        if self.image_root is None:
            return ()
        path = self.image_root / name / folder
        return list_images(path) if path.is_dir() else ()


@dataclass(frozen=True)
class _SequenceInfo:
    """What a seqinfo.ini tells of a sequence."""

    length: int | None = None
    shape: _Shape = None
    image_folder: str = ""
    suffix: str = ".png"


def find_layout(
    path: Path, images: Path | None, split: str | None, form: Form | None
) -> MotsLayout:
    """Finds the sequences of a data set.

    Args:
        path: root, folder of sequences, or a single sequence.
        images: folder with one sub-folder of images per sequence, searched for by default.
        split: the sequences of `SPLIT.seqmap` beside the annotations, of the KITTI-MOTS split of
            this name, or of `MOTS-SPLIT`; None takes all. "test" of KITTI-MOTS is known by its
            images alone.
        form: "png" or "txt" for KITTI-MOTS, None for what is there; "challenge".

    Raises:
        DatasetError: nothing of this form is there.
    """
    if not path.exists():
        raise DatasetError(f"not found: {path}")
    if form == "challenge":
        tree = _challenge_tree(path, split)
        if tree is not None:
            return _challenge_layout(path, tree, images)
    layout = MotsLayout(path, first_frame=1 if form == "challenge" else 0)
    if split == "test" and (path / _TEST_IMAGES).is_dir():
        layout.image_root, layout.has_annotations = path / _TEST_IMAGES, False
        for name in list_folders(path / _TEST_IMAGES):
            layout.add(name, path / "testing" / f"{name}.txt", None, _SequenceInfo())
        return layout
    kind = None if form == "challenge" else form
    folder, files = _sequence_files(path, kind)
    layout.image_root = images or _find_images(path, files)
    lengths = _seqmap_lengths((path, folder, folder.parent), split)
    for name in _chosen(files, lengths, split):
        known = lengths.get(name)
        # Sequences of any data set may be called 0000; only those of a named part are KITTI's.
        if known is None and name in KITTI_SPLITS.get(split or "", ()):
            known = KITTI_LAST_FRAMES[name] + 1
        file = files.get(name) or sequence_file(folder, name) or folder / f"{name}.txt"
        layout.add(name, file, known, _SequenceInfo())
    return layout


def sequence_file(folder: Path, name: str) -> Path | None:
    """The text file or the folder of masks of a sequence, None where there is neither."""
    for path in (folder / f"{name}.txt", folder / name, folder / "data" / f"{name}.txt"):
        if path.exists():
            return path
    return None


def _sequence_files(path: Path, kind: str | None) -> tuple[Path, dict[str, Path]]:
    """The folder that holds sequences, and their files by name."""
    if path.is_file():
        return path.parent, {path.stem: path}
    if kind != "txt" and any(path.glob("[0-9]*.png")):
        return path.parent, {path.name: path}
    kinds = ("png", "txt") if kind is None else (kind,)
    for form in kinds:
        inside = [path / top / name for top in ("", "training") for name in _FOLDERS[form]]
        for folder in (*inside, path, path / "data"):
            files = dict(_files_of(folder, form)) if folder.is_dir() else {}
            if files:
                return folder, files
    raise DatasetError(
        f"no sequence of {' or '.join(kinds)} form in {path}: expected SEQUENCE.txt, or a folder "
        "of 16-bit PNGs per sequence"
    )


def _files_of(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    if kind == "txt":
        for path in sorted(folder.glob("[!.]*.txt")):
            yield path.stem, path
        return
    for name in list_folders(folder):
        if next((folder / name).glob("[0-9]*.png"), None) is not None:
            yield name, folder / name


def _find_images(path: Path, files: Mapping[str, Path]) -> Path | None:
    for root in (path, path.parent):
        for name in _IMAGE_FOLDERS:
            folder = root / name
            if any((folder / sequence).is_dir() for sequence in files):
                return folder
    return None


def _seqmap_lengths(folders: Sequence[Path], split: str | None) -> dict[str, int]:
    """Number of frames by sequence, from `SPLIT.seqmap`, or the only sequence map beside."""
    for folder in folders:
        maps = sorted(folder.glob("*.seqmap" if split is None else f"{split}.seqmap"))
        if len(maps) == 1:
            return {name: last + 1 for name, last in read_seqmap(maps[0])}
    return {}


def _chosen(files: Mapping[str, Path], lengths: Mapping[str, int], split: str | None) -> list[str]:
    if split is None:
        return list(files)
    if lengths:
        return list(lengths)
    official = KITTI_SPLITS.get(split, ())
    return list(official) if any(name in files for name in official) else list(files)


def _challenge_tree(path: Path, split: str | None) -> Path | None:
    """The folder `MOTS-SPLIT` of sequences, None where the layout is another.

    Those with gt/gt.txt come first; a test set has seqinfo.ini alone.
    """
    folders = (path, *sorted(path.glob("MOTS*")))
    hidden = [folder for folder in folders if any(folder.glob("*/seqinfo.ini"))]
    found = [folder for folder in folders if _has_gt(folder)]
    if split is not None:
        found += [folder for folder in hidden if folder not in found]
        named = [folder for folder in found if folder.name in (f"MOTS-{split}", split)]
        # A folder of sequences itself has no split to choose.
        found = named or [folder for folder in found if folder == path]
    elif not found:
        found = hidden
    if len(found) > 1:
        names = ", ".join(folder.name for folder in found)
        raise DatasetError(f"{path} has the splits {names}; name one")
    return found[0] if found else None


def _has_gt(folder: Path) -> bool:
    return next(folder.glob("*/gt/gt.txt"), None) is not None


def _challenge_layout(path: Path, tree: Path, images: Path | None) -> MotsLayout:
    layout = MotsLayout(
        path, first_frame=1, image_root=images or tree, has_annotations=_has_gt(tree)
    )
    seqmap = tree.parent / "seqmaps" / f"{tree.name}.txt"
    # The first line is a header.
    names = read_name_list(seqmap)[1:] if seqmap.is_file() else list_folders(tree)
    for name in names:
        info = _seqinfo(tree / name / "seqinfo.ini", layout.problems)
        if images is not None and not (images / name / info.image_folder).is_dir():
            info = replace(info, image_folder="")
        layout.add(name, tree / name / "gt" / "gt.txt", info.length, info)
    if images is None and not any(tree.glob("*/img*/*")):
        layout.image_root = None
    return layout


def _seqinfo(path: Path, problems: list[Problem]) -> _SequenceInfo:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        if not parser.read(path, encoding="utf-8"):
            problems.append(Problem(path, "", "", "not found"))
            return _SequenceInfo()
        section = parser["Sequence"]
        width, height = section.getint("imWidth"), section.getint("imHeight")
        shape = (height, width) if width and height else None
        length = section.getint("seqLength")
        folder, suffix = section.get("imDir", "img1"), section.get("imExt", ".jpg")
    except (configparser.Error, KeyError, ValueError) as error:
        problems.append(Problem(path, "[Sequence]", "", f"not of the expected form: {error}"))
        return _SequenceInfo()
    if length is None or length < 1:
        problems.append(Problem(path, "[Sequence]", "seqLength", "not given"))
    return _SequenceInfo(length, shape, folder, suffix)


def _frame_names(
    name: str,
    images: Sequence[Path],
    length: int | None,
    last: int,
    first: int,
    more: _SequenceInfo,
) -> list[str]:
    """Image names of all frames; gaps between numbered images are filled."""
    folder = f"{name}/{more.image_folder}/" if more.image_folder else f"{name}/"
    by_number = {int(p.stem): p.name for p in images if p.stem.isdecimal()}
    if len(by_number) < len(images):
        return [f"{folder}{path.name}" for path in images][:length]
    digits = len(images[0].stem) if images else 6
    suffix = images[0].suffix if images else more.suffix
    stop = max(by_number, default=last) + 1 if length is None else first + length
    names = (by_number.get(t, f"{t:0{digits}d}{suffix}") for t in range(first, stop))
    return [f"{folder}{file}" for file in names]


def _image_shape(path: Path) -> _Shape:
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError):
        return None


def _extent(file: Path) -> tuple[int, _Shape]:
    """Number of the last frame (-1: none) and the size, as far as the file tells them.

    Whatever is wrong with it is told when it is read.
    """
    if file.is_dir():
        paths = [path for path in list_images(file) if path.stem.isdecimal()]
        last = max((int(path.stem) for path in paths), default=-1)
        return last, _image_shape(paths[0]) if paths else None
    last, shape = -1, None
    with file.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and all(text.isdecimal() for text in fields[:5]):
                last = max(last, int(fields[0]))
                shape = shape or (int(fields[3]), int(fields[4]))
    return last, shape
