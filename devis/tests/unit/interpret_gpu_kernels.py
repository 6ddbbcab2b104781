"""Compares the GPU kernels, run by Triton's interpreter on the CPU, with the plain form."""

from __future__ import annotations

import torch

from devis.ops import gpu
from devis.ops.ms_deform_attn import grid_sample_form

SHAPES = [(5, 7), (3, 4), (1, 1)]
SIZES = [side for shape in SHAPES for side in shape]
ROWS = sum(h * w for h, w in SHAPES)


def compare(channels: int, dtype: torch.dtype, tolerance: float) -> None:
    """Output and gradients of samples inside, at the border and outside; items share no rows."""
    made = torch.Generator().manual_seed(channels)
    start = torch.tensor([[0, 35, 47], [ROWS, ROWS + 35, ROWS + 47]])
    rows = torch.randn(2 * ROWS, 2, channels, dtype=dtype, generator=made)
    locations = torch.rand(2, 37, 2, 3, 2, 2, dtype=dtype, generator=made) * 1.6 - 0.3
    locations[0, 0, 0, 0, 0] = torch.nan
    weights = torch.rand(2, 37, 2, 3, 2, dtype=dtype, generator=made)
    leaves = [x.requires_grad_() for x in (rows, locations.nan_to_num(-9.0), weights)]
    want = grid_sample_form(leaves[0], SHAPES, start, leaves[1], leaves[2])
    inputs = (rows.detach(), SIZES, start, locations, weights.detach())
    torch.testing.assert_close(gpu.forward(*inputs), want, rtol=tolerance, atol=tolerance)
    grad = torch.randn(want.shape, dtype=dtype, generator=made)
    expected = torch.autograd.grad(want, leaves, grad)
    for got, wanted in zip(gpu.backward(grad, *inputs), expected, strict=True):
        scale = wanted.abs().max().item()
        torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance * scale)


if __name__ == "__main__":
    compare(4, torch.float64, 1e-12)
    compare(24, torch.float64, 1e-12)
    compare(32, torch.float32, 1e-5)
