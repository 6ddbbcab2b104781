import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from stcn.losses import (
    BootstrapSchedule,
    SequenceLoss,
    bootstrapped_cross_entropy,
    iou_from_sums,
    iou_sums,
)


def random_batch(batch=3, classes=3, height=6, width=7, seed=0):
    gen = torch.Generator().manual_seed(seed)
    logits = [torch.randn(batch, classes, height, width, generator=gen) for _ in range(2)]
    cls_gt = torch.randint(0, classes, (batch, 3, height, width), generator=gen)
    return logits, cls_gt


@given(st.integers(0, 400_000), st.integers(0, 400_000))
def test_share_of_pixels_never_grows(first, second):
    schedule = BootstrapSchedule()
    early, late = sorted((first, second))
    assert 0.15 <= schedule.fraction(late) <= schedule.fraction(early) <= 1.0


def test_schedule_refuses_nonsense():
    with pytest.raises(ValueError, match="after start"):
        BootstrapSchedule(start=10, end=10)
    with pytest.raises(ValueError, match="final_fraction"):
        BootstrapSchedule(final_fraction=0.0)


def test_whole_image_is_the_plain_mean():
    logits, cls_gt = random_batch()
    got = bootstrapped_cross_entropy(logits[0], cls_gt[:, 0], 1.0)
    want = F.cross_entropy(logits[0], cls_gt[:, 0], reduction="none").mean(dim=(1, 2))
    torch.testing.assert_close(got, want)


@given(st.floats(0.01, 1.0))
def test_harder_pixels_make_a_larger_loss(fraction):
    logits, cls_gt = random_batch()
    part = bootstrapped_cross_entropy(logits[0], cls_gt[:, 0], fraction)
    whole = bootstrapped_cross_entropy(logits[0], cls_gt[:, 0], 1.0)
    assert (part >= whole - 1e-6).all()


def test_tiny_images_keep_one_pixel():
    loss = bootstrapped_cross_entropy(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1).long(), 0.15)
    assert torch.isfinite(loss).all()


def test_missing_second_object_equals_a_two_class_loss():
    logits, cls_gt = random_batch()
    cls_gt[cls_gt == 2] = 0
    three = [frame.clone().requires_grad_() for frame in logits]
    two = [frame[:, :2].clone().requires_grad_() for frame in logits]
    selector = torch.tensor([[1.0, 0.0]] * 3)
    loss_three = SequenceLoss()(three, cls_gt, selector, 45_000)["total_loss"]
    loss_two = SequenceLoss()(two, cls_gt, None, 45_000)["total_loss"]
    torch.testing.assert_close(loss_three, loss_two)
    loss_three.backward()
    loss_two.backward()
    torch.testing.assert_close(three[0].grad[:, :2], two[0].grad)
    assert three[0].grad[:, 2].abs().max() == 0


def test_total_is_the_sum_of_the_frames():
    logits, cls_gt = random_batch()
    losses = SequenceLoss()(logits, cls_gt, None, 0)
    torch.testing.assert_close(losses["total_loss"], losses["loss_1"] + losses["loss_2"])
    assert losses["p"] == 1.0


def test_number_of_frames_is_checked():
    logits, cls_gt = random_batch()
    with pytest.raises(ValueError, match="need 2 labelled"):
        SequenceLoss()(logits[:1], cls_gt, None, 0)


def test_half_precision_logits_give_a_float32_loss():
    logits, cls_gt = random_batch()
    losses = SequenceLoss()([frame.bfloat16() for frame in logits], cls_gt, None, 0)
    assert losses["total_loss"].dtype == torch.float32


def test_iou_counts_the_frames_after_the_first():
    gt = torch.zeros(1, 3, 1, 4, 4)
    gt[:, 1:, :, :2] = 1
    masks = [gt[:, 1] * 0.9, torch.zeros(1, 1, 4, 4)]
    intersection, union = iou_sums(masks, gt)
    assert (intersection, union) == (8, 16)
    assert iou_from_sums({"sec_i": 8.0, "sec_u": 16.0}, "sec_") == 9 / 17
