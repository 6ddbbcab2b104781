"""Multi-scale deformable attention within an image, and across the frames of a clip (spec 5.4-5.5).

Letters: B images, T frames, W other frames of a frame, N queries (of one image or frame), Q
queries per frame, S positions of all levels, D channels, M heads, L levels, P points of the own
and K points of another frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from devis.ops.inference import attend, can_infer
from devis.ops.ms_deform_attn import Shapes, level_starts, ms_deform_attn


@dataclass(frozen=True)
class Samples:
    """Where and how strongly queries look.

    Attributes:
        locations: (B, N, M, L, P, 2) in the own image, fractions of width and height.
        weights: (B, N, M, L, P).
        other_locations: (T, N, M, W*L, K, 2) in the other frames, frame by frame; None for images.
        other_weights: (T, N, M, W*L, K); one softmax covers them and `weights`.
    """

    locations: Tensor
    weights: Tensor
    other_locations: Tensor | None = None
    other_weights: Tensor | None = None


def level_sizes(shapes: Shapes, like: Tensor) -> Tensor:
    """(L, 2) width and height of the levels, as numbers like those of a tensor."""
    return torch.tensor([(w, h) for h, w in shapes], dtype=like.dtype, device=like.device)


def around(reference: Tensor, offsets: Tensor, sizes: Tensor) -> Tensor:
    """Locations of samples.

    Args:
        reference: (..., L, 2) points or (..., L, 4) boxes, as fractions.
        offsets: (..., M, L, P, 2) in pixels of the level for points; for boxes, P of them reach
            half of the box.
        sizes: (L, 2) width and height of the levels.

    Returns:
        (..., M, L, P, 2) fractions of width and height.
    """
    centre = reference[..., None, :, None, :2]
    if reference.shape[-1] == 2:
        return centre + offsets / sizes[:, None, :]
    return centre + offsets / offsets.shape[-2] * reference[..., None, :, None, 2:] * 0.5


def directions(heads: int, levels: int, points: int) -> Tensor:
    """(M * L * P * 2) initial offsets: every head looks in its own direction, point p at p + 1."""
    angles = torch.arange(heads) * (2 * math.pi / heads)
    unit = torch.stack((angles.cos(), angles.sin()), -1)  # M, 2
    unit = unit / unit.abs().amax(-1, keepdim=True)
    steps = torch.arange(1, points + 1)[:, None]
    return (unit[:, None, None] * steps).expand(heads, levels, points, 2).flatten()


class MSDeformAttn(nn.Module):
    """Deformable attention of queries to the levels of their own image.

    Args:
        dim: D.
        levels: L.
        heads: M.
        points: P.
    """

    def __init__(self, dim: int, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self._add_temporal(dim)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.reset_parameters()

    def _add_temporal(self, dim: int) -> None:
        """Layers that subclasses have between the projections."""

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initial values of spec 5.4."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.sampling_offsets.bias.copy_(directions(self.heads, self.levels, self.points))
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def value(self, memory: Tensor, padding: Tensor | None) -> Tensor:
        """(B, S, D), and (B, S) True on padding, to (B, S, M, D/M), zero on padding."""
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0)
        return value.unflatten(-1, (self.heads, -1))

    def projection(self) -> tuple[Tensor, Tensor]:
        """Offsets and logits as one linear layer, in the order of `devis.ops.inference.attend`."""
        return self._joined([self.sampling_offsets], [self.attention_weights])

    def _joined(
        self, offsets: Sequence[nn.Linear], logits: Sequence[nn.Linear]
    ) -> tuple[Tensor, Tensor]:
        def rows(kind: str) -> Tensor:
            places = [getattr(x, kind) for x in offsets]
            by_head = [x.view(self.heads, -1, 2, *x.shape[1:]) for x in places]
            strengths = [getattr(x, kind) for x in logits]
            last = [x.view(self.heads, 1, -1, *x.shape[1:]) for x in strengths]
            both = torch.cat(by_head, 1).transpose(1, 2)  # M, 2, S, ...
            return torch.cat((both, torch.cat(last, 2)), 1).flatten(0, 2)

        return rows("weight"), rows("bias")

    def samples(self, query: Tensor, reference: Tensor, shapes: Shapes) -> Samples:
        """Where (B, N, D) queries look, given (B, N, L, 2 or 4) references."""
        parts = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(query).unflatten(-1, (*parts, 2))
        logits = self.attention_weights(query).unflatten(-1, (self.heads, -1))
        weights = logits.softmax(-1).unflatten(-1, parts[1:])
        return Samples(around(reference, offsets, level_sizes(shapes, query)), weights)

    def forward(
        self,
        query: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """What queries read from the levels.

        Args:
            query: (B, N, D).
            reference: (B, N, L, 2) points or (B, N, L, 4) boxes, as fractions.
            memory: (B, S, D).
            shapes: (height, width) of the levels.
            padding: (B, S), True on padding.

        Returns:
            (B, N, D).
        """
        value, starts = self.value(memory, padding), level_starts(shapes)
        if can_infer(value):
            rows = torch.tensor(starts) + value.shape[1] * torch.arange(len(value))[:, None]  # B, L
            points = [self.points] * len(shapes)
            inputs = (query, self.projection(), reference, points)
            return self.output_proj(attend(value.flatten(0, 1), shapes, rows, *inputs))
        found = self.samples(query, reference, shapes)
        return self.output_proj(
            ms_deform_attn(value, shapes, starts, found.locations, found.weights)
        )


class TemporalMSDeformAttn(MSDeformAttn):
    """Deformable attention of the queries of every frame to their own and to other frames.

    Args:
        dim: D.
        levels: L.
        heads: M.
        points: P.
        others: row t lists the W frames, beside t, that frame t looks at.
        other_points: K.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        heads: int,
        points: int,
        others: list[list[int]],
        other_points: int,
    ) -> None:
        self.others, self.other_points = others, other_points
        super().__init__(dim, levels, heads, points)

    def _add_temporal(self, dim: int) -> None:
        width = self.heads * len(self.others[0]) * self.levels * self.other_points
        self.temporal_sampling_offsets = nn.Linear(dim, width * 2)
        self.temporal_attention_weights = nn.Linear(dim, width)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initial values of spec 5.5: every frame like the own one."""
        super().reset_parameters()
        for layer in (self.temporal_sampling_offsets, self.temporal_attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        levels = len(self.others[0]) * self.levels
        self.temporal_sampling_offsets.bias.copy_(directions(self.heads, levels, self.other_points))

    def projection(self) -> tuple[Tensor, Tensor]:
        """The same for own and other frames together, own ones first."""
        return self._joined(
            [self.sampling_offsets, self.temporal_sampling_offsets],
            [self.attention_weights, self.temporal_attention_weights],
        )

    def other_reference(self, reference: Tensor) -> Tensor:
        """References in the other frames: (T, N, L, r) to (T, N, W*L, r), frame by frame.

        Here the level-0 point of the query itself, for every frame and level (the encoder).
        """
        levels = len(self.others[0]) * self.levels
        return reference[:, :, :1].expand(-1, -1, levels, -1)

    def samples(self, query: Tensor, reference: Tensor, shapes: Shapes) -> Samples:
        """Where (T, N, D) queries look, given (T, N, L, 2 or 4) references."""
        parts = (self.levels, self.points)
        other_parts = (len(self.others[0]) * self.levels, self.other_points)
        sizes = level_sizes(shapes, query)
        offsets = self.sampling_offsets(query).unflatten(-1, (self.heads, *parts, 2))
        other_offsets = self.temporal_sampling_offsets(query)
        other_offsets = other_offsets.unflatten(-1, (self.heads, *other_parts, 2))
        logits = [
            layer(query).unflatten(-1, (self.heads, -1))
            for layer in (self.attention_weights, self.temporal_attention_weights)
        ]
        own, other = torch.cat(logits, -1).softmax(-1).split([x.shape[-1] for x in logits], -1)
        return Samples(
            around(reference, offsets, sizes),
            own.unflatten(-1, parts),
            around(
                self.other_reference(reference), other_offsets, sizes.repeat(len(self.others[0]), 1)
            ),
            other.unflatten(-1, other_parts),
        )

    def forward(
        self,
        query: Tensor,
        reference: Tensor,
        memory: Tensor,
        shapes: Shapes,
        padding: Tensor | None = None,
    ) -> Tensor:
        """What queries read from the levels of all frames.

        Args:
            query: (T, N, D).
            reference: (T, N, L, 2) points or (T, N, L, 4) boxes, as fractions.
            memory: (T, S, D).
            shapes: (height, width) of the levels.
            padding: (T, S); not looked at, frames of a clip are never padded (spec 11).

        Returns:
            (T, N, D).
        """
        value, starts = self.value(memory, None), level_starts(shapes)
        levels = torch.tensor(starts, device=value.device)
        own_rows = value.shape[1] * torch.arange(len(value), device=value.device)  # T
        frames = value.shape[1] * torch.tensor(self.others, device=value.device)  # T, W
        rows = (frames[:, :, None] + levels).flatten(1)  # T, W*L: others are read in place
        other_shapes = list(shapes) * len(self.others[0])
        if can_infer(value):
            points = [self.points] * len(shapes) + [self.other_points] * len(other_shapes)
            every = torch.cat((reference, self.other_reference(reference)), 2)
            read = attend(
                value.flatten(0, 1),
                [*shapes, *other_shapes],
                torch.cat((own_rows[:, None] + levels, rows), 1),
                query,
                self.projection(),
                every,
                points,
            )
            return self.output_proj(read)
        found = self.samples(query, reference, shapes)
        assert found.other_locations is not None and found.other_weights is not None
        own = ms_deform_attn(value, shapes, starts, found.locations, found.weights)
        other = ms_deform_attn(
            value, other_shapes, rows, found.other_locations, found.other_weights
        )
        return self.output_proj(own + other)


class DecoderTemporalAttn(TemporalMSDeformAttn):
    """The same for the decoder's queries, whose references are their instance's boxes.

    Args:
        dim: D.
        levels: L.
        heads: M.
        points: P.
        others: row t lists the W other frames of frame t.
        other_points: K.
        instance_aware: samples in another frame lie around the box that the same query has there;
            else around the box of the query itself.
    """

    def __init__(
        self,
        dim: int,
        levels: int,
        heads: int,
        points: int,
        others: list[list[int]],
        other_points: int,
        *,
        instance_aware: bool,
    ) -> None:
        super().__init__(dim, levels, heads, points, others, other_points)
        self.instance_aware = instance_aware

    def other_reference(self, reference: Tensor) -> Tensor:
        """(T, Q, L, r) to (T, Q, W*L, r)."""
        if not self.instance_aware:
            return reference.repeat(1, 1, len(self.others[0]), 1)
        index = torch.tensor(self.others, device=reference.device)
        return reference[index].transpose(1, 2).flatten(2, 3)  # T, W, Q, L, r


def other_frames(num_frames: int, window: int | None = None) -> list[list[int]]:
    """For every frame of a clip the other frames that it looks at (spec 5.5).

    Args:
        num_frames: T.
        window: an even number of frames around; one beyond the clip is mirrored. None: all.

    Returns:
        T lists of W frames.
    """
    if window is None:
        return [[s for s in range(num_frames) if s != t] for t in range(num_frames)]
    steps = [d for d in range(-(window // 2), window // 2 + 1) if d]
    return [[t + d if 0 <= t + d < num_frames else t - d for d in steps] for t in range(num_frames)]
