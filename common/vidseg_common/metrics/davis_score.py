"""Scores a stretch of frames of one sequence; the work of one process.

Source: spec common sections 4.3, 4.4, 4.7 and 4.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import MaskError
from vidseg_common.masks import MAX_ID, open_indices
from vidseg_common.metrics.boundary import (
    boundary_radius,
    count_pair,
    pack_masks,
    region_similarity,
    widen_box,
)
from vidseg_common.metrics.pair_scores import PairScores, score_pairs

MAX_PROPOSALS = 20

IdMap = NDArray[np.uint8]
Mode = Literal["objects", "binary", "proposals", "tracking"]


@dataclass(frozen=True)
class ScoreJob:
    """A stretch of frames to score.

    Attributes:
        sequence: name of the sequence.
        pairs: ground-truth and prediction file of every frame.
        num_objects: objects of the sequence have the ids 1..num_objects (any when "tracking").
        mode: "objects" compares equal ids, "binary" all ids as one object (DAVIS 2016),
            "proposals" every predicted id with every object, "tracking" the same for any ids.
        boundaries: computes F; otherwise F is NaN.
    """

    sequence: str
    pairs: tuple[tuple[Path, Path], ...]
    num_objects: int
    mode: Mode
    boundaries: bool = True


@dataclass(frozen=True)
class ScoreChunk:
    """What came out of a job.

    Attributes:
        scores: (K, 2) J and F of the objects of every frame; none where all pairs are scored.
        tables: all pairs of every frame, where all pairs are scored.
        largest: the largest predicted id that is not allowed and the file it is in, if any.
        problems: one line per file that could not be used.
    """

    scores: tuple[NDArray[np.float64], ...]
    tables: tuple[PairScores, ...]
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
    limit = {"objects": job.num_objects, "proposals": MAX_PROPOSALS}.get(job.mode, MAX_ID)
    scores: list[NDArray[np.float64]] = []
    tables: list[PairScores] = []
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
        elif job.mode in ("proposals", "tracking"):
            tables.append(score_pairs(pair.gt, pair.pred, pair.radius, boundaries=job.boundaries))
        else:
            scores.append(_score_objects(pair, job))
    return ScoreChunk(tuple(scores), tuple(tables), largest, tuple(problems))


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


def _score_objects(pair: FramePair, job: ScoreJob) -> NDArray[np.float64]:
    """(K, 2) J and F of the objects of one frame, each with the prediction of the same id."""
    if job.mode == "binary":
        # The crop is that of the one object already.
        masks = [pair.ids > 0]
    else:
        masks = [pair.ids == k for k in range(1, job.num_objects + 1)]
    if not job.boundaries:
        return np.array([(region_similarity(*both), np.nan) for both in masks])
    if job.mode == "binary":
        counts = [pack_masks(masks[0], pair.radius).compare(0, 1)]
    else:
        counts = [count_pair(both, pair.radius) for both in masks]
    return np.array([(c.j, c.f) for c in counts], np.float64)
