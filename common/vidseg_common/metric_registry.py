"""The metrics by name: which module computes each, and on which formats.

Source: spec common sections 4 to 7.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vidseg_common.arguments import did_you_mean
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.errors import UserError

Row = Mapping[str, Any]


class Scores(Protocol):
    """What every metric returns."""

    @property
    def numbers(self) -> Mapping[str, float]:
        """The headline numbers, in order."""

    def per_class(self) -> Sequence[Row]:
        """One row per category; none where the metric knows no categories."""

    def per_video(self) -> Sequence[Row]:
        """One row per video, which "video" names."""

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision."""

    def table(self) -> str:
        """The numbers as the official tool prints them."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as it is typed.
        title: one line that says what it is.
        module: module of `vidseg_common.metrics` with its `evaluate`.
        truth: format of the ground truth where none is named and none can be guessed.
        results: format of the results where none is named.
        video_score: column of `per_video` by which videos are ordered, worst first.
        class_score: column of `per_class` that is drawn.
        options: keyword arguments that tell it from its relatives.
        no_truth: the number that stands for "no ground truth", None where NaN does.
        on_folders: whether it reads folders of masks itself.
    """

    name: str
    title: str
    module: str
    truth: str
    results: str
    video_score: str
    class_score: str
    options: Mapping[str, Any] = field(default_factory=dict)
    no_truth: float | None = None
    on_folders: bool = False

    def function(self) -> Callable[..., Scores]:
        """The `evaluate` of its module."""
        module = importlib.import_module(f"vidseg_common.metrics.{self.module}")
        found: Callable[..., Scores] = module.evaluate
        return found

    def evaluate(self, truth: AnnotationSet, predictions: AnnotationSet, **asked: Any) -> Scores:
        """Scores results that were read.

        Args:
            truth: ground truth.
            predictions: results.
            **asked: `workers`, `progress` and what the metric takes besides; None counts as not
                asked.

        Raises:
            UserError: they do not fit together, or the metric does not take an option.
        """
        function = self.function()
        return function(truth, predictions, **self._chosen(function, asked))

    def evaluate_folders(self, truth: Path, predictions: Path, **asked: Any) -> Scores:
        """Scores folders of masks; arguments of `metrics.folder_scores`, errors as `evaluate`."""
        from vidseg_common.metrics import folder_scores

        chosen = self._chosen(folder_scores.evaluate, asked)
        scores: Scores = folder_scores.evaluate(self.name, truth, predictions, **chosen)
        return scores

    def _chosen(self, function: Callable[..., Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """What tells the metric from its relatives, and what was asked for."""
        taken = inspect.signature(function).parameters
        chosen = dict(self.options)
        for name, value in asked.items():
            if value is None:
                continue
            if name in taken and name not in self.options:
                chosen[name] = value
            elif name not in ("workers", "progress"):
                raise UserError(f"the metric {self.name} takes no --{name.replace('_', '-')}")
        return chosen


def _folder_metric(name: str, title: str, truth: str, results: str = "davis-results") -> Metric:
    return Metric(name, title, "folder_scores", truth, results, "J&F", "J&F", on_folders=True)


def _ap(name: str, title: str, module: str, formats: str, **options: str) -> Metric:
    truth = "ytvis2019" if formats == "ytvis" else formats
    results = f"{formats}-results"
    return Metric(name, title, module, truth, results, "found/all", "AP", options, no_truth=-1.0)


def _tracking(name: str, title: str, module: str, score: str) -> Metric:
    return Metric(name, title, module, "kitti-mots-txt", "kitti-mots-results", score, score)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _folder_metric("davis", "J&F of DAVIS 2017, semi-supervised", "davis2017"),
        _folder_metric("davis-unsupervised", "J&F of DAVIS 2019, unsupervised", "davis2019"),
        _folder_metric("davis2016", "J&F of DAVIS 2016, one object", "davis2016"),
        _folder_metric("folder", "J&F of any folders of masks", "mask-folder"),
        _folder_metric("youtube-vos", "J and F of seen and unseen categories, local rule",
                       "youtube-vos", "youtube-vos-results"),
        _ap("ytvis", "video AP of YouTube-VIS", "video_ap", "ytvis"),
        _ap("ovis", "video AP of OVIS, by occlusion", "video_ap", "ovis", benchmark="ovis"),
        _ap("coco-bbox", "AP of boxes in images", "coco_ap", "coco", iou_type="bbox"),
        _ap("coco-segm", "AP of masks in images", "coco_ap", "coco", iou_type="segm"),
        _tracking("mots", "sMOTSA, MOTSA, MOTSP of KITTI-MOTS", "mots", "sMOTSA"),
        _tracking("hota", "HOTA, CLEAR and Identity of masks", "hota", "HOTA"),
        _tracking("mot", "MOTA and IDF1 of boxes or masks", "tracking", "mota"),
        _ap("sailvos-image", "AP of SAIL-VOS by image, amodal and visible", "amodal_ap",
            "sailvos", level="image"),
        _ap("sailvos-video", "AP of SAIL-VOS by track, amodal and visible", "amodal_ap",
            "sailvos", level="video"),
        Metric("sailvos-mot", "MOTA and IDF1 of SAIL-VOS by class, masks or boxes", "amodal_mot",
               "sailvos", "sailvos-results", "mota", "mota"),
    )
}  # fmt: skip
"""Every metric by its name."""


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        UserError: there is none; the nearest name is told.
    """
    if name not in METRICS:
        raise UserError(f"unknown metric {name!r}{did_you_mean(name, METRICS)}")
    return METRICS[name]
