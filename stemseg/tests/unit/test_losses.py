from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stemseg.losses import (
    EmbeddingLoss,
    MapTargets,
    STEmSegLoss,
    foreground_loss,
    lovasz_hinge,
    semantic_loss,
    soft_mask,
    total_loss,
)

T, H, W = 2, 6, 8


@dataclass
class Maps:
    embeddings: torch.Tensor
    raw_bandwidths: torch.Tensor
    seediness: torch.Tensor
    semseg_logits: torch.Tensor | None = None

    def leaves(self):
        tensors = (self.embeddings, self.raw_bandwidths, self.seediness, self.semseg_logits)
        return [tensor for tensor in tensors if tensor is not None]


def make_maps(num_clips=1, seed=0, num_classes=0):
    gen = torch.Generator().manual_seed(seed)

    def draw(channels):
        return torch.randn(num_clips, channels, T, H, W, generator=gen)

    maps = Maps(draw(3), draw(2), draw(1).sigmoid(), draw(num_classes) if num_classes else None)
    for leaf in maps.leaves():
        leaf.requires_grad_()
    return maps


def make_clip(*boxes, ignore=None, classes=None):
    """Targets whose instances are boxes (top, bottom, left, right) in every frame."""
    masks = torch.zeros(len(boxes), T, H, W, dtype=torch.uint8)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[:, top:bottom, left:right] = 1
    if ignore is None:
        ignore = torch.zeros(T, H, W, dtype=torch.uint8)
    return MapTargets(masks, ignore, torch.zeros(T, H, W).long() if classes is None else classes)


LOSS = EmbeddingLoss((0.3,), 1.0, 10.0, 1.0, 1.0)
TWO = ((0, 3, 0, 4), (3, 6, 4, 8))


def literal_lovasz(logits, labels):
    """The formulas of the specification, line by line, in float64."""
    errors = 1 - logits * (2 * labels - 1)
    order = np.argsort(-errors, kind="stable")
    y = labels[order]
    inter, union = y.sum() - np.cumsum(y), y.sum() + np.cumsum(1 - y)
    jaccard = 1 - inter / union
    steps = np.diff(jaccard, prepend=0.0)
    return float(np.maximum(errors[order], 0) @ steps)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_lovasz_hinge_is_the_formula(share):
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(0, 2, 300), (rng.random(300) < share).astype(float)
    ours = lovasz_hinge(torch.tensor(logits, dtype=torch.float32), torch.tensor(labels))
    assert float(ours) == pytest.approx(literal_lovasz(logits, labels), rel=1e-5)


def test_lovasz_hinge_of_perfect_and_inverted_logits():
    labels = torch.tensor([1, 1, 0, 0])
    assert float(lovasz_hinge(2.0 * labels - 1, labels)) == 0
    assert float(lovasz_hinge(1.0 - 2 * labels, labels)) == 2.0


def test_soft_mask_is_one_at_the_centre():
    embeddings = torch.tensor([[0.0, 1.0], [0.0, 0.0]])
    prob = soft_mask(embeddings, torch.zeros(2), torch.tensor([2.0, 5.0]))
    assert prob.tolist() == pytest.approx([1.0, np.exp(-1.0)])


def test_perfect_prediction_costs_nothing():
    clip = make_clip(*TWO)
    maps = make_maps()
    with torch.no_grad():
        maps.embeddings.zero_()
        maps.embeddings[:, 0] = 100 * clip.masks[1].float() - 100 * clip.masks[0].float()
        maps.embeddings[:, 1] = 100 * (clip.masks.sum(0) == 0).float()
        maps.raw_bandwidths.zero_()
        maps.seediness.copy_((clip.masks.sum(0) > 0).float())
    losses = LOSS(maps, [clip])
    assert losses["embedding_loss"].item() == pytest.approx(0, abs=1e-6)


def test_empty_instances_change_nothing():
    maps = make_maps()
    want = LOSS(maps, [make_clip(*TWO)])
    got = LOSS(maps, [make_clip(TWO[0], (0, 0, 0, 0), TWO[1])])
    assert want == got


def test_batch_without_instances_gives_zeros_with_gradients():
    maps = make_maps(2)
    losses = LOSS(maps, [make_clip(), make_clip((0, 0, 0, 0))])
    assert {name: value.item() for name, value in losses.items()} == dict.fromkeys(losses, 0.0)
    losses["embedding_loss"].backward()
    assert all(not leaf.grad.any() for leaf in maps.leaves())


def test_instances_without_background():
    losses = LOSS(make_maps(), [make_clip((0, H, 0, W))])
    assert all(bool(torch.isfinite(value)) for value in losses.values())


def test_ignored_pixels_count_as_zeros_in_the_mean():
    maps = make_maps()
    everything = torch.ones(T, H, W, dtype=torch.uint8)
    seeds = LOSS(maps, [make_clip(TWO[0])])["seediness_loss"]
    ignored = LOSS(maps, [make_clip(TWO[0], ignore=everything)])["seediness_loss"]
    outside = (make_clip(TWO[0]).masks[0] == 0).flatten()
    background = (maps.seediness.flatten()[outside] ** 2).mean()
    assert (seeds - ignored).item() == pytest.approx(background.item() / 2, rel=1e-5)
    half = everything.clone()
    half[0] = 0
    kept = (maps.seediness.flatten()[outside & (half.flatten() == 0)] ** 2).sum() / outside.sum()
    part = LOSS(maps, [make_clip(TWO[0], ignore=half)])["seediness_loss"]
    assert (part - ignored).item() == pytest.approx(kept.item() / 2, rel=1e-5)


def test_totals_over_a_batch():
    """Overlap by instance, smoothness by clip, seediness by instance and one."""
    maps = make_maps(2)
    clips = [make_clip(*TWO), make_clip(TWO[1])]
    both = LOSS(maps, clips)
    one, two = (
        LOSS(Maps(*(leaf[n : n + 1] for leaf in maps.leaves())), clips[n : n + 1]) for n in (0, 1)
    )
    value = {name: (one[name].item(), two[name].item()) for name in both}
    lovasz, smooth, seeds = (
        value[f"{n}_loss"] for n in ("lovasz", "variance_smoothness", "seediness")
    )
    assert both["lovasz_loss"].item() == pytest.approx((2 * lovasz[0] + lovasz[1]) / 3)
    assert both["variance_smoothness_loss"].item() == pytest.approx(sum(smooth) / 2)
    assert both["seediness_loss"].item() == pytest.approx((3 * seeds[0] + 2 * seeds[1]) / 4)


def test_half_precision_maps_give_float32_losses():
    maps = make_maps(num_classes=4)
    half = Maps(*(leaf.detach().bfloat16() for leaf in maps.leaves()))
    clip = make_clip(*TWO)
    for value in (
        *LOSS(half, [clip]).values(),
        semantic_loss(half.semseg_logits, clip.classes[None]),
    ):
        assert value.dtype == torch.float32


def test_ignored_clip_is_no_nan():
    logits = torch.randn(2, 3, T, H, W)
    classes = torch.randint(0, 3, (2, T, H, W))
    ignore = torch.stack([torch.ones(T, H, W), torch.zeros(T, H, W)])
    known = semantic_loss(logits[1:], classes[1:])
    assert float(semantic_loss(logits, classes, ignore)) == pytest.approx(known.item() / 2)
    known = foreground_loss(logits[1:, 0], classes[1:], ignore[1:])
    assert float(foreground_loss(logits[:, 0], classes, ignore)) == pytest.approx(known.item() / 2)


def make_cfg(semseg="CrossEntropy", aware=False):
    weights = {f"WEIGHT_{n}": 1.0 for n in ("LOVASZ", "VARIANCE_SMOOTHNESS", "SEEDINESS")}
    embedding = SimpleNamespace(FREE_DIM_STDS=[0.3], WEIGHT=1.0, **weights)
    losses = SimpleNamespace(
        SEMSEG=semseg, WEIGHT_SEMSEG=2.0, EMBEDDING=embedding, SEMSEG_IGNORE_AWARE=aware
    )
    model = SimpleNamespace(SEMSEG=SimpleNamespace(FOREGROUND_CHANNEL=True))
    return SimpleNamespace(TRAINING=SimpleNamespace(LOSSES=losses), MODEL=model)


def test_total_is_what_is_optimised():
    maps = make_maps(num_classes=4)
    losses = STEmSegLoss(make_cfg())(maps, [make_clip(*TWO)])
    names = ("embedding_loss", "foreground", "semantic_segmentation_loss")
    assert total_loss(losses).item() == pytest.approx(sum(losses[n].item() for n in names))
    no_head = STEmSegLoss(make_cfg())(make_maps(), [make_clip(*TWO)])
    assert "foreground" not in no_head
    assert total_loss(no_head) == no_head["embedding_loss"]


def test_ignore_mask_counts_in_the_semantic_loss_only_when_asked_for():
    maps = make_maps(num_classes=4)
    ignore = torch.zeros(T, H, W, dtype=torch.uint8)
    ignore[0] = 1
    values = [
        STEmSegLoss(make_cfg(aware=aware))(maps, [make_clip(*TWO, ignore=mask)])[
            "semantic_segmentation_loss"
        ].item()
        for aware, mask in ((False, ignore), (False, ignore * 0), (True, ignore))
    ]
    assert values[0] == values[1] != values[2]


def test_unknown_semantic_loss():
    with pytest.raises(ValueError, match="must be CrossEntropy"):
        STEmSegLoss(make_cfg("Focal"))
