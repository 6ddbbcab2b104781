"""The straightforward form of STMask's network, the baseline of `bench_stmask.py`.

Order of operations of the published implementation (specification sections 3, 7.1 and 13): norms
apart, the head on one level after another with every prediction at every prior, priors made anew
by a loop in every frame, and the correlation by unfolding one map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.inference.networks import FrameNetwork
from stmask.model.deployed import Timer, untimed
from stmask.model.network import RawOutputs, STMask
from stmask.ops.correlation import unfolded_correlate


def looped_priors(sizes: list[tuple[int, int]], kernels: tuple[tuple[int, int], ...]) -> Tensor:
    """Priors (N, 4) of all levels, one at a time."""
    rows = []
    for height, width in sizes:
        for y in range(height):
            for x in range(width):
                for kh, kw in kernels:
                    rows += [(x + 0.5) / width, (y + 0.5) / height, kw / width, kh / height]
    return torch.tensor(rows).view(-1, 4)


class PlainNetwork(FrameNetwork):
    """A network as it was trained, part by part.

    Args:
        network: in eval mode.
        timer: is called with the name of every part.
    """

    def __init__(self, network: STMask, *, timer: Timer = untimed) -> None:
        self.network, self.timer = network, timer

    def __call__(self, images: Tensor) -> RawOutputs:
        """Normalised RGB images (B, 3, H, W) to predictions."""
        network = self.network
        with self.timer("backbone"):
            maps = network.backbone(images)
        with self.timer("fpn"):
            levels = network.fpn(maps[-3:])
        with self.timer("proto"):
            proto = network.prototypes(levels[0])
        with self.timer("pred_heads"):
            outputs = network.heads(levels)
            joined = [torch.cat([output[i] for output in outputs], 1) for i in range(5)]
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        with self.timer("makepriors"):
            priors = looped_priors(sizes, network.settings.kernels)
        selected = network.settings.correlation_level
        loc, conf, coeff, track, centerness = joined
        return RawOutputs(
            *(loc, conf, coeff, track, centerness, priors, proto),
            *(levels[selected], outputs[selected].feature, sizes),
        )

    def temporal_features(
        self, previous: Tensor, current: Tensor, previous_t2s: Tensor, current_t2s: Tensor
    ) -> Tensor:
        """Maps (1, C, h, w) of two frames to temporal features."""
        patch_size = self.network.settings.patch_size
        raw = unfolded_correlate(previous, current, patch_size).flatten(1, 2)
        correlation = F.leaky_relu(raw / previous.shape[1], 0.1)
        return torch.cat([correlation, previous_t2s, current_t2s], 1).relu()

    def TemporalNet(self, features: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """ROI features (n, F, 7, 7) to the move of boxes and coefficients."""
        return self.network.TemporalNet(features)
