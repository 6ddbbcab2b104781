"""KITTI-MOTS and MOTSChallenge as annotation sets.

`form` tells them apart: "png" and "txt" are the two forms of KITTI-MOTS (None reads what is
there), "challenge" is MOTSChallenge, whose frames count from 1. Class 10 becomes `Clip.ignore`;
`Video.extra["first_frame"]` is the number of the first frame. Source: spec common section 1.5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from vidseg_common import rle as codec
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Problem, Track, Video
from vidseg_common.datasets.mots_files import (
    CLASS_NAMES,
    IDS_PER_CLASS,
    IGNORE_CLASS,
    MotsObject,
    read_seqmap,
    read_sequence,
    scan_sequence,
)
from vidseg_common.datasets.mots_layout import (
    Form,
    MotsLayout,
    MotsSequence,
    find_layout,
    sequence_file,
)
from vidseg_common.datasets.mots_writer import write, write_results
from vidseg_common.datasets.records import unknown_folders
from vidseg_common.errors import DatasetError, UserError, list_problems
from vidseg_common.rle import RLE

__all__ = [
    "CATEGORIES",
    "MotsObject",
    "read",
    "read_results",
    "read_seqmap",
    "read_sequence",
    "validate",
    "validate_results",
    "write",
    "write_results",
]

CATEGORIES = tuple(Category(i, name) for i, name in CLASS_NAMES.items())


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    form: Form | None = None,
) -> AnnotationSet:
    """Lists a data set; a sequence is read when its clip is loaded.

    The length of a sequence is that of its sequence map, else of its images, else it ends with
    the last annotated frame.

    Args:
        path: root, folder of sequences, or a single sequence.
        images: folder with one sub-folder of images per sequence, by default searched beside.
        split: name of a sequence map or of a part of the training set; None takes all. "test" of
            KITTI-MOTS takes `testing/image_02`, whose sequences have no annotations.
        progress: not needed, listing is fast.
        form: see the module.

    Raises:
        DatasetError: sequences are missing; all are listed. Loading a clip raises it for a
            sequence that is not right, with every line that is wrong.
    """
    layout = find_layout(Path(path), _path(images), split, form)
    return _annotation_set(layout)


def _path(path: str | Path | None) -> Path | None:
    if path is not None and not Path(path).is_dir():
        raise DatasetError(f"folder of images not found: {path}")
    return None if path is None else Path(path)


def validate(
    path: str | Path,
    *,
    images: str | Path | None = None,
    split: str | None = None,
    progress: bool = False,
    form: Form | None = None,
) -> list[Problem]:
    """Lists everything that is wrong with a data set; arguments as `read`."""
    try:
        layout = find_layout(Path(path), _path(images), split, form)
    except UserError as error:
        return [Problem.of_file(Path(path), error)]
    found = _validate_sequences(layout.sequences, progress, check_ids=True)
    return [*layout.problems, *found, *_missing_images(layout)]


def _missing_images(layout: MotsLayout) -> Iterator[Problem]:
    """Frames without image, where a folder of images is known."""
    if layout.image_root is None:
        return
    for sequence in layout.sequences:
        names = sequence.video.file_names
        folders = {(layout.image_root / name).parent for name in names}
        if not any(folder.is_dir() for folder in folders):
            for folder in folders:
                yield Problem(folder, "", "", "folder of images not found")
            continue
        for path in (layout.image_root / name for name in names):
            if not path.is_file():
                yield Problem(path, "", "", "image not found")


def read_results(
    path: str | Path, truth: AnnotationSet | None = None, *, form: Form | None = None
) -> AnnotationSet:
    """Lists results: `SEQUENCE.txt`, or a folder of 16-bit PNGs per sequence.

    Args:
        path: folder of results, or one with a folder `data`.
        truth: the data set they belong to: every sequence must have a result, which may be
            empty, and frames outside of a sequence are an error. `info["other_videos"]` names the
            sequences that it does not have. Without it sequences and their lengths are those
            found.
        form: only without `truth`, as `read`.

    Raises:
        DatasetError: as `read`.
    """
    layout = _results_layout(Path(path), truth, form)
    found = _annotation_set(layout)
    if truth is None:
        return found
    others = [problem.file.stem for problem in _unknown_sequences(layout, truth)]
    return replace(found, info={**found.info, "other_videos": others})


def validate_results(
    path: str | Path,
    truth: AnnotationSet | None = None,
    *,
    progress: bool = False,
    form: Form | None = None,
) -> list[Problem]:
    """Lists everything that is wrong with results; arguments as `read_results`."""
    try:
        layout = _results_layout(Path(path), truth, form)
    except UserError as error:
        return [Problem.of_file(Path(path), error)]
    if truth is not None:
        layout.problems += _unknown_sequences(layout, truth)
    return [*layout.problems, *_validate_sequences(layout.sequences, progress)]


def _unknown_sequences(layout: MotsLayout, truth: AnnotationSet) -> list[Problem]:
    """Results of sequences that the data set does not have."""
    root, known = layout.root, {video.name for video in truth.videos}
    found = [root / name for name in unknown_folders(root, {*known, "data"})]
    found += [*sorted(root.glob("*.txt")), *sorted(root.glob("data/*.txt"))]
    message = "the data set has no sequence of this name"
    return [Problem(path, "", "", message) for path in found if path.stem not in known]


def _results_layout(path: Path, truth: AnnotationSet | None, form: Form | None) -> MotsLayout:
    if truth is None:
        return find_layout(path, None, None, form)
    if not path.is_dir():
        raise DatasetError(f"folder of results not found: {path}")
    layout = MotsLayout(path, image_root=truth.image_root)
    for video in truth.videos:
        file = sequence_file(path, video.name)
        if file is None:
            message = f"no result of sequence {video.name} (an empty file says: no object)"
            layout.problems.append(Problem(path / f"{video.name}.txt", "", "", message))
        else:
            layout.sequences.append(MotsSequence(video, file))
    return layout


def _annotation_set(layout: MotsLayout) -> AnnotationSet:
    if layout.problems:
        header = f"the sequences of {layout.root} are incomplete:"
        raise DatasetError(list_problems(header, map(str, layout.problems)))
    if not layout.sequences:
        raise DatasetError(f"no sequence in {layout.root}")
    return AnnotationSet(
        videos=[sequence.video for sequence in layout.sequences],
        categories=CATEGORIES,
        load=_Loader(layout.sequences),
        image_root=layout.image_root,
        has_annotations=layout.has_annotations,
        info={"format": "mots", "first_frame": layout.first_frame},
    )


@dataclass(frozen=True)
class _Loader:
    sequences: Sequence[MotsSequence]

    def __call__(self, position: int) -> Clip:
        sequence = self.sequences[position]
        clip, problems = _scan(sequence)
        if problems:
            header = f"the sequence {sequence.video.name} has {len(problems)} problem(s):"
            raise DatasetError(list_problems(header, map(str, problems)))
        return clip


def _scan(sequence: MotsSequence) -> tuple[Clip, list[Problem]]:
    """Reads a sequence; objects that are wrong are left out of the clip."""
    video, file = sequence.video, sequence.file
    if not file.exists():
        return Clip(video, [], labelled=frozenset()), []
    first = int(video.extra.get("first_frame", 0))
    objects, problems = scan_sequence(file, num_frames=video.num_frames, first_frame=first)
    tracks: dict[tuple[int, int], Track] = {}
    ignore: list[RLE | None] = [None] * video.num_frames
    for found in objects:
        t, key = found.frame - first, (found.class_id, found.track_id)
        if 0 not in (video.height, video.width) and not _fits(found, video):
            want = f"{video.height}x{video.width}"
            message = f"a mask of {found.rle['size']} in a video of {want}"
            where = f"frame {found.frame}, id {found.track_id}"
            problems.append(Problem(file, where, "height", message))
        elif not 0 <= t < video.num_frames:
            continue
        elif found.class_id == IGNORE_CLASS:
            region = ignore[t]
            ignore[t] = found.rle if region is None else codec.merge([region, found.rle])
        else:
            if key not in tracks:
                empty: list[RLE | None] = [None] * video.num_frames
                tracks[key] = Track(found.track_id, found.class_id, empty)
            tracks[key].segmentations[t] = found.rle
    has_ignore = any(region is not None for region in ignore)
    labelled = _labelled(file, video)
    return Clip(video, _distinct(tracks), ignore if has_ignore else None, labelled), problems


def _fits(found: MotsObject, video: Video) -> bool:
    return found.rle["size"] == [video.height, video.width]


def _distinct(tracks: Mapping[tuple[int, int], Track]) -> list[Track]:
    """The tracks by class and id, each with an id of its own.

    The evaluations treat classes apart, so results may use an id once per class.
    """
    used = {number for _, number in tracks}
    seen: set[int] = set()
    for (class_id, number), track in sorted(tracks.items()):
        if number in seen:
            track.id = class_id * IDS_PER_CLASS + number
            if track.id in used:
                track.id = max(used) + 1
        seen.add(number)
        used.add(track.id)
    return sorted(tracks.values(), key=lambda track: track.id)


def _labelled(file: Path, video: Video) -> frozenset[int] | None:
    """Frames that have a mask; None where all have one, as in a text file."""
    if file.is_file():
        return None
    first = int(video.extra.get("first_frame", 0))
    numbers = (int(path.stem) - first for path in file.glob("[0-9]*.png") if path.stem.isdecimal())
    there = frozenset(t for t in numbers if 0 <= t < video.num_frames)
    return None if len(there) == video.num_frames else there


def _validate_sequences(
    sequences: Sequence[MotsSequence], progress: bool, *, check_ids: bool = False
) -> list[Problem]:
    problems: list[Problem] = []
    for sequence in tqdm(sequences, unit="sequence", disable=not progress, leave=False):
        clip, found = _scan(sequence)
        problems += found
        first = int(sequence.video.extra.get("first_frame", 0))
        for track in clip.tracks if check_ids else ():
            if track.id // IDS_PER_CLASS != track.category_id:
                message = f"id {track.id} of class {track.category_id}: expected class * 1000 + n"
                problems.append(Problem(sequence.file, f"id {track.id}", "id", message))
        if clip.labelled is not None and sequence.file.exists():
            for t in sorted(set(range(sequence.video.num_frames)) - clip.labelled):
                path = sequence.file / f"{t + first:06d}.png"
                problems.append(Problem(path, "", "", "mask not found"))
    return problems
