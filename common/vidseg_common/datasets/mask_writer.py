"""Writes clips as mask files, one value per pixel; what formats without overlaps share.

Letters: K objects, T frames. Source: spec common sections 1.1-1.3 and 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.datasets.overlap import paint
from vidseg_common.datasets.write_losses import WriteLosses
from vidseg_common.errors import DatasetError

__all__ = [
    "OVERLAP",
    "clips_to_write",
    "id_maps",
    "note_lost_fields",
    "object_numbers",
]

OVERLAP = "pixels of overlapping masks, which went to the higher score, or to the later track"


def clips_to_write(annotations: AnnotationSet, *, progress: bool = False) -> Iterator[Clip]:
    """Reads the clips one by one and checks that each can get a folder of its own.

    Raises:
        DatasetError: no video, a name that cannot be a folder, a name twice, or a frame size or
            number of frames of 0.
    """
    videos = annotations.videos
    if not videos:
        raise DatasetError("the data set has no video to write")
    seen: set[str] = set()
    for video in videos:
        parts = PurePath(video.name).parts
        if not parts or PurePath(video.name).is_absolute() or ".." in parts:
            raise DatasetError(f"video {video.id}: {video.name!r} cannot be the name of a folder")
        if video.name in seen:
            raise DatasetError(f"video {video.id}: another video is called {video.name!r} too")
        seen.add(video.name)
    yield from tqdm(
        annotations.clips(), total=len(videos), unit="video", disable=not progress, leave=False
    )


def note_lost_fields(clip: Clip, losses: WriteLosses, *, keeps_ignore: bool = False) -> None:
    """Notes what mask files cannot hold of a clip."""
    tracks = clip.tracks
    losses.add("scores of tracks", sum(track.score is not None for track in tracks))
    losses.add("crowd flags of tracks", sum(track.is_crowd for track in tracks))
    losses.add("amodal masks of tracks", sum(track.amodal is not None for track in tracks))
    occluded = (t.occlusion is not None or t.occlude_rates is not None for t in tracks)
    losses.add("occlusion levels of tracks", sum(occluded))
    if not keeps_ignore and any(clip.ignore or ()):
        losses.add("videos whose ignore regions became background")


def object_numbers(
    clip: Clip, losses: WriteLosses, *, max_id: int, consecutive: bool = False
) -> list[int]:
    """Values that the objects of a clip get in its masks: their ids where these fit, else 1..K.

    Args:
        clip: the clip.
        losses: notes that numbers changed.
        max_id: largest value allowed.
        consecutive: the format wants exactly 1..K.

    Raises:
        DatasetError: more objects than values.
    """
    ids = [track.id for track in clip.tracks]
    numbers = list(range(1, len(ids) + 1))
    if len(ids) > max_id:
        raise DatasetError(
            f"video {clip.video.name} has {len(ids)} objects, the format holds at most {max_id}; "
            "keep those of the highest scores"
        )
    fits = len(set(ids)) == len(ids) and all(1 <= i <= max_id for i in ids)
    if fits and (not consecutive or sorted(ids) == numbers):
        return ids
    losses.add("videos whose objects were numbered anew from 1")
    return numbers


def id_maps(
    clip: Clip,
    tracks: Sequence[Track],
    values: Sequence[int],
    losses: WriteLosses,
    *,
    ignore_value: int | None = None,
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Makes the id map of every labelled frame.

    Args:
        clip: size, labelled frames and ignore region.
        tracks: its objects.
        values: value of each object.
        losses: notes pixels lost to other masks.
        ignore_value: value of the ignore region, over which objects win; None leaves it out.

    Yields:
        Frame index, and the (H, W) int32 id map.

    Raises:
        DatasetError: the size of the video is not known.
        MaskError: a malformed mask, or one of another size than the video.
    """
    size = (clip.video.height, clip.video.width)
    if 0 in size:
        raise DatasetError(f"video {clip.video.name}: the size of its frames is not known")
    scores = [None, *(track.score for track in tracks)]
    for t in range(clip.video.num_frames):
        if clip.labelled is not None and t not in clip.labelled:
            continue
        region = clip.ignore[t] if clip.ignore and ignore_value is not None else None
        masks = [region, *(track.segmentations[t] for track in tracks)]
        id_map, taken = paint(masks, [ignore_value or 0, *values], scores, size)
        losses.add(OVERLAP, taken)
        yield t, id_map
