"""Counting of CLEAR-MOT events with motmetrics, and the numbers that follow from the counts.

Source: spec common section 7.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import motmetrics
import numpy as np
import pandas
from motmetrics.lap import linear_sum_assignment, set_default_solver
from numpy.typing import NDArray

__all__ = [
    "TrackingCounts",
    "TrackingFrame",
    "average_numbers",
    "combine_counts",
    "count_events",
    "drop_ignored",
    "mot_table",
]

_THRESHOLD = 0.5
_SOLVER = "scipy"
_RATIOS = ("idf1", "idp", "idr", "recall", "precision", "mota", "motp", "motp_iou")
_COUNTED = (
    "num_frames",
    "num_matches",
    "num_switches",
    "num_misses",
    "num_false_positives",
    "num_objects",
    "num_predictions",
    "num_unique_objects",
    "mostly_tracked",
    "partially_tracked",
    "mostly_lost",
    "num_fragmentations",
    "num_transfer",
    "num_ascend",
    "num_migrate",
    "idtp",
    "idfp",
    "idfn",
)


@dataclass(frozen=True)
class TrackingFrame:
    """One class in one frame.

    Attributes:
        gt_ids: (G,) ids of the ground truth.
        pred_ids: (P,) ids of the predictions.
        iou: (G, P) IoU of boxes or masks.
        gt_ignore: (G,) ground truth that counts for nothing, nor does what matches it.
        covered: (P,) share of each prediction inside ignore regions, 0..1.
    """

    gt_ids: NDArray[np.int64]
    pred_ids: NDArray[np.int64]
    iou: NDArray[np.float64]
    gt_ignore: NDArray[np.bool_]
    covered: NDArray[np.float64]

    @property
    def distances(self) -> NDArray[np.float64]:
        """(G, P) 1 - IoU, NaN for pairs that may not match; an IoU of exactly 0.5 may."""
        distances = 1 - self.iou
        return np.where(distances > _THRESHOLD, np.nan, distances)


def drop_ignored(frame: TrackingFrame) -> TrackingFrame:
    """Removes what counts for nothing before anything is counted.

    A first assignment finds the predictions that match ignored ground truth; they go, and so do
    those that match nothing and lie by more than half of their area inside an ignore region.
    """
    drop = frame.covered > _THRESHOLD
    if not frame.gt_ignore.any() and not drop.any():
        return frame
    # motmetrics' solver takes forbidden pairs (NaN) into account in the way that is specified.
    if frame.iou.size:
        rows, columns = linear_sum_assignment(frame.distances, solver=_SOLVER)
        drop[columns] = frame.gt_ignore[rows]
    gt, pred = ~frame.gt_ignore, ~drop
    return TrackingFrame(
        frame.gt_ids[gt],
        frame.pred_ids[pred],
        frame.iou[gt][:, pred],
        frame.gt_ignore[gt],
        frame.covered[pred],
    )


@dataclass(frozen=True)
class TrackingCounts:
    """What CLEAR-MOT counts of one class; sequences are joined by adding all of it.

    Attributes:
        num_frames: frames, empty ones too.
        num_matches: objects found by the prediction that found them before.
        num_switches: objects found by another prediction than before.
        num_misses: objects not found.
        num_false_positives: predictions that found nothing.
        num_objects: objects of all frames.
        num_predictions: predictions of all frames.
        num_unique_objects: ground-truth tracks.
        mostly_tracked: tracks found in at least 80 % of their frames.
        partially_tracked: the tracks between.
        mostly_lost: tracks found in less than 20 %.
        num_fragmentations: times a track was lost between its first and last finding.
        num_transfer: times a prediction took over another track.
        num_ascend: switches to a prediction never used before.
        num_migrate: takings-over by a track never found before.
        idtp: objects explained by the one-to-one assignment of whole tracks.
        idfp: predictions that it does not explain.
        idfn: objects that it misses.
        distance: sum of the distances of all found objects.
        undefined: sequences in which nothing was found, so that their MOTP is undefined.
    """

    num_frames: int = 0
    num_matches: int = 0
    num_switches: int = 0
    num_misses: int = 0
    num_false_positives: int = 0
    num_objects: int = 0
    num_predictions: int = 0
    num_unique_objects: int = 0
    mostly_tracked: int = 0
    partially_tracked: int = 0
    mostly_lost: int = 0
    num_fragmentations: int = 0
    num_transfer: int = 0
    num_ascend: int = 0
    num_migrate: int = 0
    idtp: int = 0
    idfp: int = 0
    idfn: int = 0
    distance: float = 0.0
    undefined: int = 0

    @property
    def num_detections(self) -> int:
        """Objects found."""
        return self.num_matches + self.num_switches

    def numbers(self, *, compat: bool = False) -> dict[str, float]:
        """All numbers by the names of motmetrics; 0/0 is NaN.

        MOTP is the mean distance, `motp_iou` the mean IoU.

        Args:
            compat: MOTP of joined sequences is NaN where any of them has no detection, as
                motmetrics has it; otherwise such sequences are left out.
        """
        found, objects = self.num_detections, self.num_objects
        errors = self.num_misses + self.num_switches + self.num_false_positives
        motp = math.nan if compat and self.undefined else _ratio(self.distance, found)
        return {
            "idf1": _ratio(2 * self.idtp, objects + self.num_predictions),
            "idp": _ratio(self.idtp, self.idtp + self.idfp),
            "idr": _ratio(self.idtp, self.idtp + self.idfn),
            "recall": _ratio(found, objects),
            "precision": _ratio(found, found + self.num_false_positives),
            "mota": 1 - _ratio(errors, objects),
            "motp": motp,
            "motp_iou": 1 - motp,
            "num_detections": found,
            **{name: getattr(self, name) for name in _COUNTED},
        }


def _ratio(part: float, whole: float) -> float:
    if whole:
        return part / whole
    return math.inf if part else math.nan


def count_events(frames: Iterable[TrackingFrame]) -> TrackingCounts:
    """Counts one class of one sequence, after removing what is ignored."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    num_frames, num_gt, num_pred, ids = 0, 0, 0, set()
    with set_default_solver(_SOLVER):
        for frame in map(drop_ignored, frames):
            accumulator.update(frame.gt_ids, frame.pred_ids, frame.distances)
            num_frames += 1
            num_gt += len(frame.gt_ids)
            num_pred += len(frame.pred_ids)
            ids.update(frame.gt_ids.tolist())
        if num_gt and num_pred:
            return _counts_of(accumulator)
    # One side is empty, as most classes of most videos are: no event needs to be looked at.
    return TrackingCounts(
        num_frames=num_frames,
        num_misses=num_gt,
        num_false_positives=num_pred,
        num_objects=num_gt,
        num_predictions=num_pred,
        num_unique_objects=len(ids),
        mostly_lost=len(ids),
        idfp=num_pred,
        idfn=num_gt,
        undefined=1,
    )


def _counts_of(accumulator: Any) -> TrackingCounts:
    """Asks motmetrics for everything that it counts."""
    host = motmetrics.metrics.create()
    summary = host.compute(accumulator, metrics=[*_COUNTED, "motp"], return_dataframe=False)
    counted: dict[str, Any] = {name: int(summary[name]) for name in _COUNTED}
    found = counted["num_matches"] + counted["num_switches"]
    distance = float(summary["motp"]) * found if found else 0.0
    return TrackingCounts(**counted, distance=distance, undefined=0 if found else 1)


def combine_counts(parts: Iterable[TrackingCounts]) -> TrackingCounts:
    """Adds the counts of sequences or classes."""
    held = list(parts)
    return TrackingCounts(
        **{f.name: sum(getattr(part, f.name) for part in held) for f in fields(TrackingCounts)}
    )


def average_numbers(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Averages classes: counts are summed, ratios averaged, undefined or infinite ones as 0.

    Args:
        rows: `TrackingCounts.numbers` of every class, at least one.
    """
    average: dict[str, float] = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        if key in _RATIOS:
            average[key] = sum(v for v in values if math.isfinite(v)) / len(values)
        else:
            average[key] = sum(values)
    return average


def mot_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Table as motmetrics prints it; MOTP is a distance.

    Args:
        rows: `TrackingCounts.numbers` by the name of the sequence or class.
    """
    names = motmetrics.io.motchallenge_metric_names
    frame = pandas.DataFrame.from_dict(dict(rows), orient="index")[list(names)]
    formatters = motmetrics.metrics.create().formatters
    return motmetrics.io.render_summary(frame, formatters=formatters, namemap=names) + "\n"
