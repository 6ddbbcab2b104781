"""The convolutions of inference against their direct forms."""

import pytest
import torch
import torch.nn.functional as F

from stemseg.ops import convolution
from stemseg.ops.convolution import Conv, TapConv
from stemseg.ops.winograd import Term, WinogradTaps, Workspace, target_size


def relative(got, want):
    return ((got - want).abs().max() / want.abs().max()).item()


def maps(num, channels, height, width, seed=0):
    torch.manual_seed(seed)
    x = torch.randn(num, channels, height, width)
    return x.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 8), (13, 10)])
@pytest.mark.parametrize("chunk_mb", [1e-6, 48.0])
def test_winograd_of_one_tap(size, chunk_mb):
    x, weight, bias = maps(2, 5, *size), torch.randn(7, 5, 3, 3), torch.randn(7)
    out = torch.full((2, *target_size(*size), 7), torch.nan)
    operator = WinogradTaps(weight[None], Workspace(), chunk_mb=chunk_mb)
    operator(x, [Term(0, 0, 0, 2)], out, bias=bias, relu=True)
    got = out[:, : size[0], : size[1]].permute(0, 3, 1, 2)
    assert relative(got, F.conv2d(x, weight, bias, padding=1).relu()) < 1e-5


def test_result_without_a_term_is_zero():
    operator = WinogradTaps(torch.randn(1, 4, 4, 3, 3), Workspace())
    out = torch.full((2, 4, 4, 4), torch.nan)
    operator(maps(1, 4, 4, 4), [Term(0, 0, 1, 1)], out)
    assert not out[0].any() and out[1].any()


def test_workspace_is_reused_by_maps_of_other_sizes():
    workspace, weight = Workspace(), torch.randn(1, 6, 6, 3, 3)
    for side in (9, 5, 12):
        x, out = maps(1, 6, side, side, side), torch.empty(1, *target_size(side, side), 6)
        WinogradTaps(weight, workspace)(x, [Term(0, 0, 0, 1)], out)
        got = out[:, :side, :side].permute(0, 3, 1, 2)
        assert relative(got, F.conv2d(x, weight[0], padding=1)) < 1e-5


@pytest.mark.parametrize("min_channels", [1, 1000], ids=["winograd", "direct"])
@pytest.mark.parametrize("num_frames", [1, 2, 5])
def test_clip_equals_the_3d_convolution(monkeypatch, min_channels, num_frames):
    monkeypatch.setattr(convolution, "WINOGRAD_MIN_CHANNELS", min_channels)
    x, weight = maps(num_frames, 6, 7, 9), torch.randn(4, 6, 3, 3, 3)
    got = torch.stack(TapConv(weight, torch.float32, Workspace()).clip(list(x)), 1)
    want = F.conv3d(x.transpose(0, 1)[None], weight, padding=1)[0]
    assert relative(got, want) < 1e-5


@pytest.mark.parametrize("min_channels", [1, 1000], ids=["winograd", "direct"])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
@pytest.mark.parametrize("size", [(1, 1), (6, 8)])
def test_convolution_with_sum_and_relu(monkeypatch, min_channels, kernel, stride, size):
    monkeypatch.setattr(convolution, "WINOGRAD_MIN_CHANNELS", min_channels)
    weight, bias = torch.randn(8, 6, kernel, kernel), torch.randn(8)
    operator = Conv(weight, bias, stride, Workspace())
    for seed in (1, 2):  # the weight is packed at the first call
        x = maps(2, 6, *size, seed)
        plain = F.conv2d(x, weight, bias, stride, kernel // 2)
        add = torch.randn_like(plain)
        with torch.no_grad():
            assert relative(operator(x), plain) < 1e-5
            assert relative(operator(x, relu=True), plain.relu()) < 1e-5
            assert relative(operator(x, add=add, relu=True), (plain + add).relu()) < 1e-5


def test_without_fused_operators(monkeypatch):
    monkeypatch.setattr(convolution, "has_fused_convolution", lambda: False)
    x, weight = maps(1, 6, 6, 6), torch.randn(8, 6, 1, 1)
    operator = Conv(weight, None, 1, Workspace())
    assert relative(operator(x, relu=True), F.conv2d(x, weight).relu()) < 1e-5
