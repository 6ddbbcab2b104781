"""Products of rows with rows in float32, by the faster library at hand."""

from __future__ import annotations

import torch
from torch import Tensor


def row_products(left: Tensor, right: Tensor) -> Tensor:
    """left @ right.T of float32 matrices (m, c) and (n, c).

    PyTorch gives float32 products on a CPU to its BLAS, which on processors not of its maker
    reaches two thirds of what oneDNN does; oneDNN runs where its operator is in the build.
    """
    if left.device.type == "cpu" and has_fused_product():
        return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
    return left @ right.T


def has_fused_product() -> bool:
    """Whether this build of PyTorch has oneDNN's product of rows."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
