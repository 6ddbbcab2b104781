"""The deformable transformer of images and of clips (spec 5.5, 5.6).

Letters: B images or frames, T frames, N queries, S positions of all levels, D channels, L levels,
K decoder layers, H and W size of a level.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from devis.model.attention import (
    DecoderTemporalAttn,
    MSDeformAttn,
    TemporalMSDeformAttn,
    other_frames,
)
from devis.model.decoder import Decoder, DecoderLayer, Mlp
from devis.model.encoder import Encoder, EncoderLayer
from devis.model.settings import ModelSettings


@dataclass(frozen=True)
class Decoded:
    """What the transformer gives.

    Attributes:
        memory: of every level (B, D, H, W); B is T for a clip.
        hidden: (K, B, N, D) queries after every decoder layer; B is 1 for a clip, whose N queries
            are frame by frame.
        initial: (B, N, 2) references of the first layer.
        references: (K, B, N, 2 or 4) references after every layer.
    """

    memory: list[Tensor]
    hidden: Tensor
    initial: Tensor
    references: Tensor


def valid_ratio(padding: Tensor) -> Tensor:
    """(B, H, W), True on padding, to (B, 2): unpadded share of the first row and first column."""
    return torch.stack(((~padding[:, 0]).float().mean(1), (~padding[:, :, 0]).float().mean(1)), -1)


class Transformer(nn.Module):
    """Encoder over all levels of images or frames, decoder of the queries.

    Args:
        settings: of the network; temporal ones make it the transformer of clips.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        dim, temporal = settings.hidden_dim, settings.temporal
        self.is_clip = temporal is not None
        plain = not (temporal and temporal.connected)
        self.level_embed = nn.Parameter(torch.empty(settings.num_levels, dim))
        self.reference_points = nn.Linear(dim, 2)
        sizes = (settings.dim_feedforward, settings.dropout)
        self.encoder = Encoder(
            [
                EncoderLayer(dim, *sizes, _encoder_attention(settings), attention_first=plain)
                for _ in range(settings.enc_layers)
            ]
        )
        heads = 8 if self.is_clip else settings.num_heads
        count = settings.dec_layers if settings.refine_points else 0
        points = [Mlp(dim, dim, dim, 2) for _ in range(count)]
        self.decoder = Decoder(
            [
                DecoderLayer(
                    dim, heads, *sizes, _decoder_attention(settings), attention_first=plain
                )
                for _ in range(settings.dec_layers)
            ],
            ref_point_embed=nn.ModuleList(points) if points else None,
            box_gradient=settings.box_gradient,
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initial values of spec 5.4 to 5.6."""
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, MSDeformAttn):
                module.reset_parameters()
        nn.init.zeros_(self.reference_points.bias)
        nn.init.normal_(self.level_embed)

    def forward(
        self,
        levels: list[Tensor],
        paddings: list[Tensor],
        positions: list[Tensor],
        query_embed: Tensor,
    ) -> Decoded:
        """From features to queries.

        Args:
            levels: of every level (B, D, H, W).
            paddings: of every level (B, H, W), True on padding.
            positions: of every level (B, D, H, W).
            query_embed: (N, 2D) position and initial content of the queries.
        """
        shapes = [(int(x.shape[-2]), int(x.shape[-1])) for x in levels]
        pos = _flatten(
            [p + e[:, None, None] for p, e in zip(positions, self.level_embed, strict=True)]
        )
        padding = torch.cat([m.flatten(1) for m in paddings], 1)
        ratios = torch.stack([valid_ratio(m) for m in paddings], 1)  # B, L, 2
        memory = self.encoder(_flatten(levels), pos, shapes, ratios, padding)

        batch = 1 if self.is_clip else len(memory)
        query_pos, target = (
            half.expand(batch, -1, -1) for half in query_embed.chunk(2, -1)
        )  # B, N, D
        initial = self.reference_points(query_pos).sigmoid()
        hidden, references = self.decoder(
            target, query_pos, initial, memory, shapes, ratios, padding
        )
        parts = memory.transpose(1, 2).split([h * w for h, w in shapes], -1)
        by_level = [x.unflatten(-1, shape) for x, shape in zip(parts, shapes, strict=True)]
        return Decoded(by_level, hidden, initial, references)


def _flatten(levels: list[Tensor]) -> Tensor:
    """Levels (B, D, H, W) to (B, S, D)."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in levels], 1)


def _encoder_attention(settings: ModelSettings) -> MSDeformAttn:
    sizes = (settings.hidden_dim, settings.num_levels, settings.num_heads, settings.enc_points)
    temporal = settings.temporal
    if not temporal or not temporal.connected:
        return MSDeformAttn(*sizes)
    others = other_frames(temporal.num_frames, None if temporal.connect_all else temporal.window)
    return TemporalMSDeformAttn(*sizes, others, temporal.enc_points)


def _decoder_attention(settings: ModelSettings) -> MSDeformAttn:
    sizes = (settings.hidden_dim, settings.num_levels, settings.num_heads, settings.dec_points)
    temporal = settings.temporal
    if not temporal or not temporal.connected:
        return MSDeformAttn(*sizes)
    return DecoderTemporalAttn(
        *sizes,
        other_frames(temporal.num_frames),
        temporal.dec_points,
        instance_aware=temporal.instance_aware,
    )
