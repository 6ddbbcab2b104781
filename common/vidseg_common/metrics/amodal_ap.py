"""Average precision of visible and amodal masks, by frame (AP) and by track (vAP).

COCO's matching with a second axis, the hidden share of an object. Every part gives 18 numbers
and a table by class; `evaluate` runs those that the predictions allow.
Source: spec vatrack sections 7.1, 7.2 and 7.4.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.datasets.sailvos_kinds import kind_of
from vidseg_common.datasets.sailvos_per_video import (
    Masks,
    check_masks,
    kind_of_results,
    without_hidden,
)
from vidseg_common.metrics.amodal_groups import LimitedMatches, Part, match_video
from vidseg_common.metrics.ap_result import APLine, APResult, VideoMatches, combine
from vidseg_common.metrics.clip_pairs import ClipPair, left_out, map_pairs

__all__ = ["AmodalResult", "Part", "evaluate", "evaluate_part", "official_names", "summary_lines"]

_OFFICIAL_NAMES = {
    "mAP": "AP",
    "mAP_50": "AP50",
    "mAP_75": "AP75",
    "mAP_s": "AP50_small",
    "mAP_m": "AP50_medium",
    "mAP_l": "AP50_large",
    "mAP50_p": "AP50_partial",
    "mAP50_m": "AP50_medium_occlusion",
    "mAP50_h": "AP50_heavy",
}
_PUBLISHED = {
    "AP": "AP",
    "AP50": "AP50",
    "AP50^P": "AP50_partial",
    "AP50^H": "AP50_heavy",
    "AP50^L": "AP50_large",
    "AP50^M": "AP50_medium",
    "AP50^S": "AP50_small",
}
_AREAS = ("small", "medium", "large")
_SHARES = {"partial": "partial", "medium": "medium_occlusion", "heavy": "heavy"}


def summary_lines(part: Part) -> tuple[APLine, ...]:
    """The 18 numbers in the official order; areas and hidden shares at an IoU of 0.5."""
    limits = part.protocol.max_dets
    most = limits[-1]
    return (
        # Of images AP alone is taken at the smallest limit, 100 detections.
        APLine("AP", "AP", max_dets=limits[0] if part.level == "image" else most),
        APLine("AP50", "AP", 0.5, max_dets=most),
        APLine("AP75", "AP", 0.75, max_dets=most),
        *(APLine(f"AP50_{area}", "AP", 0.5, area=area, max_dets=most) for area in _AREAS),
        *(
            APLine(f"AP50_{name}", "AP", 0.5, level=share, max_dets=most)
            for share, name in _SHARES.items()
        ),
        *(APLine(f"AR{limit}", "AR", max_dets=limit) for limit in limits),
        *(APLine(f"AR_{area}", "AR", area=area, max_dets=most) for area in _AREAS),
        *(
            APLine(f"AR50_{name}", "AR", 0.5, level=share, max_dets=most)
            for share, name in _SHARES.items()
        ),
    )


def official_names(numbers: dict[str, float], prefix: str) -> dict[str, float | str]:
    """What the original tool returns: rounded numbers by its names, and `_mAP_copypaste`.

    Args:
        numbers: those of a part.
        prefix: "segm" or "bbox".
    """
    chosen = {name: round(numbers[ours], 3) for name, ours in _OFFICIAL_NAMES.items()}
    text = " ".join(f"{value:.3f}" for value in chosen.values())
    return {f"{prefix}_{name}": value for name, value in chosen.items()} | {
        f"{prefix}_mAP_copypaste": text
    }


@dataclass(frozen=True)
class AmodalResult:
    """The numbers of several parts; -1 stands for "no ground truth".

    Attributes:
        parts: the score of each part; its `metric` is the name of the part, such as
            "image_amodal_segm".
    """

    parts: tuple[APResult, ...]

    @property
    def numbers(self) -> dict[str, float]:
        """All numbers, each with the name of its part in front."""
        return {
            f"{part.metric}_{name}": value
            for part in self.parts
            for name, value in part.numbers.items()
        }

    @property
    def published(self) -> dict[str, dict[str, float]]:
        """The columns of the paper in percent by part; -1 stays -1."""
        return {
            part.metric: {
                column: 100 * part.numbers[name] if part.numbers[name] > -1 else -1.0
                for column, name in _PUBLISHED.items()
            }
            for part in self.parts
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was left out of any part, said once."""
        return tuple(dict.fromkeys(text for part in self.parts for text in part.warnings))

    def per_class(self) -> list[dict[str, Any]]:
        """One row per part and class."""
        return [{"part": part.metric, **row} for part in self.parts for row in part.per_class()]

    def per_video(self) -> list[dict[str, Any]]:
        """Counts of every video in the first part."""
        return self.parts[0].per_video() if self.parts else []

    def to_json(self) -> dict[str, Any]:
        """Everything but the curves at full precision."""
        return {
            "metric": "amodal_ap",
            "numbers": self.numbers,
            "parts": {part.metric: part.to_json() for part in self.parts},
            "warnings": list(self.warnings),
        }

    def table(self) -> str:
        """The published columns in percent, one row per part; "-" where there is none."""
        rows = [["", *_PUBLISHED]]
        for name, columns in self.published.items():
            rows.append([name, *(f"{v:.1f}" if v > -1 else "-" for v in columns.values())])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        return "".join(f"{line}\n" for line in lines)


def evaluate(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    level: Literal["image", "video"] | None = None,
    masks: Masks | None = None,
    parts: Iterable[Part] | None = None,
    workers: int = 1,
    progress: bool = False,
) -> AmodalResult:
    """Compares predicted tracks with ground truth in several ways.

    Args:
        truth: annotations, as `sailvos.read` gives them.
        predictions: results, as `sailvos_results.read_results` gives them; videos are matched by
            their number, every track needs a score.
        level: only frame by frame, or only track by track.
        masks: only the parts of these masks.
        parts: what to compare; None for every kind of masks that the results have, and of frames
            the boxes of the file too.
        workers: number of processes.
        progress: show a bar on stderr.

    Raises:
        DatasetError: no ground truth, or predictions that do not fit it; all problems are listed.
    """
    if masks is not None:
        check_masks(predictions, masks)
    wanted = _parts_for(truth, predictions) if parts is None else parts
    return AmodalResult(
        tuple(
            evaluate_part(truth, predictions, part, workers=workers, progress=progress)
            for part in wanted
            if level in (None, part.level) and masks in (None, part.masks)
        )
    )


def _parts_for(truth: AnnotationSet, predictions: AnnotationSet) -> list[Part]:
    kind = kind_of_results(predictions)
    parts: list[Part] = []
    if kind != "visible":
        parts += [Part("image", "amodal"), Part("video", "amodal"), Part("image", "amodal", "bbox")]
    if kind != "amodal":
        parts += [Part("image", "visible"), Part("video", "visible")]
    # Boxes of visible masks against amodal boxes would say nothing.
    if kind == "visible" and truth.info.get("sailvos_kind") == "visible":
        parts.append(Part("image", "visible", "bbox"))
    return parts


def evaluate_part(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    part: Part,
    *,
    workers: int = 1,
    progress: bool = False,
) -> APResult:
    """Compares predicted tracks with ground truth in one way.

    Args:
        truth: annotations; for tracks, what is hidden too much is left out here.
        predictions: results; videos are matched by their number.
        part: what to compare.
        workers: number of processes.
        progress: show a bar on stderr.

    Raises:
        DatasetError: as `evaluate`.
    """
    known = frozenset(truth.category_names())
    # Boxes are those in the field `bbox` of the file, of two the first.
    main_box = kind_of(truth.info.get("sailvos_kind", "amodal")).main_box
    boxes: Masks = "visible" if main_box == "bbox_visible" else "amodal"
    outcomes = map_pairs(
        partial(_match_pair, part=part, boxes=boxes, known=known),
        without_hidden(truth) if part.level == "video" else truth,
        predictions,
        workers=workers,
        progress=progress,
    )
    notes: Counter[str] = sum((noted for _, noted in outcomes), Counter())
    return _combine(
        truth,
        part,
        [found for found, _ in outcomes],
        [f"{note} ({count})" for note, count in sorted(notes.items())],
    )


def _match_pair(
    pair: ClipPair, *, part: Part, boxes: Masks, known: frozenset[int]
) -> tuple[LimitedMatches, Counter[str]]:
    return match_video(pair, part, boxes), left_out(pair.predictions, known)


def _combine(
    truth: AnnotationSet, part: Part, found: Sequence[LimitedMatches], warnings: Sequence[str]
) -> APResult:
    """Joins the matches of all videos, limit by limit."""
    # The matches are cut at their limit already, and joined groups hold more than it.
    unlimited = replace(part.protocol, max_dets=(sys.maxsize,))
    results: list[APResult] = []
    for m in reversed(range(len(part.protocol.max_dets))):
        if results and all(ms[m] is ms[m + 1] for video in found for ms in video.values()):
            results.append(results[-1])
            continue
        videos = [
            VideoMatches(video.id, video.name, {c: ms[m] for c, ms in matches.items()})
            for video, matches in zip(truth.videos, found, strict=True)
        ]
        results.append(combine(str(part), unlimited, (), truth.categories, videos, warnings))
    results.reverse()
    # Counts are those at the largest limit.
    return replace(
        results[-1],
        protocol=part.protocol,
        lines=summary_lines(part),
        precision=np.concatenate([result.precision for result in results], axis=-1),
        recall=np.concatenate([result.recall for result in results], axis=-1),
        scores=np.concatenate([result.scores for result in results], axis=-1),
    )
