"""The network as it runs in inference: the same function in less work (spec 13).

- Norms are folded into the convolutions; maps are stored channels last; on a CPU convolutions are
  packed once with sum and ReLU inside, and deformable ones sample all channels of a pixel at once.
- Mask coefficients and embeddings are computed when they are read, for the priors that are asked
  for, which are those that survived the suppression.
- TemporalNet runs in the number format of the network, channels last.

Letters: B images, H and W size of the padded image, N priors, n regions, F channels of features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from stmask.model.deployed_backbone import (
    DeployedBackbone,
    DeployedFPN,
    DeployedPrototypes,
    channels_last,
    inference_conv,
)
from stmask.model.deployed_head import DenseHead, Rows, SparseBranch, feature_table, pixels_of
from stmask.model.head import PredictionHead
from stmask.model.network import RawOutputs, STMask
from stmask.model.priors import prior_boxes
from stmask.model.temporal import TemporalNet

#: Name of a part to a context in which it runs.
Timer = Callable[[str], AbstractContextManager[object]]


def untimed(_name: str) -> AbstractContextManager[object]:
    """The timer of those who do not ask."""
    return contextlib.nullcontext()


def can_deploy(network: STMask) -> bool:
    """Whether there is a deployed form: one head for all levels, only its classes calibrated.

    Every released model is of this kind.
    """
    settings = network.settings
    return settings.share_head and not (settings.calibrate_track or settings.calibrate_mask)


class DeployedNetwork:
    """Runs a network for inference.

    Args:
        network: in eval mode, on its device; it is not changed, but later changes of it may or
            may not be seen.
        dtype: of weights and maps. Results are float32. Anything but float32 is faster where the
            processor has it, and less exact.
        timer: is called with the name of every part (backbone, fpn, pred_heads, makepriors, proto).

    Raises:
        ValueError: a network that has no such form (see `can_deploy`).
    """

    def __init__(
        self, network: STMask, dtype: torch.dtype = torch.float32, *, timer: Timer = untimed
    ) -> None:
        assert not network.training, "inference needs a network in eval mode"
        if not can_deploy(network):
            raise ValueError("no deployed form: the network has several or fully calibrated heads")
        self.settings, self.dtype, self.timer = network.settings, dtype, timer
        self.device = next(network.parameters()).device
        self.temporal_features = network.temporal_features
        head = network.prediction_layers[0]
        assert isinstance(head, PredictionHead)
        with torch.no_grad():
            self.backbone = DeployedBackbone(network.backbone, dtype)
            self.fpn = DeployedFPN(network.fpn, dtype)
            self.proto_net = DeployedPrototypes(network.proto_net, dtype)
            self.dense = DenseHead(head, dtype)
            self.coeff, self.track = (
                SparseBranch(tower, layers, head.num_scales, dtype)
                for tower, layers in (
                    (head.mask_extra, head.mask_layer),
                    (head.track_extra, head.track_layer),
                )
            )
            self._temporal: _Temporal | None = None
            if self.settings.temporal_fusion:
                self._temporal = _Temporal(network.TemporalNet, dtype)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> RawOutputs[Rows]:
        """Normalised RGB images (B, 3, H, W) to raw predictions; see `STMask.forward`."""
        with self.timer("backbone"):
            maps = self.backbone(images)
        with self.timer("fpn"):
            levels = self.fpn(maps)
        with self.timer("pred_heads"):
            outputs = [self.dense(level) for level in levels]
            table = feature_table([output.feature for output in outputs])
        sizes = [(level.shape[-2], level.shape[-1]) for level in levels]
        with self.timer("makepriors"):
            priors = prior_boxes(sizes, self.settings, self.device)
            places = pixels_of(tuple(sizes), self.device)
        with self.timer("proto"):
            proto = self.proto_net(levels[0])
        selected = self.settings.correlation_level
        return RawOutputs(
            loc=torch.cat([output.loc for output in outputs], 1),
            conf_logits=torch.cat([output.conf_logits for output in outputs], 1),
            mask_coeff=Rows(self.coeff, table, places, normalize=False),
            track=Rows(self.track, table, places, normalize=True),
            centerness=torch.cat([output.centerness for output in outputs], 1),
            priors=priors,
            proto=proto,
            fpn_feat=levels[selected].float(),
            t2s_feat=outputs[selected].feature.float(),
            levels=sizes,
        )

    def TemporalNet(self, rois: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """See `stmask.model.temporal.TemporalNet`."""
        assert self._temporal is not None, "the network has no temporal fusion"
        return self._temporal(rois)


class _Temporal:
    """`TemporalNet`."""

    def __init__(self, net: TemporalNet, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.convs = [inference_conv(conv, dtype) for conv in (net.conv1, net.conv2, net.conv3)]
        self.fc, self.fc_coeff = net.fc, net.fc_coeff

    @torch.no_grad()
    def __call__(self, rois: Tensor) -> tuple[Tensor, Tensor]:
        x = channels_last(rois.to(self.dtype))
        for conv in self.convs:
            x = conv(x, relu=True)
        pooled = x.float().mean((2, 3))  # n, C
        return self.fc(pooled), self.fc_coeff(pooled)
