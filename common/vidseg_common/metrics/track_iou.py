"""IoU of whole tracks, exact and without decoding a mask into pixels.

The frames of a track are put side by side, so that a track is one ascending list of the places
where its pixels change between 0 and 1. Merging the lists of two tracks gives the list of their
symmetric difference, and its area with the areas of the two gives the intersection. The run-length
strings of many masks are decoded at once. Source: spec common sections 2, 5.1 and 10.

K tracks, T frames, M masks, N runs, D detections, G ground truths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError
from vidseg_common.rle import counts_of, counts_to_string
from vidseg_common.rle_strings import decode_runs

__all__ = ["TrackMasks", "decode_tracks", "mean_area", "track_iou"]

Mask = Mapping[str, Any]
Ints = NDArray[np.integer[Any]]

_MOST_CHARACTERS = 1 << 21  # of run-length strings decoded at a time; bounds the memory


@dataclass(frozen=True)
class TrackMasks:
    """The masks of some tracks of one video.

    Attributes:
        changes: per track, ascending places where a run starts or ends, two for each run of ones.
            A pixel of frame t is at t * H * W + x * H + y.
        areas: (K, T) pixels.
        spans: (K, T, 2) first place of a mask and the place after its last, within the frame;
            [0, 0] for an empty one.
    """

    changes: list[Ints]
    areas: NDArray[np.int64]
    spans: NDArray[np.int64]

    def select(self, tracks: Sequence[int] | NDArray[np.integer[Any]]) -> TrackMasks:
        """Some of the tracks, in the order given."""
        indices = np.asarray(tracks, np.int64)
        changes = [self.changes[index] for index in indices]
        return TrackMasks(changes, self.areas[indices], self.spans[indices])


def decode_tracks(
    tracks: Sequence[Sequence[Mask | None]],
    num_frames: int,
    height: int,
    width: int,
    names: Sequence[str] | None = None,
) -> TrackMasks:
    """Decodes the masks of tracks.

    Args:
        tracks: one RLE per frame, None where the object is not visible.
        num_frames: T.
        height: H of the frames.
        width: W of the frames.
        names: what messages call each track, its position by default.

    Raises:
        MaskError: a track of another length, a mask of another size, or a malformed one. The
            message names the track and the frame.
    """
    names = [f"track {index}" for index in range(len(tracks))] if names is None else names
    strings = _strings(tracks, names, num_frames, [height, width])
    # Positions wrap around in 32 bits until the start of the track is taken off: exact, as long
    # as those within a track fit.
    dtype = np.int32 if num_frames * height * width < 1 << 31 else np.int64
    parts = [
        _decode_block(strings[start:stop], num_frames, height * width, dtype)
        for start, stop in _blocks(strings, num_frames)
    ]
    if None in parts:
        _raise_first_error(tracks, names)
    return _joined([part for part in parts if part is not None], num_frames)


def mean_area(areas: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the frames in which a track has pixels, 0 where there are none.

    Args:
        areas: (K, T).

    Returns:
        (K,).
    """
    totals, visible = areas.sum(axis=-1), (areas != 0).sum(axis=-1)
    return np.asarray(totals / np.maximum(visible, 1), np.float64)


def track_iou(
    dets: TrackMasks,
    gts: TrackMasks,
    *,
    at_least: float = 0.0,
    crowd: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """IoU of every pair of tracks: all pixels of their intersections by all of their unions.

    Args:
        dets: D tracks.
        gts: G tracks of the same video.
        at_least: pairs that areas alone show to be below may get 0; 0 makes all exact.
        crowd: (G,) for these the denominator is the area of the detection.

    Returns:
        (D, G); 0 where both tracks are empty.
    """
    det_total, gt_total = dets.areas.sum(axis=1), gts.areas.sum(axis=1)
    by_detection = np.zeros(len(gt_total), bool) if crowd is None else crowd

    def whole(shared: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(by_detection, det_total[:, None], det_total[:, None] + gt_total - shared)

    most = _most_shared(dets, gts)
    # A little below, as the bound is rounded too.
    possible = (most > 0) & (most >= (at_least - 1e-9) * whole(most))
    shared = np.zeros_like(most)
    for d, g in zip(*np.nonzero(possible), strict=True):
        difference = _difference(dets.changes[d], gts.changes[g])
        shared[d, g] = (det_total[d] + gt_total[g] - difference) // 2
    return np.divide(shared, whole(shared), out=np.zeros(most.shape), where=shared > 0)


def _most_shared(dets: TrackMasks, gts: TrackMasks) -> NDArray[np.int64]:
    """Upper bound of the pixels that two tracks share, (D, G)."""
    result = np.zeros((len(dets.areas), len(gts.areas)), np.int64)
    for g, (areas, spans) in enumerate(zip(gts.areas, gts.spans, strict=True)):
        start = np.maximum(dets.spans[..., 0], spans[:, 0])
        end = np.minimum(dets.spans[..., 1], spans[:, 1])
        smaller = np.minimum(np.minimum(dets.areas, areas), end - start)
        result[:, g] = np.maximum(smaller, 0).sum(axis=1)
    return result


def _difference(first: Ints, second: Ints) -> int:
    """Pixels that are in one of two tracks only."""
    merged = np.concatenate([first, second])
    merged.sort(kind="stable")  # two ascending lists are merged in one pass
    return int(merged[1::2].sum(dtype=np.int64) - merged[::2].sum(dtype=np.int64))


def _strings(
    tracks: Sequence[Sequence[Mask | None]],
    names: Sequence[str],
    num_frames: int,
    size: list[int],
) -> list[str]:
    """Run-length strings of all masks, track by track; a frame without mask has an empty mask."""
    empty: Mask = {"size": size, "counts": counts_to_string([size[0] * size[1]])}
    strings: list[str] = []
    for name, track in zip(names, tracks, strict=True):
        if len(track) != num_frames:
            raise MaskError(f"{name} has {len(track)} masks, the video {num_frames} frames")
        masks = [empty if mask is None else mask for mask in track]
        if any(mask["size"] != size for mask in masks):
            _raise_other_size(name, masks, size)
        counts = [mask["counts"] for mask in masks]
        if set(map(type, counts)) != {str}:
            counts = [
                counts_to_string(_counts_of(mask, f"{name}, frame {frame_idx}"))
                for frame_idx, mask in enumerate(masks)
            ]
        strings += counts
    return strings


def _raise_other_size(name: str, masks: Sequence[Mask], size: list[int]) -> None:
    for frame_idx, mask in enumerate(masks):
        if list(mask["size"]) != size:
            raise MaskError(
                f"{name}, frame {frame_idx}: the mask has size {list(mask['size'])}, "
                f"the video {size}"
            )


def _counts_of(mask: Mask, where: str) -> Ints:
    try:
        return counts_of(mask)
    except MaskError as error:
        raise MaskError(f"{where}: {error}") from error


def _blocks(strings: Sequence[str], num_frames: int) -> Iterator[tuple[int, int]]:
    """Ranges of masks that are decoded together, whole tracks each."""
    start, characters = 0, 0
    for stop in range(num_frames, len(strings) + 1, num_frames):
        characters += sum(map(len, strings[stop - num_frames : stop]))
        if characters > _MOST_CHARACTERS or stop == len(strings):
            yield start, stop
            start, characters = stop, 0


def _decode_block(
    strings: Sequence[str], num_frames: int, num_pixels: int, dtype: type[np.integer[Any]]
) -> TrackMasks | None:
    """Decodes whole tracks; None where a mask is malformed."""
    decoded = decode_runs(strings, dtype)
    if decoded is None:
        return None
    (zeros, ones), lengths, is_odd = decoded
    stops = lengths.cumsum()
    starts = stops - lengths
    run_stops = (zeros + ones).cumsum(dtype=dtype)
    changes = np.empty(2 * len(ones), dtype)
    changes[::2], changes[1::2] = run_stops - ones, run_stops
    ends = run_stops[stops - 1]
    is_negative = zeros.min() < 0 or ones.min() < 0
    if is_negative or (np.diff(ends, prepend=dtype(0)) != num_pixels).any():
        return None
    areas = np.add.reduceat(ones, starts, dtype=np.int64)
    # Within a frame: the first change, and the last one that ends a run of ones.
    offsets = ends - dtype(num_pixels)
    first = changes[2 * starts] - offsets
    last = changes[2 * stops - 1 - 2 * is_odd * (lengths > 1)] - offsets
    spans = np.stack([first, last], axis=1) * (areas > 0)[:, None]
    bounds = np.append(2 * starts[::num_frames], len(changes))
    per_track = [
        changes[start:stop] - offset
        for start, stop, offset in zip(bounds[:-1], bounds[1:], offsets[::num_frames], strict=True)
    ]
    return TrackMasks(
        per_track,
        areas.reshape(-1, num_frames),
        spans.astype(np.int64).reshape(-1, num_frames, 2),
    )


def _joined(parts: Sequence[TrackMasks], num_frames: int) -> TrackMasks:
    if not parts:
        return TrackMasks(
            [], np.zeros((0, num_frames), np.int64), np.zeros((0, num_frames, 2), np.int64)
        )
    return TrackMasks(
        [changes for part in parts for changes in part.changes],
        np.concatenate([part.areas for part in parts]),
        np.concatenate([part.spans for part in parts]),
    )


def _raise_first_error(tracks: Sequence[Sequence[Mask | None]], names: Sequence[str]) -> None:
    """Decodes mask by mask to tell which one is malformed, and why."""
    for name, track in zip(names, tracks, strict=True):
        for frame_idx, mask in enumerate(track):
            if mask is not None:
                _counts_of(mask, f"{name}, frame {frame_idx}")
    raise AssertionError("a block of masks was refused, but each of them is good")
