"""Losses of the proposals (spec 5.1).

Letters: N images, A anchors of all levels, G objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vatrack.losses.assignment import assign
from vatrack.losses.sampling import choose
from vatrack.losses.settings import LossSettings
from vatrack.losses.terms import smooth_l1
from vatrack.model.boxes import encode


@dataclass(frozen=True)
class Anchors:
    """Where the proposals start from.

    Attributes:
        levels: (3 h w, 4) of every level.
        valid: (A,) bool of every image: anchors that do not lie in the padding of the batch.
        stds: of the deltas.
    """

    levels: Sequence[Tensor]
    valid: Sequence[Tensor]
    stds: Sequence[float]


@dataclass(frozen=True)
class RpnTargets:
    """The sampled anchors of one image.

    Attributes:
        rows: (S,) int64 of all anchors: positives, then negatives.
        deltas: (P, 4) of the positives, which are the first P rows.
    """

    rows: Tensor
    deltas: Tensor

    @property
    def num_counted(self) -> int:
        """What this image adds to the divisor: at least one positive and one negative."""
        num_positives = len(self.deltas)
        return max(num_positives, 1) + max(len(self.rows) - num_positives, 1)


def rpn_losses(
    outputs: tuple[Sequence[Tensor], Sequence[Tensor]],
    anchors: Anchors,
    boxes: Sequence[Tensor],
    settings: LossSettings,
    generator: Generator,
) -> tuple[list[Tensor], list[Tensor]]:
    """Losses of every level.

    Args:
        outputs: logits (N, 3, h, w) and deltas (N, 12, h, w) of every level.
        anchors: of every level.
        boxes: (G, 4) of the objects of every image.
        settings: assignment, sampling and factors.
        generator: of the sampling.

    Returns:
        Of the logits, and of the deltas, a scalar for each level.
    """
    sizes = [len(level) for level in anchors.levels]
    logits = torch.cat([_flatten(level, 1) for level in outputs[0]], 1)[..., 0]  # N, A
    deltas = torch.cat([_flatten(level, 4) for level in outputs[1]], 1)  # N, A, 4
    targets = [
        _image_targets(anchors, image, objects, settings, generator)
        for image, objects in enumerate(boxes)
    ]
    divisor = sum(target.num_counted for target in targets)
    cls_parts = [logits.new_zeros((), dtype=torch.float32) for _ in sizes]
    box_parts = list(cls_parts)
    level_of = torch.arange(len(sizes), device=logits.device).repeat_interleave(
        torch.tensor(sizes, device=logits.device)
    )
    for row, target in enumerate(targets):
        levels = level_of[target.rows]
        for level in range(len(sizes)):
            chosen = levels == level
            cls_part, box_part = _level_losses(logits[row], deltas[row], target, chosen, settings)
            cls_parts[level] = cls_parts[level] + cls_part
            box_parts[level] = box_parts[level] + box_part
    weights = settings.weights
    return (
        [weights.rpn_cls * part / divisor for part in cls_parts],
        [weights.rpn_bbox * part / divisor for part in box_parts],
    )


def _level_losses(
    logits: Tensor, deltas: Tensor, target: RpnTargets, chosen: Tensor, settings: LossSettings
) -> tuple[Tensor, Tensor]:
    """Sums over the sampled anchors of one image that lie in one level."""
    num_positives = len(target.deltas)
    wanted = (torch.arange(len(chosen), device=chosen.device) < num_positives).float()
    cls_part = F.binary_cross_entropy_with_logits(
        logits[target.rows[chosen]].float(), wanted[chosen], reduction="sum"
    )
    own = chosen[:num_positives]
    got = deltas[target.rows[:num_positives][own]]
    return cls_part, smooth_l1(got, target.deltas[own], settings.rpn_beta)


def _image_targets(
    anchors: Anchors,
    image: int,
    objects: Tensor,
    settings: LossSettings,
    generator: Generator,
) -> RpnTargets:
    rows = anchors.valid[image].nonzero()[:, 0]
    usable = torch.cat(list(anchors.levels))[rows]
    found = assign(usable, objects, settings.rpn_assign)
    sample = choose(usable, found, settings.rpn_sample, generator)
    deltas = encode(sample.positive_boxes, objects[sample.objects], anchors.stds)
    return RpnTargets(rows[torch.cat([sample.positives, sample.negatives])], deltas)


def _flatten(level: Tensor, values: int) -> Tensor:
    """(N, 3 v, h, w) -> (N, 3 h w, v), as anchors lie: rows, columns, ratios."""
    return level.permute(0, 2, 3, 1).reshape(len(level), -1, values)
