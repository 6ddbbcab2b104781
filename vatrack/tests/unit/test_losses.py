"""Losses of whole batches: what happens where there is nothing to learn from."""

from dataclasses import replace

import pytest
import torch

from vatrack.losses.batch import FrameTargets, PairSample, TrainingBatch, collate
from vatrack.losses.embeddings import auxiliary_loss, make_pairs, track_loss
from vatrack.losses.masks import mask_targets
from vatrack.losses.settings import HeadWeights, LossSettings, TrackSettings
from vatrack.losses.terms import accuracy, class_loss, mask_loss, no_loss
from vatrack.losses.training import total_loss, training_losses
from vatrack.model import ModelSettings, build

SIZE = (64, 96)
TINY = ModelSettings(
    blocks=(1, 1, 1, 1),
    stem_channels=8,
    fpn_channels=16,
    fc_channels=32,
    norm_groups=4,
    embed_dim=16,
    mask_convs=1,
    track_convs=1,
)
KINDS = ("qdtrack", "vatrack", "vatrack2bbox")


def tiny(kind):
    torch.manual_seed(0)
    return build(replace(TINY, kind=kind)).train()


def targets_of(boxes, labels, match, kind):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros((len(boxes), *SIZE), dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.int().tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    return FrameTargets(
        boxes,
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(match, dtype=torch.int64),
        SIZE,
        SIZE,
        masks,
        None if kind == "qdtrack" else masks,
        boxes.clone() if kind == "vatrack2bbox" else None,
    )


SOME = ([[4, 6, 40, 50], [50, 10, 80, 40]], [3, 7], [0, 1])
NONE = ([], [], [])


def batch_of(kind, key=(SOME, SOME), ref=(SOME, SOME)):
    gen = torch.Generator().manual_seed(1)
    images = torch.randn((2, len(key), 3, *SIZE), generator=gen)
    key, ref = (tuple(targets_of(*frame, kind) for frame in frames) for frames in (key, ref))
    return TrainingBatch(images[0], key, images[1], ref, ("a", "b"))


def losses_of(network, batch, settings=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return training_losses(network, batch, settings or LossSettings(), generator)


def all_finite(network, losses):
    total = total_loss(losses)
    total.backward()
    grads = [p.grad for p in network.parameters() if p.grad is not None]
    return bool(total.isfinite()) and all(bool(grad.isfinite().all()) for grad in grads)


@pytest.mark.parametrize("kind", KINDS)
def test_every_trained_weight_gets_a_gradient(kind):
    network = tiny(kind)
    losses = losses_of(network, batch_of(kind))
    assert all_finite(network, losses)
    trained = {name: p for name, p in network.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
    frozen = [name for name, p in network.named_parameters() if not p.requires_grad]
    assert all(
        name.startswith(("backbone.conv1", "backbone.bn1", "backbone.layer1")) for name in frozen
    )
    names = {"qdtrack": set(), "vatrack": {"loss_amodal_mask"}}.get(
        kind, {"loss_amodal_mask", "loss_amodal_cls", "loss_amodal_bbox", "acc_amodal"}
    )
    common = {"loss_cls", "loss_bbox", "loss_mask", "acc", "loss_track", "loss_track_aux"}
    assert set(losses) == common | names | {"loss_rpn_cls", "loss_rpn_bbox"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("key", "ref"),
    [
        ((NONE, NONE), (NONE, NONE)),
        ((SOME, NONE), (NONE, SOME)),
        ((SOME, SOME), (NONE, NONE)),
        (((SOME[0], SOME[1], [-1, -1]),) * 2, (SOME, SOME)),
    ],
    ids=["nothing", "one frame", "no reference", "no match"],
)
def test_nothing_to_learn_is_harmless(kind, key, ref):
    network = tiny(kind)
    losses = losses_of(network, batch_of(kind, key, ref))
    assert all_finite(network, losses)
    trained = [p for p in network.parameters() if p.requires_grad]
    # Processes of a distributed training wait for the gradient of every weight.
    assert all(p.grad is not None for p in trained)


@pytest.mark.parametrize("kind", KINDS)
def test_proposals_may_all_vanish(kind):
    """What ended original trainings: an RPN that gives no numbers leaves no proposal."""
    network = tiny(kind)
    with torch.no_grad():
        network.rpn_head.rpn_reg.bias.fill_(float("nan"))
    for frames in ((SOME, SOME), (NONE, NONE)):
        losses = losses_of(network, batch_of(kind, frames, frames))
        assert losses["loss_cls"].isfinite() and losses["loss_mask"].isfinite()
    assert not total_loss(losses_of(network, batch_of(kind))).isfinite()


def test_the_generator_decides():
    network, settings = tiny("vatrack"), LossSettings()
    settings = replace(settings, rpn_sample=replace(settings.rpn_sample, num=16))
    batch = batch_of("vatrack")
    first, again, other = (
        total_loss(losses_of(network, batch, settings, seed)).item() for seed in (0, 0, 1)
    )
    assert first == again != other


def test_missing_targets_are_named():
    batch = batch_of("qdtrack")
    with pytest.raises(ValueError, match="amodal_masks: missing in the targets of a vatrack"):
        losses_of(tiny("vatrack"), batch)
    with pytest.raises(ValueError, match="visible_boxes: missing"):
        losses_of(tiny("vatrack2bbox"), batch_of("vatrack"))


def test_weights_of_heads():
    network, batch = tiny("vatrack2bbox"), batch_of("vatrack2bbox")
    once = losses_of(network, batch)
    twice = losses_of(network, batch, replace(LossSettings(), weights=HeadWeights(amodal_mask=2)))
    ratio = {name: (twice[name].sum() / once[name].sum()).item() for name in once}
    assert ratio.pop("loss_amodal_mask") == pytest.approx(2)
    assert all(value == pytest.approx(1) or value != value for value in ratio.values())


def test_far_embeddings_do_not_overflow():
    key = torch.tensor([[200.0], [-200.0], [-200.0]], requires_grad=True)
    ref = torch.tensor([[1.0], [-1.0], [2.0]])
    same = torch.tensor([[True, False, False], [True, True, False], [True, False, False]])
    loss = track_loss(make_pairs(key, ref, same))
    loss.backward()
    # Near and far add up to -200 + 80, 200 - 400, and 200 + 80 (the 200 of the others is cut).
    assert loss.item() == pytest.approx(280 / 3)
    assert key.grad.isfinite().all()


def test_multi_positive_cross_entropy_equals_its_definition():
    gen = torch.Generator().manual_seed(3)
    key, ref = torch.randn(5, 8, generator=gen), torch.randn(9, 8, generator=gen)
    same = torch.rand(5, 9, generator=gen) < 0.3
    same[2] = False
    d = (key @ ref.t()).double()
    rows = [
        (1 + (-d[i][same[i]]).exp().sum() * d[i][~same[i]].exp().sum()).log()
        for i in range(5)
        if same[i].any()
    ]
    assert float(track_loss(make_pairs(key, ref, same))) == pytest.approx(
        float(torch.stack(rows).mean()), rel=1e-5
    )


def test_hard_mining_counts_the_costliest():
    cos = torch.tensor([[1.0, 0.9, 0.5, 0.2]])
    unit = torch.nn.functional.normalize
    ref = torch.stack([torch.tensor([float(c), float((1 - c * c) ** 0.5)]) for c in cos[0]])
    pairs = make_pairs(torch.tensor([[1.0, 0.0]]), unit(ref), torch.tensor([[True] + [False] * 3]))
    gen = torch.Generator()
    every = auxiliary_loss(pairs, TrackSettings(max_negatives=-1), gen)
    assert float(every) == pytest.approx((0.6**2 + 0.2**2) / 4, rel=1e-4)
    hardest = auxiliary_loss(pairs, TrackSettings(max_negatives=1), gen)
    assert float(hardest) == pytest.approx(0.6**2 / 2, rel=1e-4)
    some = auxiliary_loss(pairs, TrackSettings(max_negatives=1, hard_mining=False), gen)
    assert float(some) in [pytest.approx(x, abs=1e-5) for x in (0.18, 0.02, 0.0)]


def test_terms_of_nothing_keep_the_graph():
    logits = torch.zeros((0, 25), requires_grad=True)
    for loss in (
        class_loss(logits, torch.zeros(0, dtype=torch.int64)),
        mask_loss(logits.reshape(0, 5, 5, 1), torch.zeros(0, 5, 1), torch.zeros(0).long()),
        no_loss(torch.full((3,), float("nan"), requires_grad=True)),
    ):
        assert loss.item() == 0 and loss.requires_grad
    assert float(accuracy(logits, torch.zeros(0).long())) == 0


def test_class_weights_do_not_divide():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    labels, weights = torch.tensor([0, 1]), torch.tensor([10.0, 1.0])
    each = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    assert float(class_loss(logits, labels, weights)) == pytest.approx(
        float(each @ torch.tensor([10.0, 1.0])) / 2
    )


def test_mask_targets_of_a_box_beside_its_object():
    masks = torch.zeros((2, 40, 60), dtype=torch.uint8)
    masks[0, 10:20, 10:30] = 1
    boxes = torch.tensor([[10.0, 10, 30, 20], [10, 10, 50, 20], [40, 25, 55, 38]])
    found = mask_targets(boxes, torch.tensor([0, 0, 1]), masks, 28)
    assert found[0].all() and not found[2].any()
    assert found[1, :, :14].all() and not found[1, :, 14:].any()
    assert mask_targets(boxes[:0], torch.zeros(0).long(), masks, 28).shape == (0, 28, 28)


def test_collate_pads_to_the_largest():
    small = targets_of(*SOME, "vatrack")
    large = replace(small, masks=torch.ones(2, 96, 64, dtype=torch.uint8), amodal_masks=None)
    frames = [(torch.ones(3, *SIZE), small), (torch.ones(3, 96, 64), large)]
    bare = replace(small, masks=None, amodal_masks=None)
    batch = collate([PairSample(*frame, frames[0][0], bare, name="x") for frame in frames])
    assert batch.images.shape == (2, 3, 96, 96) and batch.ref_images.shape == (2, 3, *SIZE)
    assert batch.images.sum() == 2 * 3 * 64 * 96 and batch.names == ("x", "x")
    assert [t.masks.shape for t in batch.targets] == [(2, 96, 96)] * 2
    assert batch.targets[1].masks[:, :, 64:].sum() == 0
    assert batch.targets[0].amodal_masks.shape == (2, 96, 96)
    assert batch.targets[1].amodal_masks is None and batch.ref_targets[0].masks is None
    moved = batch.to("cpu")
    assert torch.equal(moved.targets[0].boxes, small.boxes)
    assert moved.targets[0].img_shape == SIZE
