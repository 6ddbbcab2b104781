"""Prediction head with one kernel per shape of anchor, FCA (spec 3.4).

Letters: B images, C channels, h and w size of a level, S scales per kernel, A anchors per pixel,
N = h*w*A priors of a level.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.calibration import CalibratedLayer
from stmask.model.settings import NetworkSettings


class LevelOutputs(NamedTuple):
    """Predictions of one level, one row per prior.

    Attributes:
        loc: (B, N, 4).
        conf_logits: (B, N, classes).
        mask_coeff: (B, N, P) before tanh.
        track: (B, N, E) of length 1.
        centerness: (B, N) in (-1, 1), in an order of its own (see `stack_centerness`).
        feature: (B, C, h, w) of `upfeature`, the temporal feature.
    """

    loc: Tensor
    conf_logits: Tensor
    mask_coeff: Tensor
    track: Tensor
    centerness: Tensor
    feature: Tensor


def flatten_anchors(maps: list[Tensor], num_scales: int) -> Tensor:
    """Maps of the kernels, each (B, S*D, h, w), to rows (B, N, D): anchor fastest, then column."""
    joined = torch.cat(maps, 1).permute(0, 2, 3, 1)  # B, h, w, A*D
    depth = maps[0].shape[1] // num_scales
    return joined.reshape(len(joined), -1, depth)


def stack_centerness(maps: list[Tensor]) -> Tensor:
    """Maps of the kernels, each (B, S, h, w), to values (B, N).

    The maps are stacked along the height before they are flattened, so the value that a prior gets
    is in general of another kernel and pixel than its other predictions: prior i of a level reads
    kernel i // (h*w) at pixel i % (h*w). Training pairs them in the same way, so the released
    weights need it.
    """
    stacked = torch.cat(maps, 2).permute(0, 2, 3, 1)  # B, 3*h, w, S
    return stacked.flatten(1).tanh()


class PredictionHead(nn.Module):
    """Four towers and one layer per kernel and kind of prediction.

    The order of the modules is the order of the keys of released files.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        width, num_scales = settings.fpn_channels, settings.scales_per_anchor
        self.upfeature = nn.Sequential(nn.Conv2d(width, width, 3, padding=1))
        self.bbox_layer = self._layers(4, calibrated=False)
        self.track_layer = self._layers(settings.embed_dim, calibrated=settings.calibrate_track)
        self.mask_layer = self._layers(settings.num_prototypes, calibrated=settings.calibrate_mask)
        self.centerness_layer = self._layers(1, calibrated=False)
        self.conf_layer = self._layers(settings.num_classes, calibrated=settings.calibrate_class)
        self.track_extra = _tower(width, settings.track_depth)
        self.conf_extra = _tower(width, settings.conf_depth)
        self.bbox_extra = _tower(width, settings.bbox_depth)
        self.mask_extra = _tower(width, settings.mask_depth)
        self.num_scales = num_scales

    def _layers(self, num_out: int, *, calibrated: bool) -> nn.ModuleList:
        settings = self.settings
        width, total = settings.fpn_channels, num_out * settings.scales_per_anchor
        layers: list[nn.Module] = []
        for kernel in settings.kernels:
            padding = (kernel[0] // 2, kernel[1] // 2)
            if calibrated:
                layers.append(CalibratedLayer(width, total, kernel, settings))
            else:
                layers.append(nn.Conv2d(width, total, kernel, padding=padding))
        return nn.ModuleList(layers)

    def forward(self, x: Tensor) -> LevelOutputs:
        """One level (B, C, h, w) to its predictions."""
        feature = F.relu(self.upfeature(x))
        boxes = self.bbox_extra(feature)
        loc = [layer(boxes) for layer in self.bbox_layer]  # B, S*4, h, w each
        centerness = [layer(boxes) for layer in self.centerness_layer]
        conf = _predict(self.conf_layer, self.conf_extra(feature), loc)
        coeff = _predict(self.mask_layer, self.mask_extra(feature), loc)
        track = _predict(self.track_layer, self.track_extra(feature), loc)
        S = self.num_scales
        return LevelOutputs(
            flatten_anchors(loc, S),
            flatten_anchors(conf, S),
            flatten_anchors(coeff, S),
            F.normalize(flatten_anchors(track, S), dim=-1),
            stack_centerness(centerness),
            feature,
        )


def _tower(width: int, depth: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers)


def _predict(layers: nn.ModuleList, x: Tensor, loc: list[Tensor]) -> list[Tensor]:
    """The map of every kernel, each calibrated by that kernel's boxes where it is."""
    return [
        layer(x, boxes) if isinstance(layer, CalibratedLayer) else layer(x)
        for layer, boxes in zip(layers, loc, strict=True)
    ]
