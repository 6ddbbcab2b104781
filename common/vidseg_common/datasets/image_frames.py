"""What the formats of single images share: names, sizes, and which objects of a frame they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from vidseg_common import rle
from vidseg_common.datasets.annotations import Clip, Problem, Track, Video
from vidseg_common.datasets.overlap import paint
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError
from vidseg_common.rle import RLE

BOX_ONLY = "box_only"
"""Key of `Track.extra` that marks an object with a box and no mask."""


def image_names(file_names: Sequence[str]) -> list[str]:
    """Names of images without suffix; with their folders where stems alone are not unique.

    Args:
        file_names: paths of the images.
    """
    stems = [Path(name).stem for name in file_names]
    if len(set(stems)) == len(stems):
        return stems
    return [Path(name).with_suffix("").as_posix() for name in file_names]


def flat_name(video: Video, frame_idx: int) -> str:
    """Name of a frame in formats that keep all images in one folder.

    Args:
        video: an image keeps its name, a frame of a longer video gets its own appended.
        frame_idx: the frame.
    """
    stem = Path(video.file_names[frame_idx]).stem
    name = video.name if video.num_frames == 1 else f"{video.name}_{stem}"
    return name.replace("/", "_")


def image_size(path: str | Path) -> tuple[int, int]:
    """(H, W) of an image from its header, without decoding it.

    Raises:
        DatasetError: the file is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise DatasetError(f"image not found: {path}") from None
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(f"not a readable image: {path} ({error})") from error


def image_problem(file: Path, where: str, image: Path, size: tuple[int, int]) -> Problem | None:
    """Checks that the image of a frame is there and of the stated size.

    Args:
        file: the annotation file that names it.
        where: the entry of that file.
        image: the image.
        size: the (H, W) it should have.
    """
    try:
        found = image_size(image)
    except DatasetError as error:
        return Problem(file, where, "file_name", str(error))
    if found == tuple(size):
        return None
    return Problem(
        file, where, "file_name", f"{image} is {found[0]}x{found[1]}, not {size[0]}x{size[1]}"
    )


def shown_tracks(clip: Clip, frame_idx: int, losses: WriteLosses) -> list[Track]:
    """Objects with a mask in a frame; crowds belong to `ignore_region` instead.

    Args:
        clip: the annotations.
        frame_idx: the frame.
        losses: told of boxes without masks, empty masks and crowds.
    """
    shown: list[Track] = []
    for track in clip.tracks:
        segmentation = track.segmentations[frame_idx]
        if segmentation is None:
            losses.add(
                "object with a box but no mask was left out", int(bool(track.extra.get(BOX_ONLY)))
            )
        elif not rle.area(segmentation):
            losses.add("mask without any pixel was left out")
        elif track.is_crowd:
            losses.add("crowd became part of the ignore region")
        else:
            shown.append(track)
    return shown


def ignore_region(clip: Clip, frame_idx: int) -> RLE | None:
    """Union of the ignore region and the crowds of a frame, None where there is none.

    Args:
        clip: the annotations.
        frame_idx: the frame.
    """
    parts = [track.segmentations[frame_idx] for track in clip.tracks if track.is_crowd]
    parts.append(clip.ignore[frame_idx] if clip.ignore is not None else None)
    masks = [part for part in parts if part is not None]
    return rle.merge(masks) if len(masks) > 1 else (masks[0] if masks else None)


def paint_frame(
    tracks: Sequence[Track],
    numbers: Sequence[int],
    frame_idx: int,
    size: tuple[int, int],
    losses: WriteLosses,
) -> NDArray[np.int32]:
    """Joins the masks of a frame into one image of numbers; where they overlap one wins.

    Args:
        tracks: those with a mask in the frame.
        numbers: number of each, not 0.
        frame_idx: the frame.
        size: (H, W).
        losses: told of overlaps and of objects that nothing is left of.

    Returns:
        (H, W) int32, 0 where there is no object.
    """
    masks = [track.segmentations[frame_idx] for track in tracks]
    joined, taken = paint(masks, numbers, [track.score for track in tracks], size)
    if taken:
        losses.add("frame with overlapping masks: each pixel went to one of them")
        lost = set(numbers).difference(np.unique(joined).tolist())
        losses.add("object that others cover completely was lost", len(lost))
    return joined


def note_unwritten(clip: Clip, losses: WriteLosses) -> None:
    """Notes what no format of plain masks can hold.

    Args:
        clip: the annotations.
        losses: told of scores, amodal masks and occlusion levels.
    """
    for track in clip.tracks:
        losses.add("score was not written", int(track.score is not None))
        losses.add("amodal masks of an object were not written", int(track.amodal is not None))
        levels = track.occlusion is not None or track.occlude_rates is not None
        losses.add("occlusion levels of an object were not written", int(levels))
