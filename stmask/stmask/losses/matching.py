"""Which prior stands for which object (spec 10.1).

Letters: n objects, N priors, C classes with background 0. Boxes are in units of the padded image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.losses.settings import LossSettings
from stmask.model.boxes import jaccard

#: Two objects with overlaps this little below the threshold make a prior ambiguous.
_AMBIGUITY = 0.1
#: Overlap of the prior that is an object's best: above every raised threshold.
_CERTAIN = 2.0


class Objects(Protocol):
    """The objects of a frame, as matching needs them."""

    @property
    def boxes(self) -> Tensor:
        """(n, 4) corners."""

    @property
    def labels(self) -> Tensor:
        """(n,) classes from 1."""

    @property
    def ids(self) -> Tensor:
        """(n,) ids from 1."""


@dataclass(frozen=True)
class Matches:
    """Targets of priors, (N,) or (B, N) each.

    Attributes:
        classes: class of the object, 0 for background, -1 where the prior counts for nothing.
        ids: id of the object, 0 for none.
        objects: row of the object in its frame, also where the overlap is small.
    """

    classes: Tensor
    ids: Tensor
    objects: Tensor


@torch.no_grad()
def match_frame(objects: Objects, boxes: Tensor, logits: Tensor, settings: LossSettings) -> Matches:
    """Matches the priors of a frame with its objects.

    Thresholds rise with how well the classes are predicted already, and so do the overlaps of
    the priors whose class is predicted well: with time only those stay positive.

    Args:
        objects: the n objects.
        boxes: (N, 4) corners of the priors.
        logits: (N, C) predicted classes.
        settings: thresholds.

    Returns:
        (N,) targets; all background for a frame without objects.
    """
    num_priors = len(boxes)
    if not len(objects.boxes):
        nothing = torch.zeros(num_priors, dtype=torch.int64, device=boxes.device)
        return Matches(nothing, nothing.clone(), nothing.clone())
    overlaps = jaccard(objects.boxes.float(), boxes.float())  # n, N
    best, row = overlaps.max(0)
    positive, negative = settings.positive_iou_threshold, settings.negative_iou_threshold
    is_ambiguous = (overlaps > positive - _AMBIGUITY).sum(0) > 1
    best = torch.where(is_ambiguous, best.new_tensor((positive + negative) / 2), best)
    is_candidate = best > positive
    rise = best.new_zeros(())
    if is_candidate.any():
        labels = objects.labels[row[is_candidate]]
        error = F.cross_entropy(logits[is_candidate].float(), labels, reduction="none")
        quality = 2.0 / (1.0 + error.exp())
        best[is_candidate] += quality
        rise = quality.mean()
    _give_best_priors(overlaps, best, row)
    is_positive = best >= positive + rise
    classes = objects.labels[row].masked_fill(~is_positive, -1)
    classes = classes.masked_fill(best < negative + rise, 0)
    return Matches(classes, objects.ids[row].masked_fill(~is_positive, 0), row)


def _give_best_priors(overlaps: Tensor, best: Tensor, row: Tensor) -> None:
    """Gives every object its best prior, the largest overlap first; changes its arguments.

    Args:
        overlaps: (n, N).
        best: (N,) overlap of each prior, certain for those given away.
        row: (N,) object of each prior.
    """
    num_priors = overlaps.shape[1]
    for _ in range(min(overlaps.shape)):
        place = int(overlaps.argmax())
        j, i = divmod(place, num_priors)
        overlaps[j], overlaps[:, i] = -1.0, -1.0
        best[i], row[i] = _CERTAIN, j


def match_frames(
    frames: Sequence[Objects], boxes: Tensor, logits: Tensor, settings: LossSettings
) -> Matches:
    """Matches every frame of a batch.

    Args:
        frames: B frames.
        boxes: (N, 4) corners of the priors, or (B, N, 4) predicted ones.
        logits: (B, N, C).
        settings: thresholds.

    Returns:
        (B, N) targets.
    """
    every = boxes.expand(len(frames), *boxes.shape[-2:])
    found = [match_frame(*parts, settings) for parts in zip(frames, every, logits, strict=True)]
    return Matches(
        classes=torch.stack([match.classes for match in found]),
        ids=torch.stack([match.ids for match in found]),
        objects=torch.stack([match.objects for match in found]),
    )
