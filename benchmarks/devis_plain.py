"""The straightforward form of DeVIS's network, the baseline of `bench_devis.py`.

Order of operations of the published implementation (specification sections 5.4, 5.5, 5.7 and 13):
frame after frame, each with its own copy of the other frames' values; every sample of every level
made by `grid_sample` and kept until the weighted sum; normalisations of the backbone apart; all
masks in one piece.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from devis.model.attention import TemporalMSDeformAttn
from devis.ops.ms_deform_attn import Shapes, level_starts, ms_deform_attn, plain_pytorch


def read_frame_by_frame(
    layer: TemporalMSDeformAttn,
    query: Tensor,
    reference: Tensor,
    memory: Tensor,
    shapes: Shapes,
    _padding: Tensor | None = None,
) -> Tensor:
    """`TemporalMSDeformAttn.forward`, with a copy of the values of the others for each frame."""
    found, value = layer.samples(query, reference, shapes), layer.value(memory, None)
    assert found.other_locations is not None and found.other_weights is not None
    count = len(layer.others[0])
    joined_shapes = list(shapes) * count
    frames = []
    for t, others in enumerate(layer.others):
        own = ms_deform_attn(
            value[t : t + 1],
            shapes,
            level_starts(shapes),
            found.locations[t : t + 1],
            found.weights[t : t + 1],
        )
        joined = torch.cat([value[s : s + 1] for s in others], 1)
        rest = ms_deform_attn(
            joined,
            joined_shapes,
            level_starts(joined_shapes),
            found.other_locations[t : t + 1],
            found.other_weights[t : t + 1],
        )
        frames.append(own + rest)
    return layer.output_proj(torch.cat(frames))


@contextlib.contextmanager
def plain_path(network: nn.Module) -> Iterator[None]:
    """Inside, a network runs in its straightforward form."""
    layers = [m for m in network.modules() if isinstance(m, TemporalMSDeformAttn)]
    for layer in layers:
        layer.forward = read_frame_by_frame.__get__(layer)  # type: ignore[method-assign]
    try:
        with plain_pytorch():
            yield
    finally:
        for layer in layers:
            del layer.forward
