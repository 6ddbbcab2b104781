"""The network as it runs in inference against the network as it was trained."""

import pytest
import torch

from stemseg.checkpoint import build_network
from stemseg.inference.networks import PlainNetwork
from stemseg.model.deployed import DeployedNetwork
from stemseg.model.resnet import FrozenBatchNorm
from stemseg.ops import convolution

FROZEN = {"MODEL__RESNETS__NORM": "frozen_bn"}


@pytest.fixture(params=[1, 1000], ids=["winograd", "direct"])
def _any_form(request, monkeypatch):
    monkeypatch.setattr(convolution, "WINOGRAD_MIN_CHANNELS", request.param)


def make_network(tiny_config, **changes):
    torch.manual_seed(5)
    network = build_network(tiny_config(**changes)).eval()
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            module.weight.uniform_(0.5, 1.5)
            module.bias.normal_(0, 0.1)
    return network


def check(network, clips, *, num_frames, tolerance=1e-5, dtype=torch.float32):
    """Decodes clips (lists of frames' numbers) in order, each with what the last ones kept."""
    images = torch.randn(num_frames, 3, 64, 96)
    plain, fast = PlainNetwork(network), DeployedNetwork(network, dtype)
    with torch.inference_mode():
        of_plain = plain.encode_frames(images)
        of_fast = [f for part in images.split(2) for f in fast.encode_frames(part)]
        for clip in clips:
            want = plain.decode_clips([[of_plain[t] for t in clip]])
            got = fast.decode_clips([[of_fast[t] for t in clip]])
            for a, b in zip(got, want, strict=True):
                assert (a is None) == (b is None)
                if a is not None and b is not None:
                    assert a.shape == b.shape and a.dtype == torch.float32
                    assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.usefixtures("_any_form")
@pytest.mark.parametrize("num_frames", [2, 4, 8, 16])
def test_overlapping_clips(tiny_config, num_frames):
    network = make_network(tiny_config, INPUT__NUM_FRAMES=num_frames, **FROZEN)
    step = num_frames // 2
    clips = [list(range(first, first + num_frames)) for first in (0, step, 2 * step)]
    check(network, clips, num_frames=2 * num_frames)


@pytest.mark.usefixtures("_any_form")
def test_clips_in_any_order_with_repeated_frames(tiny_config):
    network = make_network(tiny_config, INPUT__NUM_FRAMES=4, **FROZEN)
    clips = [[0, 0, 0, 1], [1, 2, 3, 4], [0, 1, 2, 3], [3, 4, 5, 5], [2, 3, 4, 5], [5, 4, 3, 2]]
    check(network, clips, num_frames=6)


@pytest.mark.parametrize(
    "changes",
    [
        {"MODEL__USE_SEEDINESS_HEAD": "false"},
        {"MODEL__USE_SEMSEG_HEAD": "false"},
        {"MODEL__EMBEDDINGS__NORMALIZATION_LAYER": "none"},
        {"MODEL__SEMSEG__POOL_TYPE": "max", "INPUT__NUM_FRAMES": 4},
        {"MODEL__EMBEDDINGS__INTER_CHANNELS": [8, 16, 12, 20]},
        {"MODEL__RESNETS__NORM": "gn"},
        {"MODEL__FPN__USE_RELU": "true"},
        {"MODEL__RESNETS__STRIDE_IN_1X1": "false"},
    ],
)
def test_every_kind_of_network(tiny_config, changes):
    network = make_network(tiny_config, **{**FROZEN, **changes})
    num_frames = network.cfg.INPUT.NUM_FRAMES
    check(network, [list(range(num_frames))], num_frames=num_frames)


def test_several_clips_at_once(tiny_config):
    network = make_network(tiny_config, **FROZEN)
    fast = DeployedNetwork(network)
    frames = fast.encode_frames(torch.randn(3, 3, 64, 96))
    both = fast.decode_clips([frames[:2], frames[1:]])
    single = fast.decode_clips([frames[1:]])
    assert torch.equal(both.embeddings[1:], single.embeddings)


@pytest.mark.usefixtures("_any_form")
def test_half_precision_is_near(tiny_config):
    network = make_network(tiny_config, **FROZEN)
    check(network, [[0, 1], [1, 2]], num_frames=3, tolerance=0.1, dtype=torch.bfloat16)


def test_the_network_itself_is_not_changed(tiny_config):
    network = make_network(tiny_config, **FROZEN)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    DeployedNetwork(network, torch.bfloat16).encode_frames(torch.randn(1, 3, 64, 64))
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_clip_of_another_length_is_refused(tiny_config):
    fast = DeployedNetwork(make_network(tiny_config, **FROZEN))
    with pytest.raises(ValueError, match="clip of 1 frames"):
        fast.decode_clips([fast.encode_frames(torch.randn(1, 3, 64, 64))])
