"""Sizes, gradients and errors of the network and its parts."""

import pytest
import torch
import torch.nn.functional as F

from stemseg.checkpoint import build_network
from stemseg.model.coordinates import MODE_DIMS, coordinate_offset
from stemseg.model.decoders import NUM_POOLS, SemsegDecoder, TimePool, TrunkSizes
from stemseg.model.fpn import FPN
from stemseg.model.network import STEmSeg
from stemseg.model.resnet import Bottleneck, FrozenBatchNorm


@pytest.mark.parametrize("num_frames", list(NUM_POOLS))
@pytest.mark.parametrize("pool", ["avg", "max"])
def test_every_clip_length_keeps_its_frames(num_frames, pool):
    sizes = TrunkSizes(num_frames, 4, (4, 4, 4, 4), num_groups=2, pool=pool)
    decoder = SemsegDecoder(sizes, 3)
    features = [torch.randn(1, 4, num_frames, side, side) for side in (8, 4, 2, 1)]
    assert decoder(features).shape == (1, 4, num_frames, 8, 8)


def test_clip_of_another_length_is_refused(tiny_config):
    network = build_network(tiny_config())
    with pytest.raises(ValueError, match="3 frames"):
        network(torch.zeros(1, 3, 3, 32, 32))


def test_frames_must_be_padded(tiny_config):
    with pytest.raises(ValueError, match="multiples of 32"):
        build_network(tiny_config())(torch.zeros(1, 2, 3, 30, 32))


@pytest.mark.parametrize("kind", ["avg", "max"])
def test_pooling_of_small_maps_is_that_of_larger_ones(kind):
    x = torch.rand(1, 2, 4, 2, 2)
    pool = F.avg_pool3d if kind == "avg" else F.max_pool3d
    padded = F.pad(x, [1] * 6, value=0.0 if kind == "avg" else -torch.inf)
    assert torch.equal(TimePool(kind)(x), pool(padded, 3, (2, 1, 1)))
    large = torch.rand(1, 2, 4, 5, 5)
    assert torch.equal(TimePool(kind)(large), pool(large, 3, (2, 1, 1), 1))


@pytest.mark.parametrize("mode", list(MODE_DIMS))
def test_every_mode_makes_a_network(tiny_config, mode):
    dims, num_free = MODE_DIMS[mode]
    stds = [0.3] * num_free or ["[]"]
    cfg = tiny_config(
        MODEL__EMBEDDING_DIM_MODE=mode,
        MODEL__EMBEDDINGS__EMBEDDING_SIZE=dims,
        TRAINING__LOSSES__EMBEDDING__FREE_DIM_STDS=stds,
    )
    network = build_network(cfg)
    out = network(torch.randn(1, 2, 3, 32, 64))
    assert out.embeddings.shape == (1, dims, 2, 8, 16)
    assert out.raw_bandwidths.shape == (1, dims - num_free, 2, 8, 16)
    assert network.free_dim_bandwidths.shape == (1, num_free)
    key = "embedding_loss_criterion.free_dim_bandwidths"
    assert (key in network.state_dict()) == (num_free > 0)


def test_seediness_comes_from_one_head(tiny_config):
    own = build_network(tiny_config())
    shared = build_network(tiny_config(MODEL__USE_SEEDINESS_HEAD="false"))
    assert own.embedding_head.conv_seediness is None and shared.seediness_head is None
    for network in (own, shared):
        seediness = network(torch.randn(1, 2, 3, 32, 32)).seediness
        assert seediness.shape == (1, 1, 2, 8, 8)
        assert seediness.min() >= 0 and seediness.max() <= 1


def test_time_scale_of_the_checkpoint_is_used(tiny_config):
    cfg = tiny_config(
        MODEL__EMBEDDING_DIM_MODE="xyt",
        MODEL__EMBEDDINGS__EMBEDDING_SIZE=3,
        TRAINING__LOSSES__EMBEDDING__FREE_DIM_STDS="[]",
    )
    head = build_network(cfg).embedding_head
    head.time_scale.fill_(0.25)
    placed = head.place(torch.zeros(1, 3, 2, 4, 4))
    assert placed[0, 0, :, 0, 0].tolist() == [-0.25, 0.25]


def test_wide_maps_reach_further_to_the_sides():
    offset = coordinate_offset("xy", (1, 2, 6), 1.0)
    assert offset[1, 0, 0, [0, -1]].tolist() == [-3, 3]
    assert offset[0, 0, :, 0].tolist() == [-1, 1]
    with pytest.raises(ValueError, match="unknown embedding mode"):
        coordinate_offset("yx", (1, 1, 1), 1.0)


@pytest.mark.parametrize(("stage", "num_frozen"), [(-1, 0), (0, 0), (1, 1), (2, 2), (5, 5)])
def test_freezing_of_stages(tiny_config, stage, num_frozen):
    body = build_network(tiny_config(MODEL__BACKBONE__FREEZE_AT_STAGE=stage)).backbone.body
    parts = [body.stem, *body.stages()]
    trained = [any(p.requires_grad for p in part.parameters()) for part in parts]
    assert trained == [i >= num_frozen for i in range(5)]


def test_frozen_backbone_gets_no_gradient(tiny_config):
    network = build_network(tiny_config(TRAINING__FREEZE_BACKBONE="true"))
    out = network(torch.randn(1, 2, 3, 32, 32))
    (out.embeddings.sum() + out.seediness.sum()).backward()
    assert all(p.grad is None for p in network.backbone.parameters())
    assert network.embedding_head.conv_4.weight.grad is not None


def test_gradient_checkpointing_changes_nothing(tiny_config):
    torch.manual_seed(0)
    network = build_network(tiny_config()).train()
    frames, gradients = torch.randn(1, 2, 3, 32, 32), []
    for enabled in (False, True):
        network.set_gradient_checkpointing(enabled)
        network.zero_grad()
        network(frames).embeddings.square().sum().backward()
        gradients.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    assert all(torch.allclose(a, b) for a, b in zip(*gradients, strict=True))


def test_frozen_norm_has_no_parameters_and_no_epsilon():
    norm = FrozenBatchNorm(2)
    norm.running_var.copy_(torch.tensor([4.0, 1e-12]))
    assert not list(norm.parameters())
    assert norm(torch.ones(1, 2, 1, 1)).flatten().tolist() == pytest.approx([0.5, 1e6])


def test_stride_may_sit_in_the_3x3_convolution():
    block = Bottleneck(4, 2, 8, 2, stride_in_1x1=False, norm="gn")
    assert (block.conv1.stride, block.conv2.stride) == ((1, 1), (2, 2))
    assert block(torch.randn(1, 4, 8, 8)).shape == (1, 8, 4, 4)


def test_pyramid_with_norm_and_relu():
    fpn = FPN([4, 8], 32, use_gn=True, use_relu=True)
    fine, coarse = fpn([torch.randn(1, 4, 8, 8), torch.randn(1, 8, 4, 4)])
    assert fine.shape == (1, 32, 8, 8) and coarse.min() >= 0
    assert fpn.get_submodule("fpn_inner1.0").bias is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"MODEL__SEMSEG__FEATURE_SCALE": [32, 16, 8, 4]}, "FEATURE_SCALE"),
        ({"MODEL__EMBEDDINGS__SCALE": [4, 8, 16, 32]}, "SCALE"),
    ],
)
def test_other_orders_of_scales_are_refused(tiny_config, changes, message):
    with pytest.raises(ValueError, match=message):
        STEmSeg(tiny_config(**changes))
