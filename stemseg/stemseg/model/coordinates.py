"""Fixed coordinate offsets of the embedding (spec 6.4).

Letters: T frames, H and W size of the map, D embedding dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

#: Channels of every mode, in order; "0" is a free dimension, to which nothing is added.
CHANNELS = {
    "x": "x",
    "xy": "yx",
    "ff": "00",
    "xyt": "tyx",
    "xyf": "yx0",
    "xytf": "tyx0",
    "xyff": "yx00",
    "xytff": "tyx00",
    "xyfff": "yx000",
    "xyffff": "yx0000",
}
#: Mode to (embedding dimensions, free dimensions), for the modes that a network may have.
#: Both dimensions of "ff" have learned bandwidths, so none counts as free.
MODE_DIMS = {
    mode: (len(channels), 0 if mode == "ff" else channels.count("0"))
    for mode, channels in CHANNELS.items()
    if mode not in ("x", "xyffff")
}


def dims_of(mode: str) -> tuple[int, int]:
    """Embedding dimensions and free dimensions of a mode.

    Raises:
        ValueError: a network cannot have it.
    """
    if mode not in MODE_DIMS:
        known = ", ".join(MODE_DIMS)
        raise ValueError(f"MODEL.EMBEDDING_DIM_MODE: expected one of {known}, got {mode!r}")
    return MODE_DIMS[mode]


def check_dims(mode: str, size: int, stds: Sequence[float]) -> None:
    """Whether what a configuration says about the embedding fits together.

    Args:
        mode: MODEL.EMBEDDING_DIM_MODE.
        size: MODEL.EMBEDDINGS.EMBEDDING_SIZE.
        stds: TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS.

    Raises:
        ValueError: naming the key that does not fit.
    """
    dims, num_free = dims_of(mode)
    if dims != size:
        raise ValueError(
            f"MODEL.EMBEDDINGS.EMBEDDING_SIZE: mode {mode} has {dims} dimensions, got {size}"
        )
    if len(stds) != num_free or any(std <= 0 for std in stds):
        raise ValueError(
            f"TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS: mode {mode} needs {num_free} positive "
            f"numbers, got {list(stds)}"
        )


def coordinate_offset(
    mode: str,
    size: tuple[int, int, int],
    time_scale: float | Tensor,
    *,
    device: torch.device | str | None = None,
) -> Tensor:
    """What is added to the learned part of the embedding.

    Args:
        mode: a key of `CHANNELS`.
        size: (T, H, W) of the map; H and W of the padded input at stride 4.
        time_scale: t runs from minus this to this.
        device: of the result.

    Returns:
        (D, T, H, W) float32.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in CHANNELS:
        raise ValueError(f"unknown embedding mode {mode!r}; known: {', '.join(CHANNELS)}")
    T, H, W = size
    offset = torch.zeros((len(CHANNELS[mode]), T, H, W), device=device)  # D, T, H, W
    scale = float(time_scale)
    for channel, axis in enumerate(CHANNELS[mode]):
        if axis == "t":
            offset[channel] = _span(T, scale, device)[:, None, None]
        elif axis == "y":
            offset[channel] = _span(H, max(1.0, H / W), device)[:, None]
        elif axis == "x":
            offset[channel] = _span(W, max(1.0, W / H), device)
    return offset


def _span(num: int, end: float, device: torch.device | str | None) -> Tensor:
    """`num` values from -end to end, both included; one value gives -end."""
    return torch.linspace(-end, end, num, device=device)
