"""What is predicted for regions of interest: boxes, masks, embeddings (spec 2.7 to 2.9).

Letters: n regions, C channels, S side of their features, K classes, E length of an embedding.
"""

from __future__ import annotations

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from vatrack.model.layers import Conv
from vatrack.model.settings import ModelSettings


class BoxHead(nn.Module):
    """Two fully connected layers, then classes and a box for each.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, num_classes = settings.fc_channels, settings.num_classes
        self.num_cells = settings.box_roi_size**2
        flat = settings.fpn_channels * self.num_cells
        self.fc_cls = nn.Linear(width, num_classes + 1)
        self.fc_reg = nn.Linear(width, num_classes * 4)
        self.shared_fcs = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise((flat, width, width)))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, S, S) to logits (n, K+1), background last, and deltas (n, K*4)."""
        x = features.flatten(1)
        for fc in self.shared_fcs:
            x = F.relu(fc(x))
        return self.fc_cls(x), self.fc_reg(x)


class MaskHead(nn.Module):
    """3x3 layers, a transposed convolution, and a logit for every class and pixel.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.fpn_channels
        self.convs = nn.ModuleList(Conv(width, width) for _ in range(settings.mask_convs))
        self.upsample = nn.ConvTranspose2d(width, width, 2, 2)
        self.conv_logits = nn.Conv2d(width, settings.num_classes, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(n, C, S, S) to logits (n, K, 2S, 2S)."""
        x = features
        for conv in self.convs:
            x = conv(x)
        return self.conv_logits(F.relu(self.upsample(x)))


class TrackHead(nn.Module):
    """3x3 layers with group norm, a hidden layer, and the embedding.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width, groups = settings.fpn_channels, settings.norm_groups
        self.convs = nn.ModuleList(
            Conv(width, width, norm_groups=groups) for _ in range(settings.track_convs)
        )
        self.num_cells = settings.box_roi_size**2
        flat = width * self.num_cells
        self.fcs = nn.ModuleList([nn.Linear(flat, settings.fc_channels)])
        self.fc_embed = nn.Linear(settings.fc_channels, settings.embed_dim)

    def forward(self, features: Tensor) -> Tensor:
        """(n, C, S, S) to embeddings (n, E)."""
        x = features
        for conv in self.convs:
            x = conv(x)
        x = x.flatten(1)
        for fc in self.fcs:
            x = F.relu(fc(x))
        return self.fc_embed(x)


class RoIHead(nn.Module):
    """The heads of a model; which ones, and what each predicts, depends on its kind.

    Args:
        settings: of the network.

    Attributes:
        bbox_head: detects; in the two-box model the visible boxes, of detections.
        mask_head: visible masks; the only masks of QDTrack and AmodalTrack.
        amodal_mask_head: amodal masks of the joint models.
        amodal_bbox_head: detects amodal boxes in the two-box model.
        track_head: embeddings of amodal boxes (QDTrack: of its boxes).
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.bbox_head = BoxHead(settings)
        self.mask_head = MaskHead(settings)
        if settings.is_joint:
            self.amodal_mask_head = MaskHead(settings)
        if settings.has_two_boxes:
            self.amodal_bbox_head = BoxHead(settings)
        self.track_head = TrackHead(settings)

    @property
    def detector(self) -> BoxHead:
        """The head whose boxes are the detections."""
        return getattr(self, "amodal_bbox_head", self.bbox_head)
