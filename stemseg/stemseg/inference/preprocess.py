"""Frames to network input and back. Source: spec section 8, item 2.

Letters: H, W rows and columns. Frames are BGR here; mean and deviation are always in that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stemseg.config import Config

STRIDE = 32
"""The network halves its input five times."""


@dataclass(frozen=True)
class InputRule:
    """How frames are scaled and normalised.

    Attributes:
        min_dim: length that the shorter side is scaled to ...
        max_dim: ... unless the longer side would exceed this.
        mean: of each channel, blue first.
        std: of each channel, blue first.
        unit_scale: divide by 255 before.
        bgr: order of the channels that the network expects.
    """

    min_dim: int
    max_dim: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unit_scale: bool = False
    bgr: bool = True

    @classmethod
    def from_config(cls, cfg: Config) -> InputRule:
        """The rule of a configuration's INPUT section."""
        section = cfg.INPUT
        return cls(
            min_dim=int(section.MIN_DIM),
            max_dim=int(section.MAX_DIM),
            mean=tuple(section.IMAGE_MEAN),
            std=tuple(section.IMAGE_STD),
            unit_scale=bool(section.NORMALIZE_TO_UNIT_SCALE),
            bgr=bool(section.BGR_INPUT),
        )


@dataclass(frozen=True)
class FrameGeometry:
    """Sizes (H, W) of a frame on its way through the network.

    Attributes:
        image: the frame as it is.
        network: scaled.
        padded: with zeros right and below up to multiples of 32.
    """

    image: tuple[int, int]
    network: tuple[int, int]
    padded: tuple[int, int]

    @property
    def padding(self) -> tuple[int, int]:
        """Columns added on the right, rows added below."""
        return self.padded[1] - self.network[1], self.padded[0] - self.network[0]


def network_scale(size: tuple[int, int], min_dim: int, max_dim: int) -> float:
    """Factor from the frame to the network's input.

    Args:
        size: (H, W) or (W, H) of the frame.
        min_dim: wanted length of the shorter side.
        max_dim: limit of the longer side.
    """
    scale = min_dim / min(size)
    if max(size) * scale > max_dim:
        scale = max_dim / max(size)
    return scale


def frame_geometry(size: tuple[int, int], rule: InputRule) -> FrameGeometry:
    """Sizes for frames of size (H, W)."""
    scale = network_scale(size, rule.min_dim, rule.max_dim)
    height, width = (max(1, round(scale * side)) for side in size)
    padded = (-(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE)
    return FrameGeometry((size[0], size[1]), (height, width), padded)


def input_dims(
    configured: tuple[int, int], min_dim: int | None, max_dim: int | None
) -> tuple[int, int]:
    """The meaning of `--min_dim` and `--max_dim`: one alone scales the other with it.

    Args:
        configured: MIN_DIM and MAX_DIM of the configuration.
        min_dim: the flag, None where it is not given.
        max_dim: the flag, None where it is not given.
    """
    ratio = configured[1] / configured[0]
    if min_dim is None and max_dim is None:
        return configured
    if max_dim is None:
        assert min_dim is not None
        return min_dim, round(min_dim * ratio)
    if min_dim is None:
        return round(max_dim / ratio), max_dim
    return min_dim, max_dim


def preprocess(frame: np.ndarray, cfg: Config) -> Tensor:
    """Scales, normalises and pads one frame as a configuration says; see `prepare`."""
    return prepare(frame, InputRule.from_config(cfg))[0]


def prepare(
    frame: np.ndarray, rule: InputRule, device: torch.device | str = "cpu"
) -> tuple[Tensor, FrameGeometry]:
    """Scales, normalises and pads one frame.

    Args:
        frame: (H, W, 3) uint8, BGR.
        rule: see `InputRule`.
        device: where the result is to be.

    Returns:
        (3, H', W') float32 with sides that are multiples of 32, and all sizes.
    """
    geometry = frame_geometry((frame.shape[0], frame.shape[1]), rule)
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(device)
    x = pixels.permute(2, 0, 1).float()
    # No anti-aliasing: published numbers depend on it.
    x = F.interpolate(x[None], geometry.network, mode="bilinear", align_corners=False)[0]
    right, below = geometry.padding
    return F.pad(normalise(x, rule), (0, right, 0, below)), geometry


def normalise(x: Tensor, rule: InputRule) -> Tensor:
    """Normalises frames, and reverses their channels where the network wants red first.

    Args:
        x: (..., 3, H, W) float, 0..255, in the order blue, green, red.
        rule: mean and deviation.
    """
    if rule.unit_scale:
        x = x / 255
    x = (x - _column(rule.mean, x.device)) / _column(rule.std, x.device)
    return x if rule.bgr else x.flip(-3)


def to_picture(x: Tensor, rule: InputRule) -> np.ndarray:
    """What a normalised input looks like.

    Args:
        x: (3, H, W) as `prepare` gives it.
        rule: how it was made.

    Returns:
        (H, W, 3) uint8, BGR. With `rule.bgr` false the colours are slightly off, as in the
        original: mean and deviation are applied before the channels are put back in order.
    """
    x = x * _column(rule.std, x.device) + _column(rule.mean, x.device)
    if rule.unit_scale:
        x = x * 255
    if not rule.bgr:
        x = x.flip(0)
    return x.clamp(0, 255).permute(1, 2, 0).to(torch.uint8).cpu().numpy()


def _column(values: Sequence[float], device: torch.device | str) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float32, device=device)[:, None, None]
