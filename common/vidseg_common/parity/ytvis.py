"""Average precision of tracks on YouTube-VIS. Source: spec common sections 5.1 to 5.3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidseg_common.datasets import youtube_vis
from vidseg_common.datasets.annotations import AnnotationSet
from vidseg_common.metrics.ap_result import APResult
from vidseg_common.metrics.clip_pairs import ClipPair
from vidseg_common.metrics.video_ap import YTVIS, evaluate, iou_matrix
from vidseg_common.parity.records import (
    Check,
    expected_path,
    near,
    read_arrays,
    read_json,
    same,
)


def check(kit: Path, case: dict[str, Any]) -> Iterator[Check]:
    """Compares the summary, its text, all curves and the IoU of every video and class."""
    want = read_json(expected_path(kit, case))["ytvis"]
    arrays = read_arrays(expected_path(kit, case, ".npz"))
    truth, predictions = read_inputs(kit, case)
    result = evaluate(truth, predictions)
    yield from summary_checks(case, result, want)
    yield same("category ids", [c.id for c in result.categories], want["category_ids"])
    # The official arrays have no axis of levels.
    yield near(case, "precision", result.precision[..., 0, :], arrays["ytvis.precision"])
    yield near(case, "recall", result.recall[..., 0, :], arrays["ytvis.recall"])
    yield near(case, "scores", result.scores[..., 0, :], arrays["ytvis.scores"])
    yield from _ious(case, truth, predictions, want["iou"])


def read_inputs(kit: Path, case: Mapping[str, Any]) -> tuple[AnnotationSet, AnnotationSet]:
    """Ground truth and predictions: the two inputs of a case, in this order."""
    gt, pred = (kit / name for name in case["inputs"])
    truth = youtube_vis.read(gt)
    return truth, youtube_vis.read_results(pred, truth)


def summary_checks(
    case: Mapping[str, Any], result: APResult, want: Mapping[str, Any]
) -> Iterator[Check]:
    """Compares the numbers, their names, their text and the sizes of all axes."""
    yield near(case, "summary", list(result.numbers.values()), want["stats"])
    yield same("names", list(result.numbers), want["stat_names"])
    yield same("text", result.table().splitlines(), want["printed"])
    protocol = result.protocol
    axes = [protocol.thresholds, protocol.recalls, result.categories, protocol.areas]
    axes += [protocol.levels] if len(protocol.levels) > 1 else []
    yield same("axes", [len(axis) for axis in (*axes, protocol.max_dets)], want["counts"])


def _ious(
    case: Mapping[str, Any],
    truth: AnnotationSet,
    predictions: AnnotationSet,
    want: Mapping[str, Any],
) -> Iterator[Check]:
    places = {video.id: place for place, video in enumerate(truth.videos)}
    predicted = {video.id: place for place, video in enumerate(predictions.videos)}
    for key, matrix in want.items():
        video, category = map(int, key.split(","))
        tracks = predictions.load(predicted[video]).tracks
        pair = ClipPair(truth.load(places[video]), tracks)
        ours = iou_matrix(pair, category, YTVIS.max_dets[-1]).tolist()
        yield near(case, f"IoU of video {video}, category {category}", ours, matrix)
