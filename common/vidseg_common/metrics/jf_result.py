"""Statistics of J and F over frames, objects and sequences. Source: spec common 4.2 and 4.5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from vidseg_common.files import write_text
from vidseg_common.metrics import davis_tables

_NUM_BINS = 4
_RECALL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Statistic:
    """What DAVIS reports of one measure over the frames of one object.

    Attributes:
        mean: mean over the frames.
        recall: fraction of frames above 0.5.
        decay: mean of the first quarter of the video minus that of the last.
    """

    mean: float
    recall: float
    decay: float


def statistic_of(values: ArrayLike) -> Statistic:
    """Mean, recall and decay of a measure over the T frames of one object (spec section 4.2).

    Neighbouring quarters share a frame. Indices are wide integers: the official tool keeps them
    in 8 bits and has no decay beyond 256 frames.

    Args:
        values: T numbers, T >= 1.
    """
    x = np.asarray(values, np.float64)
    assert x.ndim == 1 and len(x), "statistics need at least one frame"
    borders = np.round(np.linspace(1, len(x), _NUM_BINS + 1) + 1e-10).astype(np.int64) - 1
    first = x[borders[0] : borders[1] + 1]
    last = x[borders[-2] : borders[-1] + 1]
    return Statistic(
        mean=float(np.nanmean(x)),
        recall=float(np.mean(x > _RECALL_THRESHOLD)),
        decay=float(np.nanmean(first) - np.nanmean(last)),
    )


@dataclass(frozen=True)
class JFRow:
    """The score of one object.

    Attributes:
        sequence: name of the sequence.
        object_id: id in the ground truth.
        j: statistics of the region similarity.
        f: statistics of the boundary accuracy.
        j_frames: J of every evaluated frame.
        f_frames: F of every evaluated frame.
        frames: names of the evaluated frames.
        proposal: id in the prediction that was assigned to the object.
    """

    sequence: str
    object_id: int
    j: Statistic
    f: Statistic
    j_frames: tuple[float, ...]
    f_frames: tuple[float, ...]
    frames: tuple[str, ...]
    proposal: int

    @property
    def name(self) -> str:
        """Name in the tables: sequence and id."""
        return f"{self.sequence}_{self.object_id}"


def row_of(
    sequence: str,
    object_id: int,
    j_frames: ArrayLike,
    f_frames: ArrayLike,
    frames: Sequence[str],
    proposal: int | None = None,
) -> JFRow:
    """Builds the row of an object from its values per frame."""
    j = np.asarray(j_frames, np.float64)
    f = np.asarray(f_frames, np.float64)
    return JFRow(
        sequence=sequence,
        object_id=object_id,
        j=statistic_of(j),
        f=statistic_of(f),
        j_frames=tuple(j.tolist()),
        f_frames=tuple(f.tolist()),
        frames=tuple(frames),
        proposal=object_id if proposal is None else proposal,
    )


def mean_scores(rows: Sequence[JFRow]) -> dict[str, float]:
    """The seven numbers of DAVIS as means over objects, keyed and ordered as in its tables."""
    scores = {"J&F-Mean": 0.0}
    for letter in ("j", "f"):
        statistics: list[Statistic] = [getattr(row, letter) for row in rows]
        scores[f"{letter.upper()}-Mean"] = float(np.mean([s.mean for s in statistics]))
        scores[f"{letter.upper()}-Recall"] = float(np.mean([s.recall for s in statistics]))
        scores[f"{letter.upper()}-Decay"] = float(np.mean([s.decay for s in statistics]))
    scores["J&F-Mean"] = (scores["J-Mean"] + scores["F-Mean"]) / 2
    return scores


@dataclass(frozen=True)
class JFResult:
    """The score of a set of sequences.

    Attributes:
        task: "semi-supervised" or "unsupervised".
        rows: one per object, in order of sequence and id.
        warnings: what a reader of the numbers should know.
    """

    task: str
    rows: tuple[JFRow, ...]
    warnings: tuple[str, ...] = ()

    @property
    def global_scores(self) -> dict[str, float]:
        """The seven numbers of the set: means over objects, not over sequences."""
        return mean_scores(self.rows)

    @property
    def global_mean(self) -> float:
        """J&F-Mean of the set, 0..1."""
        return self.global_scores["J&F-Mean"]

    @property
    def j_mean(self) -> float:
        """J-Mean of the set, 0..1."""
        return self.global_scores["J-Mean"]

    @property
    def f_mean(self) -> float:
        """F-Mean of the set, 0..1."""
        return self.global_scores["F-Mean"]

    @property
    def sequence_scores(self) -> dict[str, dict[str, float]]:
        """The seven numbers of every sequence: means over its objects."""
        grouped: dict[str, list[JFRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.sequence, []).append(row)
        return {name: mean_scores(rows) for name, rows in grouped.items()}

    def _row_scores(self) -> list[Mapping[str, str | float]]:
        return [
            {"Sequence": row.name, "J-Mean": row.j.mean, "F-Mean": row.f.mean} for row in self.rows
        ]

    def table(self, set_name: str = "val") -> str:
        """Both tables as the official tool prints them, 6 decimals."""
        return davis_tables.report_text(self.global_scores, self._row_scores(), set_name)

    def write_csv(self, folder: str | Path, set_name: str = "val") -> tuple[Path, Path]:
        """Writes the two CSV files of the official tool, 3 decimals.

        Args:
            folder: where to write `global_results-SET.csv` and `per-sequence_results-SET.csv`.
            set_name: name of the set in the file names.

        Returns:
            The paths of the two files.

        Raises:
            OSError: a file cannot be written.
        """
        global_path = Path(folder) / f"global_results-{set_name}.csv"
        rows_path = Path(folder) / f"per-sequence_results-{set_name}.csv"
        write_text(global_path, davis_tables.csv_text([self.global_scores]))
        write_text(rows_path, davis_tables.csv_text(self._row_scores()))
        return global_path, rows_path

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision, ready for JSON."""
        return {
            "metric": "davis_jf",
            "task": self.task,
            "global": self.global_scores,
            "sequences": self.sequence_scores,
            "objects": [asdict(row) for row in self.rows],
            "warnings": list(self.warnings),
        }
