"""The deployed form is the same function as the network."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import conv2d

from stmask.model.deployed import DeployedNetwork, can_deploy
from stmask.model.deployed_backbone import channels_last
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from stmask.ops.convolution import InferenceConv
from stmask.ops.deform_conv import SampledConv, direct_deform_conv2d
from stmask.ops.winograd import Winograd

SMALL = {
    "blocks": (1, 2, 1, 1),
    "stem_width": 8,
    "fpn_channels": 16,
    "embed_dim": 6,
    "num_classes": 5,
    "num_prototypes": 4,
    "temporal_channels": (8, 8, 16),
}
VARIANTS = {
    "fca": {},
    "ali": {"fcb": "ali", "calibrate_class": True},
    "ada": {"fcb": "ada", "calibrate_class": True},
    "first revision": {
        **{"scales_per_anchor": 2, "dcn_interval": 3, "direct_calibration": True},
        **{"fcb": "ada", "calibrate_class": True, "temporal_fusion": False},
        **{f"{name}_depth": 1 for name in ("conf", "bbox", "mask", "track")},
    },
    "no towers": {"mask_depth": 0, "track_depth": 0, "conv_downsample": False},
    "darknet": {"backbone": "darknet53", "blocks": (1, 1, 1, 1, 1), "relu_downsample": True},
}


def network(**changes):
    torch.manual_seed(0)
    net = STMask(NetworkSettings(**{**SMALL, **changes})).eval()
    for name, value in net.named_parameters():
        if "conv_offset_mask" in name:
            torch.nn.init.normal_(value, std=0.2)
    for name, value in net.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return net


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [(64, 96), (40, 72)])
@torch.inference_mode()
def test_same_predictions(name, size):
    net = network(**VARIANTS[name])
    fast, images = DeployedNetwork(net), torch.randn(2, 3, *size)
    want, got = net(images), fast(images)
    for field in ("loc", "conf_logits", "centerness", "proto", "fpn_feat", "t2s_feat", "priors"):
        torch.testing.assert_close(getattr(got, field), getattr(want, field), rtol=1e-4, atol=1e-5)
    assert got.levels == want.levels
    generator = torch.Generator().manual_seed(0)
    for rows in (
        torch.randperm(want.loc.shape[1], generator=generator)[:40],
        torch.arange(want.loc.shape[1]),
        torch.tensor([3, 3, 0]),
        torch.zeros(0, dtype=torch.long),
    ):
        for image in range(2):
            for field in ("mask_coeff", "track"):
                a, b = getattr(got, field)[image][rows], getattr(want, field)[image][rows]
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    if net.settings.temporal_fusion:
        rois = torch.rand(3, net.settings.temporal_in_channels, 7, 7)
        for a, b in zip(fast.TemporalNet(rois), net.TemporalNet(rois), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_images_of_several_sizes_one_after_another():
    net = network()
    fast = DeployedNetwork(net)
    for size in ((64, 96), (96, 64), (64, 96)):
        images = torch.randn(1, 3, *size)
        torch.testing.assert_close(fast(images).loc, net(images).loc, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_half_precision_is_near():
    net = network(**VARIANTS["ada"])
    images = torch.randn(1, 3, 64, 96)
    want, got = net(images), DeployedNetwork(net, torch.bfloat16)(images)
    rows = torch.arange(want.loc.shape[1])
    assert got.loc.dtype == got.track[0][rows].dtype == torch.float32
    assert (got.conf_logits - want.conf_logits).abs().max() < 0.1
    assert (got.mask_coeff[0][rows] - want.mask_coeff[0]).abs().max() < 0.1


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((3, 5), 1)])
@pytest.mark.parametrize("modulated", [False, True])
def test_sampled_convolution_is_the_definition(monkeypatch, kernel, stride, modulated):
    monkeypatch.setattr("stmask.ops.deform_conv.CHUNK_VALUES", 200)
    generator = torch.Generator().manual_seed(1)
    size = [-(-n // stride) for n in (6, 7)]
    taps = kernel[0] * kernel[1]

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    x, weight, bias = draw(2, 3, 6, 7), draw(4, 3, *kernel), draw(4)
    offset = 3 * draw(2, 2 * taps, *size)
    offset[0, 0, 0, 0], offset[0, 1, 1, 1] = 1e30, -1.0
    mask = draw(2, taps, *size).sigmoid() if modulated else None
    geometry = ((stride, stride), (kernel[0] // 2, kernel[1] // 2), (1, 1))
    want = direct_deform_conv2d(x, offset, weight, bias, *geometry, mask)
    got = SampledConv(weight, bias, stride)(x, offset, mask)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_what_has_no_deployed_form():
    net = network(share_head=False)
    assert not can_deploy(net)
    with pytest.raises(ValueError, match="no deployed form"):
        DeployedNetwork(net)


@settings(deadline=None, max_examples=20)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 11),
    st.integers(1, 11),
    st.sampled_from([1, 2000, 1 << 20]),
)
def test_convolution_by_tiles_is_a_convolution(batch, channels, height, width, chunk):
    generator = torch.Generator().manual_seed(height)
    x = torch.randn(batch, channels, height, width, generator=generator)
    weight, bias = torch.randn(2, channels, 3, 3, generator=generator), torch.randn(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stmask.ops.winograd.CHUNK_VALUES", chunk)
        got = Winograd(weight, bias)(x)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, conv2d(x, weight, bias, padding=1), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("form", ["tiles", "fused", "plain"])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("with_add", [False, True])
def test_every_form_of_a_convolution(monkeypatch, form, relu, with_add):
    monkeypatch.setattr("stmask.ops.convolution.WINOGRAD_PIXELS", 1)
    monkeypatch.setattr("stmask.ops.convolution.WINOGRAD_CHANNELS", 1 if form == "tiles" else 99)
    weight, bias = torch.randn(6, 5, 3, 3), torch.randn(6)
    conv = InferenceConv(weight, bias)
    assert conv.suits_winograd == (form == "tiles")
    conv.fuses &= form == "fused"
    for i in range(12):  # more sizes than weights are kept for
        x, add = torch.randn(2, 5, 4 + i, 7), torch.randn(2, 6, 4 + i, 7) if with_add else None
        want = conv2d(x, weight, bias, padding=1) + (0 if add is None else add)
        got = conv(channels_last(x), add=None if add is None else channels_last(add), relu=relu)
        torch.testing.assert_close(got, want.relu() if relu else want, rtol=1e-4, atol=1e-4)
