"""Suppression against its definition, one candidate at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.inference.nms import across_classes, by_class, greedy
from stmask.inference.settings import InferenceSettings

NUM_CLASSES = 4


def drawn(seed, n):
    """Boxes on a grid of exact numbers, with probabilities and centerness."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 6, (n, 2)) / 16
    boxes = np.concatenate([corner, corner + rng.integers(1, 5, (n, 2)) / 16], 1)
    conf = rng.dirichlet(np.full(NUM_CLASSES, 0.5), n)
    centerness = rng.uniform(-1, 1, n)
    return [torch.from_numpy(x).float() for x in (boxes, conf, centerness)]


def iou(a, b, margin=0.0):
    width = min(a[2], b[2]) - max(a[0], b[0]) + margin
    height = min(a[3], b[3]) - max(a[1], b[1]) + margin
    intersection = max(width, 0) * max(height, 0)
    area = [(x[2] - x[0] + margin) * (x[3] - x[1] + margin) for x in (a, b)]
    return intersection / (area[0] + area[1] - intersection)


def fast(boxes, scores, top_k, threshold=0.5):
    """Positions that nothing better overlaps."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])[:top_k]
    return [
        j
        for place, j in enumerate(order)
        if not any(iou(boxes[i], boxes[j]) > threshold for i in order[:place])
    ]


sizes = st.integers(1, 25)
seeds = st.integers(0, 2**32 - 1)
choices = st.builds(
    InferenceSettings, nms_top_k=st.integers(1, 30), max_num_detections=st.integers(1, 30)
)


@settings(deadline=None)
@given(seeds, sizes, choices)
def test_across_classes_equals_its_definition(seed, n, choice):
    boxes, conf, centerness = drawn(seed, n)
    best, label = conf[:, 1:].max(1)
    scores = best * centerness
    kept = across_classes(boxes, conf, centerness, choice)
    rows = fast(boxes.double().tolist(), scores.tolist(), choice.nms_top_k)
    assert kept.rows.tolist() == rows
    assert torch.equal(kept.scores, scores[rows])
    assert torch.equal(kept.classes, label[rows] + 1)


@settings(deadline=None)
@given(seeds, sizes, choices, st.booleans())
def test_by_class_equals_its_definition(seed, n, choice, with_centerness):
    boxes, conf, centerness = drawn(seed, n)
    scores = conf * centerness[:, None] if with_centerness else conf
    kept = by_class(boxes, conf, centerness if with_centerness else None, choice)
    found = []
    for label in range(1, NUM_CLASSES):
        column = scores[:, label].tolist()
        rows = fast(boxes.double().tolist(), column, choice.nms_top_k)
        found += [(column[i], label, i) for i in rows if column[i] > choice.nms_conf_thresh]
    found = sorted(found, key=lambda item: -item[0])[: choice.max_num_detections]
    assert sorted(
        zip(*(part.tolist() for part in (kept.scores, kept.classes, kept.rows)), strict=True)
    ) == sorted(found)
    assert kept.scores.tolist() == sorted(kept.scores.tolist(), reverse=True)


@settings(deadline=None)
@given(seeds, sizes)
def test_greedy_keeps_what_overlaps_nothing_kept(seed, n):
    boxes, conf, _ = drawn(seed, n)
    kept = greedy(boxes, conf, (100, 200), InferenceSettings(max_num_detections=1000))
    pixels = (boxes.double() * torch.tensor([200, 100, 200, 100])).tolist()
    expected = set()
    for label in range(1, NUM_CLASSES):
        column = conf[:, label].tolist()
        mine = []
        for i in sorted(range(n), key=lambda i: -column[i]):
            if column[i] > 0.05 and all(iou(pixels[i], pixels[j], 1.0) < 0.5 for j in mine):
                mine.append(i)
        expected |= {(label, i) for i in mine}
    assert set(zip(kept.classes.tolist(), kept.rows.tolist(), strict=True)) == expected


def test_greedy_counts_borders_and_suppresses_at_the_threshold():
    # 10x10 pixels with borders, and the same with twice the height: IoU is exactly one half.
    pixels = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 19]])
    conf = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    assert greedy(pixels / 100, conf, (100, 100), InferenceSettings()).rows.tolist() == [0]
    kept = across_classes(pixels / 100, conf, torch.ones(2), InferenceSettings())
    assert kept.rows.tolist() == [0, 1]


def test_mask_iou_tells_overlapping_boxes_apart():
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 0.9]])
    conf = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    masks = torch.zeros(2, 4, 4)
    masks[0, :, :2], masks[1, :, 2:] = 1, 1
    plain = InferenceSettings()
    assert len(across_classes(boxes, conf, torch.ones(2), plain).rows) == 1
    by_mask = InferenceSettings(nms_as_miou=True)
    kept = across_classes(boxes, conf, torch.ones(2), by_mask, lambda rows: masks[rows])
    assert kept.rows.tolist() == [0, 1]


@pytest.mark.parametrize("n", [0, 3])
def test_nothing_is_sure_enough(n):
    boxes, conf = torch.rand(n, 4), torch.tensor([[1.0, 0, 0, 0]]).expand(n, -1)
    kept = [by_class(boxes, conf, torch.ones(n), InferenceSettings())]
    kept.append(greedy(boxes, conf, (8, 8), InferenceSettings()))
    if not n:
        kept.append(across_classes(boxes, conf, torch.ones(n), InferenceSettings()))
    for result in kept:
        assert [len(part) for part in result] == [0, 0, 0]
        assert result.rows.dtype == result.classes.dtype == torch.int64
