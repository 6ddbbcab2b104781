"""Swin backbone: attention inside shifted windows (spec 5.1; arXiv 2103.14030).

Letters: B images, H and W size of the map at hand, C channels, S window side, N windows,
M heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from devis.model.checkpointing import Checkpointed


@dataclass(frozen=True)
class SwinSizes:
    """Channels of the first stage, blocks and heads of every stage, window and drop path."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    drop_path: float


_DEEP = (2, 2, 18, 2)
SIZES = {
    # Not published: for tests, and for small data sets without pre-training.
    "swin_n_p4w7": SwinSizes(32, (1, 1, 2, 1), (1, 2, 4, 8), 7, 0.0),
    "swin_t_p4w7": SwinSizes(96, (2, 2, 6, 2), (3, 6, 12, 24), 7, 0.2),
    "swin_s_p4w7": SwinSizes(96, _DEEP, (3, 6, 12, 24), 7, 0.2),
    "swin_b_p4w7": SwinSizes(128, _DEEP, (4, 8, 16, 32), 7, 0.3),
    "swin_l_p4w7": SwinSizes(192, _DEEP, (6, 12, 24, 48), 7, 0.3),
    "swin_l_p4w12": SwinSizes(192, _DEEP, (6, 12, 24, 48), 12, 0.3),
}


def windows_of(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C), H and W multiples of the window, to (B*N, S*S, C)."""
    batch, height, width, channels = x.shape
    x = x.view(batch, height // window, window, width // window, window, channels)
    return x.transpose(2, 3).reshape(-1, window * window, channels)


def from_windows(windows: Tensor, window: int, height: int, width: int) -> Tensor:
    """The inverse of `windows_of`: (B*N, S*S, C) to (B, H, W, C)."""
    channels = windows.shape[-1]
    x = windows.view(-1, height // window, width // window, window, window, channels)
    return x.transpose(2, 3).reshape(-1, height, width, channels)


def relative_positions(window: int) -> Tensor:
    """(S*S, S*S) row of the bias table for every pair of positions in a window."""
    steps = torch.arange(window)
    at = torch.stack(torch.meshgrid(steps, steps, indexing="ij")).flatten(1)  # 2, S*S
    apart = at[:, :, None] - at[:, None, :] + window - 1  # 2, S*S, S*S
    return apart[0] * (2 * window - 1) + apart[1]


def shift_mask(height: int, width: int, window: int, device: torch.device) -> Tensor:
    """(N, S*S, S*S): -100 between positions that the shift brought into one window from afar."""
    regions = torch.zeros(1, height, width, 1, device=device)
    parts = (slice(0, -window), slice(-window, -(window // 2)), slice(-(window // 2), None))
    for i, rows in enumerate(parts):
        for j, columns in enumerate(parts):
            regions[:, rows, columns] = 3 * i + j
    labels = windows_of(regions, window)[..., 0]  # N, S*S
    return (labels[:, None] != labels[:, :, None]).float() * -100.0


class WindowAttention(nn.Module):
    """Attention of the positions of a window to one another, with a bias by their distance.

    Args:
        dim: C.
        window: S.
        heads: M.
    """

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        table = torch.empty((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", relative_positions(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B*N, S*S, C), with the mask of the N windows when they are shifted."""
        items, size, channels = x.shape
        qkv = self.qkv(x).view(items, size, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)  # B*N, M, S*S, C/M
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        bias = bias.view(size, size, -1).permute(2, 0, 1)[None]  # 1, M, S*S, S*S
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(items // len(mask), 1, 1, 1)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return self.proj(out.transpose(1, 2).reshape(items, size, channels))


class Mlp(nn.Module):
    """Two linear layers with GELU between them.

    Args:
        dim: C; the hidden layer has four times as many.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) to (..., C)."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Window attention and MLP, each behind a normalisation and beside a shortcut.

    Args:
        dim: C.
        heads: M.
        window: S.
        shifted: windows are shifted by half of their side.
        drop_path: probability that a branch is left out in training.
    """

    def __init__(
        self, dim: int, heads: int, window: int, *, shifted: bool, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, H, W, C) to the same; `mask` of `shift_mask` is used by shifted blocks."""
        x = x + self.drop_path(self._attend(self.norm1(x), mask))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        right, below = -width % self.window, -height % self.window
        x = F.pad(x, (0, 0, 0, right, 0, below))
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        inside = self.attn(windows_of(x, self.window), mask if self.shift else None)
        x = from_windows(inside, self.window, height + below, width + right)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """Four neighbours become one position with twice the channels.

    Args:
        dim: C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, ceil(H/2), ceil(W/2), 2C)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        phases = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(phases, -1)))


class Stage(Checkpointed):
    """Blocks at one resolution, and the merging that leads to the next one.

    Args:
        dim: C.
        heads: M.
        window: S.
        drop_paths: of every block; every second block is shifted.
        merges: whether a stage follows.
    """

    def __init__(
        self, dim: int, heads: int, window: int, drop_paths: list[float], *, merges: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            Block(dim, heads, window, shifted=bool(i % 2), drop_path=p)
            for i, p in enumerate(drop_paths)
        )
        self.downsample = PatchMerging(dim) if merges else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, C) to the output of the blocks, and the input of the next stage."""
        height, width = (side + -side % self.window for side in x.shape[1:3])
        mask = shift_mask(height, width, self.window, x.device)
        for block in self.blocks:
            x = self.run(block, x, mask)
        return x, x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """Patches of 4x4 pixels to vectors.

    Args:
        dim: C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 4, 4)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, ceil(H/4), ceil(W/4), C)."""
        height, width = images.shape[2:]
        x = self.proj(F.pad(images, (0, -width % 4, 0, -height % 4)))
        return self.norm(x.permute(0, 2, 3, 1))


class Swin(nn.Module):
    """The four stages of a Swin transformer.

    Args:
        name: a key of `SIZES`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        sizes = SIZES[name]
        last = sum(sizes.depths) - 1
        rates = [sizes.drop_path * block / last for block in range(last + 1)]
        self.patch_embed = PatchEmbed(sizes.dim)
        self.layers = nn.ModuleList()
        #: Channels of the stages /4, /8, /16 and /32.
        self.channels = tuple(sizes.dim << i for i in range(len(sizes.depths)))
        for i, (depth, heads) in enumerate(zip(sizes.depths, sizes.heads, strict=True)):
            merges = i < len(sizes.depths) - 1
            own, rates = rates[:depth], rates[depth:]
            self.layers.append(Stage(self.channels[i], heads, sizes.window, own, merges=merges))
        for i, channels in enumerate(self.channels):
            self.add_module(f"norm{i}", nn.LayerNorm(channels))

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the four stages, (B, C, H/4, W/4) to (B, C, H/32, W/32)."""
        x = self.patch_embed(images)
        stages = []
        for i, layer in enumerate(self.layers):
            out, x = layer(x)
            stages.append(self.get_submodule(f"norm{i}")(out).permute(0, 3, 1, 2).contiguous())
        return stages
