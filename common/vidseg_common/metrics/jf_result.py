"""Statistics of J and F over frames, objects and sequences. Source: spec common 4.2 and 4.5."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vidseg_common.files import write_text
from vidseg_common.metrics import davis_tables

Metric = Literal["J", "F"]
METRICS: tuple[Metric, ...] = ("J", "F")

_NUM_BINS = 4
_RECALL_THRESHOLD = 0.5
_BYTE = 0xFF


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


def statistic_of(
    values: ArrayLike, *, compat: bool = False, threshold: float = _RECALL_THRESHOLD
) -> Statistic:
    """Mean, recall and decay of a measure over the T frames of one object (spec section 4.2).

    Neighbouring quarters share a frame. Indices are wide integers: the official tool keeps them
    in 8 bits and has no (or a wrong) decay beyond 256 frames.

    Args:
        values: T numbers, T >= 1.
        compat: the decay of the official tool also beyond 256 frames, NaN mostly.
        threshold: recall counts the frames above it.
    """
    x = np.asarray(values, np.float64)
    assert x.ndim == 1 and len(x), "statistics need at least one frame"
    borders = np.round(np.linspace(1, len(x), _NUM_BINS + 1) + 1e-10).astype(np.int64) - 1
    borders = borders & _BYTE if compat else borders
    first = x[borders[0] : borders[1] + 1]
    last = x[borders[-2] : borders[-1] + 1]
    return Statistic(
        mean=_mean(x), recall=float(np.mean(x > threshold)), decay=_mean(first) - _mean(last)
    )


def _mean(x: NDArray[np.float64]) -> float:
    """Mean of the numbers that are not NaN; NaN where there is none."""
    return math.nan if np.isnan(x).all() else float(np.nanmean(x))


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
        proposal: id in the prediction that was assigned to the object, 0 for none.
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
    *,
    compat: bool = False,
    threshold: float = _RECALL_THRESHOLD,
) -> JFRow:
    """Builds the row of an object from its values per frame; `compat` as in `statistic_of`."""
    j = np.asarray(j_frames, np.float64)
    f = np.asarray(f_frames, np.float64)
    return JFRow(
        sequence=sequence,
        object_id=object_id,
        j=statistic_of(j, compat=compat, threshold=threshold),
        f=statistic_of(f, compat=compat, threshold=threshold),
        j_frames=tuple(j.tolist()),
        f_frames=tuple(f.tolist()),
        frames=tuple(frames),
        proposal=object_id if proposal is None else proposal,
    )


def mean_scores(rows: Sequence[JFRow], metrics: Sequence[Metric] = METRICS) -> dict[str, float]:
    """The numbers of DAVIS as means over objects, keyed and ordered as in its tables.

    Args:
        rows: the objects.
        metrics: which measures; J&F-Mean is given only where both are.
    """
    scores = {"J&F-Mean": 0.0} if len(metrics) > 1 else {}
    for metric in metrics:
        statistics: list[Statistic] = [getattr(row, metric.lower()) for row in rows]
        scores[f"{metric}-Mean"] = float(np.mean([s.mean for s in statistics]))
        scores[f"{metric}-Recall"] = float(np.mean([s.recall for s in statistics]))
        scores[f"{metric}-Decay"] = float(np.mean([s.decay for s in statistics]))
    if len(metrics) > 1:
        scores["J&F-Mean"] = (scores["J-Mean"] + scores["F-Mean"]) / 2
    return scores


@dataclass(frozen=True)
class JFResult:
    """The score of a set of sequences.

    Attributes:
        task: "semi-supervised", "unsupervised" or "tracking".
        rows: one per object, in order of sequence and id.
        warnings: what a reader of the numbers should know.
        metrics: the measures that were taken; the other one is NaN in the rows.
    """

    task: str
    rows: tuple[JFRow, ...]
    warnings: tuple[str, ...] = ()
    metrics: tuple[Metric, ...] = METRICS

    @property
    def global_scores(self) -> dict[str, float]:
        """The seven numbers of the set (fewer of one measure): means over objects."""
        return mean_scores(self.rows, self.metrics)

    @property
    def numbers(self) -> dict[str, float]:
        """The headline, in order; the same as `global_scores`."""
        return self.global_scores

    @property
    def global_mean(self) -> float:
        """J&F-Mean of the set, 0..1; the mean of the one measure where only one was taken."""
        return next(iter(self.global_scores.values()))

    @property
    def j_mean(self) -> float:
        """J-Mean of the set, 0..1; NaN where J was not taken."""
        return self.global_scores.get("J-Mean", math.nan)

    @property
    def f_mean(self) -> float:
        """F-Mean of the set, 0..1; NaN where F was not taken."""
        return self.global_scores.get("F-Mean", math.nan)

    @property
    def sequence_scores(self) -> dict[str, dict[str, float]]:
        """The numbers of every sequence: means over its objects."""
        grouped: dict[str, list[JFRow]] = {}
        for row in self.rows:
            grouped.setdefault(row.sequence, []).append(row)
        return {name: mean_scores(rows, self.metrics) for name, rows in grouped.items()}

    def per_video(self) -> list[dict[str, Any]]:
        """One row per sequence: its name and numbers."""
        return [{"video": name, **scores} for name, scores in self.sequence_scores.items()]

    def per_object(self) -> list[dict[str, Any]]:
        """One row per object: sequence, id and numbers."""
        return [
            {
                "video": row.sequence,
                "object_id": row.object_id,
                **mean_scores([row], self.metrics),
            }
            for row in self.rows
        ]

    def _row_scores(self) -> list[Mapping[str, str | float]]:
        return [
            {"Sequence": row.name}
            | {f"{metric}-Mean": getattr(row, metric.lower()).mean for metric in self.metrics}
            for row in self.rows
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

    def frames_csv(self) -> str:
        """The measures of every frame of every object as CSV, 6 decimals."""
        lines: list[Mapping[str, str | float]] = [
            {"Sequence": row.name, "Frame": frame}
            | {m: getattr(row, f"{m.lower()}_frames")[t] for m in self.metrics}
            for row in self.rows
            for t, frame in enumerate(row.frames)
        ]
        return davis_tables.csv_text(lines, decimals=6)

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision, ready for JSON; NaN becomes null."""
        data = {
            "metric": "davis_jf",
            "task": self.task,
            "metrics": list(self.metrics),
            "global": self.global_scores,
            "sequences": self.sequence_scores,
            "objects": [asdict(row) for row in self.rows],
            "warnings": list(self.warnings),
        }
        return {key: _nan_to_null(value) for key, value in data.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> JFResult:
        """The result that `to_json` wrote."""
        rows = [_row_from_json(entry) for entry in data["objects"]]
        return cls(data["task"], tuple(rows), tuple(data["warnings"]), tuple(data["metrics"]))


def _nan_to_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_to_null(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_nan_to_null(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _row_from_json(entry: Mapping[str, Any]) -> JFRow:
    fields = dict(entry)
    for letter in ("j", "f"):
        numbers = {k: math.nan if v is None else v for k, v in entry[letter].items()}
        fields[letter] = Statistic(**numbers)
        values = entry[f"{letter}_frames"]
        fields[f"{letter}_frames"] = tuple(math.nan if v is None else v for v in values)
    fields["frames"] = tuple(entry["frames"])
    return JFRow(**fields)
