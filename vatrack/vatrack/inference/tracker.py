"""Identities of detections from frame to frame (spec 3.4).

Masks are not kept: the matching does not look at them. Letters: n detections, m remembered rows,
E length of an embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vatrack.inference.settings import TrackerSettings

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Instead of an id: not matched; matched, but too weak to be shown or kept.
UNMATCHED, DROPPED = -1, -2


@dataclass
class Tracks:
    """What is remembered of the tracks, the oldest first; one row each.

    Attributes:
        ids: (m,).
        boxes: (m, 5) with scores, of the last frame each was seen in.
        embeds: (m, E) running means.
        labels: (m,).
        last_frames: (m,).
        velocities: (m, 5) running means of the change of `boxes` per frame.
        counts: (m,) updates so far.
    """

    ids: Ints
    boxes: Floats
    embeds: Floats
    labels: Ints
    last_frames: Ints
    velocities: Floats
    counts: Ints

    @classmethod
    def started(cls, ids: Ints, rows: Rows, frame_idx: int) -> Tracks:
        """Tracks that begin in a frame."""
        numbers = np.zeros(len(ids), np.int64)
        still = np.zeros_like(rows.boxes)
        frames = numbers + frame_idx
        return cls(ids, rows.boxes, rows.embeds, rows.labels, frames, still, numbers)

    def take(self, which: NDArray[np.bool_]) -> Tracks:
        """Some of them."""
        return Tracks(*(value[which] for value in vars(self).values()))

    def joined(self, others: Tracks) -> Tracks:
        """These and then others."""
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return Tracks(*(np.concatenate(pair) for pair in pairs))

    def update(self, at: Ints, rows: Rows, frame_idx: int, momentum: float) -> None:
        """Moves tracks at some positions to their detections."""
        elapsed = (frame_idx - self.last_frames[at])[:, None].astype(np.float32)
        velocity = (rows.boxes - self.boxes[at]) / elapsed
        counts = self.counts[at][:, None].astype(np.float32)
        self.velocities[at] = (self.velocities[at] * counts + velocity) / (counts + 1)
        self.embeds[at] = (1 - momentum) * self.embeds[at] + momentum * rows.embeds
        self.boxes[at], self.labels[at], self.last_frames[at] = rows.boxes, rows.labels, frame_idx
        self.counts[at] += 1


@dataclass(frozen=True)
class Rows:
    """Detections of a frame.

    Attributes:
        boxes: (n, 5) with scores.
        labels: (n,).
        embeds: (n, E).
    """

    boxes: Floats
    labels: Ints
    embeds: Floats

    def take(self, which: NDArray[np.integer] | NDArray[np.bool_]) -> Rows:
        """Some of them."""
        return Rows(self.boxes[which], self.labels[which], self.embeds[which])


@dataclass
class TrackerState:
    """Everything the tracker knows of a video.

    Attributes:
        num_tracklets: ids given so far, which is the next one.
        tracks: None before the first.
        backdrops: unmatched detections of the last frames, newest frame first.
    """

    num_tracklets: int = 0
    tracks: Tracks | None = None
    backdrops: list[Rows] = field(default_factory=list)


class Tracker:
    """Gives detections their ids.

    Args:
        settings: thresholds.

    Attributes:
        state: of the video so far; may be stored and set.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self.settings = settings or TrackerSettings()
        self.reset()

    def reset(self) -> None:
        """Forgets the video; ids start at 0 again."""
        self.state = TrackerState()

    def match(
        self, boxes: Floats, labels: Ints, embeds: Floats, frame_idx: int
    ) -> tuple[Ints, Ints]:
        """Advances to a frame with detections; one without is not shown to the tracker.

        Args:
            boxes: (n, 5) with scores.
            labels: (n,).
            embeds: (n, E).
            frame_idx: greater than that of the frame before.

        Returns:
            Positions of the detections that are no duplicates, best score first, and the id of
            each; only ids from 0 on are to be shown.
        """
        order = np.argsort(-boxes[:, 4], kind="stable")
        overlap = _iou(boxes[order], boxes[order])
        kept = _distinct(boxes[order, 4], overlap, self.settings)
        order, overlap = order[kept], overlap[np.ix_(kept, kept)]
        rows = Rows(boxes[order], labels[order], embeds[order])
        ids = self._matched(rows)
        is_new = (ids == UNMATCHED) & (rows.boxes[:, 4] > self.settings.init_score_thr)
        ids[is_new] = self.state.num_tracklets + np.arange(is_new.sum())
        self.state.num_tracklets += int(is_new.sum())
        self._remember(rows, ids, is_new, overlap, frame_idx)
        return order, ids

    def _matched(self, rows: Rows) -> Ints:
        """Ids of rows that continue a track, UNMATCHED and DROPPED for others."""
        settings, tracks = self.settings, self.state.tracks
        ids = np.full(len(rows.labels), UNMATCHED, np.int64)
        if tracks is None or not len(tracks.ids) or not len(ids):
            return ids
        memory = [Rows(tracks.boxes, tracks.labels, tracks.embeds), *self.state.backdrops]
        embeds = np.concatenate([part.embeds for part in memory])
        labels = np.concatenate([part.labels for part in memory])
        similar = similarity(rows.embeds, embeds, settings.match_metric)
        if settings.with_cats:
            similar = similar * (rows.labels[:, None] == labels)
        scores = rows.boxes[:, 4]
        for i, row in enumerate(similar):
            j = int(row.argmax())
            confidence = row[j]
            if confidence <= settings.match_score_thr or j >= len(tracks.ids):
                continue
            if scores[i] > settings.obj_score_thr:
                ids[i] = tracks.ids[j]
                similar[:i, j] = 0
                similar[i + 1 :, j] = 0
            elif confidence > settings.nms_conf_thr:
                ids[i] = DROPPED
        return ids

    def _remember(
        self, rows: Rows, ids: Ints, is_new: NDArray[np.bool_], overlap: Floats, frame_idx: int
    ) -> None:
        """Moves the memory to this frame."""
        settings, state = self.settings, self.state
        if state.tracks is not None:
            continued = (ids > UNMATCHED) & ~is_new
            order = np.argsort(state.tracks.ids)
            at = order[np.searchsorted(state.tracks.ids, ids[continued], sorter=order)]
            state.tracks.update(at, rows.take(continued), frame_idx, settings.memo_momentum)
        begun = Tracks.started(ids[is_new], rows.take(is_new), frame_idx)
        tracks = begun if state.tracks is None else state.tracks.joined(begun)
        is_covered = (np.tril(overlap, -1) > settings.nms_backdrop_iou_thr).any(1)
        state.backdrops.insert(0, rows.take((ids == UNMATCHED) & ~is_covered))
        is_recent = frame_idx - tracks.last_frames < settings.memo_tracklet_frames
        state.tracks = tracks.take(is_recent)
        del state.backdrops[settings.memo_backdrop_frames :]


def similarity(embeds: Floats, memory: Floats, metric: str) -> Floats:
    """How similar embeddings (n, E) are to remembered ones (m, E), (n, m)."""
    if metric == "cosine":
        lengths = (np.linalg.norm(x, axis=1, keepdims=True) for x in (embeds, memory))
        mine, theirs = (np.maximum(length, 1e-12) for length in lengths)
        return (embeds / mine) @ (memory / theirs).T
    products = embeds @ memory.T
    by_row = _softmax(products, 1)
    if metric == "softmax":
        return by_row
    return np.asarray((by_row + _softmax(products, 0)) / 2, np.float32)


def _softmax(x: Floats, axis: int) -> Floats:
    powers = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis, keepdims=True), np.float32)


def _distinct(scores: Floats, overlap: Floats, settings: TrackerSettings) -> NDArray[np.bool_]:
    """Flags of the rows that no better row covers, be that one a duplicate itself or not."""
    is_weak = scores < settings.obj_score_thr
    limit = np.where(is_weak, settings.nms_backdrop_iou_thr, settings.nms_class_iou_thr)
    is_covered = np.tril(overlap, -1) > limit[:, None].astype(np.float32)
    return np.asarray(~is_covered.any(1))


def _iou(boxes: Floats, others: Floats) -> Floats:
    """IoU (n, m) of boxes; two without area have 0."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    intersection = np.maximum(high - low, 0).prod(-1)
    areas, other_areas = ((b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (boxes, others))
    union = areas[:, None] + other_areas[None] - intersection
    return np.asarray(intersection / np.maximum(union, np.float32(1e-6)), np.float32)
