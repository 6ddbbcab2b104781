"""Losses of a box head (spec 5.1).

Letters: R sampled boxes of all images, P positives among them, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vatrack.losses.sampling import Sample
from vatrack.losses.terms import class_loss, no_loss, smooth_l1
from vatrack.model.boxes import encode


@dataclass(frozen=True)
class BoxTargets:
    """What a box head ought to give for the sampled boxes.

    Attributes:
        labels: (R,) int64, K for the background.
        rows: (P,) int64 which of the R boxes are positive.
        deltas: (P, 4) of those.
    """

    labels: Tensor
    rows: Tensor
    deltas: Tensor


def box_targets(
    samples: Sequence[Sample],
    boxes: Sequence[Tensor],
    labels: Sequence[Tensor],
    num_classes: int,
    stds: Sequence[float],
) -> BoxTargets:
    """Targets of the sampled boxes of all images, image after image, positives first.

    Args:
        samples: of each image.
        boxes: (G, 4) of the objects of each image.
        labels: (G,) of the objects of each image.
        num_classes: K.
        stds: of the deltas.
    """
    all_labels, is_positive, deltas = [], [], []
    for sample, objects, classes in zip(samples, boxes, labels, strict=True):
        background = classes.new_full((len(sample.negatives),), num_classes)
        all_labels.append(torch.cat([classes[sample.objects], background]))
        is_positive.append(all_labels[-1] < num_classes)
        deltas.append(encode(sample.positive_boxes, objects[sample.objects], stds))
    rows = torch.cat(is_positive).nonzero()[:, 0]
    return BoxTargets(torch.cat(all_labels), rows, torch.cat(deltas))


def box_losses(
    logits: Tensor, deltas: Tensor, targets: BoxTargets, class_weights: Tensor | None, beta: float
) -> tuple[Tensor, Tensor]:
    """Losses of classes and of boxes.

    Args:
        logits: (R, K + 1).
        deltas: (R, 4 K), four for each class.
        targets: of the same boxes.
        class_weights: (K + 1,); None: all 1.
        beta: of the smooth L1.
    """
    cls_loss = class_loss(logits, targets.labels, class_weights)
    if not len(targets.rows):
        return cls_loss, no_loss(deltas)
    own = deltas.reshape(len(deltas), -1, 4)[targets.rows, targets.labels[targets.rows]]
    # Over all sampled boxes: an image with few positives counts little.
    return cls_loss, smooth_l1(own, targets.deltas, beta) / len(logits)
