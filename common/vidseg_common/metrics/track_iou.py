"""IoU of whole tracks, exact and without decoding a mask into pixels.

The frames of a track are put side by side, so that a track is one ascending list of the places
where its pixels change between 0 and 1. Merging the lists of two tracks gives the list of their
symmetric difference, and its area with the areas of the two gives the intersection. The run-length
strings of many masks are decoded at once. Source: spec common sections 2, 5.1 and 10.

K tracks, T frames, M masks, N runs, D detections, G ground truths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError
from vidseg_common.rle import counts_of, counts_to_string
from vidseg_common.rle_batch import Runs, decode_runs

__all__ = ["TrackMasks", "decode_tracks", "mean_area", "track_iou"]

Mask = Mapping[str, Any]
Ints = NDArray[np.integer[Any]]

# Characters, or runs, decoded at a time: few enough that most of the work stays in the cache.
_MOST_CHARACTERS = 1 << 18
_SIZE, _COUNTS = itemgetter("size"), itemgetter("counts")


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
    counts = _counts(tracks, names, num_frames, [height, width])
    # Positions wrap around in 32 bits until the start of the track is taken off: exact, as long
    # as those within a track fit.
    dtype = np.int32 if num_frames * height * width < 1 << 31 else np.int64
    parts = [
        _decode_block(counts[start:stop], num_frames, height * width, dtype)
        for start, stop in _blocks(counts, num_frames)
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
    for g in np.flatnonzero(possible.any(axis=0)).tolist():
        for d in np.flatnonzero(possible[:, g]).tolist():
            shared[d, g] = _difference(dets.changes[d], gts.changes[g])
    np.copyto(shared, (det_total[:, None] + gt_total - shared) // 2, where=possible)
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
    return int((merged[1::2] - merged[::2]).sum(dtype=np.int64))


def _counts(
    tracks: Sequence[Sequence[Mask | None]],
    names: Sequence[str],
    num_frames: int,
    size: list[int],
) -> list[str] | list[Ints]:
    """Counts of all masks, track by track: strings, or runs where any of them has another form.

    A frame without mask has an empty mask.
    """
    counts: list[Any] = []
    for name, track in zip(names, tracks, strict=True):
        if len(track) != num_frames:
            raise MaskError(f"{name} has {len(track)} masks, the video {num_frames} frames")
        masks = [mask for mask in track if mask is not None]
        if list(map(_SIZE, masks)).count(size) != len(masks):
            _raise_other_size(name, track, size)
        if len(masks) == num_frames:
            counts += map(_COUNTS, masks)
        else:
            counts += [None if mask is None else mask["counts"] for mask in track]
    kinds = set(map(type, counts)) - {type(None)}
    empty = np.array([size[0] * size[1], 0])
    if kinds <= {str}:
        string = counts_to_string(empty[:1])
        return [string if one is None else one for one in counts] if None in counts else counts
    if kinds == {np.ndarray} and _are_plain(one for one in counts if one is not None):
        return [empty if one is None else one for one in counts]
    places = ((name, frame_idx) for name in names for frame_idx in range(num_frames))
    return [
        empty if one is None else _even(one, size, f"{name}, frame {frame_idx}")
        for one, (name, frame_idx) in zip(counts, places, strict=True)
    ]


def _are_plain(arrays: Iterable[NDArray[Any]]) -> bool:
    """Whether all are pairs of runs, as wide numbers."""
    return all(one.dtype == np.int64 and one.ndim == 1 and not len(one) & 1 for one in arrays)


def _even(counts: Any, size: list[int], where: str) -> Ints:
    """Runs of whatever form, with one of no ones where the last is missing."""
    runs = _counts_of({"size": size, "counts": counts}, where)
    return np.append(runs, 0) if len(runs) & 1 else runs


def _raise_other_size(name: str, masks: Sequence[Mask | None], size: list[int]) -> None:
    for frame_idx, mask in enumerate(masks):
        if mask is not None and list(mask["size"]) != size:
            raise MaskError(
                f"{name}, frame {frame_idx}: the mask has size {list(mask['size'])}, "
                f"the video {size}"
            )


def _counts_of(mask: Mask, where: str) -> Ints:
    try:
        return counts_of(mask)
    except MaskError as error:
        raise MaskError(f"{where}: {error}") from error


def _blocks(counts: Sequence[Sized], num_frames: int) -> Iterator[tuple[int, int]]:
    """Ranges of masks that are decoded together, whole tracks each."""
    start, amount = 0, 0
    for stop in range(num_frames, len(counts) + 1, num_frames):
        amount += sum(map(len, counts[stop - num_frames : stop]))
        if amount > _MOST_CHARACTERS or stop == len(counts):
            yield start, stop
            start, amount = stop, 0


def _runs_of(counts: Sequence[str] | Sequence[Ints]) -> Runs | None:
    """Runs of whatever form; None where a string is malformed."""
    if isinstance(counts[0], str):
        return decode_runs(cast(Sequence[str], counts))
    lengths = np.fromiter(map(len, counts), np.int64, len(counts)) // 2
    return Runs(np.concatenate(counts), lengths, np.zeros(len(counts), bool))


def _decode_block(
    counts: Sequence[str] | Sequence[Ints],
    num_frames: int,
    num_pixels: int,
    dtype: type[np.integer[Any]],
) -> TrackMasks | None:
    """Decodes whole tracks; None where a mask is malformed."""
    runs = _runs_of(counts)
    if runs is None or not runs.fill(num_pixels):
        return None
    stops = runs.lengths.cumsum()
    starts = stops - runs.lengths
    changes = runs.values.cumsum(dtype=dtype)
    areas = np.add.reduceat(runs.values[1::2], starts, dtype=np.int64)
    # Within a frame: the first change, and the last one that ends a run of ones.
    offsets = np.arange(len(starts), dtype=dtype) * dtype(num_pixels)
    first = changes[2 * starts] - offsets
    is_open = (runs.values[2 * stops - 1] == 0) & (runs.lengths > 1)
    last = changes[2 * stops - 1 - 2 * is_open] - offsets
    spans = np.stack([first, last], axis=1) * (areas > 0)[:, None]
    bounds = np.append(2 * starts[::num_frames], len(changes)).tolist()
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
