"""Temporal fusion: features of two frames, and how an instance moves between them (spec 7).

Letters: B pairs of frames, C channels, h and w size of the level, n boxes, F channels of features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import roi_align

from stmask.model.boxes import sanitize
from stmask.model.settings import NetworkSettings
from stmask.ops.correlation import correlate

ROI_SIZE = 7


def normalized_correlation(x1: Tensor, x2: Tensor, patch_size: int, dilation: int = 1) -> Tensor:
    """Correlation of two maps (B, C, h, w) over its channels' number, leaky: (B, p*p, h, w)."""
    raw = correlate(x1, x2, patch_size, dilation).flatten(1, 2)
    return F.leaky_relu(raw / x1.shape[1], 0.1)


def temporal_features(
    level_prev: Tensor, level_cur: Tensor, t2s_prev: Tensor, t2s_cur: Tensor, patch_size: int
) -> Tensor:
    """What TemporalNet reads, of two frames.

    Args:
        level_prev: (B, C, h, w) of the pyramid, earlier frame.
        level_cur: the same, later frame.
        t2s_prev: (B, C, h, w) temporal feature of the head, earlier frame.
        t2s_cur: the same, later frame.
        patch_size: p of the correlation.

    Returns:
        (B, p*p + 2C, h, w), not negative.
    """
    # The activation of the correlation is leaky, but nothing negative is left of it here.
    correlation = normalized_correlation(level_prev, level_cur, patch_size)
    return torch.cat([correlation, t2s_prev, t2s_cur], 1).relu()


def roi_features(features: Tensor, boxes: Tensor) -> Tensor:
    """Features of boxes, averaged on a grid of 7x7 bins.

    Args:
        features: (1, F, h, w).
        boxes: (n, 4) corners in units of the padded image. One outside of it counts as an empty
            box on its border: its features are zero.

    Returns:
        (n, F, 7, 7).
    """
    # Unclamped, a box far outside has a negative extent and asks for a grid of that many points.
    pixels = sanitize(boxes.float().clamp(0, 1), (features.shape[-2], features.shape[-1]), 0)
    return roi_align(features.float(), [pixels], ROI_SIZE, 1.0, -1, aligned=True)


class TemporalNet(nn.Module):
    """Moves boxes and coefficients from one frame to the next.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        first, second, third = settings.temporal_channels
        self.conv1 = nn.Conv2d(settings.temporal_in_channels, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.fc = nn.Linear(third, 4)
        self.fc_coeff = nn.Linear(third, settings.num_prototypes)

    def forward(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        """ROI features (n, F, 7, 7) to `loc` (n, 4), to be decoded, and coefficients' change."""
        x = F.relu(self.conv1(rois))
        x = F.relu(self.conv2(x))
        x = F.relu(self.conv3(x)).mean((2, 3))  # n, C
        return self.fc(x), self.fc_coeff(x)
