"""Decoder of the deformable transformer, with refinement of boxes (spec 5.5, 5.6).

Letters: B images (1 for a clip), T frames, N queries of an image or of a whole clip, S positions
of all levels, D channels, L levels, K decoder layers.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from devis.model.attention import MSDeformAttn
from devis.model.boxes import add_logits, inverse_sigmoid
from devis.model.checkpointing import Checkpointed
from devis.ops.ms_deform_attn import Shapes


class Mlp(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        widths: of the input, of every hidden layer and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., first width) to (..., last width)."""
        *hidden, last = self.layers
        for layer in hidden:
            x = F.relu(layer(x))
        return last(x)


class DecoderLayer(nn.Module):
    """Self-attention of the queries, attention to the memory, feed-forward; normalised after each.

    Args:
        dim: D.
        heads: of the self-attention.
        hidden: width of the feed-forward layer.
        dropout: rate.
        cross_attn: of the layer.
        attention_first: whether that comes first or last among the names of the state dict; files
            of models with temporal attention have it last.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        hidden: int,
        dropout: float,
        cross_attn: MSDeformAttn,
        *,
        attention_first: bool,
    ) -> None:
        super().__init__()
        if attention_first:
            self.cross_attn = cross_attn
        self.norm1 = nn.LayerNorm(dim)
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=dropout, batch_first=True)
        self.norm2 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm3 = nn.LayerNorm(dim)
        if not attention_first:
            self.cross_attn = cross_attn
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        query_pos: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding: Tensor | None,
    ) -> Tensor:
        """One layer.

        Args:
            x: (B, N, D); all queries see each other, those of other frames too.
            query_pos: (B, N, D).
            reference: (B, N, L, 2 or 4), or of the frames of a clip (T, N/T, L, 2 or 4).
            memory: (B, S, D) or (T, S, D).
            shapes: (height, width) of the levels.
            padding: of the memory, True on padding.

        Returns:
            (B, N, D).
        """
        query = x + query_pos
        mixed, _ = self.self_attn(query, query, x, need_weights=False)
        x = self.norm2(x + self.dropout(mixed))
        query = (x + query_pos).view(len(memory), -1, x.shape[-1])  # of every frame its own
        read = self.cross_attn(query, reference, memory, shapes, padding)
        x = self.norm1(x + self.dropout(read.view_as(x)))
        inner = self.linear2(self.dropout(F.relu(self.linear1(x))))
        return self.norm3(x + self.dropout(inner))


class Decoder(Checkpointed):
    """The layers of a decoder; each may refine the references of the next one.

    Args:
        layers: in their order.
        bbox_embed: heads of boxes that refine, one per layer; the detector has them too.
        ref_point_embed: heads that refine points only, one per layer.
        box_gradient: gradient flows through refined references from layer to layer.
    """

    def __init__(
        self,
        layers: list[DecoderLayer],
        *,
        bbox_embed: nn.ModuleList | None = None,
        ref_point_embed: nn.ModuleList | None = None,
        box_gradient: bool = False,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.bbox_embed, self.ref_point_embed = bbox_embed, ref_point_embed
        self.box_gradient = box_gradient

    def forward(
        self,
        x: Tensor,
        query_pos: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        valid_ratios: Tensor,
        padding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """All layers.

        Args:
            x: (B, N, D).
            query_pos: (B, N, D).
            reference: (B, N, 2) initial points, fractions of the unpadded image.
            memory: (B, S, D), or (T, S, D) for a clip; then B is 1.
            shapes: (height, width) of the levels.
            valid_ratios: (B or T, L, 2); of a clip those of the first frame count.
            padding: (B or T, S), True on padding.

        Returns:
            Queries after every layer (K, B, N, D), and references after every layer
            (K, B, N, 2 or 4).
        """
        states, references = [], []
        for index, layer in enumerate(self.layers):
            ratios = valid_ratios[: len(x)].repeat(1, 1, reference.shape[-1] // 2)  # B, L, r
            levels = reference[:, :, None] * ratios[:, None]  # B, N, L, r
            levels = levels.view(len(memory), -1, *levels.shape[2:])
            x = self.run(layer, x, query_pos, levels, memory, shapes, padding)
            reference = self._refine(index, x, reference)
            states.append(x)
            references.append(reference)
        return torch.stack(states), torch.stack(references)

    def _refine(self, index: int, x: Tensor, reference: Tensor) -> Tensor:
        if self.bbox_embed is not None:
            refined = add_logits(self.bbox_embed[index](x), reference)
        elif self.ref_point_embed is not None:
            refined = (self.ref_point_embed[index](x) + inverse_sigmoid(reference)).sigmoid()
        else:
            return reference
        return refined if self.box_gradient else refined.detach()
