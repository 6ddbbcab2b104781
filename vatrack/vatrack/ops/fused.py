"""Convolutions and linear layers with weights packed ahead and the ReLU inside, oneDNN on a CPU.

Where the build of PyTorch has no such operator, the same steps one after the other.
Letters: B images, C and D input and output channels, h and w size of the map, k of the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class FusedConv:
    """A convolution of odd kernel with half of it as padding, a sum and a ReLU where wanted.

    Args:
        weight: (D, C / groups, k, k) in the dtype of the maps.
        bias: (D,) or None.
        stride: of the convolution.
        groups: of the convolution.
        num_sizes: how many sizes of maps to keep packed weights for.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        stride: int = 1,
        groups: int = 1,
        num_sizes: int = 6,
    ) -> None:
        #: As they were packed last, where they were: they are not kept twice.
        self.weight = weight.detach().contiguous(memory_format=torch.channels_last)
        self.bias = None if bias is None else bias.detach()
        half, self.groups = weight.shape[2] // 2, groups
        self.steps = [half, half], [stride, stride], [1, 1]  # padding, stride, dilation
        self.num_sizes = num_sizes
        self.packed: dict[torch.Size, Tensor] = {}
        self.can_fuse = _has(weight, "_convolution_pointwise")

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """(B, C, h, w) to relu(conv(x) + add), channels last in memory."""
        if not self.can_fuse:
            y = F.conv2d(x, self.weight, self.bias, self.steps[1], self.steps[0], 1, self.groups)
            y = y if add is None else y.add_(add)
            return y.relu_() if relu else y
        operator: Any = torch.ops.mkldnn._convolution_pointwise
        last, settings = "relu" if relu else None, (self.bias, *self.steps, self.groups)
        weight = self._packed_for(x.shape)
        if add is None:
            return operator(x, weight, *settings, last or "none", [], "")
        return operator.binary(x, add, weight, *settings, "add", None, last, [], "")

    def _packed_for(self, shape: torch.Size) -> Tensor:
        """Weights in the order for maps of a size; in another one the operator can take ages."""
        found = self.packed.get(shape)
        if found is None:
            while len(self.packed) >= self.num_sizes:
                del self.packed[next(iter(self.packed))]
            plain = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            found = reorder(plain.to_mkldnn(), *self.steps, self.groups, list(shape))
            self.weight = self.packed[shape] = found
        return found


class FusedLinear:
    """A linear layer, with a ReLU where wanted.

    Args:
        weight: (D, C) in the dtype of the rows.
        bias: (D,) or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.weight, self.bias = weight.detach().contiguous(), bias
        self.can_fuse = _has(weight, "_linear_pointwise")
        if self.can_fuse:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(self.weight, None)

    def __call__(self, x: Tensor, *, relu: bool = False) -> Tensor:
        """(n, C) to (n, D)."""
        if not self.can_fuse or not len(x):
            weight = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
            y = F.linear(x, weight, self.bias)
            return y.relu_() if relu else y
        last = "relu" if relu else "none"
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, last, [], "")


def _has(weight: Tensor, operator: str) -> bool:
    """Whether this build has an operator of oneDNN for such weights."""
    known = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    if weight.dtype == torch.bfloat16:
        known = known and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return known and hasattr(torch.ops.mkldnn, operator)
