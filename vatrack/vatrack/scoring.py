"""The metrics of the paper: AP of frames and of tracks in its four tables, MOT and MOTS (spec 7).

Numbers have the part that they are of in front, such as `video_amodal_segm_AP50`, so that no part
overwrites another one (spec 7.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.sailvos_per_video import Masks, kind_of_results
from vidseg_common.errors import UserError
from vidseg_common.files import write_json, write_text
from vidseg_common.metrics import amodal_ap, amodal_mot
from vidseg_common.metrics.amodal_ap import AmodalResult, Part
from vidseg_common.metrics.amodal_mot import AmodalMotResult

#: What `--eval` takes.
METRICS = ("bbox", "segm", "track", "segtrack")
_LEVELS = {"image": "Image level", "video": "Video level"}
_IOU_NAMES = {"segm": "masks", "bbox": "boxes"}
_PER_CLASS = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class ScoreOptions:
    """How results are scored.

    Attributes:
        metrics: names of `METRICS`.
        per_class: also tables of AP by class.
        upstream_rows: also the MOT tables as the original tool sums them up, where class 1 has the
            counts of 10 to 19 too and class 2 those of 20 to 24.
        workers: processes.
        progress: show a bar on stderr.
        per_video: ground truth of tracks by kind of masks, where it is not made of the data set.
    """

    metrics: tuple[str, ...] = METRICS
    per_class: bool = False
    upstream_rows: bool = False
    workers: int = 1
    progress: bool = False
    per_video: Mapping[Masks, AnnotationSet] = field(default_factory=dict)


@dataclass(frozen=True)
class Scores:
    """All numbers of some results.

    Attributes:
        ap: AP of frames and tracks.
        mot: by name, such as "amodal_mots".
        name: of the model, for the tables.
        options: how they were made.
    """

    ap: AmodalResult
    mot: Mapping[str, AmodalMotResult]
    name: str = "results"
    options: ScoreOptions = field(default_factory=ScoreOptions)

    @property
    def numbers(self) -> dict[str, float]:
        """Every number with its part in front; AP in 0 to 1, -1 without ground truth."""
        found = self.ap.numbers
        for name, result in self.mot.items():
            found |= {f"{name}_{key}": value for key, value in result.numbers.items()}
        return found

    def text(self) -> str:
        """All tables."""
        parts = [*self._paper_tables(), *self._class_tables(), *self._mot_tables()]
        notes = [f"note: {text}\n" for text in self.ap.warnings]
        return "\n".join([*parts, *notes])

    def to_json(self) -> dict[str, Any]:
        """Everything but curves, at full precision."""
        numbers = {k: v if math.isfinite(v) else None for k, v in self.numbers.items()}
        mot = {name: result.to_json() for name, result in self.mot.items()}
        return {"numbers": numbers, "ap": self.ap.to_json(), "mot": mot}

    def _paper_tables(self) -> list[str]:
        """The tables of the paper: level by level, amodal masks before visible ones."""
        tables = []
        for part in self.ap.parts:
            level, masks, iou = part.metric.split("_")
            title = f"{_LEVELS[level]}, {masks} {_IOU_NAMES[iou]}"
            columns = self.ap.published[part.metric]
            head = [f"v{name}" if level == "video" else name for name in columns]
            cells = [f"{value:.1f}" if value > -1 else "-" for value in columns.values()]
            tables.append(f"{title}\n{_table([['', *head], [self.name, *cells]])}")
        return tables

    def _class_tables(self) -> list[str]:
        if not self.options.per_class:
            return []
        tables = []
        for part in self.ap.parts:
            rows = [["", *_PER_CLASS, "objects", "detections"]]
            for row in part.per_class():
                values = [100 * row[name] if row[name] > -1 else math.nan for name in _PER_CLASS]
                cells = ["-" if math.isnan(value) else f"{value:.1f}" for value in values]
                counts = [str(row["ground_truth"]), str(row["detections"])]
                rows.append([row["category"], *cells, *counts])
            tables.append(f"{part.metric} by class\n{_table(rows)}")
        return tables

    def _mot_tables(self) -> list[str]:
        tables = []
        for name, result in self.mot.items():
            masks, _, metric = name.partition("_")
            title = f"{metric.upper()}, {masks} {'boxes' if metric == 'mot' else 'masks'}"
            tables.append(f"{title}\n{result.table()}")
            if self.options.upstream_rows:
                rows = result.table(compat=True)
                tables.append(f"{title}, rows as the original sums them\n{rows}")
        return tables


def score(
    truth: AnnotationSet,
    results: AnnotationSet,
    options: ScoreOptions | None = None,
    *,
    name: str = "results",
) -> Scores:
    """Scores tracks.

    Args:
        truth: the data set.
        results: tracks of its videos.
        options: what to compute; None: everything.
        name: of the model, for the tables.

    Raises:
        DatasetError: there is no ground truth, or the results do not fit it.
    """
    options = options or ScoreOptions()
    check_metrics(options.metrics)
    kind = kind_of_results(results)
    # The tables of the paper have amodal masks first.
    kinds: tuple[Masks, ...] = ("amodal", "visible") if kind == "joint" else (kind,)
    parts = _parts(kinds, options.metrics)
    found = [_ap(truth, results, part, options) for part in parts]
    ap = AmodalResult(tuple(part for result in found for part in result.parts))
    return Scores(ap, _mot(truth, results, kinds, options), name, options)


def score_detections(
    truth: AnnotationSet, detections: AnnotationSet, options: ScoreOptions, *, has_masks: bool
) -> AmodalResult:
    """AP of frames for detections before tracking.

    Args:
        truth: the data set.
        detections: see `vatrack.outputs.detections`.
        options: of the scores.
        has_masks: score masks too.
    """
    kind = kind_of_results(detections)
    assert kind != "joint"
    parts = [Part("image", kind, "bbox"), *([Part("image", kind)] if has_masks else [])]
    found = [_ap(truth, detections, part, options) for part in parts]
    return AmodalResult(tuple(part for result in found for part in result.parts))


def check_metrics(names: Iterable[str]) -> None:
    """Makes sure that metrics exist.

    Raises:
        UserError: one does not.
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise UserError(f"--eval: no metric {unknown[0]!r}; there are {', '.join(METRICS)}")


def _parts(kinds: Sequence[Masks], metrics: Sequence[str]) -> list[Part]:
    parts: list[Part] = []
    if "segm" in metrics:
        parts += [Part("image", kind) for kind in kinds]
        parts += [Part("video", kind) for kind in kinds]
    if "bbox" in metrics:
        # Boxes of joint models are amodal; compared as visible ones they would say nothing.
        parts.append(Part("image", kinds[0], "bbox"))
    return parts


def _ap(
    truth: AnnotationSet, results: AnnotationSet, part: Part, options: ScoreOptions
) -> AmodalResult:
    own = options.per_video.get(part.masks) if part.level == "video" else None
    return amodal_ap.evaluate(
        truth if own is None else own,
        results,
        parts=[part],
        workers=options.workers,
        progress=options.progress,
    )


def _mot(
    truth: AnnotationSet, results: AnnotationSet, kinds: Sequence[Masks], options: ScoreOptions
) -> dict[str, AmodalMotResult]:
    shapes: dict[str, Any] = {}
    if {"track", "segtrack"} & set(options.metrics):
        shapes["mot"] = "bbox"
    if "segtrack" in options.metrics:
        shapes["mots"] = "segm"
    return {
        f"{kind}_{name}": amodal_mot.evaluate(
            truth,
            results,
            masks=kind,
            iou_type=iou_type,
            workers=options.workers,
            progress=options.progress,
        )
        for kind in kinds
        for name, iou_type in shapes.items()
    }


def save_scores(found: Scores, results: Path, extra: Mapping[str, Any] | None = None) -> list[Path]:
    """Writes numbers and tables beside a result file, as `NAME_metrics.json` and `.txt`.

    Args:
        found: the scores.
        results: the file.
        extra: more for the JSON file.

    Returns:
        The files.
    """
    base = results.with_name(f"{results.stem}_metrics")
    files = [base.with_suffix(".json"), base.with_suffix(".txt")]
    write_json(files[0], found.to_json() | dict(extra or {}))
    write_text(files[1], found.text())
    return files


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides: list[Callable[[str, int], str]] = [str.ljust, *[str.rjust] * (len(widths) - 1)]
    lines = (
        "  ".join(side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True))
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
