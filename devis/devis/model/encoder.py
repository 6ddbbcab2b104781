"""Encoder of the deformable transformer (spec 5.4-5.6).

Letters: B images or frames, S positions of all levels, D channels, L levels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from devis.model.attention import MSDeformAttn
from devis.model.checkpointing import Checkpointed
from devis.ops.inference import can_infer, feed_forward
from devis.ops.ms_deform_attn import Shapes


class EncoderLayer(nn.Module):
    """Deformable self-attention and a feed-forward layer, each normalised after its shortcut.

    Args:
        dim: D.
        hidden: width of the feed-forward layer.
        dropout: rate.
        self_attn: of the layer.
        attention_first: whether it comes first or last among the names of the state dict; files of
            models with temporal attention have it last.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        dropout: float,
        self_attn: MSDeformAttn,
        *,
        attention_first: bool,
    ) -> None:
        super().__init__()
        if attention_first:
            self.self_attn = self_attn
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm2 = nn.LayerNorm(dim)
        if not attention_first:
            self.self_attn = self_attn
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, pos: Tensor, reference: Tensor, shapes: Shapes, padding: Tensor | None
    ) -> Tensor:
        """(B, S, D) to (B, S, D); `reference` is (B, S, L, 2), `padding` (B, S)."""
        x = self.norm1(x + self.dropout(self.self_attn(x + pos, reference, x, shapes, padding)))
        if can_infer(x) and not self.training:
            return self.norm2(x + feed_forward(x, self.linear1, self.linear2))
        inner = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return self.norm2(x + self.dropout(inner))


def pixel_centres(shapes: Shapes, valid_ratios: Tensor) -> Tensor:
    """The place of every position, as a fraction of the unpadded image, in every level.

    Args:
        shapes: (height, width) of the levels.
        valid_ratios: (B, L, 2) unpadded share of width and height.

    Returns:
        (B, S, L, 2).
    """
    centres = []
    for level, (height, width) in enumerate(shapes):
        rows = torch.arange(height, device=valid_ratios.device, dtype=valid_ratios.dtype) + 0.5
        columns = torch.arange(width, device=valid_ratios.device, dtype=valid_ratios.dtype) + 0.5
        y = rows / (valid_ratios[:, level, 1, None] * height)  # B, H
        x = columns / (valid_ratios[:, level, 0, None] * width)  # B, W
        grid = (x[:, None].expand(-1, height, -1), y[:, :, None].expand(-1, -1, width))
        centres.append(torch.stack(grid, -1).flatten(1, 2))
    return torch.cat(centres, 1)[:, :, None] * valid_ratios[:, None]


class Encoder(Checkpointed):
    """The layers of an encoder.

    Args:
        layers: in their order.
    """

    def __init__(self, layers: list[EncoderLayer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(
        self,
        x: Tensor,
        pos: Tensor,
        shapes: Shapes,
        valid_ratios: Tensor,
        padding: Tensor | None = None,
    ) -> Tensor:
        """(B, S, D) features to (B, S, D) memory.

        Args:
            x: (B, S, D).
            pos: (B, S, D) position encoding, with that of the level.
            shapes: (height, width) of the levels.
            valid_ratios: (B, L, 2).
            padding: (B, S), True on padding.
        """
        reference = pixel_centres(shapes, valid_ratios)
        for layer in self.layers:
            x = self.run(layer, x, pos, reference, shapes, padding)
        return x
