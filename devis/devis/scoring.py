"""The official metric of result files (spec 8.1, 8.4)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from devis.data.catalog import COCO_CLASSES
from devis.data.opening import OpenSet
from vidseg_common.datasets import coco
from vidseg_common.datasets.annotations import AnnotationSet, Category
from vidseg_common.datasets.youtube_vis_lazy import open_results
from vidseg_common.errors import UserError
from vidseg_common.files import atomic_path, write_json, write_text
from vidseg_common.metrics import coco_ap, video_ap
from vidseg_common.metrics.ap_result import APResult

#: Where numbers are written, below the folder of the run.
OUTPUT = "output_eval"
#: What COCO compares, and how the numbers of each are called.
KINDS = {"bbox": "bbox_", "segm": "segm_"}


def score_videos(chosen: OpenSet, results: Path, *, workers: int = 1) -> APResult:
    """Video AP of a result file; OVIS by occlusion too, where the annotations tell it.

    Args:
        chosen: a data set with ground truth.
        results: the submission.
        workers: number of processes.

    Raises:
        UserError: there is no ground truth, or the results do not fit it.
    """
    _check_truth(chosen)
    first = next((clip for clip in chosen.data.clips() if clip.tracks), None)
    knows_levels = first is not None and any(t.occlusion is not None for t in first.tracks)
    return video_ap.evaluate(
        chosen.data,
        open_results(results, chosen.data),
        benchmark="ovis" if knows_levels else "ytvis",
        workers=workers,
    )


def score_images(
    chosen: OpenSet, results: Path, *, masks: bool, workers: int = 1
) -> dict[str, APResult]:
    """COCO AP of boxes, and of masks where there are any, by the names of `KINDS`.

    Args:
        chosen: a data set with ground truth.
        results: the submission.
        masks: whether it has masks.
        workers: number of processes.

    Raises:
        UserError: as `score_videos`.
    """
    _check_truth(chosen)
    found = coco.read_results(results, _with_every_class(chosen.data))
    scores = {"bbox": coco_ap.evaluate(chosen.data, found, iou_type="bbox", workers=workers)}
    if masks:
        scores["segm"] = coco_ap.evaluate(chosen.data, found, iou_type="segm", workers=workers)
    return scores


def _with_every_class(data: AnnotationSet) -> AnnotationSet:
    """The data set as if it had a category for every output of the class head.

    Some numbers up to 91 are none of COCO; what is found of them is left out of the score.
    """
    known = {category.id for category in data.categories}
    others = [Category(i, str(i)) for i in range(1, COCO_CLASSES + 1) if i not in known]
    return replace(data, categories=[*data.categories, *others])


def _check_truth(chosen: OpenSet) -> None:
    if not chosen.data.has_annotations:
        raise UserError(
            f"{chosen.file} has no annotations (a hidden split): nothing to score against; the "
            "benchmark's server scores the results"
        )


def save_scores(found: APResult, base: Path) -> Path:
    """Writes numbers as `BASE.json` and the official table as `BASE.txt`.

    Returns:
        The JSON file.
    """
    file = base.with_name(f"{base.name}.json")
    write_json(file, {"numbers": found.numbers, "content": found.to_json()})
    write_text(base.with_name(f"{base.name}.txt"), found.table())
    return file


def save_curves(found: APResult, path: Path) -> None:
    """Writes what boxes scored, with all curves, as tensors by name (`eval.pth`, spec 8.1)."""
    content: dict[str, Any] = {
        "precision": torch.from_numpy(found.precision),
        "recall": torch.from_numpy(found.recall),
        "scores": torch.from_numpy(found.scores),
        "categories": [category.id for category in found.categories],
        "stats": list(found.numbers.values()),
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)
