"""Identity: how much of every track one and the same prediction covers. Source: spec 6.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from vidseg_common.metrics.mots_data import ClassSequence

__all__ = ["IdentityCounts", "combine_identity", "count_identity"]

_THRESHOLD = 0.5


@dataclass(frozen=True)
class IdentityCounts:
    """Objects that the one-to-one assignment of whole tracks explains, misses and adds."""

    idtp: int
    idfn: int
    idfp: int

    def numbers(self) -> dict[str, float]:
        """All values by the names of the tracking tool."""
        return {
            "IDF1": self.idtp / max(1.0, self.idtp + 0.5 * self.idfp + 0.5 * self.idfn),
            "IDR": self.idtp / max(1, self.idtp + self.idfn),
            "IDP": self.idtp / max(1, self.idtp + self.idfp),
            "IDTP": self.idtp,
            "IDFN": self.idfn,
            "IDFP": self.idfp,
        }


def count_identity(sequence: ClassSequence) -> IdentityCounts:
    """Assigns whole tracks to each other so that misses and false alarms are fewest.

    Every pair that is not assigned costs the lengths of both tracks, whatever else is chosen, so
    the assignment of most common frames is the one sought.

    Args:
        sequence: without the ignored predictions, see `hota_scores.drop_ignored`.
    """
    common = np.zeros((sequence.num_gt_tracks, sequence.num_pred_tracks), np.int64)
    for frame in sequence.frames:
        rows, columns = np.nonzero(frame.iou >= _THRESHOLD)
        common[frame.gt[rows], frame.pred[columns]] += 1
    rows, columns = linear_sum_assignment(common, maximize=True)
    idtp = int(common[rows, columns].sum())
    return IdentityCounts(idtp, sequence.num_gt - idtp, sequence.num_pred - idtp)


def combine_identity(parts: Sequence[IdentityCounts]) -> IdentityCounts:
    """Adds the counts of sequences."""
    return IdentityCounts(
        sum(part.idtp for part in parts),
        sum(part.idfn for part in parts),
        sum(part.idfp for part in parts),
    )
