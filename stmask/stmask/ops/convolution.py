"""Convolutions as inference runs them: packed once, with the sum and the ReLU inside on a CPU.

Letters: B images, C and D input and output channels, H and W size of the map.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def can_fuse(weight: Tensor) -> bool:
    """Whether this build has oneDNN's convolution with operations behind it, for such weights."""
    known = hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    return known and weight.device.type == "cpu" and torch.backends.mkldnn.is_available()


class InferenceConv:
    """A convolution, an optional addend and an optional ReLU.

    Args:
        weight: (D, C, kh, kw) in the dtype of the maps.
        bias: (D,) in the same dtype, or None.
        stride: of the convolution; odd kernels keep the size but for it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, stride: int = 1) -> None:
        kernel = weight.shape[2:]
        self.geometry: tuple[Any, ...] = ([k // 2 for k in kernel], [stride] * 2, [1, 1])
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = bias
        self.fuses, self.is_packed = can_fuse(weight), False

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """(B, C, H, W), channels last in memory, to relu(conv(x) + add) in the same layout."""
        padding, stride, dilation = self.geometry
        if not self.fuses:
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation)
            y = y if add is None else y + add
            return y.relu_() if relu else y
        self._pack(x)
        arguments = (self.bias, padding, stride, dilation, 1)
        operator = torch.ops.mkldnn._convolution_pointwise
        last = "relu" if relu else None
        if add is None:
            return operator(x, self.weight, *arguments, last or "none", [], "")
        return operator.binary(x, add, self.weight, *arguments, "add", None, last, [], "")

    def _pack(self, x: Tensor) -> None:
        """Orders the weights for maps of this size, which is known now; others work as well."""
        if self.is_packed:
            return
        padding, stride, dilation = self.geometry
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        size = list(x.shape)
        self.weight = reorder(self.weight.to_mkldnn(), padding, stride, dilation, 1, size)
        self.is_packed = True
