"""Scores a stretch of frames of one sequence; the work of one process.

Source: spec common sections 4.3, 4.4 and 4.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError
from vidseg_common.masks import VOID, open_indices
from vidseg_common.metrics.boundary import (
    boundary_radius,
    count_pair,
    pack_masks,
    widen_box,
)

MAX_PROPOSALS = 20

IdMap = NDArray[np.uint8]
Mode = Literal["objects", "binary", "proposals"]


@dataclass(frozen=True)
class ScoreJob:
    """A stretch of frames to score.

    Attributes:
        sequence: name of the sequence.
        pairs: ground-truth and prediction file of every frame.
        num_objects: objects of the sequence have the ids 1..num_objects.
        mode: "objects" compares equal ids, "binary" all ids as one object (DAVIS 2016),
            "proposals" every predicted id with every object.
    """

    sequence: str
    pairs: tuple[tuple[Path, Path], ...]
    num_objects: int
    mode: Mode


@dataclass(frozen=True)
class ScoreChunk:
    """What came out of a job.

    Attributes:
        scores: one array per frame, J and F on the last axis: (K, 2), or with proposals
            (1 + N, K, 2) where N is the largest id of the frame and row 0 is the score of an
            empty proposal.
        largest: the largest predicted id that is not allowed and the file it is in, if any.
        problems: one line per file that could not be used.
    """

    scores: tuple[NDArray[np.float64], ...]
    largest: tuple[int, Path] | None
    problems: tuple[str, ...]


@dataclass(frozen=True)
class FramePair:
    """Annotation and prediction of a frame, cropped to all that is set in either.

    Attributes:
        ids: (2, h, w) uint8 ids, those of the annotation first.
        radius: search radius of the full frame.
    """

    ids: IdMap
    radius: int

    @property
    def gt(self) -> IdMap:
        """(h, w) ids of the annotation."""
        return self.ids[0]

    @property
    def pred(self) -> IdMap:
        """(h, w) ids of the prediction."""
        return self.ids[1]


def score_chunk(job: ScoreJob) -> ScoreChunk:
    """Reads every file of a job once and scores all objects in it.

    Problems are collected, not raised, so that a user learns of all of them at once.
    """
    limit = {"objects": job.num_objects, "binary": VOID, "proposals": MAX_PROPOSALS}[job.mode]
    scores: list[NDArray[np.float64]] = []
    problems: list[str] = []
    largest: tuple[int, Path] | None = None
    for gt_path, pred_path in job.pairs:
        try:
            pair = read_pair(gt_path, pred_path)
        except MaskError as error:
            problems.append(str(error))
            continue
        highest = int(pair.pred.max())
        if highest > limit:
            largest = max(largest or (0, pred_path), (highest, pred_path), key=lambda item: item[0])
        else:
            scores.append(score_frame(pair, job.num_objects, job.mode))
    return ScoreChunk(tuple(scores), largest, tuple(problems))


def read_pair(gt_path: Path, pred_path: Path) -> FramePair:
    """Reads the annotation and the prediction of a frame.

    Raises:
        MaskError: a file cannot be read, or their sizes differ.
    """
    with open_indices(gt_path) as gt, open_indices(pred_path) as pred:
        if gt.size != pred.size:
            raise MaskError(
                f"{pred_path} is {pred.width}x{pred.height} pixels, "
                f"its annotation {gt.width}x{gt.height}; nothing is resized"
            )
        boxes = [box for box in (gt.getbbox(), pred.getbbox()) if box]
        # Where nothing is set any crop will do: all masks in it are empty.
        box = widen_box(boxes, (gt.height, gt.width)) if boxes else (0, 0, 1, 1)
        ids = np.stack([np.asarray(gt.crop(box)), np.asarray(pred.crop(box))])
        return FramePair(ids, boundary_radius((gt.height, gt.width)))


def score_frame(pair: FramePair, num_objects: int, mode: Mode) -> NDArray[np.float64]:
    """J and F of one frame; the shape of the result depends on `mode` as in `ScoreChunk`.

    Args:
        pair: annotation and prediction.
        num_objects: K.
        mode: how ids are compared.
    """
    if mode == "proposals":
        return _score_proposals(pair, num_objects)
    if mode == "binary":
        # The crop is that of the one object already.
        counts = [pack_masks(pair.ids > 0, pair.radius).compare(0, 1)]
    else:
        counts = [count_pair(pair.ids == k, pair.radius) for k in range(1, num_objects + 1)]
    return np.array([(c.j, c.f) for c in counts], np.float64).reshape(-1, 2)


def _score_proposals(pair: FramePair, num_objects: int) -> NDArray[np.float64]:
    """All pairs; boundaries and their reach are computed once per id, not per pair."""
    labelled = pair.gt != VOID
    present = [int(n) for n in np.unique(pair.pred) if n]
    masks = [pair.gt == k for k in range(1, num_objects + 1)]
    masks += [(pair.pred == n) & labelled for n in present]
    masks.append(np.zeros(pair.gt.shape, np.bool_))
    packed = pack_masks(np.stack(masks), pair.radius)
    # Ids that the frame does not show, and number 0, are the empty mask at the end.
    position = {n: num_objects + i for i, n in enumerate(present)}
    proposals = [position.get(n, len(masks) - 1) for n in range(max(present, default=0) + 1)]
    counts = [[packed.compare(k, n) for k in range(num_objects)] for n in proposals]
    values = [[(c.j, c.f) for c in row] for row in counts]
    return np.array(values, np.float64).reshape(len(proposals), num_objects, 2)
