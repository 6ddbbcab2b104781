"""Fixed coordinate offsets of the embedding (spec 6.4).

Letters: T frames, H and W size of the map, D embedding dimensions.
"""

from __future__ import annotations

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
