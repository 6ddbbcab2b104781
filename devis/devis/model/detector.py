"""Deformable DETR: backbone, transformer and heads of classes and boxes (spec 5.3, 5.6).

Letters: B images or frames, T frames, N queries, C classes, D channels, H and W size of the
images, K decoder layers.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from devis.model.boxes import add_logits
from devis.model.decoder import Mlp
from devis.model.position import LearnedFramePosition, SineFramePosition, SinePosition
from devis.model.resnet import ResNet
from devis.model.settings import ModelSettings
from devis.model.swin import Swin
from devis.model.transformer import Decoded, Transformer


@dataclass(frozen=True)
class Features:
    """What is computed of every image or frame on its own, and can be kept for the next clip.

    Attributes:
        stages: of the backbone, (B, c, H/4, W/4) to (B, c, H/32, W/32).
        levels: projected to D channels, finest first.
        paddings: of every level (B, h, w), True on padding.
    """

    stages: list[Tensor]
    levels: list[Tensor]
    paddings: list[Tensor]


@dataclass(frozen=True)
class Detections:
    """What a detector gives; layers are those of the decoder.

    Attributes:
        features: of the images.
        decoded: by the transformer.
        logits: (K, B, N, C); B is 1 for a clip, whose N queries are frame by frame.
        boxes: (K, B, N, 4) centre x, centre y, width, height as fractions of the unpadded image.
    """

    features: Features
    decoded: Decoded
    logits: Tensor
    boxes: Tensor


class Body(nn.Module):
    """Keeps the backbone under the name that files have.

    Args:
        settings: of the network.

    Raises:
        ValueError: there is no such backbone.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.body: ResNet | Swin
        if settings.backbone.startswith("swin"):
            self.body = Swin(settings.backbone)
        else:
            self.body = ResNet(settings.backbone, dilation=settings.dilation)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the four stages."""
        return self.body(images)


def _position(settings: ModelSettings) -> SinePosition:
    temporal = settings.temporal
    if temporal is None:
        return SinePosition(settings.hidden_dim)
    if temporal.embedding == "sine":
        return SineFramePosition(settings.hidden_dim)
    return LearnedFramePosition(settings.hidden_dim, temporal.num_frames)


def _projections(channels: tuple[int, ...], settings: ModelSettings) -> nn.ModuleList:
    dim = settings.hidden_dim
    used = channels[-1:] if settings.num_levels == 1 else channels[1:]
    convolutions = [nn.Conv2d(c, dim, 1) for c in used]
    if settings.num_levels == 4:
        convolutions.append(nn.Conv2d(channels[-1], dim, 3, 2, 1))
    for convolution in convolutions:
        nn.init.xavier_uniform_(convolution.weight)
        assert convolution.bias is not None
        nn.init.zeros_(convolution.bias)
    return nn.ModuleList(nn.Sequential(c, nn.GroupNorm(32, dim)) for c in convolutions)


def _reset_boxes(heads: nn.ModuleList) -> None:
    """Every box starts at its reference; those of the first layer are small."""
    for head in heads:
        assert isinstance(head, Mlp)
        nn.init.zeros_(head.layers[-1].get_parameter("weight"))
        nn.init.zeros_(head.layers[-1].get_parameter("bias"))
    with torch.no_grad():
        heads[0].get_parameter("layers.2.bias")[2:] = -2.0


class DeformableDETR(nn.Module):
    """The detector of images, or of clips when the settings have temporal ones.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        body = Body(settings)
        #: Channels of the stages /4, /8, /16 and /32 of the backbone.
        self.stage_channels = body.body.channels
        dim = settings.hidden_dim
        class_head, box_head = nn.Linear(dim, settings.num_classes), Mlp(dim, dim, dim, 4)
        nn.init.constant_(class_head.bias, -math.log(99))

        self.backbone = nn.ModuleList([body, _position(settings)])
        self.transformer = Transformer(settings)
        self.class_embed = self._per_layer(class_head)
        self.bbox_embed = self._per_layer(box_head)
        _reset_boxes(self.bbox_embed)
        if settings.refine_boxes:
            self.transformer.decoder.bbox_embed = self.bbox_embed
        self.query_embed = nn.Embedding(settings.num_queries, 2 * dim)
        self.input_proj = _projections(self.stage_channels, settings)

    def _per_layer(self, head: nn.Module) -> nn.ModuleList:
        """Heads of all layers: own ones where boxes are refined, else one under six names."""
        own = self.settings.refine_boxes
        return nn.ModuleList(
            copy.deepcopy(head) if own else head for _ in range(self.settings.dec_layers)
        )

    def extract(self, images: Tensor, padding: Tensor | None = None) -> Features:
        """Features of every image on its own.

        Args:
            images: (B, 3, H, W) normalised.
            padding: (B, H, W), True on padding; None: there is none.
        """
        if padding is None:
            padding = images.new_zeros((len(images), *images.shape[2:]), dtype=torch.bool)
        stages = self.backbone[0](images)
        count = self.settings.num_levels
        sources = stages[-1:] if count == 1 else stages[1:]
        sources = sources + [stages[-1]] * (count == 4)
        levels = [proj(x) for proj, x in zip(self.input_proj, sources, strict=True)]
        mask = padding[None].float()
        paddings = [F.interpolate(mask, x.shape[-2:])[0].bool() for x in levels]
        return Features(stages, levels, paddings)

    def detect(self, features: Features) -> Detections:
        """Classes and boxes of images, or of the frames of one clip in their order."""
        positions = [
            self.backbone[1](p).to(x.dtype)
            for p, x in zip(features.paddings, features.levels, strict=True)
        ]
        decoded = self.transformer(
            features.levels, features.paddings, positions, self.query_embed.weight
        )
        pairs = zip(self.class_embed, decoded.hidden, strict=True)
        logits = torch.stack([head(hidden) for head, hidden in pairs])
        return Detections(features, decoded, logits, self._boxes(decoded))

    def _boxes(self, decoded: Decoded) -> Tensor:
        """Boxes of every layer; with gradient between layers, the references themselves."""
        if self.settings.refine_boxes and self.settings.box_gradient:
            return decoded.references
        before = (decoded.initial, *decoded.references[:-1])
        layers = zip(self.bbox_embed, decoded.hidden, before, strict=True)
        return torch.stack([add_logits(head(h), reference) for head, h, reference in layers])

    def forward(self, images: Tensor, padding: Tensor | None = None) -> Detections:
        """(B, 3, H, W) normalised images, and (B, H, W) True on padding, to detections."""
        return self.detect(self.extract(images, padding))
