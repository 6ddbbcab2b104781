"""Convolutions as inference runs them: packed once, with the sum and the ReLU inside on a CPU.

Letters: B images, C and D input and output channels, H and W size of the map.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.ops.winograd import Winograd

#: Maps and weights from which on a 3x3 convolution in float32 is faster in Winograd's form.
WINOGRAD_PIXELS, WINOGRAD_CHANNELS = 448, 128
#: Sizes of maps for which a convolution keeps its weights ready.
MAX_SIZES = 8


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
        self.fuses = can_fuse(weight)
        narrowest = min(weight.shape[:2])
        self.suits_winograd = (
            (weight.device.type, weight.dtype, stride) == ("cpu", torch.float32, 1)
            and tuple(kernel) == (3, 3)
            and narrowest >= WINOGRAD_CHANNELS
        )
        self._winograd: Winograd | None = None
        self._packed: dict[tuple[int, int], Tensor] = {}

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """(B, C, H, W), channels last in memory, to relu(conv(x) + add) in the same layout."""
        padding, stride, dilation = self.geometry
        if self.suits_winograd and x.numel() // x.shape[1] >= WINOGRAD_PIXELS:
            return _finish(self._by_tiles(x), add, relu=relu)
        if not self.fuses:
            y = F.conv2d(x, self.weight, self.bias, stride, padding, dilation)
            return _finish(y, add, relu=relu)
        weight = self._packed.get((x.shape[2], x.shape[3]))
        if weight is None:
            weight = self._pack(x)
        arguments = (self.bias, padding, stride, dilation, 1)
        operator = torch.ops.mkldnn._convolution_pointwise
        last = "relu" if relu else None
        if add is None:
            return operator(x, weight, *arguments, last or "none", [], "")
        return operator.binary(x, add, weight, *arguments, "add", None, last, [], "")

    def _pack(self, x: Tensor) -> Tensor:
        """The weights in the order that is best for maps of this size.

        With the order for another size the result is the same, up to a hundred times later.
        """
        padding, stride, dilation = self.geometry
        if len(self._packed) >= MAX_SIZES:
            self._packed.pop(next(iter(self._packed)))
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        dense = self._dense().to_mkldnn()
        weight = reorder(dense, padding, stride, dilation, 1, list(x.shape))
        # The plain weights are not kept: those packed last hold the same numbers.
        self.weight = self._packed[x.shape[2], x.shape[3]] = weight
        return weight

    def _dense(self) -> Tensor:
        return self.weight.to_dense() if self.weight.is_mkldnn else self.weight

    def _by_tiles(self, x: Tensor) -> Tensor:
        if self._winograd is None:
            self._winograd = Winograd(self._dense(), self.bias)
        return self._winograd(x)


def _finish(y: Tensor, add: Tensor | None, *, relu: bool) -> Tensor:
    if add is not None:
        y = y.add_(add)
    return y.relu_() if relu else y
