"""Which boxes of a frame the losses see (spec 5.2).

Every random choice comes from the generator that is given, on the CPU: the same seed chooses the
same boxes on every device. Letters: N boxes, P positives and M negatives of them, G objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from vatrack.losses.assignment import NEGATIVE, Assignment, assign
from vatrack.losses.settings import AssignSettings, SampleSettings


@dataclass(frozen=True)
class Sample:
    """The boxes of a frame that were chosen.

    Attributes:
        positives: (P,) int64 rows of the boxes, ascending.
        negatives: (M,) int64 rows, ascending.
        objects: (P,) int64 object of each positive.
        boxes: (P + M, 4) their corners, positives first.
    """

    positives: Tensor
    negatives: Tensor
    objects: Tensor
    boxes: Tensor

    @property
    def positive_boxes(self) -> Tensor:
        """(P, 4)."""
        return self.boxes[: len(self.positives)]


def sample_boxes(
    boxes: Tensor,
    objects: Tensor,
    assigning: AssignSettings,
    sampling: SampleSettings,
    generator: Generator,
) -> Sample:
    """Assigns boxes to objects and chooses some.

    Args:
        boxes: (N, 4) corners. With `add_objects`, those of the objects are put before them.
        objects: (G, 4) corners of the objects.
        assigning: thresholds.
        sampling: numbers.
        generator: of the choices.
    """
    found = assign(boxes, objects, assigning)
    if sampling.add_objects and len(objects):
        boxes = torch.cat([objects, boxes])
        own = torch.arange(len(objects), device=boxes.device)
        found = Assignment(
            torch.cat([own, found.objects]),
            torch.cat([found.max_overlaps.new_ones(len(objects)), found.max_overlaps]),
        )
    return choose(boxes, found, sampling, generator)


def choose(
    boxes: Tensor, found: Assignment, settings: SampleSettings, generator: Generator
) -> Sample:
    """Chooses among assigned boxes (N, 4)."""
    positives = _choose_positives(found, settings, generator)
    num = settings.num - len(positives)
    if settings.max_negatives >= 0:
        num = min(num, int(settings.max_negatives * max(1, len(positives))))
    negatives = _choose_negatives(found, num, settings, generator)
    rows = torch.cat([positives, negatives])
    return Sample(positives, negatives, found.objects[positives], boxes[rows])


def _choose_positives(found: Assignment, settings: SampleSettings, generator: Generator) -> Tensor:
    rows = (found.objects >= 0).nonzero()[:, 0]
    num = int(settings.num * settings.positive_fraction)
    if len(rows) <= num:
        return rows
    if not settings.balanced:
        return _draw(rows, num, generator)
    owners = found.objects[rows]
    present = owners.unique()
    each = round(num / len(present)) + 1
    parts = [_draw(rows[owners == owner], each, generator) for owner in present.tolist()]
    return _fit(torch.cat(parts), rows, num, generator)


def _choose_negatives(
    found: Assignment, num: int, settings: SampleSettings, generator: Generator
) -> Tensor:
    rows = (found.objects == NEGATIVE).nonzero()[:, 0]
    if len(rows) <= num:
        return rows
    if not settings.balanced:
        return _draw(rows, num, generator)
    near = rows[found.max_overlaps[rows] > settings.floor_iou]
    if len(near) > num:
        near = _draw_by_overlap(near, found, num, settings, generator)
    return _fit(near, rows, num, generator)


def _draw_by_overlap(
    rows: Tensor, found: Assignment, num: int, settings: SampleSettings, generator: Generator
) -> Tensor:
    """Draws equally many of each range of IoU, and fills up at random."""
    low = max(settings.floor_iou, 0.0)
    width = (float(found.max_overlaps.max()) - low) / settings.num_bins
    iou, each = found.max_overlaps[rows], num // settings.num_bins
    parts = [
        _draw(rows[(iou >= low + i * width) & (iou < low + (i + 1) * width)], each, generator)
        for i in range(settings.num_bins)
    ]
    return _fit(torch.cat(parts), rows, num, generator)


def _fit(chosen: Tensor, rows: Tensor, num: int, generator: Generator) -> Tensor:
    """Drops some of the chosen rows, or draws more of all rows, to have `num`; ascending."""
    if len(chosen) < num:
        rest = rows[~torch.isin(rows, chosen)]
        chosen = torch.cat([chosen, _draw(rest, num - len(chosen), generator)])
    return _draw(chosen, num, generator)


def _draw(rows: Tensor, num: int, generator: Generator) -> Tensor:
    """At most `num` of the rows, at random, ascending."""
    if len(rows) > num:
        order = torch.randperm(len(rows), generator=generator)[:num]
        rows = rows[order.to(rows.device)]
    return rows.sort().values
