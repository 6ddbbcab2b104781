"""A squeeze-expand decoder as it runs in inference (see `deployed`).

Letters: T frames of a clip, t squeezed frames, C channels of a block, h and w size of a map, O
output channels of the head, G groups of a norm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stemseg.model.decoders import TimePool, Trunk, upsample
from stemseg.ops.convolution import TapConv
from stemseg.ops.winograd import Term, Workspace

BLOCKS = ("block_4x", "block_8x", "block_16x", "block_32x")


@dataclass
class FrameSum:
    """The first convolution of a block at a frame, without bias.

    Attributes:
        neighbours: serial of the frame before and after, None where the clip ends.
        values: (C, h, w), channels last in memory.
        mean: (C,) of the values.
        var: (C,) of the values.
    """

    neighbours: tuple[int | None, int | None]
    values: Tensor
    mean: Tensor
    var: Tensor


class Frame(Protocol):
    """What is needed of an encoded frame."""

    levels: list[Tensor]
    sums: dict[str, FrameSum]
    serial: int


class DeployedDecoder:
    """Trunk and output layers of a head.

    Args:
        trunk: it is not changed.
        outputs: 1x1x1 convolutions of the head, whose results are stacked.
        dtype: of weights and maps.
        workspace: of the convolutions.
    """

    def __init__(
        self,
        trunk: Trunk,
        outputs: Sequence[nn.Conv3d],
        dtype: torch.dtype,
        workspace: Workspace,
    ) -> None:
        self.num_frames = trunk.num_frames
        self.time_factors = trunk.time_factors[::-1]
        self.blocks = [_Block(trunk.get_submodule(name), dtype, workspace) for name in BLOCKS]
        self.projections = _projections(trunk, outputs)
        bias = [
            torch.zeros(conv.out_channels) if conv.bias is None else conv.bias.detach().cpu()
            for conv in outputs
        ]
        self.bias = torch.cat(bias).to(outputs[0].weight.device)[:, None, None, None]

    def __call__(self, clip: Sequence[Frame], name: str) -> Tensor:
        """The head's outputs before any activation, (O, T, h, w) float32.

        Args:
            clip: its frames.
            name: of the head, under which frames keep what other clips can use.

        Raises:
            ValueError: the clip has another number of frames than the network.
        """
        if len(clip) != self.num_frames:
            raise ValueError(f"clip of {len(clip)} frames for a network of {self.num_frames}")
        total: Tensor | None = None
        # Coarse to fine: the finest block is the last.
        for level in (3, 2, 1, 0):
            block, projection = self.blocks[level], self.projections[level]
            maps = block(clip, level, f"{name}.{level}", projection)  # O, t, h, w
            if total is not None:
                maps += upsample(total[None], self.time_factors[level])[0]
            total = maps
        assert total is not None
        return total + self.bias


def _projections(trunk: Trunk, outputs: Sequence[nn.Conv3d]) -> list[Tensor]:
    """What the linear layers make of each block, (O, C) for stride 4, 8, 16 and 32."""

    def matrix(conv: nn.Conv3d) -> Tensor:
        return conv.weight.detach().double().flatten(1)

    widths = [len(trunk.get_parameter(f"{name}.0.weight")) for name in BLOCKS]
    total = torch.cat([matrix(conv) for conv in outputs])  # O, c3
    found = []
    for conv, width in zip((trunk.conv_4, trunk.conv_8, trunk.conv_16), widths, strict=False):
        joined = total @ matrix(conv)  # O, coarser + width
        # In the concatenation the coarser map comes first.
        total, own = joined.split([joined.shape[1] - width, width], 1)
        found.append(own.float().contiguous())
    return [*found, total.float().contiguous()]


class _Layer:
    """One convolution of a block with its norm, ReLU and pooling.

    Args:
        parts: convolution, norm, ReLU and, except in the finest block, a slot for pooling.
        dtype: of weights and maps.
        workspace: of the convolution.
    """

    def __init__(self, parts: list[nn.Module], dtype: torch.dtype, workspace: Workspace) -> None:
        conv, norm, pool = parts[0], parts[1], parts[-1]
        assert isinstance(conv, nn.Conv3d) and conv.bias is not None
        self.taps = TapConv(conv.weight.detach(), dtype, workspace)
        self.bias = conv.bias.detach().double()
        self.norm = norm if isinstance(norm, nn.GroupNorm) else None
        self.pool = pool.kind if isinstance(pool, TimePool) else None

    def scale_and_shift(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """Bias and norm of a clip as y = x * scale + shift.

        Args:
            mean: (T, C) of the convolution's result without bias, in every frame.
            var: (T, C) likewise.
        """
        if self.norm is None:
            return torch.ones_like(self.bias).float(), self.bias.float()
        groups = self.norm.num_groups
        mean = mean.double() + self.bias
        in_groups = mean.unflatten(1, (groups, -1))  # T, G, C/G
        of_group = in_groups.mean((0, 2))  # G
        spread = var.double().unflatten(1, (groups, -1)) + (in_groups - of_group[:, None]) ** 2
        rate = (spread.mean((0, 2)) + self.norm.eps).rsqrt()  # G
        repeats = mean.shape[1] // groups
        scale = self.norm.weight.double() * rate.repeat_interleave(repeats)
        shift = (self.bias - of_group.repeat_interleave(repeats)) * scale
        return scale.float(), (shift + self.norm.bias.double()).float()


class _Block:
    """A block and the linear layers behind it."""

    def __init__(self, block: nn.Module, dtype: torch.dtype, workspace: Workspace) -> None:
        layers = list(block.children())
        step = 3 if len(layers) == 3 else 4
        self.layers = [
            _Layer(layers[i : i + step], dtype, workspace) for i in range(0, len(layers), step)
        ]

    def __call__(self, clip: Sequence[Frame], level: int, name: str, projection: Tensor) -> Tensor:
        """The block's share of the head's outputs, (O, t, h, w) float32."""
        first, *rest = self.layers
        maps = _activate(first, self._first_sums(clip, level, name))  # T of (C, h, w)
        for layer in rest:
            values = layer.taps.clip(maps)
            maps = _activate(layer, [_measured(x, (None, None)) for x in values])
        return torch.stack([_project(x, projection) for x in maps], 1)

    def _first_sums(self, clip: Sequence[Frame], level: int, name: str) -> list[FrameSum]:
        """The first convolution at every frame; frames keep theirs for the next clip."""
        serials = [None, *(frame.serial for frame in clip), None]
        found: dict[int, FrameSum] = {}
        bases: dict[int, Tensor | None] = {}
        pairs: list[tuple[int, int, int]] = []  # tap, position of the source, of the result
        for i, frame in enumerate(clip):
            neighbours, kept = (serials[i], serials[i + 2]), frame.sums.get(name)
            if kept is not None and kept.neighbours == neighbours:
                found[i] = kept
                continue
            taps = _missing_taps(neighbours, None if kept is None else kept.neighbours)
            bases[i] = kept.values if kept is not None and len(taps) == 1 else None
            pairs += [(tap, i + tap - 1, i) for tap in taps]
        values = self._convolve(clip, level, pairs, list(bases))
        for (i, base), x in zip(bases.items(), values, strict=True):
            total = x if base is None else x.add_(base)
            found[i] = clip[i].sums[name] = _measured(total, (serials[i], serials[i + 2]))
        return [found[i] for i in range(len(clip))]

    def _convolve(
        self,
        clip: Sequence[Frame],
        level: int,
        pairs: Sequence[tuple[int, int, int]],
        results: Sequence[int],
    ) -> list[Tensor]:
        """Sums of (tap, source, result) for the results, with positions in the clip."""
        if not results:
            return []
        sources = sorted({source for _, source, _ in pairs})
        rows = [(tap, sources.index(s), results.index(r)) for tap, s, r in pairs]
        frames = [clip[i].levels[level] for i in sources]
        return self.layers[0].taps(frames, _runs(rows), len(results))


def _missing_taps(
    wanted: tuple[int | None, int | None], kept: tuple[int | None, int | None] | None
) -> list[int]:
    """Taps to add to a kept sum; all of them where nothing useful is kept."""
    before, after = wanted
    if kept is not None and kept == (before, None):
        return [2]
    if kept is not None and kept == (None, after):
        return [0]
    return [tap for tap, there in enumerate((before, wanted, after)) if there is not None]


def _runs(rows: Sequence[tuple[int, int, int]]) -> list[Term]:
    """(tap, source, result) joined where source and result go on together."""
    # Along a run both differences to the place in the sorted list are constant.
    ordered = sorted(rows, key=lambda row: (row[0], row[2]))
    keyed = [((tap, s - i, r - i), s, r) for i, (tap, s, r) in enumerate(ordered)]
    terms = []
    for (tap, _, _), members in groupby(keyed, key=lambda item: item[0]):
        (_, source, result), *more = members
        terms.append(Term(tap, source, result, 1 + len(more)))
    return terms


def _measured(values: Tensor, neighbours: tuple[int | None, int | None]) -> FrameSum:
    pixels = values.permute(1, 2, 0).flatten(0, 1).float()  # h*w, C
    # Twenty times faster than torch.var_mean along this axis, and as exact.
    mean = pixels.mean(0)
    centred = pixels - mean
    return FrameSum(neighbours, values, mean, centred.mul_(centred).mean(0))


def _activate(layer: _Layer, sums: Sequence[FrameSum]) -> list[Tensor]:
    """Norm, ReLU and pooling of a clip, float32."""
    means, variances = (torch.stack(x) for x in ([s.mean for s in sums], [s.var for s in sums]))
    scale, shift = layer.scale_and_shift(means, variances)
    maps = []
    for item in sums:
        x = item.values.permute(1, 2, 0).float()  # h, w, C
        maps.append(torch.addcmul(shift, x, scale).relu_().permute(2, 0, 1))
    return maps if layer.pool is None else _pool(maps, layer.pool)


def _pool(maps: Sequence[Tensor], kind: str) -> list[Tensor]:
    """`TimePool` of frames (C, h, w), first over time."""
    pooled = []
    for i in range(0, len(maps), 2):
        near = maps[max(i - 1, 0) : i + 2]
        if kind == "avg":
            total = sum(near[1:], start=near[0])
            pooled.append(F.avg_pool2d(total[None], 3, 1, 1)[0] / 3)
        else:
            largest = torch.stack(list(near)).amax(0)
            pooled.append(F.max_pool2d(largest[None], 3, 1, 1)[0])
    return pooled


def _project(x: Tensor, projection: Tensor) -> Tensor:
    """(C, h, w) to (O, h, w)."""
    return (projection @ x.permute(1, 2, 0).flatten(0, 1).T).unflatten(1, x.shape[1:])
