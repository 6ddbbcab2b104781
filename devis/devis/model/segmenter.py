"""Detectors with masks: Deformable Mask-Head of images and DeVIS of clips (spec 5.7, 5.8).

Letters: B images or frames, T frames, Q instance slots of a frame, N queries, n chosen instances,
D channels, K decoder layers, H and W size of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from devis.model.checkpointing import Checkpointed
from devis.model.detector import DeformableDETR, Detections
from devis.model.mask_head import BoxAttention, MaskHead, conv_head_3d
from devis.model.settings import ModelSettings

#: Gives, of a layer's logits (B, N, C) and boxes (B, N, 4), the queries whose masks are wanted:
#: indices per image, or instance slots of a clip.
Choose = Callable[[int, Tensor, Tensor], Sequence[Tensor]]


@dataclass(frozen=True)
class Segmentation:
    """Detections, and masks of the chosen queries by decoder layer.

    Attributes:
        detections: of all queries.
        masks: by layer, logits at a quarter of the image: of images (n of all images, 1, H/4, W/4),
            image by image; of a clip (n, T, H/4, W/4).
    """

    detections: Detections
    masks: dict[int, Tensor]


class Segmenter(Checkpointed):
    """What image and clip models with masks have in common.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.def_detr = DeformableDETR(settings)
        maps = len(settings.attention_levels)
        self.bbox_attention = BoxAttention(settings.hidden_dim, maps)
        temporal = settings.temporal
        has_3d = temporal is not None and temporal.conv_head_3d
        self.mask_head = MaskHead(
            settings.hidden_dim,
            self._feature_channels(),
            maps,
            modulated=settings.modulated,
            out_layer=not has_3d,
        )
        if has_3d:
            self.conv_head_3d = conv_head_3d()

    def _feature_channels(self) -> tuple[int, ...]:
        stages = dict(zip(STAGES, self.def_detr.stage_channels, strict=True))
        return tuple(
            stages[level] if source == "backbone" else self.settings.hidden_dim
            for level, source in self.settings.mask_features
        )

    def mask_features(self, detections: Detections) -> list[Tensor]:
        """The four features (B, c, H, W) of the mask head, coarsest first."""
        features = detections.features
        sources = {
            "backbone": dict(zip(STAGES, features.stages, strict=True)),
            "compressed_backbone": dict(
                zip(self.settings.level_names, features.levels, strict=True)
            ),
            "encoded": dict(zip(self.settings.level_names, detections.decoded.memory, strict=True)),
        }
        return [sources[source][level] for level, source in self.settings.mask_features]

    def attention_maps(self, detections: Detections, queries: Tensor) -> list[Tensor]:
        """(B, n, D) queries to maps (B, n, 8, H, W) of every level that has one, coarsest first."""
        names = self.settings.level_names
        at = [names.index(level) for level in self.settings.attention_levels]
        memory, paddings = detections.decoded.memory, detections.features.paddings
        return [
            self.bbox_attention(queries, memory[level], paddings[level], i)
            for i, level in enumerate(at)
        ]

    def forward(
        self, images: Tensor, padding: Tensor | None = None, choose: Choose | None = None
    ) -> Segmentation:
        """Detections of all queries and masks of those that `choose` gives.

        Args:
            images: (B, 3, H, W) normalised; a clip's frames in their order.
            padding: (B, H, W), True on padding.
            choose: called for the last decoder layer and those of `mask_layers`; None: no masks.
        """
        detections = self.def_detr(images, padding)
        masks: dict[int, Tensor] = {}
        if choose is not None:
            for layer in sorted({*self.settings.mask_layers, self.settings.dec_layers - 1}):
                chosen = choose(layer, detections.logits[layer], detections.boxes[layer])
                masks[layer] = self.masks(detections, chosen, layer)
        return Segmentation(detections, masks)

    def masks(self, detections: Detections, chosen: Sequence[Tensor], layer: int = -1) -> Tensor:
        """Masks of chosen queries (see `Segmentation`); `chosen` is what a `Choose` gives."""
        raise NotImplementedError


#: Names of the stages of a backbone.
STAGES = ("/4", "/8", "/16", "/32")


class MaskHeadModel(Segmenter):
    """Deformable Mask-Head: instance segmentation of images."""

    def masks(self, detections: Detections, chosen: Sequence[Tensor], layer: int = -1) -> Tensor:
        """Masks of the chosen queries of every image.

        Args:
            detections: of B images.
            chosen: per image the indices (n,) of queries; any number, none too.
            layer: of the decoder.

        Returns:
            (n of all images, 1, H/4, W/4) logits, image by image.
        """
        hidden = detections.decoded.hidden[layer]
        counts = torch.tensor([len(index) for index in chosen], device=hidden.device)
        owner = torch.arange(len(counts), device=hidden.device).repeat_interleave(counts)
        most = int(counts.max())
        kept = torch.arange(most, device=hidden.device) < counts[:, None]  # B, most
        queries = hidden.new_zeros(len(hidden), most, hidden.shape[-1])
        queries[kept] = torch.cat([h[i] for h, i in zip(hidden, chosen, strict=True)])
        maps = [found[kept] for found in self.attention_maps(detections, queries)]
        return self.run(self.mask_head, self.mask_features(detections), maps, owner)


class DeVIS(Segmenter):
    """DeVIS: instance segmentation of the frames of a clip together."""

    def masks(self, detections: Detections, chosen: Sequence[Tensor], layer: int = -1) -> Tensor:
        """Masks of the chosen instances in every frame.

        Args:
            detections: of the T frames of a clip.
            chosen: one tensor with instance slots (n,) from 0 to Q - 1.
            layer: of the decoder.

        Returns:
            (n, T, H/4, W/4) logits.
        """
        (slots,) = chosen
        hidden = detections.decoded.hidden[layer, 0]
        frames = self.settings.num_queries // self.settings.queries_per_frame
        queries = hidden.view(frames, -1, hidden.shape[-1])[:, slots]  # T, n, D
        maps = [
            found.transpose(0, 1).flatten(0, 1)  # n*T, 8, H, W
            for found in self.attention_maps(detections, queries)
        ]
        owner = torch.arange(frames, device=hidden.device).repeat(len(slots))
        out = self.run(self.mask_head, self.mask_features(detections), maps, owner)
        out = out.unflatten(0, (len(slots), frames))  # n, T, c, H, W
        if hasattr(self, "conv_head_3d"):
            return self.conv_head_3d(out.transpose(1, 2))[:, 0]
        return out[:, :, 0]
