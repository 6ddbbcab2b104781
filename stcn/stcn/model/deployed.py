"""The network as it runs in inference: folded, pre-packed, fused, one dtype (spec section 9).

The same function as `STCN` up to rounding. Batch norm is folded into the convolutions; on a CPU
their weights are packed once into oneDNN's blocked layout, and bias, shortcut and ReLU are applied
by the convolution itself instead of by passes over memory. Where that operator is missing (other
devices and builds) the plain convolution runs instead. What does not depend on the object is
computed once for all objects.

Letters in shape comments: B batch, K objects, H W image size, h w = H/16 W/16.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stcn.model.blocks import CBAM, ResBlock
from stcn.model.decoder import UpBlock, upsample
from stcn.model.fold import fold_batch_norm
from stcn.model.network import STCN, FrameFeatures
from stcn.model.resnet import BasicBlock, Bottleneck
from stcn.ops.winograd import Winograd3x3

#: Narrower convolutions are faster in the direct form.
WINOGRAD_MIN_CHANNELS = 256


def has_fused_convolution() -> bool:
    """Whether this build of PyTorch has oneDNN's convolution with fused post-operations."""
    return torch.backends.mkldnn.is_available() and hasattr(
        torch.ops.mkldnn, "_convolution_pointwise"
    )


class Conv:
    """A convolution with an optional sum and ReLU behind it.

    Args:
        weight: (out, in, kh, kw) on its device, in the dtype of the activations.
        bias: (out,) or None.
        like: where stride and padding come from.
        rounded_winograd: allow Winograd's form in bf16 too, whose rounding is four times that of
            the direct form: for the mask side, never for what is matched or remembered.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        like: nn.Conv2d,
        *,
        rounded_winograd: bool = False,
    ) -> None:
        self.weight, self.bias = weight, bias
        self.stride: list[int] = [int(n) for n in like.stride]
        self.padding: list[int] = [int(n) for n in like.padding]
        exact = weight.dtype == torch.float32
        suits = (exact or rounded_winograd) and _suits_winograd(weight, like)
        self.winograd = Winograd3x3(weight, bias) if suits else None
        self.fused = weight.device.type == "cpu" and has_fused_convolution()
        self.packed = False

    def __call__(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """relu(conv(x) + add), each part where asked for; `add` has the shape of the result."""
        if self.winograd is not None:
            return self.winograd(x, add=add, relu=relu)
        if self.fused:
            return self._call_fused(x, add, "relu" if relu else None)
        out = F.conv2d(x, self.weight, self.bias, tuple(self.stride), tuple(self.padding))
        if add is not None:
            out = out.add_(add)
        return out.relu_() if relu else out

    def _call_fused(self, x: Tensor, add: Tensor | None, activation: str | None) -> Tensor:
        if not self.packed:
            # The best layout depends on the image size, known now; other sizes work as well.
            reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
            self.weight = reorder(
                self.weight.to_mkldnn(), self.padding, self.stride, [1, 1], 1, list(x.shape)
            )
            self.packed = True
        geometry: tuple[Any, ...] = (self.padding, self.stride, [1, 1], 1)
        operator = torch.ops.mkldnn._convolution_pointwise
        if add is None:
            return operator(x, self.weight, self.bias, *geometry, activation or "none", [], "")
        if add.shape[2:] == (1, 1):
            # A single pixel has no memory order to tell; PyTorch 2.11 refuses to sum it.
            out = operator(x, self.weight, self.bias, *geometry, "none", [], "").add_(add)
            return out.relu_() if activation else out
        return operator.binary(
            x, add, self.weight, self.bias, *geometry, "add", None, activation, [], ""
        )


class DeployedSTCN:
    """Runs a network for inference; has the methods of `STCN` that the engine calls.

    Args:
        network: in eval mode; it is not changed.
        dtype: of weights and activations; keys leave in float32 for the matching.
    """

    def __init__(self, network: STCN, dtype: torch.dtype = torch.float32) -> None:
        self.config = network.config
        self.dtype = dtype
        self.device = next(network.parameters()).device
        folded = fold_batch_norm(network).requires_grad_(False)
        folded = folded.to(dtype).to(memory_format=torch.channels_last)
        key, value, decoder = folded.key_encoder, folded.value_encoder, folded.decoder
        self.key_stem = _conv(key.conv1)
        self.key_stages = [_stage(stage) for stage in (key.res2, key.layer2, key.layer3)]
        self.key_proj = _conv(folded.key_proj.key_proj)
        self.key_comp = _conv(folded.key_comp, mask_side=True)
        self.value_stem = _conv(value.conv1)
        self.value_blocks = [
            block for s in (value.layer1, value.layer2, value.layer3) for block in _stage(s)
        ]
        trunk_width = self.config.value_widths[2]
        self.fuse1 = _SplitResBlock(value.fuser.block1, trunk_width)
        self.fuse2 = _ResBlock(value.fuser.block2)
        self.attention: CBAM | None = value.fuser.attention
        self.compress = _SplitResBlock(decoder.compress, self.config.value_dim, mask_side=True)
        self.up_16_8, self.up_8_4 = _UpBlock(decoder.up_16_8), _UpBlock(decoder.up_8_4, relu=True)
        self.pred = _conv(decoder.pred)

    def encode_key(self, frames: Tensor) -> FrameFeatures:
        """Everything about frames (B, 3, H, W) that does not depend on masks."""
        x = self._enter(frames)
        x = F.max_pool2d(self.key_stem(x, relu=True), 3, 2, 1)  # B, stem, H/4, W/4
        features = []
        for stage in self.key_stages:
            for block in stage:
                x = block(x)
            features.append(x)
        f4, f8, f16 = features
        return FrameFeatures(self.key_proj(f16).float(), self.key_comp(f16), f16, f8, f4)

    def encode_value(self, frame: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """Memory values (K, value_dim, h, w) of soft masks (K, 1, H, W) of one frame."""
        planes = [frame.expand(len(masks), -1, -1, -1), masks]
        if self.config.others_channel:
            planes.append(masks.sum(0, keepdim=True) - masks if len(masks) > 1 else masks * 0)
        x = self.value_stem(self._enter(torch.cat(planes, 1)), relu=True)
        x = F.max_pool2d(x, 3, 2, 1)
        for block in self.value_blocks:
            x = block(x)
        x = self.fuse1(x, f16)
        if self.attention is not None:
            x = x + self.attention(x)
        return self.fuse2(x)

    def decode(self, readout: Tensor, features: FrameFeatures) -> Tensor:
        """Mask logits (K, 1, H, W) float32 of K read-outs (K, value_dim, h, w)."""
        x = self.compress(self._enter(readout), features.thin)
        x = self.up_16_8(features.f8, x)  # K, widths[1], 2h, 2w
        x = self.up_8_4(features.f4, x)  # K, widths[2], 4h, 4w
        return upsample(self.pred(x).float(), 4)  # K, 1, H, W

    def _enter(self, x: Tensor) -> Tensor:
        return x.to(self.dtype, memory_format=torch.channels_last)


def _suits_winograd(weight: Tensor, like: nn.Conv2d) -> bool:
    plain = like.kernel_size == (3, 3) and like.stride == (1, 1) and like.padding == (1, 1)
    wide = min(weight.shape[:2]) >= WINOGRAD_MIN_CHANNELS
    known = weight.dtype in (torch.float32, torch.bfloat16)
    return plain and wide and known and weight.device.type == "cpu"


def _conv(conv: nn.Conv2d, *, mask_side: bool = False) -> Conv:
    return Conv(conv.weight, conv.bias, conv, rounded_winograd=mask_side)


def _stage(stage: nn.Sequential) -> list[_ConvBlock]:
    return [_ConvBlock(block) for block in stage]


class _ConvBlock:
    """A ResNet block of either kind, its batch norms folded."""

    def __init__(self, block: nn.Module) -> None:
        assert isinstance(block, (BasicBlock, Bottleneck))
        convs = [block.conv1, block.conv2]
        if isinstance(block, Bottleneck):
            convs.append(block.conv3)
        *self.first, self.last = map(_conv, convs)
        shortcut = block.downsample
        self.shortcut = None
        if isinstance(shortcut, nn.Sequential):
            first = shortcut[0]
            assert isinstance(first, nn.Conv2d)
            self.shortcut = _conv(first)

    def __call__(self, x: Tensor) -> Tensor:
        add = x if self.shortcut is None else self.shortcut(x)
        for conv in self.first:
            x = conv(x, relu=True)
        return self.last(x, add=add, relu=True)


class _ResBlock:
    """`ResBlock`; with `relu` its only consumer's ReLU is applied right away."""

    def __init__(self, block: ResBlock, *, relu: bool = False, mask_side: bool = False) -> None:
        self.conv1, self.conv2 = (
            _conv(conv, mask_side=mask_side) for conv in (block.conv1, block.conv2)
        )
        self.shortcut = None
        if block.downsample is not None:
            self.shortcut = _conv(block.downsample, mask_side=mask_side)
        self.relu = relu

    def __call__(self, x: Tensor) -> Tensor:
        add = x if self.shortcut is None else self.shortcut(x)
        return self.conv2(self.conv1(torch.relu(x), relu=True), add=add, relu=self.relu)


class _SplitResBlock:
    """`ResBlock` on concat(own, shared): the shared part is convolved once for all objects."""

    def __init__(self, block: ResBlock, num_own: int, *, mask_side: bool = False) -> None:
        self.conv1, self.conv1_shared = _split(block.conv1, num_own, mask_side)
        shortcut = block.downsample
        self.shortcut = None if shortcut is None else _split(shortcut, num_own, mask_side)
        self.conv2 = _conv(block.conv2, mask_side=mask_side)

    def __call__(self, own: Tensor, shared: Tensor) -> Tensor:
        once = self.conv1_shared(torch.relu(shared))
        hidden = self.conv1(torch.relu(own), add=_as_batch(once, own), relu=True)
        if self.shortcut is None:
            return self.conv2(hidden, add=torch.cat([own, _as_batch(shared, own)], 1))
        shortcut, shortcut_shared = self.shortcut
        once = shortcut_shared(shared)
        return self.conv2(hidden, add=shortcut(own, add=_as_batch(once, own)))


class _UpBlock:
    def __init__(self, block: UpBlock, *, relu: bool = False) -> None:
        self.skip = _conv(block.skip_conv, mask_side=True)
        self.out = _ResBlock(block.out_conv, relu=relu, mask_side=True)

    def __call__(self, skip: Tensor, x: Tensor) -> Tensor:
        x = upsample(x, 2)
        if len(x) == 1:
            return self.out(self.skip(skip, add=x))
        return self.out(x.add_(self.skip(skip)))


def _split(conv: nn.Conv2d, num_own: int, mask_side: bool) -> tuple[Conv, Conv]:
    own, shared = conv.weight.split([num_own, conv.weight.shape[1] - num_own], 1)
    own, shared = (w.contiguous(memory_format=torch.channels_last) for w in (own, shared))
    # The bias belongs to one of the two sums.
    return (
        Conv(own, None, conv, rounded_winograd=mask_side),
        Conv(shared, conv.bias, conv, rounded_winograd=mask_side),
    )


def _as_batch(once: Tensor, own: Tensor) -> Tensor:
    """(1, C, h, w) repeated for K objects: the fused sum does not broadcast."""
    if len(own) == 1:
        return once
    return once.expand(len(own), -1, -1, -1).contiguous(memory_format=torch.channels_last)
