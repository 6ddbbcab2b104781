"""Squeeze-expand decoders: a shared trunk and three heads (spec 6.3).

Letters: N clips, T frames, C channels, h and w size of a map; t, squeezed frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from stemseg.model.coordinates import coordinate_offset, dims_of

#: Frames of a clip to the number of poolings over time; other lengths have no decoder.
NUM_POOLS = {2: 0, 4: 1, 8: 2, 16: 3, 24: 3, 32: 3}
#: Convolutions of the blocks of stride 32, 16, 8 and 4.
BLOCK_DEPTHS = (3, 2, 1, 1)


@dataclass(frozen=True)
class TrunkSizes:
    """What a decoder is made of.

    Attributes:
        num_frames: of a clip; decides how often time is pooled.
        in_channels: of the feature maps.
        inter_channels: of the blocks of stride 32, 16, 8 and 4.
        norm: "gn" or "none".
        num_groups: of the group norm.
        pool: "avg" or "max".
    """

    num_frames: int
    in_channels: int = 256
    inter_channels: Sequence[int] = (256, 256, 128, 128)
    norm: Literal["gn", "none"] = "gn"
    num_groups: int = 32
    pool: Literal["avg", "max"] = "avg"

    @property
    def num_pools(self) -> int:
        """Poolings over time.

        Raises:
            ValueError: there is no decoder for this number of frames.
        """
        if self.num_frames not in NUM_POOLS:
            known = ", ".join(map(str, NUM_POOLS))
            raise ValueError(f"INPUT.NUM_FRAMES: expected one of {known}, got {self.num_frames}")
        return NUM_POOLS[self.num_frames]

    def time_factors(self) -> list[int]:
        """By how much time is up-sampled from stride 32 to 16, 16 to 8 and 8 to 4."""
        pools = [min(self.num_pools, slots) for slots in (3, 2, 1, 0)]
        return [1 << (coarse - fine) for coarse, fine in pairwise(pools)]


class TimePool(nn.Module):
    """3x3x3 pooling that halves the number of frames and keeps the size of the map.

    The average counts the padding. The padding is put there explicitly, because PyTorch refuses
    maps smaller than the kernel although their padded form is large enough.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind not in ("avg", "max"):
            raise ValueError(f"POOL_TYPE: expected avg or max, got {kind!r}")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, T, h, w) to (N, C, T/2, h, w), rounded up."""
        small = min(x.shape[2:]) < 3
        padding = 0 if small else 1
        if small:
            x = F.pad(x, [1] * 6, value=0.0 if self.kind == "avg" else -torch.inf)
        if self.kind == "avg":
            return F.avg_pool3d(x, 3, (2, 1, 1), padding)
        return F.max_pool3d(x, 3, (2, 1, 1), padding)


def upsample(x: Tensor, time_factor: int) -> Tensor:
    """Trilinear, (N, C, t, h, w) to (N, C, t * time_factor, 2h, 2w)."""
    return F.interpolate(x, scale_factor=(time_factor, 2, 2), mode="trilinear", align_corners=False)


class Trunk(nn.Module):
    """The part that all heads share: four blocks that squeeze time, and the way back up.

    Raises:
        ValueError: a size that does not exist.
    """

    def __init__(self, sizes: TrunkSizes) -> None:
        super().__init__()
        c = list(sizes.inter_channels)
        if len(c) != 4:
            raise ValueError(f"INTER_CHANNELS: expected 4 numbers, got {len(c)}")
        self.time_factors = sizes.time_factors()
        self.num_frames = sizes.num_frames
        self.gradient_checkpointing = False
        for name, width, depth in zip(("32x", "16x", "8x", "4x"), c, BLOCK_DEPTHS, strict=True):
            num_slots = 0 if name == "4x" else depth
            self.add_module(f"block_{name}", _block(sizes, width, depth, num_slots))
        self.conv_16 = nn.Conv3d(c[0] + c[1], c[1], 1, bias=False)
        self.conv_8 = nn.Conv3d(c[1] + c[2], c[2], 1, bias=False)
        self.conv_4 = nn.Conv3d(c[2] + c[3], c[3], 1, bias=False)

    def expand(self, features: Sequence[Tensor]) -> Tensor:
        """P2..P5 of a clip, each (N, C, T, h, w), finest first, to (N, c3, T, h, w) at stride 4.

        Raises:
            ValueError: the clip has another number of frames than the decoder was built for.
        """
        if features[0].shape[2] != self.num_frames:
            raise ValueError(
                f"clip of {features[0].shape[2]} frames for a network of {self.num_frames}"
            )
        p4, p8, p16, p32 = features
        t0, t1, t2 = self.time_factors
        x = upsample(self._run("block_32x", p32), t0)
        x = self.conv_16(torch.cat([x, self._run("block_16x", p16)], 1))
        x = upsample(x, t1)
        x = self.conv_8(torch.cat([x, self._run("block_8x", p8)], 1))
        x = upsample(x, t2)
        return self.conv_4(torch.cat([x, self._run("block_4x", p4)], 1))

    def _run(self, name: str, x: Tensor) -> Tensor:
        block = self.get_submodule(name)
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, use_reentrant=False)
        return block(x)


def _block(sizes: TrunkSizes, width: int, depth: int, num_slots: int) -> nn.Sequential:
    """`depth` times convolution, norm, ReLU and, in the first `num_slots`, a pooling slot."""
    layers: list[nn.Module] = []
    cin = sizes.in_channels
    for i in range(depth):
        layers += [nn.Conv3d(cin, width, 3, padding=1), _norm(sizes, width), nn.ReLU(inplace=True)]
        if i < num_slots:
            # An empty slot keeps its place: the numbers are part of the keys.
            layers.append(TimePool(sizes.pool) if i < sizes.num_pools else nn.Identity())
        cin = width
    return nn.Sequential(*layers)


def _norm(sizes: TrunkSizes, width: int) -> nn.Module:
    if sizes.norm == "none":
        return nn.Identity()
    if sizes.norm != "gn":
        raise ValueError(f"NORMALIZATION_LAYER: expected gn or none, got {sizes.norm!r}")
    if width % sizes.num_groups:
        raise ValueError(
            f"GN_NUM_GROUPS: {width} channels cannot be divided into {sizes.num_groups} groups"
        )
    return nn.GroupNorm(sizes.num_groups, width)


class EmbeddingOutputs(NamedTuple):
    """Maps of the embedding head.

    Attributes:
        embeddings: (N, E, T, h, w).
        raw_bandwidths: (N, E - F, T, h, w); bandwidths are 10 * exp of it.
        seediness: (N, 1, T, h, w) in [0, 1], or None when a head of its own gives it.
    """

    embeddings: Tensor
    raw_bandwidths: Tensor
    seediness: Tensor | None


class EmbeddingDecoder(Trunk):
    """Embeddings, bandwidths and, where no other head does, seediness.

    Args:
        sizes: of the trunk.
        mode: EMBEDDING_DIM_MODE.
        tanh: squash the learned part by tanh(e / 4).
        with_seediness: see `EmbeddingOutputs.seediness`.

    Raises:
        ValueError: a mode or a size that does not exist.
    """

    time_scale: Tensor

    def __init__(
        self, sizes: TrunkSizes, mode: str, *, tanh: bool = True, with_seediness: bool = True
    ) -> None:
        super().__init__(sizes)
        self.mode, self.tanh = mode, tanh
        dims, num_free = dims_of(mode)
        width = sizes.inter_channels[3]
        self.register_buffer("time_scale", torch.tensor(1.0))
        self.conv_embedding = nn.Conv3d(width, dims, 1, bias=False)
        self.conv_variance = nn.Conv3d(width, dims - num_free, 1)
        self.conv_seediness = nn.Conv3d(width, 1, 1, bias=False) if with_seediness else None

    def forward(self, features: Sequence[Tensor]) -> EmbeddingOutputs:
        """P2..P5 of a clip, each (N, C, T, h, w), to the maps at stride 4."""
        x = self.expand(features)
        seediness = None if self.conv_seediness is None else self.conv_seediness(x).sigmoid()
        learned = self.conv_embedding(x)
        return EmbeddingOutputs(self.place(learned), self.conv_variance(x), seediness)

    def place(self, learned: Tensor) -> Tensor:
        """The learned part (N, E, T, h, w), squashed, at its coordinates."""
        _, _, T, h, w = learned.shape
        if self.tanh:
            learned = (0.25 * learned).tanh()
        offset = coordinate_offset(self.mode, (T, h, w), self.time_scale, device=learned.device)
        return learned + offset.to(learned.dtype)


class SeedinessDecoder(Trunk):
    """Seediness from a trunk of its own (DAVIS)."""

    def __init__(self, sizes: TrunkSizes) -> None:
        super().__init__(sizes)
        self.conv_out = nn.Conv3d(sizes.inter_channels[3], 1, 1, bias=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """P2..P5 of a clip to (N, 1, T, h, w) in [0, 1]."""
        return self.conv_out(self.expand(features)).sigmoid()


class SemsegDecoder(Trunk):
    """Logits of the classes, background first, and of the foreground as the last channel.

    Args:
        sizes: of the trunk.
        num_classes: with the background.
        foreground_channel: whether there is one.
    """

    def __init__(
        self, sizes: TrunkSizes, num_classes: int, *, foreground_channel: bool = True
    ) -> None:
        super().__init__(sizes)
        num_out = num_classes + int(foreground_channel)
        self.conv_out = nn.Conv3d(sizes.inter_channels[3], num_out, 1, bias=False)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """P2..P5 of a clip to (N, classes (+ 1), T, h, w)."""
        return self.conv_out(self.expand(features))
