"""Folders of mask PNGs, one sub-folder per video: what all mask formats share.

Listing opens one file per video, for its size; masks are decoded when a clip is loaded.
Letters: H rows, W columns. Source: spec common sections 1.1-1.3 and 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Problem,
    Track,
    Video,
)
from vidseg_common.datasets.overlap import masks_of
from vidseg_common.datasets.records import list_folders, list_images, natural_key
from vidseg_common.errors import DatasetError, MaskError, list_problems
from vidseg_common.masks import MAX_ID, object_ids, read_indices, read_mask
from vidseg_common.rle import RLE, encode

__all__ = [
    "OBJECT",
    "ClipLoader",
    "MaskEntry",
    "MaskRules",
    "MaskTree",
    "annotation_set",
    "frame_stems",
    "raise_problems",
    "validate_clips",
]

OBJECT = Category(1, "object")
"""The one class of formats that know no classes."""

# A true mask rarely has more objects; a smoothed one has more values, and is then looked at again.
_MANY_OBJECTS = 16


@dataclass(frozen=True)
class MaskEntry:
    """One video of a tree: what it is, and the mask files of its frames."""

    video: Video
    masks: Mapping[int, Path]


@dataclass(frozen=True)
class MaskRules:
    """What the values of a mask mean.

    Attributes:
        merge: every value above 0 is object 1 (DAVIS 2016).
        void: the value of pixels that count for nothing; they become `Clip.ignore`.
        background: values that count as background.
        max_id: largest object id allowed.
    """

    merge: bool = False
    void: int | None = None
    background: frozenset[int] = frozenset()
    max_id: int = MAX_ID


@dataclass
class MaskTree:
    """Finds the masks of videos and collects what is wrong with their files.

    Attributes:
        masks: folder with one sub-folder of PNGs per video.
        images: folder with one sub-folder of images per video, None where there are none.
        thorough: also complain of files that reading passes over.
        problems: what was found so far.
    """

    masks: Path
    images: Path | None = None
    thorough: bool = False
    problems: list[Problem] = field(default_factory=list)

    def complain(self, file: Path, message: str, where: str = "") -> None:
        """Notes a problem of a file or folder."""
        self.problems.append(Problem(file, where, "", message))

    def names(self) -> list[str]:
        """Videos that have a folder of masks, or of images, sorted.

        The folder of all masks may be missing where there are images, unless looked at thoroughly.
        """
        roots = [self.masks] if self.images is None else [self.masks, self.images]
        if self.images is not None and not self.masks.is_dir() and not self.thorough:
            roots = [self.images]
        found: set[str] = set()
        for root in roots:
            try:
                found.update(list_folders(root))
            except DatasetError as error:
                self.complain(root, str(error))
        return sorted(found)

    def find(
        self,
        name: str,
        number: int,
        *,
        required: Callable[[int], Collection[int]] | None = None,
        more_frames: Collection[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> MaskEntry | None:
        """Makes a video of the images of its folder, or of its masks where there are no images.

        Args:
            name: of the video and its folder.
            number: id of the video.
            required: number of frames to the indices that must have a mask; None for no frame.
            more_frames: names of frames that must exist, and do where there are no images.
            extra: becomes `Video.extra`.

        Returns:
            None where there is no frame at all; a problem is noted then.
        """
        files = self._mask_files(name)
        frames = self._frames(name, files, more_frames)
        if not frames:
            self.complain(self.masks / name, f"video {name} has neither images nor masks")
            return None
        size = self._size(name, files, frames)
        if size is None:
            return None
        video = Video(number, name, *size, tuple(f"{name}/{p}" for p in frames), extra or {})
        needed = () if required is None else required(len(frames))
        return self._match(video, files, needed, ignore_extra=False)

    def match(
        self, video: Video, *, required: Collection[int] = (), ignore_extra: bool = False
    ) -> MaskEntry:
        """Finds the masks of a known video by the names of its frames.

        Args:
            video: the video.
            required: frame indices that must have a mask.
            ignore_extra: other masks in the folder are a problem only for a thorough look.
        """
        return self._match(video, self._mask_files(video.name), required, ignore_extra)

    def _match(
        self,
        video: Video,
        files: Mapping[str, Path],
        required: Collection[int],
        ignore_extra: bool,
    ) -> MaskEntry:
        index_of = {stem: i for i, stem in enumerate(frame_stems(video))}
        masks = {index_of[stem]: files[stem] for stem in files if stem in index_of}
        for i, stem in enumerate(index_of):
            if i in required and i not in masks:
                self.complain(self.masks / video.name / f"{stem}.png", "mask not found")
        if self.thorough or not ignore_extra:
            for stem in files.keys() - index_of.keys():
                self.complain(files[stem], f"video {video.name} has no frame of this name")
        return MaskEntry(video, masks)

    def _frames(self, name: str, files: Mapping[str, Path], more: Collection[str]) -> list[str]:
        """File names of the frames in order of time."""
        folder = None if self.images is None else self.images / name
        if folder is None or not folder.is_dir():
            # Images are not needed to read masks, and often only some of them are there.
            if folder is not None and self.thorough:
                self.complain(folder, "folder of images not found")
            stems = files.keys() | set(more)
            return [f"{stem}.jpg" for stem in sorted(stems, key=lambda s: natural_key(Path(s)))]
        paths = list_images(folder)
        stems = {path.stem for path in paths}
        if len(stems) < len(paths):
            self.complain(folder, "several images have one name and differ in the suffix only")
        for stem in sorted(set(more) - stems):
            self.complain(folder, f"no image of the frame {stem}")
        return [path.name for path in paths]

    def _mask_files(self, name: str) -> dict[str, Path]:
        folder = self.masks / name
        if not folder.is_dir():
            return {}
        visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
        pngs = [path for path in visible if path.suffix.lower() == ".png"]
        if self.thorough:
            for path in sorted(set(visible) - set(pngs)):
                self.complain(path, "not a mask: only PNG files are expected here")
        return {path.stem: path for path in sorted(pngs, key=natural_key)}

    def _size(
        self, name: str, files: Mapping[str, Path], frames: Sequence[str]
    ) -> tuple[int, int] | None:
        """Height and width of the first mask, or the first image where there is no mask."""
        sizes: list[tuple[int, int]] = []
        paths = list(files.values())[:1]
        image = None if self.images is None else self.images / name / frames[0]
        if image is not None and image.is_file() and (self.thorough or not paths):
            paths.append(image)
        for path in paths:
            try:
                with Image.open(path) as image:
                    sizes.append((image.height, image.width))
            except (OSError, SyntaxError, ValueError):
                self.complain(path, "not an image file")
        if not paths:
            self.complain(self.masks / name, f"the size of video {name} is unknown: no file")
        if len(set(sizes)) > 1:
            message = f"mask of {_times(sizes[0])} for an image of {_times(sizes[1])}"
            self.complain(paths[0], message)
        return sizes[0] if sizes else None


def frame_stems(video: Video) -> list[str]:
    """Names of the frames without folder and suffix.

    Raises:
        DatasetError: two frames have one name.
    """
    stems = [PurePosixPath(name).stem for name in video.file_names]
    if len(set(stems)) < len(stems):
        raise DatasetError(f"video {video.name}: several frames have one name")
    return stems


@dataclass(frozen=True)
class ClipLoader:
    """Reads the masks of a video.

    Attributes:
        entries: all videos.
        rules: what the values mean.
        partial: frames without a mask have unknown content, they are not empty.
    """

    entries: Sequence[MaskEntry]
    rules: MaskRules = MaskRules()
    partial: bool = True

    def __call__(self, position: int) -> Clip:
        """Reads one video.

        Raises:
            DatasetError: masks cannot be used; all of them are listed.
        """
        clip, problems = self.scan(position)
        raise_problems(f"the masks of video {clip.video.name} cannot be used:", problems)
        return clip

    def scan(self, position: int) -> tuple[Clip, list[Problem]]:
        """Reads one video and tells what is wrong with it; masks that are wrong are left out."""
        entry = self.entries[position]
        length = entry.video.num_frames
        objects: dict[int, list[RLE | None]] = {}
        ignore: list[RLE | None] = [None] * length
        problems: list[Problem] = []
        for t, path in sorted(entry.masks.items()):
            try:
                ids = _read_ids(path, entry.video)
            except MaskError as error:
                problems.append(Problem.of_file(path, error))
                continue
            if self.rules.void is not None and (ids == self.rules.void).any():
                ignore[t] = encode(ids == self.rules.void)
            for i, rle in masks_of(self._objects(ids)).items():
                if i > self.rules.max_id:
                    message = f"id {i} is above the largest allowed, {self.rules.max_id}"
                    problems.append(Problem(path, f"id {i}", "", message))
                objects.setdefault(i, [None] * length)[t] = rle
        tracks = [Track(i, OBJECT.id, masks) for i, masks in sorted(objects.items())]
        whole = not self.partial or len(entry.masks) == length
        labelled = None if whole else frozenset(entry.masks)
        has_ignore = any(rle is not None for rle in ignore)
        return Clip(entry.video, tracks, ignore if has_ignore else None, labelled), problems

    def _objects(self, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.rules.merge:
            return (ids > 0).astype(np.uint8)
        dropped = [*self.rules.background, *([] if self.rules.void is None else [self.rules.void])]
        return np.where(np.isin(ids, dropped), 0, ids).astype(np.uint8) if dropped else ids


def _read_ids(path: Path, video: Video) -> NDArray[np.uint8]:
    ids = read_indices(path)
    if len(object_ids(ids)) > _MANY_OBJECTS:
        ids = read_mask(path)
    if ids.shape != (video.height, video.width):
        want = _times((video.height, video.width))
        raise MaskError(f"mask of {_times(ids.shape)} in a video of {want} (rows x columns)")
    return ids


def _times(size: Sequence[int]) -> str:
    return "x".join(map(str, size))


def raise_problems(header: str, problems: Sequence[Problem]) -> None:
    """Raises all problems as one error, if there are any.

    Raises:
        DatasetError: there are problems.
    """
    if problems:
        raise DatasetError(list_problems(header, map(str, problems)))


def annotation_set(
    tree: MaskTree,
    load: Callable[[int], Clip],
    videos: Sequence[Video],
    categories: Sequence[Category] = (OBJECT,),
    **info: Any,
) -> AnnotationSet:
    """Makes the data set of a tree whose videos were all found.

    Raises:
        DatasetError: problems were met, or there is no video.
    """
    raise_problems(f"the masks in {tree.masks} are incomplete:", tree.problems)
    if not videos:
        raise DatasetError(f"no video in {tree.masks}: expected one sub-folder of masks per video")
    return AnnotationSet(videos, categories, load, tree.images, tree.masks.is_dir(), info=info)


def validate_clips(
    loader: ClipLoader,
    check: Callable[[Clip, MaskEntry], Sequence[Problem]] | None = None,
    *,
    progress: bool = False,
) -> list[Problem]:
    """Decodes every mask and lists what is wrong.

    Args:
        loader: the videos.
        check: finds more problems in a clip.
        progress: shows a bar on stderr.
    """
    problems: list[Problem] = []
    for i in tqdm(range(len(loader.entries)), unit="video", disable=not progress, leave=False):
        clip, found = loader.scan(i)
        problems += found
        problems += check(clip, loader.entries[i]) if check else ()
    return problems
