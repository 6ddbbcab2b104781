"""Attention and convolution of inference give what the plain forms give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from devis.model.attention import (
    DecoderTemporalAttn,
    MSDeformAttn,
    TemporalMSDeformAttn,
    other_frames,
)
from devis.model.mask_head import ModulatedDeformConv
from devis.ops import inference, native
from devis.ops.ms_deform_attn import plain_pytorch

SHAPES = [(9, 13), (5, 7), (1, 1)]
POSITIONS = sum(h * w for h, w in SHAPES)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    if native.load() is None:
        pytest.skip("no compiler")


def _filled(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Random weights that send samples far, some of them out of the image."""
    made = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=made) * 0.3
    return module.to(dtype)


def _inputs(frames: int, dim: int, size: int, queries: int = 21) -> list[Tensor]:
    made = torch.Generator().manual_seed(1)
    query = torch.randn(frames, queries, dim, generator=made)
    reference = torch.rand(frames, queries, len(SHAPES), size, generator=made)
    return [query, reference, torch.randn(frames, POSITIONS, dim, generator=made)]


def _both(layer: nn.Module, *inputs: object) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        fast = layer(*inputs)
        with plain_pytorch():
            return fast, layer(*inputs)


LAYERS = {
    "image": lambda dim, heads: MSDeformAttn(dim, 3, heads, 2),
    "encoder": lambda dim, heads: TemporalMSDeformAttn(dim, 3, heads, 2, other_frames(4), 3),
    "window": lambda dim, heads: TemporalMSDeformAttn(dim, 3, heads, 2, other_frames(4, 2), 3),
    "decoder": lambda dim, heads: DecoderTemporalAttn(
        dim, 3, heads, 4, other_frames(4), 1, instance_aware=True
    ),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize(
    ("dim", "heads", "dtype", "tolerance"),
    [
        (64, 2, torch.float64, 1e-12),
        (24, 3, torch.float64, 1e-12),
        (64, 2, torch.float32, 1e-5),
        (24, 3, torch.float32, 1e-5),
    ],
)
def test_attention(
    kind: str, size: int, dim: int, heads: int, dtype: torch.dtype, tolerance: float
) -> None:
    layer = _filled(LAYERS[kind](dim, heads), dtype)
    inputs = [x.to(dtype) for x in _inputs(4, dim, size)]
    got, want = _both(layer, *inputs, SHAPES)
    torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * want.abs().max().item())


def test_attention_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = _filled(LAYERS["encoder"](64, 2), torch.float64)
    inputs = [x.double() for x in _inputs(4, 64, 2)]
    want, _ = _both(layer, *inputs, SHAPES)
    for values in (1, 1 << 11, 1 << 14):
        monkeypatch.setattr(inference, "CHUNK_VALUES", values)
        torch.testing.assert_close(_both(layer, *inputs, SHAPES)[0], want, rtol=0, atol=1e-13)


def test_attention_leaves_padding_out() -> None:
    layer = _filled(LAYERS["image"](64, 2), torch.float64)
    inputs = [x.double() for x in _inputs(2, 64, 2)]
    padding = torch.rand(2, POSITIONS, generator=torch.Generator().manual_seed(2)) > 0.7
    got, want = _both(layer, *inputs, SHAPES, padding)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def test_attention_of_no_queries() -> None:
    layer = _filled(LAYERS["decoder"](64, 2), torch.float32)
    assert _both(layer, *_inputs(4, 64, 4, queries=0), SHAPES)[0].shape == (4, 0, 64)


def test_attention_under_autocast_is_near() -> None:
    layer = _filled(LAYERS["encoder"](64, 2), torch.float32)
    for parameter in layer.parameters():
        parameter.data *= 0.2
    inputs = _inputs(4, 64, 2)
    _, want = _both(layer, *inputs, SHAPES)
    with torch.autocast("cpu", torch.bfloat16):
        got, _ = _both(layer, *inputs, SHAPES)
    error = (got.float() - want).square().mean().sqrt() / want.std()
    assert error < 0.03


@pytest.mark.parametrize(("cin", "cout"), [(24, 16), (17, 1), (8, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_convolution(
    cin: int, cout: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = _filled(ModulatedDeformConv(cin, cout), dtype)
    made = torch.Generator().manual_seed(3)
    x = torch.randn(3, cin, 7, 11, dtype=dtype, generator=made)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for values in (1 << 20, 9 * cin * 10):
        monkeypatch.setattr(inference, "CHUNK_VALUES", values)
        got, want = _both(layer, x)
        scale = want.abs().max().item()
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance * scale)


def test_convolution_of_no_images() -> None:
    layer = _filled(ModulatedDeformConv(8, 5), torch.float32)
    assert _both(layer, torch.zeros(0, 8, 4, 4))[0].shape == (0, 5, 4, 4)


def test_gradients_take_the_other_forms() -> None:
    x = torch.zeros(1)
    assert not inference.can_infer(x)
    with torch.no_grad():
        assert inference.can_infer(x)
        with plain_pytorch():
            assert not inference.can_infer(x)
