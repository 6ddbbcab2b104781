"""Costs, overlap and losses against slow forms; awkward targets."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from devis.assignment import match_clip, match_images
from devis.losses import (
    LayerOutput,
    LossSettings,
    Match,
    Target,
    all_losses,
    num_entries,
    total_loss,
)
from devis.losses.boxes import corners, generalised_iou
from devis.losses.costs import clip_cost, image_cost
from devis.losses.criterion import target_masks
from devis.losses.terms import focal

PLAIN = LossSettings()


def slow_giou(a, b):
    inner = [max(min(a[2 + k], b[2 + k]) - max(a[k], b[k]), 0) for k in (0, 1)]
    outer = [max(a[2 + k], b[2 + k]) - min(a[k], b[k]) for k in (0, 1)]
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    common, around = inner[0] * inner[1], outer[0] * outer[1]
    union = sum(areas) - common
    return (common + 1e-6) / (union + 1e-6) - (around - union + 1e-6) / (around + 1e-6)


unit = st.floats(0.05, 0.95)
box = st.tuples(unit, unit, unit, unit)


@given(a=box, b=box)
@settings(max_examples=50, deadline=None)
def test_generalised_overlap(a, b):
    first, second = (corners(torch.tensor(x, dtype=torch.float64)) for x in (a, b))
    got = float(generalised_iou(first, second))
    assert got == pytest.approx(slow_giou(first.tolist(), second.tolist()), abs=1e-9)
    assert float(generalised_iou(first, first)) == pytest.approx(1, abs=1e-3)


def clip_case(num_frames=2, slots=3, instances=2, classes=4):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(num_frames * slots, classes, generator=generator)
    boxes = torch.rand(num_frames * slots, 4, generator=generator)
    labels = torch.tensor([1, 3])[:instances].repeat_interleave(num_frames)
    target = Target(
        labels,
        torch.rand(instances * num_frames, 4, generator=generator),
        torch.rand(instances * num_frames, 6, 5, generator=generator) > 0.5,
        torch.ones(instances * num_frames),
    )
    return logits, boxes, target


@pytest.mark.parametrize("sum_l1", [False, True])
def test_costs_of_a_clip_are_means_of_those_of_its_frames(sum_l1):
    logits, boxes, target = clip_case()
    options = LossSettings(sum_l1=sum_l1, l1_cost=5.0 if sum_l1 else 20.0)
    cost = clip_cost(logits, boxes, target, 2, options)
    frames = [
        image_cost(
            logits[3 * t : 3 * t + 3],
            boxes[3 * t : 3 * t + 3],
            Target(target.labels[t::2], target.boxes[t::2]),
            LossSettings(l1_cost=5.0),
        )
        for t in range(2)
    ]
    torch.testing.assert_close(cost, sum(frames) / 2)


def test_focal_loss_of_a_value():
    logit = torch.tensor([0.3])
    p = logit.sigmoid()
    one, zero = torch.ones(1), torch.zeros(1)
    torch.testing.assert_close(focal(logit, one), 0.25 * (1 - p) ** 2 * -p.log())
    torch.testing.assert_close(focal(logit, zero), 0.75 * p**2 * -(1 - p).log())


def test_weights_of_layers():
    weights = LossSettings(weigh_layers=True, mask_layers=(2,), mask_weight=8.0).weights()
    assert weights["loss_ce"] == 1.0 and weights["loss_bbox_4"] == pytest.approx(5 * 5 / 30)
    assert weights["loss_mask"] == weights["loss_mask_2"] == 8.0 and "loss_mask_1" not in weights
    total = sum(v for k, v in weights.items() if k.startswith("loss_giou"))
    assert total == pytest.approx(2.0)
    last_only = LossSettings(auxiliary=False, mask_layers=(), masks=False).weights()
    assert sorted(last_only) == ["loss_bbox", "loss_ce", "loss_giou"]


def test_an_image_without_instances_teaches_the_background_only():
    logits = torch.zeros(1, 5, 3, requires_grad=True)
    boxes = torch.full((1, 5, 4), 0.5, requires_grad=True)
    empty = torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), torch.zeros(0, 6, 5, dtype=bool)
    targets = [Target(*empty)]
    options = LossSettings(dec_layers=1, mask_layers=())
    matches = match_images(logits, boxes, targets, options)
    masks = torch.zeros(0, 3, 3, requires_grad=True)
    outputs = {0: LayerOutput(logits, boxes, masks)}
    losses = all_losses(outputs, {0: matches}, targets, max(num_entries(targets), 1), options)
    assert losses["class_error"] == 100 and losses["loss_bbox"] == losses["loss_mask"] == 0
    total_loss(losses, options).backward()
    assert (logits.grad > 0).all() and (boxes.grad == 0).all()


def test_a_clip_without_instances_is_matched_with_nothing():
    logits, boxes, target = clip_case()
    empty = Target(target.labels[:0], target.boxes[:0], target.masks[:0], target.valid[:0])
    match = match_clip(logits, boxes, empty, 2, PLAIN)
    assert match.prediction.tolist() == [0, 3] and not match.valid.any()
    options = LossSettings(dec_layers=1, mask_layers=())
    outputs = {0: LayerOutput(logits[None], boxes[None], torch.randn(2, 3, 3))}
    losses = all_losses(outputs, {0: [match]}, [empty], 1, options)
    assert losses["loss_mask"] == losses["loss_giou"] == 0 and losses["loss_ce"] > 0


def test_masks_of_images_of_different_sizes_are_padded():
    first = Target(torch.tensor([0]), torch.zeros(1, 4), torch.ones(1, 2, 3, dtype=torch.bool))
    second = Target(torch.tensor([0]), torch.zeros(1, 4), torch.ones(1, 4, 2, dtype=torch.bool))
    one = Match(torch.tensor([0]), torch.tensor([0]), torch.tensor([True]))
    masks = target_masks([one, one], [first, second])
    assert masks.shape == (2, 4, 3) and masks.sum((1, 2)).tolist() == [6, 8]


def test_more_instances_than_queries():
    logits, boxes, target = clip_case(slots=1)
    match = match_clip(logits, boxes, target, 2, PLAIN)
    assert match.prediction.tolist() == [0, 1] and len(match.target) == 2
