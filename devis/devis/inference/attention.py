"""Where the queries of a decoder layer look in the frames of a clip (spec 8.5, 5.5).

Letters: T frames, Q instance slots of a frame, M heads, L levels, P points, H and W of a grid.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from devis.inference.predictor import ClipSeen
from devis.model.attention import DecoderTemporalAttn, Samples
from devis.model.segmenter import DeVIS
from vidseg_common.errors import ConfigError

Size = tuple[int, int]


@dataclass(frozen=True)
class LayerAttention:
    """The attention of one decoder layer to a clip.

    Attributes:
        samples: where and how strongly queries look.
        references: (T, Q, 2 or 4) points or boxes of the queries, as fractions.
        shapes: (height, width) of the levels.
        others: row t lists the frames beside t, in the order of the samples.
        instance_aware: samples in another frame lie around the box of that frame.
    """

    samples: Samples
    references: Tensor
    shapes: list[Size]
    others: list[list[int]]
    instance_aware: bool

    def seen_from(self, frame: int, slot: int, merge: int | None, level: int) -> Tensor:
        """Where the query of a frame looks, in every frame of the clip.

        Args:
            frame: of the query.
            slot: of the instance.
            merge: adds up the points of all levels on the grid of this one; None: see `level`.
            level: whose points are taken, on its own grid.

        Returns:
            (T, H, W) sums of weights.
        """
        own, other = self.samples, self.samples
        assert other.other_locations is not None and other.other_weights is not None
        maps: list[Tensor] = []
        for seen in range(len(self.others)):
            if seen == frame:
                locations, weights = own.locations[frame, slot], own.weights[frame, slot]
            else:
                first = self.others[frame].index(seen) * len(self.shapes)
                part = slice(first, first + len(self.shapes))
                locations = other.other_locations[frame, slot, :, part]  # M, L, P, 2
                weights = other.other_weights[frame, slot, :, part]
            if merge is None:
                locations, weights = locations[:, level], weights[:, level]
            maps.append(grid_of(locations, weights, self.shapes[level if merge is None else merge]))
        return torch.stack(maps)

    def reference(self, frame: int, seen: int, slot: int) -> list[float]:
        """What the samples of a query lie around in a frame: x, y, and width, height if known."""
        values: list[float] = self.references[seen if self.instance_aware else frame, slot].tolist()
        return values


def grid_of(locations: Tensor, weights: Tensor, size: Size) -> Tensor:
    """Adds weights up at the cells nearest to their locations.

    Args:
        locations: (..., 2) x and y, fractions of width and height.
        weights: (...).
        size: height and width of the grid; what lies outside counts at its border.

    Returns:
        (H, W).
    """
    height, width = size
    limits = locations.new_tensor([width, height])
    cells = torch.minimum((locations * limits).round().clamp(min=0), limits - 1).long()
    grid = weights.new_zeros(height * width)
    place = cells[..., 1] * width + cells[..., 0]
    return grid.index_add_(0, place.flatten(), weights.flatten()).view(height, width)


class AttentionRecorder:
    """Keeps what a decoder layer was given the last time.

    Args:
        network: with connected frames.
        layer: of the decoder.

    Raises:
        ConfigError: there is no such layer, or frames are not connected.
    """

    def __init__(self, network: DeVIS, layer: int) -> None:
        layers = network.def_detr.transformer.decoder.layers
        if not 0 <= layer < len(layers):
            raise ConfigError(f"--layer: the decoder has the layers 0 to {len(layers) - 1}")
        attention = layers[layer].get_submodule("cross_attn")
        if not isinstance(attention, DecoderTemporalAttn):
            raise ConfigError(
                "MODEL.DEVIS.DEFORMABLE_ATTENTION.DISABLE_TEMPORAL_CONNECTIONS is True: there is "
                "no attention between frames to show"
            )
        self.layer, self._attention = layer, attention
        self._inputs: tuple[Tensor, Tensor, list[Size]] | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within it, clips are recorded."""

        def keep(_module: nn.Module, args: tuple[object, ...]) -> None:
            query, reference, _memory, shapes, *_ = args
            self._inputs = query, reference, list(shapes)  # type: ignore[assignment,call-overload]

        handle = self._attention.register_forward_pre_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    def of_clip(self, clip: ClipSeen) -> LayerAttention:
        """The attention to the clip that went through the network just now."""
        assert self._inputs is not None, "no clip was recorded"
        query, reference, shapes = self._inputs
        decoded = clip.detections.decoded
        before = decoded.references[self.layer - 1] if self.layer else decoded.initial
        return LayerAttention(
            self._attention.samples(query, reference, shapes),
            before[0].view(len(clip.frames), -1, before.shape[-1]),
            shapes,
            self._attention.others,
            self._attention.instance_aware,
        )
