"""J&F written straight from its definition, as the official tool computes it: the baseline.

The masks of a whole sequence are loaded as float64 one-hot arrays, and for every object and frame
J, two full-frame boundary maps and two full-frame OpenCV dilations follow. In the unsupervised task
so they do for every pair of a proposal and an object.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

Scores = dict[str, np.ndarray]  # sequence -> (K, 2) mean J and F of every object


def load_one_hot(
    folder: Path, names: list[str], num_objects: int | None, binary: bool
) -> np.ndarray:
    """All masks of a sequence as (K, T, H, W) float64; K is the largest id where none is given."""
    first = np.array(Image.open(folder / names[0]))
    ids = np.zeros((len(names), *first.shape))
    for t, name in enumerate(names):
        ids[t] = np.array(Image.open(folder / name))
    ids = (ids > 0).astype(ids.dtype) if binary else ids
    count = int(ids.max()) if num_objects is None else num_objects
    objects = np.ones((count, *ids.shape)) * np.arange(1, count + 1)[:, None, None, None]
    return (objects == ids[None]).astype(np.float64)


def boundary_full(mask: np.ndarray) -> np.ndarray:
    """Boundary map over the full frame: pixels that differ from right, lower or diagonal."""
    right, below, diagonal = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    right[:, :-1] = mask[:, 1:]
    below[:-1] = mask[1:]
    diagonal[:-1, :-1] = mask[1:, 1:]
    edge = mask ^ right | mask ^ below | mask ^ diagonal
    edge[-1] = mask[-1] ^ right[-1]
    edge[:, -1] = mask[:, -1] ^ below[:, -1]
    edge[-1, -1] = 0
    return edge


def j_full(gt: np.ndarray, pred: np.ndarray, void: np.ndarray) -> np.ndarray:
    """J of all frames (T, H, W) of one object."""
    gt, pred, valid = gt.astype(bool), pred.astype(bool), ~void.astype(bool)
    intersection = np.sum(gt & pred & valid, axis=(-2, -1))
    union = np.sum((gt | pred) & valid, axis=(-2, -1))
    return np.where(union == 0, 1.0, intersection / np.maximum(union, 1))


def f_full(gt: np.ndarray, pred: np.ndarray, void: np.ndarray) -> float:
    """F of one frame with boundary maps and dilations of the full frame."""
    radius = int(np.ceil(0.008 * np.linalg.norm(gt.shape)))
    offsets = np.arange(-radius, radius + 1)
    disc = (offsets[:, None] ** 2 + offsets[None] ** 2 <= radius**2).astype(np.uint8)
    valid = ~void.astype(bool)
    gt_edge = boundary_full(gt.astype(bool) & valid)
    pred_edge = boundary_full(pred.astype(bool) & valid)
    gt_reach = cv2.dilate(gt_edge.astype(np.uint8), disc)
    pred_reach = cv2.dilate(pred_edge.astype(np.uint8), disc)
    num_gt, num_pred = np.sum(gt_edge), np.sum(pred_edge)
    if num_gt == 0 or num_pred == 0:
        return float(num_gt == num_pred)
    precision = np.sum(pred_edge * gt_reach) / float(num_pred)
    recall = np.sum(gt_edge * pred_reach) / float(num_gt)
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def score_object(gt: np.ndarray, pred: np.ndarray, void: np.ndarray) -> tuple[float, float]:
    """Mean J and F of one object over its frames (T, H, W)."""
    f = [f_full(gt[t], pred[t], void[t]) for t in range(len(gt))]
    return float(j_full(gt, pred, void).mean()), float(np.mean(f))


def _frame_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


def semi_supervised(gt_root: Path, results: Path, sequences: list[str], binary: bool) -> Scores:
    """Equal ids compared, without first and last frame."""
    scores: Scores = {}
    for sequence in sequences:
        names = _frame_names(gt_root / sequence)
        gt = load_one_hot(gt_root / sequence, names, 1 if binary else None, binary)[:, 1:-1]
        pred = load_one_hot(results / sequence, names, len(gt), binary)[:, 1:-1]
        void = np.zeros(gt.shape[1:])
        scores[sequence] = np.array([score_object(gt[k], pred[k], void) for k in range(len(gt))])
    return scores


def unsupervised(gt_root: Path, results: Path, sequences: list[str]) -> Scores:
    """All pairs compared, the best assignment counts; no void in these data."""
    scores: Scores = {}
    for sequence in sequences:
        names = _frame_names(gt_root / sequence)
        gt = load_one_hot(gt_root / sequence, names, None, False)
        pred = load_one_hot(results / sequence, names, None, False)
        void = np.zeros(gt.shape[1:])
        pairs = np.array([[score_object(g, p, void) for g in gt] for p in pred])  # N, K, 2
        rows, columns = linear_sum_assignment(-pairs.mean(axis=-1))
        order = np.argsort(columns)
        scores[sequence] = pairs[rows[order], columns[order]]
    return scores


def vos_benchmark_form(gt_root: Path, results: Path, workers: int) -> Callable[[], Scores] | None:
    """The package vos-benchmark on two folders; None where it is not installed."""
    try:
        from vos_benchmark.benchmark import benchmark
    except ImportError:
        return None

    def run() -> Scores:
        *_, rows = benchmark([str(gt_root)], [str(results)], True, workers, verbose=False)
        return {
            name: np.array([[j[i], f[i]] for i in sorted(j)]) / 100
            for name, (j, f) in rows[0].items()
        }

    return run
