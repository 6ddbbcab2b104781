"""Forward pass of a training: predictions, what they are matched with, and their losses (spec 5.8).

Letters: B images or frames, T frames, H and W size of the images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from devis.assignment import match_clip, match_images
from devis.losses import LayerOutput, LossSettings, Match, Target, all_losses
from devis.model.segmenter import DeVIS, Segmentation, Segmenter


class Matched(NamedTuple):
    """What the losses need.

    Attributes:
        segmentation: what the network gave; without masks where it has no mask head.
        outputs: float32 predictions by decoder layer.
        matches: by decoder layer, one per image or clip.
    """

    segmentation: Segmentation
    outputs: dict[int, LayerOutput]
    matches: dict[int, list[Match]]

    def losses(
        self, targets: Sequence[Target], num_boxes: float, settings: LossSettings
    ) -> dict[str, Tensor]:
        """Every term by its name (see `devis.losses.all_losses`)."""
        return all_losses(self.outputs, self.matches, targets, num_boxes, settings)


class Matcher:
    """Matches the predictions of every decoder layer, when the network asks or later.

    Args:
        targets: of the images, or of one clip.
        settings: costs of the matching.
        num_frames: T; 0 for images.
    """

    def __init__(self, targets: Sequence[Target], settings: LossSettings, num_frames: int) -> None:
        self.targets, self.settings, self.num_frames = targets, settings, num_frames
        self.matches: dict[int, list[Match]] = {}

    def choose(self, layer: int, logits: Tensor, boxes: Tensor) -> list[Tensor]:
        """The matched queries of every image, or the matched slots of the clip."""
        matches = self._match(logits.float(), boxes.float())
        self.matches[layer] = matches
        if self.num_frames:
            return [matches[0].prediction[:: self.num_frames]]  # in frame 0 queries are the slots
        chosen = [match.prediction for match in matches]
        if any(len(index) for index in chosen):
            return chosen
        # Without any instance the mask head gets a query all the same, and no gradient from it.
        return [logits.new_zeros(1, dtype=torch.long), *chosen[1:]]

    def _match(self, logits: Tensor, boxes: Tensor) -> list[Match]:
        if self.num_frames:
            (target,) = self.targets
            return [match_clip(logits[0], boxes[0], target, self.num_frames, self.settings)]
        return match_images(logits, boxes, self.targets, self.settings)


def forward_matched(
    network: nn.Module,
    images: Tensor,
    padding: Tensor | None,
    targets: Sequence[Target],
    settings: LossSettings,
) -> Matched:
    """Predicts and matches.

    Args:
        network: of any family.
        images: (B, 3, H, W), or the T frames of a clip.
        padding: (B, H, W), True on padding; None: there is none.
        targets: of the images, or the one of the clip.
        settings: of the losses.
    """
    matcher = Matcher(targets, settings, len(images) if isinstance(network, DeVIS) else 0)
    if isinstance(network, Segmenter):
        segmentation = network(images, padding, matcher.choose)
    else:
        segmentation = Segmentation(network(images, padding), {})
    found = segmentation.detections
    for layer in sorted(set(settings.layers) - set(matcher.matches)):
        matcher.choose(layer, found.logits[layer], found.boxes[layer])
    outputs = {
        layer: LayerOutput(
            found.logits[layer].float(),
            found.boxes[layer].float(),
            segmentation.masks[layer].flatten(0, 1).float() if settings.has_masks(layer) else None,
        )
        for layer in settings.layers
    }
    return Matched(segmentation, outputs, matcher.matches)
