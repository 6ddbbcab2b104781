"""The whole network (spec 2). The order of its modules is the order of keys of released files.

Letters: B images, H and W size of the padded image, C channels, h and w size of a level.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vatrack.model.fpn import FPN
from vatrack.model.heads import RoIHead
from vatrack.model.initialise import initialise, prototypes
from vatrack.model.resnet import ResNet
from vatrack.model.roi import roi_features
from vatrack.model.rpn import RPNHead
from vatrack.model.settings import ModelSettings


class VATrackNet(nn.Module):
    """Backbone, pyramid, proposals and the heads of regions.

    Args:
        settings: sizes and switches.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        for i in range(len(settings.strides)):
            self.register_buffer(f"mu{i}", prototypes(settings.fpn_channels))
        self.backbone = ResNet(settings)
        self.neck = FPN(self.backbone.out_channels, settings.fpn_channels)
        self.rpn_head = RPNHead(settings)
        self.roi_head = RoIHead(settings)

    def extract(self, images: Tensor) -> list[Tensor]:
        """Normalised RGB images (B, 3, H, W) to P2..P6, each (B, C, h, w).

        Raises:
            ValueError: another shape.
        """
        if images.dim() != 4 or images.shape[1] != 3:
            raise ValueError(f"expected images (B, 3, H, W), got {tuple(images.shape)}")
        return self.neck(self.backbone(images))

    def proposals(
        self,
        features: Sequence[Tensor],
        img_shapes: Sequence[Sequence[int]],
        nms_pre: int = 1000,
        max_num: int = 1000,
    ) -> list[Tensor]:
        """The best boxes (n, 5) of every image; see `RPNHead.proposals`."""
        logits, deltas = self.rpn_head(features)
        return self.rpn_head.proposals(logits, deltas, img_shapes, nms_pre, max_num)

    def box_features(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Features (n, C, 7, 7) of regions (n, 5) for boxes and embeddings."""
        return roi_features(features, rois, self.settings.box_roi_size, self.settings)

    def mask_features(self, features: Sequence[Tensor], rois: Tensor) -> Tensor:
        """Features (n, C, 14, 14) of regions (n, 5) for masks."""
        return roi_features(features, rois, self.settings.mask_roi_size, self.settings)


def build(settings: ModelSettings) -> VATrackNet:
    """A network with the weights that training starts from."""
    network = VATrackNet(settings)
    initialise(network)
    return network
