"""Joining overlapping clips into tracks of a whole video (spec 8.3).

Frames that two clips share decide which instance continues which; on them, the clip with the
higher score wins frame by frame. A video streams through: what stays of a frame is its run
lengths; probabilities are held for the frames of the next overlap only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from devis.config_tree import ClipTracking
from devis.inference.clip_masks import FrameMasks
from devis.inference.matching import Seen, cost_matrix

Costs = list[NDArray[np.float64]]


class ClipOutput(NamedTuple):
    """What the network says of a clip: n real frames, K predictions, D distinct masks.

    Attributes:
        scores: (n, K) in 0 to 1.
        labels: (n, K) from 1.
        centers: (n, K, 2) of the boxes, in 0 to 1.
        boxes: (n, K, 4) corners in pixels of the video.
        masks: (n, D, h, w) logits.
        mask_of: (K) the mask of every prediction.
    """

    scores: Tensor
    labels: Tensor
    centers: Tensor
    boxes: Tensor
    masks: Tensor
    mask_of: Tensor


@dataclass
class Track:
    """An instance through the video.

    Attributes:
        frames: what was seen of it in every frame so far; None where it was not.
        parts: the clips that it is made of: number of the clip and of the prediction there.
        ended: no further clip continues it.
    """

    frames: list[Seen | None]
    parts: list[tuple[int, int]] = field(default_factory=list)
    ended: bool = False

    @property
    def first_label(self) -> int:
        """The class of the first frame in which it was seen."""
        return next(seen.label for seen in self.frames if seen is not None)


class ClipTracker:
    """Takes the clips of one video in order and keeps its tracks.

    Attributes:
        tracks: in the order in which they began.
        costs: every matrix that was given to the assignment; rows are tracks of the video,
            columns those of the clip.
    """

    def __init__(self, settings: ClipTracking, num_frames: int, size: tuple[int, int]) -> None:
        """Starts a video.

        Args:
            settings: costs, thresholds and policies.
            num_frames: T.
            size: height and width of the video.
        """
        self.settings = settings
        self.size = size
        self.overlap = num_frames - settings.STRIDE
        self.tracks: list[Track] = []
        self.costs: Costs = []
        self._held: list[FrameMasks] = []
        self._length = 0
        self._clips = 0

    def step(self, clip: ClipOutput, start: int = 0) -> list[list[Seen]]:
        """Adds a clip.

        Args:
            clip: of the next frames; all but the first clip begin with frames of the one before.
            start: frames of the clip before the overlap; other than 0 for the last one only.

        Returns:
            Every prediction of the clip, frame by frame.
        """
        seen = self._seen(clip, start)
        num_frames, covered = len(clip.scores), start + self.overlap
        if not self.tracks:
            self.tracks = [Track(list(f), [(0, column)]) for column, f in enumerate(seen)]
            self._length = num_frames
        else:
            self._join(seen, start, covered)
            self._length += num_frames - covered
        self._clips += 1
        self._forget()
        return seen

    def _join(self, seen: list[list[Seen]], start: int, covered: int) -> None:
        """Continues tracks with those of a clip, starts new ones, ends those without."""
        matched: set[int] = set()
        open_tracks = [track for track in self.tracks if not track.ended]
        for rows, columns in self._groups(open_tracks, seen):
            old = [_present(track.frames[-self.overlap :]) for track in rows]
            new = [seen[column][start:covered] for column in columns]
            cost = cost_matrix(old, new, self.settings)
            self.costs.append(cost)
            for row, column in zip(*linear_sum_assignment(cost), strict=True):
                self._merge(rows[row], seen[columns[column]], covered)
                rows[row].parts.append((self._clips, columns[column]))
                matched.add(columns[column])
        new_length = self._length + len(seen[0]) - covered
        for column, frames in enumerate(seen):
            if column not in matched:
                before: list[Seen | None] = [None] * (self._length - covered)
                self.tracks.append(Track(before + list(frames), [(self._clips, column)]))
        for track in self.tracks:
            missing = new_length - len(track.frames)
            if missing:
                track.frames += [None] * missing
                track.ended = True

    def _groups(
        self, tracks: list[Track], seen: list[list[Seen]]
    ) -> Iterator[tuple[list[Track], list[int]]]:
        """What may be matched with one another: all, or those of a class."""
        columns = list(range(len(seen)))
        if not self.settings.PER_CLASS_MATCHING:
            yield tracks, columns
            return
        labels = [track.first_label for track in tracks]
        for label in sorted(set(labels)):
            mine = [column for column in columns if seen[column][0].label == label]
            if mine:
                yield [t for t, own in zip(tracks, labels, strict=True) if own == label], mine

    @staticmethod
    def _merge(track: Track, frames: list[Seen], covered: int) -> None:
        """The better of both on the covered frames, then the new ones."""
        first = len(track.frames) - covered
        for offset, new in enumerate(frames[:covered]):
            old = track.frames[first + offset]
            if old is None or new.score > old.score:
                track.frames[first + offset] = new
        track.frames += frames[covered:]

    def _seen(self, clip: ClipOutput, start: int) -> list[list[Seen]]:
        """Every prediction of a clip, frame by frame; masks are enlarged here."""
        soft, num_frames = not self.settings.USE_BINARY_MASK_IOU, len(clip.scores)
        matched = {*range(start, start + self.overlap), *range(num_frames)[-self.overlap :]}
        masks = [
            FrameMasks(logits, self.size, keep=soft and index in matched)
            for index, logits in enumerate(clip.masks)
        ]
        self._held += masks
        scores, labels = clip.scores.tolist(), clip.labels.tolist()
        centers, boxes = clip.centers.tolist(), clip.boxes.tolist()
        return [
            [
                Seen(scores[t][k], labels[t][k], centers[t][k], boxes[t][k], (masks[t], number))
                for t in range(num_frames)
            ]
            for k, number in enumerate(clip.mask_of.tolist())
        ]

    def _forget(self) -> None:
        """Drops the probabilities of frames that no later clip is compared with."""
        needed = {
            id(seen.mask[0])
            for track in self.tracks
            if not track.ended
            for seen in track.frames[-self.overlap :]
            if seen is not None
        }
        for masks in self._held:
            if id(masks) not in needed:
                masks.forget()
        self._held = [masks for masks in self._held if id(masks) in needed]


def _present(frames: list[Seen | None]) -> list[Seen]:
    """The end of a track that goes on: it was seen in every frame of its last clip."""
    assert all(seen is not None for seen in frames)
    return [seen for seen in frames if seen is not None]
