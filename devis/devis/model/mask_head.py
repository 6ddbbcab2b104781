"""Attention maps of instances and the convolutions that make masks of them (spec 5.7).

Letters: B images or frames, n instances of an image or frame, K masks (instances times frames),
D channels, M heads, H and W size of a level.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from devis.ops.inference import can_infer, deform_conv

HEADS = 8
#: Without gradients, masks go through in parts whose finest feature has about this many values.
CHUNK_VALUES = 1 << 22
#: Names of what a layer has.
KINDS = ("weight", "bias")


class BoxAttention(nn.Module):
    """How strongly an instance's query attends to every position of a level.

    Args:
        dim: D.
        levels: number of levels with maps.
    """

    def __init__(self, dim: int, levels: int) -> None:
        super().__init__()
        self.levels = levels
        for level in range(levels):
            for name in ("q_linear", "k_linear"):
                layer = nn.Linear(dim, dim)
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
                self.add_module(_suffixed(name, level), layer)

    def forward(self, query: Tensor, memory: Tensor, padding: Tensor, level: int) -> Tensor:
        """Maps of one level; a softmax covers heads and positions together.

        Args:
            query: (B, n, D).
            memory: (B, D, H, W).
            padding: (B, H, W), True on padding.
            level: which of the levels with maps.

        Returns:
            (B, n, M, H, W).
        """
        q = self.get_submodule(_suffixed("q_linear", level))(query)
        k = self.get_submodule(_suffixed("k_linear", level))(memory.flatten(2).transpose(1, 2))
        q = q.unflatten(-1, (HEADS, -1)) * (q.shape[-1] / HEADS) ** -0.5  # B, n, M, D/M
        k = k.unflatten(-1, (HEADS, -1))  # B, H*W, M, D/M
        scores = torch.einsum("bnmd,bpmd->bnmp", q, k)
        scores = scores.masked_fill(padding.flatten(1)[:, None, None], -torch.inf)
        return scores.flatten(2).softmax(-1).view(*scores.shape[:3], *memory.shape[2:])


def _suffixed(name: str, level: int) -> str:
    return f"{name}_{level}" if level else name


class ModulatedDeformConv(nn.Module):
    """3x3 convolution whose samples are moved and scaled by what it sees (torchvision layout).

    Args:
        cin: input channels.
        cout: output channels.
    """

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(cin, 18, 3, padding=1)
        self.modulator_conv = nn.Conv2d(cin, 9, 3, padding=1)
        self.regular_conv = _plain(cin, cout, 3, bias=False)
        for layer in (self.offset_conv, self.modulator_conv):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(K, Cin, H, W) to (K, Cout, H, W)."""
        if can_infer(x):
            layers = (self.offset_conv, self.modulator_conv)
            weight, bias = (torch.cat([getattr(m, kind) for m in layers]) for kind in KINDS)
            raw = F.conv2d(x, weight, bias, padding=1)
            return deform_conv(x, raw, self.regular_conv.weight)
        # A place that is not a number would be looked up outside of the memory; the scales still
        # carry it into the result.
        offsets = self.offset_conv(x).nan_to_num(nan=0.0)
        scales = 2 * self.modulator_conv(x).sigmoid()
        # The CPU has no kernel for half precision.
        is_half = offsets.dtype.itemsize < 4
        full = torch.float32 if is_half and x.device.type == "cpu" else offsets.dtype
        x, offsets, scales = x.to(full), offsets.to(full), scales.to(full)
        weight = self.regular_conv.weight.to(full)
        return deform_conv2d(x, offsets, weight, padding=1, mask=scales)


class MaskHead(nn.Module):
    """From the coarsest features and maps to logits at a quarter of the image.

    Args:
        dim: D.
        channels: of the four features, coarsest first.
        maps: number of levels with attention maps.
        modulated: convolutions are modulated deformable ones.
        out_layer: the last convolution, to one channel, is there; a 3-D head follows else.
    """

    def __init__(
        self, dim: int, channels: tuple[int, ...], maps: int, *, modulated: bool, out_layer: bool
    ) -> None:
        super().__init__()
        self.has_out = out_layer
        widths = [dim >> i for i in range(len(channels) + 1)]  # 256, 128, 64, 32, 16
        wide = channels[0] + HEADS
        self._add_layer(1, wide, wide, modulated)
        self._add_layer(2, wide, widths[1], modulated)
        for i in range(1, len(channels)):
            cin = widths[i] + (HEADS if i < maps else 0)
            self._add_layer(i + 2, cin, widths[i + 1], modulated)
            self.add_module(f"adapter{i}", _plain(channels[i], widths[i], 1))
        if out_layer:
            self.out_lay = _convolution(widths[-1], 1, modulated)

    def _add_layer(self, index: int, cin: int, cout: int, modulated: bool) -> None:
        self.add_module(f"lay{index}", _convolution(cin, cout, modulated))
        self.add_module(f"gn{index}", nn.GroupNorm(8, cout))

    def _layer(self, index: int, x: Tensor) -> Tensor:
        x = self.get_submodule(f"lay{index}")(x)
        x = self.get_submodule(f"gn{index}")(x)
        return F.relu(x, inplace=not torch.is_grad_enabled())

    def forward(self, features: list[Tensor], maps: list[Tensor], owner: Tensor) -> Tensor:
        """Masks of instances.

        Args:
            features: (B, c, H, W), coarsest first.
            maps: (K, M, H, W) of the coarsest levels.
            owner: (K,) index of the image or frame that a mask belongs to.

        Returns:
            (K, 1, H, W) logits at the size of the finest feature; without out layer (K, 16, H, W).
        """
        features = [
            self.get_submodule(f"adapter{i}")(x) if i else x for i, x in enumerate(features)
        ]
        if torch.is_grad_enabled():
            return self._masks(features, maps, owner)
        values = features[-1][:1].numel()
        parts = [x.split(max(1, CHUNK_VALUES // values)) for x in (owner, *maps)]
        return torch.cat(
            [self._masks(features, list(x), index) for index, *x in zip(*parts, strict=True)]
        )

    def _masks(self, features: list[Tensor], maps: list[Tensor], owner: Tensor) -> Tensor:
        """The same from features that went through the adapters."""
        x = torch.cat((features[0][owner], maps[0]), 1)
        x = self._layer(2, self._layer(1, x))
        for i, feature in enumerate(features[1:], 1):
            own = feature[owner]
            x = own + F.interpolate(x, own.shape[-2:])
            if i < len(maps):
                x = torch.cat((x, maps[i]), 1)
            x = self._layer(i + 2, x)
        return self.out_lay(x) if self.has_out else x


def _convolution(cin: int, cout: int, modulated: bool) -> nn.Module:
    return ModulatedDeformConv(cin, cout) if modulated else _plain(cin, cout, 3)


def _plain(cin: int, cout: int, side: int, *, bias: bool = True) -> nn.Conv2d:
    layer = nn.Conv2d(cin, cout, side, padding=side // 2, bias=bias)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv_head_3d() -> nn.Sequential:
    """(n, 16, T, H, W) features of an instance in all frames to (n, 1, T, H, W) logits."""
    layers: list[nn.Module] = []
    for cin in (16, 12, 12):
        convolution = nn.Conv3d(cin, 12, 3, padding=2, dilation=2)
        layers += [convolution, nn.GroupNorm(4, 12), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv3d(12, 1, 1))
