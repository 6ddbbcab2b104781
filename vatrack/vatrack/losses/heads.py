"""Losses of the heads on the boxes that were sampled (spec 5.1, 5.2).

Letters: R sampled boxes of all images, P positives among them, G objects of an image, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vatrack.losses.boxes import box_losses, box_targets
from vatrack.losses.embeddings import (
    auxiliary_loss,
    make_pairs,
    mean_over_images,
    pair_targets,
    track_loss,
)
from vatrack.losses.masks import mask_targets
from vatrack.losses.sampling import Sample
from vatrack.losses.settings import LossSettings
from vatrack.losses.terms import accuracy, mask_loss
from vatrack.model.heads import BoxHead, MaskHead
from vatrack.model.network import VATrackNet
from vatrack.model.roi import to_rois

Losses = dict[str, Tensor]


@dataclass(frozen=True)
class HeadLosses:
    """Runs heads on features of the key frames and compares.

    Attributes:
        network: in training.
        features: of the key frames, level by level.
        settings: factors, and the size of mask targets.
    """

    network: VATrackNet
    features: Sequence[Tensor]
    settings: LossSettings

    def boxes(
        self,
        head: BoxHead,
        samples: Sequence[Sample],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class loss, box loss and accuracy of a box head, without factors.

        Args:
            head: its kind of box.
            samples: of every image.
            boxes: (G, 4) of the objects of every image.
            labels: (G,) of the objects of every image.
        """
        rois = to_rois([sample.boxes for sample in samples])
        logits, deltas = head(self.network.box_features(self.features, rois))
        model = self.network.settings
        targets = box_targets(samples, boxes, labels, model.num_classes, model.rcnn_stds)
        is_amodal = model.has_two_boxes and head is self.network.roi_head.amodal_bbox_head
        weights = self.settings.amodal_class_weights if is_amodal else self.settings.class_weights
        tensor = None if weights is None else torch.tensor(weights, device=logits.device)
        losses = box_losses(logits, deltas, targets, tensor, self.settings.box_beta)
        return *losses, accuracy(logits.detach(), targets.labels)

    def masks(
        self, features: Tensor, head: MaskHead, positives: Positives, masks: Sequence[Tensor]
    ) -> Tensor:
        """Loss of a mask head, without its factor.

        Args:
            features: (P, C, 14, 14) of the positives.
            head: its kind of mask.
            positives: of all images.
            masks: (G, H, W) of the objects of every image.
        """
        size = self.settings.mask_size
        targets = [
            mask_targets(sample.positive_boxes, sample.objects, own, size)
            for sample, own in zip(positives.samples, masks, strict=True)
        ]
        return mask_loss(head(features), torch.cat(targets), positives.labels)

    def mask_features(self, positives: Positives) -> Tensor:
        """Features (P, C, 14, 14) of positives, for all mask heads that learn from them."""
        rois = to_rois([sample.positive_boxes for sample in positives.samples])
        return self.network.mask_features(self.features, rois)

    def embeddings(
        self,
        ref_features: Sequence[Tensor],
        samples: tuple[Sequence[Sample], Sequence[Sample]],
        matches: Sequence[Tensor],
        generator: Generator,
    ) -> tuple[Tensor, Tensor]:
        """Both losses of the embedding head, without factors.

        Args:
            ref_features: of the reference frames.
            samples: of the key frames, of which the positives are taken, and of the references.
            matches: (G,) of every key frame, row of each object in the reference or -1.
            generator: of pairs that are drawn at random.
        """
        head, of_boxes = self.network.roi_head.track_head, self.network.box_features
        key = [sample.positive_boxes for sample in samples[0]]
        ref = [sample.boxes for sample in samples[1]]
        key_embeds = head(of_boxes(self.features, to_rois(key))).split([len(x) for x in key])
        ref_embeds = head(of_boxes(ref_features, to_rois(ref))).split([len(x) for x in ref])
        main, auxiliary = [], []
        for image, match in enumerate(matches):
            targets = pair_targets(samples[0][image], samples[1][image], match)
            pairs = make_pairs(key_embeds[image], ref_embeds[image], targets)
            main.append(track_loss(pairs))
            auxiliary.append(auxiliary_loss(pairs, self.settings.track, generator))
        return mean_over_images(main), mean_over_images(auxiliary)


@dataclass(frozen=True)
class Positives:
    """The positives of one sampling.

    Attributes:
        samples: of every image.
        labels: (P,) of all images.
    """

    samples: Sequence[Sample]
    labels: Tensor

    @classmethod
    def of(cls, samples: Sequence[Sample], labels: Sequence[Tensor]) -> Positives:
        """Those of samples of objects with labels (G,) for every image."""
        own = [each[sample.objects] for sample, each in zip(samples, labels, strict=True)]
        return cls(samples, torch.cat(own))
