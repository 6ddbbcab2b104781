"""The whole network (spec 3). The order of its modules is the order of keys of released files.

Letters: B images, H and W size of the padded image, N priors, C channels of the pyramid, P
prototypes, E length of an embedding, h and w size of a map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from stmask.model.darknet import DarkNet
from stmask.model.fpn import FPN
from stmask.model.head import LevelOutputs, PredictionHead
from stmask.model.priors import prior_boxes
from stmask.model.prototypes import MaskIoUNet, prototype_net
from stmask.model.resnet import ResNet
from stmask.model.settings import NetworkSettings
from stmask.model.temporal import TemporalNet, temporal_features

PerPrior = TypeVar("PerPrior")
"""What holds a row for every prior: a tensor, or something that computes rows as they are read."""


@dataclass
class RawOutputs(Generic[PerPrior]):
    """Predictions for every prior, float32.

    Attributes:
        loc: (B, N, 4).
        conf_logits: (B, N, classes), background first.
        mask_coeff: (B, N, P) before tanh; `mask_coeff[b][rows]` is (n, P).
        track: (B, N, E), length 1; `track[b][rows]` is (n, E).
        centerness: (B, N) in (-1, 1), in the order of `stack_centerness`.
        priors: (N, 4) centres and sizes; shared, not to be written to.
        proto: (B, 2h, 2w, P) prototypes at stride 4.
        fpn_feat: (B, C, h, w) of the temporal level (P4).
        t2s_feat: (B, C, h, w), the head's temporal feature of the same level.
        levels: height and width of every level.
        semantic: (B, classes - 1, h, w) logits on P3, in training and where the network has them.
    """

    loc: Tensor
    conf_logits: Tensor
    mask_coeff: PerPrior
    track: PerPrior
    centerness: Tensor
    priors: Tensor
    proto: Tensor
    fpn_feat: Tensor
    t2s_feat: Tensor
    levels: list[tuple[int, int]]
    semantic: Tensor | None = None


class STMask(nn.Module):
    """Backbone, pyramid, prototypes, head and temporal network.

    Args:
        settings: sizes and switches.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        dark = settings.backbone == "darknet53"
        self.backbone: ResNet | DarkNet = DarkNet(settings) if dark else ResNet(settings)
        self.proto_net = prototype_net(settings)
        if settings.maskiou_channels:
            self.maskiou_net = MaskIoUNet(settings)
        self.fpn = FPN(self.backbone.out_channels[-3:], settings)
        num_heads = 1 if settings.share_head else settings.num_levels
        self.prediction_layers = nn.ModuleList(PredictionHead(settings) for _ in range(num_heads))
        if settings.semantic:
            self.semantic_seg_conv = nn.Conv2d(settings.fpn_channels, settings.num_classes - 1, 1)
        if settings.temporal_fusion:
            self.TemporalNet = TemporalNet(settings)

    def pyramid(self, images: Tensor) -> list[Tensor]:
        """Images (B, 3, H, W) to P3..P7, each (B, C, h, w)."""
        return self.fpn(self.backbone(images)[-3:])

    def prototypes(self, finest: Tensor) -> Tensor:
        """P3 (B, C, h, w) to prototypes (B, 2h, 2w, P)."""
        return self.proto_net(finest).permute(0, 2, 3, 1).contiguous()

    def heads(self, levels: list[Tensor]) -> list[LevelOutputs]:
        """The predictions of every level, by the shared head or by each one's own."""
        layers = self.prediction_layers
        return [layers[i % len(layers)](level) for i, level in enumerate(levels)]

    def priors(self, sizes: list[tuple[int, int]], device: torch.device) -> Tensor:
        """Priors (N, 4) of levels of the given heights and widths."""
        return prior_boxes(sizes, self.settings, device)

    def forward(self, images: Tensor) -> RawOutputs[Tensor]:
        """Normalised RGB images (B, 3, H, W) to raw predictions.

        Sizes need not be multiples of 32: levels are divided rounding up.

        Raises:
            ValueError: another shape.
        """
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images (B, 3, H, W), got {tuple(images.shape)}")
        levels = self.pyramid(images)
        outputs = self.heads(levels)
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        selected = self.settings.correlation_level
        semantic = None
        if self.settings.semantic and self.training:
            semantic = self.semantic_seg_conv(levels[0]).float()
        return RawOutputs(
            _join(output.loc for output in outputs),
            _join(output.conf_logits for output in outputs),
            _join(output.mask_coeff for output in outputs),
            _join(output.track for output in outputs),
            _join(output.centerness for output in outputs),
            priors=self.priors(sizes, images.device),
            proto=self.prototypes(levels[0]).float(),
            fpn_feat=levels[selected].float(),
            t2s_feat=outputs[selected].feature.float(),
            levels=sizes,
            semantic=semantic,
        )

    def temporal_features(
        self, level_prev: Tensor, level_cur: Tensor, t2s_prev: Tensor, t2s_cur: Tensor
    ) -> Tensor:
        """Maps (B, C, h, w) of two frames to temporal features; see `temporal_features`."""
        maps = (level_prev, level_cur, t2s_prev, t2s_cur)
        return temporal_features(*maps, self.settings.patch_size)


def _join(parts: Iterable[Tensor]) -> Tensor:
    """Rows of all levels, (B, n, ...) each, as one float32 tensor."""
    return torch.cat(list(parts), 1).float()
