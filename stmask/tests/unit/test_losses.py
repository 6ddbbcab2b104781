import math

import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from stmask.config import get_config
from stmask.losses import (
    ORDER,
    FrameTargets,
    LossSettings,
    MultiBoxLoss,
    mask_terms,
    total_loss,
    tracking,
)
from stmask.losses.classification import focal_loss, hard_negative_loss
from stmask.losses.targets import Positives
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings

SMALL = NetworkSettings(
    blocks=(1, 1, 1, 1),
    stem_width=8,
    dcn_interval=0,
    num_classes=6,
    num_prototypes=8,
    embed_dim=16,
    fpn_channels=16,
    temporal_channels=(16, 16, 16),
    semantic=True,
    maskiou_channels=(4, 8),
)
EVERY_TERM = LossSettings(
    use_maskiou_loss=True,
    mask_proto_coeff_diversity_loss=True,
    use_semantic_segmentation_loss=True,
    mask_proto_loss="l1",
    use_maskiou=True,
)


def frame(*objects):
    """Targets of (box, label, id); masks fill their boxes."""
    boxes = torch.tensor([box for box, _, _ in objects]).reshape(-1, 4)
    masks = torch.zeros(len(objects), 64, 96, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        mask[int(y1 * 64) : int(y2 * 64), int(x1 * 96) : int(x2 * 96)] = 1
    labels = torch.tensor([label for _, label, _ in objects], dtype=torch.int64)
    ids = torch.tensor([number for _, _, number in objects], dtype=torch.int64)
    return FrameTargets(boxes, labels, ids, masks)


A, B = ([0.1, 0.1, 0.5, 0.7], 3, 11), ([0.55, 0.3, 0.9, 0.95], 5, 12)
CLIP = (frame(A, B), frame(B))
EMPTY = (frame(), frame())


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return STMask(SMALL).train()


def images(num_clips):
    gen = torch.Generator().manual_seed(1)
    return torch.randn(2 * num_clips, 3, 64, 96, generator=gen)


def positives(weights, ids, frames=None):
    count = len(weights)
    frames = torch.tensor(frames or [0] * count, dtype=torch.int64)
    zeros = torch.zeros(count, dtype=torch.int64)
    boxes = torch.tensor([[0.2, 0.2, 0.8, 0.8]]).expand(count, 4)
    ends = tuple(frames.bincount(minlength=1).cumsum(0).tolist())
    return Positives(frames, zeros, zeros, boxes, torch.tensor(ids), torch.tensor(weights), ends)


# --- the whole ------------------------------------------------------------------------------------


def test_all_terms_in_order_reach_all_parameters(network):
    network.zero_grad()
    losses = MultiBoxLoss(EVERY_TERM)(network(images(1)), CLIP, network)
    assert list(losses) == [name for name in ORDER if name != "B"]
    assert all(torch.isfinite(value) and not value.shape for value in losses.values())
    assert total_loss(losses).item() == pytest.approx(sum(v.item() for v in losses.values()))
    total_loss(losses).backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


@pytest.mark.parametrize("clips", [(EMPTY,), (EMPTY, CLIP), ((frame(A), frame(B)),)])
def test_clips_without_objects_or_without_common_ones(network, clips):
    """Every parameter gets a gradient, as processes that train together need."""
    network.zero_grad()
    targets = [target for clip in clips for target in clip]
    losses = MultiBoxLoss(EVERY_TERM)(network(images(len(clips))), targets, network)
    total_loss(losses).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    assert not [name for name, p in network.named_parameters() if p.grad is None]
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    if len(clips) == 1 and clips[0] is EMPTY:
        assert losses["C"] == losses["M"] == losses["T"] == losses["B_shift"] == 0


def test_a_clip_more_halves_what_is_a_mean_over_clips(network):
    network.eval()  # the statistics of a batch would tie its clips together
    loss = MultiBoxLoss(LossSettings())
    one = loss(network(images(2)[:2]), CLIP, network)
    two = loss(network(images(2)), [*CLIP, *EMPTY], network)
    network.train()
    for name in ("BIoU", "M", "center", "B_shift", "M_shift"):
        assert two[name].item() == pytest.approx(one[name].item() / 2, rel=1e-3), name


def test_switches_take_terms_out(network):
    off = LossSettings(
        use_boxiou_loss=False, train_class=False, train_masks=False, train_track=False,
        maskshift_loss=False,
    )  # fmt: skip
    raw = network(images(1))
    assert list(MultiBoxLoss(off)(raw, CLIP, network)) == ["B", "B_shift"]
    off = LossSettings(temporal_fusion_module=False, train_centerness=False)
    assert list(MultiBoxLoss(off)(raw, CLIP, network)) == ["BIoU", "C", "M", "T"]


def test_matching_by_prediction_uses_predicted_boxes(network):
    raw = network(images(1))
    raw.loc = torch.full_like(raw.loc, 40.0)  # far away from every object
    found = MultiBoxLoss(LossSettings(use_prediction_matching=True)).match(raw, CLIP)
    assert (found.classes > 0).sum().item() == 3  # none but the best of each object
    assert (MultiBoxLoss(LossSettings()).match(raw, CLIP).classes > 0).sum() > 3


def test_lower_precision_outside_does_not_reach_the_losses(network):
    raw = network(images(1))
    settings = LossSettings(temporal_fusion_module=False)
    plain = MultiBoxLoss(settings)(raw, CLIP, network)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        other = MultiBoxLoss(settings)(raw, CLIP, network)
        shifted = MultiBoxLoss(LossSettings())(raw, CLIP, network)
    assert all(torch.equal(plain[name], other[name]) for name in plain)
    assert all(value.dtype == torch.float32 for value in shifted.values())


def test_a_batch_has_two_frames_per_clip(network):
    with pytest.raises(ValueError, match="two frames per clip"):
        MultiBoxLoss(LossSettings())(network(images(1)), CLIP[:1], network)


# --- settings -------------------------------------------------------------------------------------


def test_settings_of_a_configuration():
    assert LossSettings.from_config(get_config("STMask_plus_base_config")) == LossSettings()
    changed = get_config("STMask_plus_base_config").copy({"conf_alpha": 2.0})
    assert MultiBoxLoss(changed).settings.conf_alpha == 2.0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("conf_weight_order", "sorted"),
        ("mask_proto_loss", "l2"),
        ("negative_iou_threshold", 0.6),
    ],
)
def test_values_that_do_not_exist_are_refused(key, value):
    with pytest.raises(ValueError, match=key):
        LossSettings(**{key: value})


def test_change_matching_is_refused():
    changed = get_config("STMask_plus_base_config").copy({"use_change_matching": True})
    with pytest.raises(ValueError, match="use_change_matching"):
        MultiBoxLoss(changed)


# --- classes --------------------------------------------------------------------------------------


def hard_negatives_slowly(logits, classes, order):
    errors = [F.cross_entropy(x[None], c.clamp(min=0)[None]) for x, c in
              zip(logits.flatten(0, 1), classes.flatten(), strict=True)]  # fmt: skip
    flat, per_frame = classes.flatten().tolist(), classes.shape[1]
    chosen = [i for i, c in enumerate(flat) if c > 0]
    hardness = (logits.logsumexp(-1) - logits[..., 0]).flatten().tolist()
    background = sorted((i for i, c in enumerate(flat) if c == 0), key=lambda i: -hardness[i])
    negatives = sorted(background[: 3 * len(chosen)])
    weight = {i: 1 / (classes[i // per_frame] > 0).sum().item() for i in chosen}
    weight |= dict.fromkeys(negatives, 3 * len(classes) / len(negatives))
    samples = sorted(chosen + negatives)
    weights = [weight[i] for i in (samples if order == "aligned" else chosen + negatives)]
    pairs = zip(samples, weights, strict=True)
    return 6.125 / len(classes) * sum(w * errors[i] for i, w in pairs) / 4


@pytest.mark.parametrize("order", ["reference", "aligned"])
@pytest.mark.parametrize("num_priors", [6, 40])
def test_hard_negatives(order, num_priors):
    gen = torch.Generator().manual_seed(3)
    logits = torch.randn(2, num_priors, 5, generator=gen)
    classes = torch.zeros(2, num_priors, dtype=torch.int64)
    classes[0, :4], classes[1, 2], classes[1, 4] = torch.tensor([1, -1, 4, 2]), 3, -1
    loss = hard_negative_loss(logits, classes, LossSettings(conf_weight_order=order))
    assert loss.item() == pytest.approx(
        hard_negatives_slowly(logits, classes, order).item(), rel=1e-5
    )


def test_negatives_by_confidence():
    logits = torch.zeros(1, 3, 3)
    # The second has much mass on both classes, the third more on one of them.
    logits[0, 1], logits[0, 2] = torch.tensor([0.0, 2.0, 2.0]), torch.tensor([0.0, 2.2, -9.0])
    classes = torch.tensor([[1, 0, 0]])
    one = {"ohem_negpos_ratio": 1, "conf_weight_order": "aligned"}
    by_sum = hard_negative_loss(logits, classes, LossSettings(**one))
    by_best = hard_negative_loss(logits, classes, LossSettings(**one, ohem_use_most_confident=True))
    errors = F.cross_entropy(logits[0], classes[0], reduction="none")
    assert by_sum.item() == pytest.approx(6.125 / 4 * (errors[0] + errors[1]).item())
    assert by_best.item() == pytest.approx(6.125 / 4 * (errors[0] + errors[2]).item())


def test_focal_loss_is_that_of_torchvision():
    gen = torch.Generator().manual_seed(4)
    logits = 3 * torch.randn(2, 7, 5, generator=gen)
    classes = torch.tensor([[0, 1, -1, 4, 0, 0, 2], [-1, -1, 0, 0, 3, 0, 0]])
    kept = classes >= 0
    truth = F.one_hot(classes[kept], 5)[:, 1:].float()
    want = sigmoid_focal_loss(logits[kept][:, 1:], truth, 0.25, 2, "sum") * 6.125 / kept.sum()
    assert focal_loss(logits, classes, LossSettings()).item() == pytest.approx(want.item())


# --- pairs ----------------------------------------------------------------------------------------


def test_track_loss_of_pairs_written_out(monkeypatch):
    gen = torch.Generator().manual_seed(5)
    unit = F.normalize(torch.randn(7, 4, generator=gen)).requires_grad_()
    found = positives([1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25], [1, 1, 2, 1, 2, 3, 3])
    total = norm = 0.0
    for i in range(7):
        for j in range(i + 1, 7):
            likeness = (unit[i].dot(unit[j]).item() + 1) / 2
            right = likeness if found.ids[i] == found.ids[j] else 1 - likeness
            weight = (found.weights[i] * found.weights[j]).item()
            total, norm = total - weight * math.log(right), norm + weight
    loss = tracking.track_loss(unit, found, LossSettings())
    assert loss.item() == pytest.approx(5 * total / norm, rel=1e-5)
    gradient = torch.autograd.grad(loss, unit)[0]
    monkeypatch.setattr(tracking, "_ROWS", 2)  # what many positives do
    again = tracking.track_loss(unit, found, LossSettings())
    assert again.item() == pytest.approx(loss.item(), rel=1e-6)
    assert torch.allclose(torch.autograd.grad(again, unit)[0], gradient, atol=1e-6)


def test_one_or_no_positive_has_no_pairs():
    for count in (0, 1):
        unit = torch.ones(count, 1, requires_grad=True)
        loss = tracking.track_loss(unit, positives([1.0] * count, [4] * count), LossSettings())
        loss.backward()
        assert loss == 0 and unit.grad is not None


def test_diversity_is_within_a_clip():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0], [1.0, 0.0]])
    found = positives([1.0] * 4, [1, 2, 1, 1], [0, 1, 2, 3])
    loss = tracking.diversity_loss(vectors, found, 4, LossSettings())
    # Clip 1: two objects at right angles; clip 2: one object, opposite coefficients.
    want = 5 / 4 * (2 * -math.log(0.5) + 2 * -math.log(1e-10))
    assert loss.item() == pytest.approx(want, rel=1e-5)


# --- masks ----------------------------------------------------------------------------------------


def test_masks_in_parts_have_the_same_gradient(monkeypatch):
    gen = torch.Generator().manual_seed(6)
    soft = torch.rand(5, 8, 12, generator=gen).requires_grad_()
    masks, rows = CLIP[0].masks, torch.tensor([0, 1, 1, 0, 1])
    whole = mask_terms.compare_masks(soft, masks, rows)
    gradient = torch.autograd.grad(whole.error.sum(), soft)[0]
    monkeypatch.setattr(mask_terms, "_CHUNK", 2)
    parts = mask_terms.compare_masks(soft, masks, rows)
    assert torch.allclose(parts.error, whole.error) and torch.equal(parts.iou, whole.iou)
    assert torch.allclose(torch.autograd.grad(parts.error.sum(), soft)[0], gradient)


def test_overlap_of_binary_masks():
    soft = torch.zeros(2, 64, 96)
    soft[0] = CLIP[0].masks[0]
    found = mask_terms.compare_masks(soft, CLIP[0].masks, torch.tensor([0, 0]))
    assert found.iou.tolist() == [1.0, 0.0]
    assert found.error[0] == 0


def test_masks_without_crop_are_a_mean_over_all_pixels():
    found = positives([1.0], [11])
    predictions = mask_terms.MaskPredictions(
        torch.zeros(1, 16, 24, 4), torch.ones(1, 4), found.boxes
    )
    losses = mask_terms.mask_losses(
        predictions, found, [frame(A)], LossSettings(mask_proto_crop=False)
    )
    assert losses["M"].item() == pytest.approx(6.125 * math.log(2), rel=1e-5)


def test_box_of_the_crop():
    found = positives([1.0], [1])
    decoded = torch.tensor([[0.4, 0.4, 0.6, 0.6]])
    assert mask_terms.crop_boxes(decoded, found, LossSettings())[0].tolist() == pytest.approx(
        [0.38, 0.38, 0.62, 0.62]
    )
    settings = LossSettings(mask_proto_crop_with_pred_box=False)
    assert torch.equal(mask_terms.crop_boxes(decoded, found, settings), found.boxes)


def test_losses_of_prototypes():
    proto = torch.tensor([0.0, 2.0]).expand(2, 3, 3, 2)
    small = mask_terms.prototype_loss(proto, LossSettings(mask_proto_loss="l1"))
    assert small.item() == pytest.approx(1 / (400 / 4900) * 0.1 / 2)
    apart = mask_terms.prototype_loss(proto, LossSettings(mask_proto_loss="disj"))
    assert apart.item() == pytest.approx(math.log(1 + math.exp(-2)) / 2, rel=1e-5)


def test_semantic_maps_join_the_objects_of_a_class():
    same = frame(A, (B[0], 3, 12))
    logits = torch.full((2, 5, 8, 12), -20.0)
    # Rows 1 to 5 and columns 1 to 5 are within A at this size, and likewise for B.
    small = F.interpolate(same.masks[:, None].float(), (8, 12), mode="bilinear")[:, 0] > 0.5
    logits[0, 2][small.any(0)] = 20.0
    loss = mask_terms.semantic_loss(logits, [same, frame()], LossSettings())
    assert loss.item() == pytest.approx(0, abs=1e-4)
    wrong = mask_terms.semantic_loss(-logits, [same, frame()], LossSettings())
    assert wrong.item() == pytest.approx(1 / 2 * 20 * 5 * 2, rel=1e-3)
