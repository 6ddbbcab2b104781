"""Video AP by the straightforward official procedure, as the baseline of `bench_video_ap.py`.

Both files are loaded at once, every pair of a prediction and an object of the same class is
compared frame by frame with two merges of run lengths, and matching and accumulation are loops
over classes, area ranges and videos. Source: spec common section 5.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

AREAS = ((0, 1e10), (0, 128**2), (128**2, 256**2), (256**2, 1e10))
LIMITS = (1, 10, 100)
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)


def pair_iou(det: Sequence[dict | None], gt: Sequence[dict | None]) -> float:
    """IoU of two tracks by a union and an intersection per frame."""
    shared = union = 0.0
    for d, g in zip(det, gt, strict=True):
        if d and g:
            shared += coco_mask.area(coco_mask.merge([d, g], True))
            union += coco_mask.area(coco_mask.merge([d, g], False))
        elif d or g:
            union += coco_mask.area(d or g)
    return shared / union if union > 0 else 0.0


def mean_visible(areas: Sequence[float | None]) -> float:
    """Mean of the areas that are neither null nor 0."""
    visible = [area for area in areas if area]
    return float(np.mean(visible)) if visible else 0.0


def match_group(
    dets: list[dict], gts: list[dict], ious: np.ndarray, area: tuple[float, float]
) -> dict[str, np.ndarray]:
    """Matches one class of one video in one area range."""
    ignored = [g["iscrowd"] or not area[0] <= g["area"] <= area[1] for g in gts]
    order = np.argsort(ignored, kind="mergesort")
    shape = (len(THRESHOLDS), len(dets))
    matched, skipped = np.zeros(shape, bool), np.zeros(shape, bool)
    for t, threshold in enumerate(THRESHOLDS):
        used: set[int] = set()
        for d in range(len(dets)):
            best, m = min(threshold, 1 - 1e-10), -1
            for j in order:
                if j in used and not gts[j]["iscrowd"]:
                    continue
                if m > -1 and not ignored[m] and ignored[j]:
                    break
                if ious[d, j] < best:
                    continue
                best, m = ious[d, j], j
            if m > -1:
                used.add(m)
                matched[t, d], skipped[t, d] = True, ignored[m]
    outside = np.array([not area[0] <= d["area"] <= area[1] for d in dets], bool)
    return {
        "scores": np.array([d["score"] for d in dets]),
        "matched": matched,
        "skipped": skipped | (~matched & outside),
        "num_gt": len(gts) - sum(ignored),
    }


def accumulate_groups(groups: list[dict[str, Any]], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision (T, R) and recall (T,) of one class, area range and limit."""
    precision = -np.ones((len(THRESHOLDS), len(RECALLS)))
    recall = -np.ones(len(THRESHOLDS))
    num_gt = sum(group["num_gt"] for group in groups)
    if not num_gt:
        return precision, recall
    scores = np.concatenate([group["scores"][:limit] for group in groups])
    order = np.argsort(-scores, kind="mergesort")
    matched = np.concatenate([g["matched"][:, :limit] for g in groups], axis=1)[:, order]
    skipped = np.concatenate([g["skipped"][:, :limit] for g in groups], axis=1)[:, order]
    num_right = np.cumsum(matched & ~skipped, axis=1).astype(float)
    num_wrong = np.cumsum(~matched & ~skipped, axis=1).astype(float)
    for t, (tp, fp) in enumerate(zip(num_right, num_wrong, strict=True)):
        rc, pr = tp / num_gt, (tp / (fp + tp + np.spacing(1))).tolist()
        recall[t] = rc[-1] if len(rc) else 0
        for i in range(len(pr) - 1, 0, -1):
            pr[i - 1] = max(pr[i - 1], pr[i])
        places = np.searchsorted(rc, RECALLS)
        precision[t] = [pr[place] if place < len(pr) else 0 for place in places]
    return precision, recall


def load_baseline(gt_path: Path, pred_path: Path) -> tuple[dict, dict, list[int], list[int]]:
    """Both files as dictionaries by video and class, all masks as run-length strings."""
    gt, pred = (json.loads(path.read_text()) for path in (gt_path, pred_path))
    gts, dets = defaultdict(list), defaultdict(list)
    for entry in gt["annotations"]:
        entry["masks"] = [
            m and coco_mask.frPyObjects(m, *m["size"]) for m in entry["segmentations"]
        ]
        entry["area"] = mean_visible(entry["areas"])
        gts[entry["video_id"], entry["category_id"]].append(entry)
    for entry in pred:
        entry["masks"] = entry["segmentations"]
        entry["area"] = mean_visible([m and coco_mask.area(m) for m in entry["masks"]])
        dets[entry["video_id"], entry["category_id"]].append(entry)
    return gts, dets, [v["id"] for v in gt["videos"]], [c["id"] for c in gt["categories"]]


def baseline(gt_path: Path, pred_path: Path) -> list[float]:
    """The straightforward procedure, from the files to the 12 numbers."""
    gts, dets, videos, categories = load_baseline(gt_path, pred_path)
    ious = {}
    for key, group in dets.items():
        group.sort(key=lambda d: -d["score"])
        del group[LIMITS[-1] :]
        pairs = [[pair_iou(d["masks"], g["masks"]) for g in gts[key]] for d in group]
        ious[key] = np.array(pairs).reshape(len(group), len(gts[key]))
    shape = (len(categories), len(AREAS), len(LIMITS))
    precision = np.empty((len(THRESHOLDS), len(RECALLS), *shape))
    recall = np.empty((len(THRESHOLDS), *shape))
    for k, category in enumerate(categories):
        keys = [(video, category) for video in videos]
        for a, area in enumerate(AREAS):
            groups = [
                match_group(dets[key], gts[key], ious.get(key, np.zeros((0, len(gts[key])))), area)
                for key in keys
                if dets[key] or gts[key]
            ]
            for m, limit in enumerate(LIMITS):
                precision[..., k, a, m], recall[..., k, a, m] = accumulate_groups(groups, limit)
    return summary(precision, recall)


def summary(precision: np.ndarray, recall: np.ndarray) -> list[float]:
    """The 12 numbers."""

    def mean(values: np.ndarray) -> float:
        return float(values[values > -1].mean()) if (values > -1).any() else -1.0

    return [
        *(mean(part[..., 0, -1]) for part in (precision, precision[0], precision[5])),
        *(mean(precision[..., a, -1]) for a in (1, 2, 3)),
        *(mean(recall[..., 0, m]) for m in (0, 1, 2)),
        *(mean(recall[..., a, -1]) for a in (1, 2, 3)),
    ]
