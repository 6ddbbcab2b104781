"""Convolutions as inference runs them: pre-packed, with sum and ReLU inside where that is possible.

Letters: B or N frames, M results, C input and D output channels, H and W size of a map, K taps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stemseg.ops.winograd import Term, WinogradTaps, Workspace, target_size

#: Narrower 3x3 convolutions are faster in the direct form.
WINOGRAD_MIN_CHANNELS = 128


def has_fused_convolution() -> bool:
    """Whether this build of PyTorch has oneDNN's convolution with fused post-operations."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    )


def suits_winograd(weight: Tensor) -> bool:
    """Whether a (D, C, 3, 3, ...) convolution of stride 1 is faster in Winograd's form."""
    wide = min(weight.shape[:2]) >= WINOGRAD_MIN_CHANNELS
    return wide and weight.dtype == torch.float32 and weight.device.type == "cpu"


class Conv:
    """A 2D convolution with an optional sum and ReLU behind it.

    Args:
        weight: (D, C, k, k) on its device, in the dtype of the maps.
        bias: (D,) or None.
        stride: of the convolution; the padding keeps the size.
        workspace: of Winograd's form.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None, stride: int, workspace: Workspace
    ) -> None:
        self.weight = weight.contiguous(memory_format=torch.channels_last)
        self.num_out = weight.shape[0]
        self.bias = bias
        self.stride, self.padding = [stride] * 2, [weight.shape[-1] // 2] * 2
        self.winograd = None
        if weight.shape[-1] == 3 and stride == 1 and suits_winograd(weight):
            self.winograd = WinogradTaps(weight[None], workspace)
            self.weight = weight.new_empty(0)  # its transform is all that is needed
        self.fused = weight.device.type == "cpu" and has_fused_convolution()
        self.packed = False

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """relu(conv(x) + add), each part where asked for; `add` has the shape of the result."""
        if self.winograd is not None:
            return self._call_winograd(self.winograd, x, add, relu)
        if self.fused and (add is None or add.shape[2:] != (1, 1)):
            return self._call_fused(x, add, "relu" if relu else None)
        out = F.conv2d(x, self._plain_weight(), self.bias, self.stride, self.padding)
        return _finish(out, add, relu)

    def _call_winograd(
        self, winograd: WinogradTaps, x: Tensor, add: Tensor | None, relu: bool
    ) -> Tensor:
        B, _, H, W = x.shape
        out = x.new_empty((B, *target_size(H, W), self.num_out))  # B, H', W', D
        winograd(x, [Term(0, 0, 0, B)], out, bias=self.bias, relu=relu and add is None)
        result = out[:, :H, :W].permute(0, 3, 1, 2)  # B, D, H, W
        result = result.contiguous(memory_format=torch.channels_last)
        return result if add is None else _finish(result, add, relu)

    def _plain_weight(self) -> Tensor:
        return self.weight.to_dense() if self.packed else self.weight

    def _call_fused(self, x: Tensor, add: Tensor | None, activation: str | None) -> Tensor:
        if not self.packed:
            # The best layout depends on the size of the map, known now; other sizes work as well.
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            weight = self.weight.to_mkldnn()
            self.weight = reorder(weight, self.padding, self.stride, [1, 1], 1, list(x.shape))
            self.packed = True
        geometry: tuple[Any, ...] = (self.padding, self.stride, [1, 1], 1)
        operator = torch.ops.mkldnn._convolution_pointwise
        if add is None:
            return operator(x, self.weight, self.bias, *geometry, activation or "none", [], "")
        return operator.binary(
            x, add, self.weight, self.bias, *geometry, "add", None, activation, [], ""
        )


def _finish(out: Tensor, add: Tensor | None, relu: bool) -> Tensor:
    if add is not None:
        out = out.add_(add)
    return out.relu_() if relu else out


class TapConv:
    """A 3x3x3 convolution as a sum of 3x3 convolutions of frames, without bias.

    Args:
        weight: (D, C, 3, 3, 3) float32, the first of the last three axes is time.
        dtype: of the direct form. Winograd's stays in float32, which is faster on a CPU than the
            direct form in half precision.
        workspace: of Winograd's form.
    """

    def __init__(self, weight: Tensor, dtype: torch.dtype, workspace: Workspace) -> None:
        self.weight = weight.to(dtype)
        taps = weight.permute(2, 0, 1, 3, 4)  # K, D, C, 3, 3
        self.winograd = WinogradTaps(taps, workspace) if suits_winograd(weight) else None
        self._joined: dict[tuple[int, ...], Tensor] = {}

    def __call__(
        self, frames: Sequence[Tensor], terms: Sequence[Term], num_out: int
    ) -> list[Tensor]:
        """Frames (C, H, W) to M results (D, H, W), channels last; every result needs a term."""
        if self.winograd is None:
            return self._call_direct(frames, terms, num_out)
        _, H, W = frames[0].shape
        size = (*target_size(H, W), self.weight.shape[0])
        # Results of their own memory: some outlive the others.
        targets = [torch.empty(size) for _ in range(num_out)]
        self.winograd(frames, terms, targets)
        return [target[:H, :W].permute(2, 0, 1) for target in targets]

    def _call_direct(
        self, frames: Sequence[Tensor], terms: Sequence[Term], num_out: int
    ) -> list[Tensor]:
        """One convolution over all taps of a result: what is summed inside it is not rounded."""
        taps: list[dict[int, int]] = [{} for _ in range(num_out)]
        for tap, source, target, length in terms:
            for i in range(length):
                taps[target + i][tap] = source + i
        results = []
        for sources in taps:
            joined = torch.cat([frames[i].permute(1, 2, 0) for i in sources.values()], -1)
            x = joined.to(self.weight.dtype).permute(2, 0, 1)[None]  # 1, K*C, H, W
            results.append(F.conv2d(x, self._weight_of(tuple(sources)), padding=1)[0])
        return results

    def clip(self, frames: Sequence[Tensor]) -> list[Tensor]:
        """The whole convolution with padding 1: frames (C, H, W) of a clip to (D, H, W) each."""
        T = len(frames)
        terms = [Term(1, 0, 0, T)]
        if T > 1:
            terms += [Term(0, 0, 1, T - 1), Term(2, 1, 0, T - 1)]
        return self(frames, terms, T)

    def _weight_of(self, taps: tuple[int, ...]) -> Tensor:
        if taps not in self._joined:
            weight = torch.cat([self.weight[:, :, tap] for tap in taps], 1)  # D, K*C, 3, 3
            self._joined[taps] = weight.contiguous(memory_format=torch.channels_last)
        return self._joined[taps]
