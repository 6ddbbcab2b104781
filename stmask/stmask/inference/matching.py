"""Which entry of the memory a detection belongs to. Source: spec section 7.3, step 4.

Letters: n detections, m entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from stmask.inference.detections import Detections
from stmask.model.boxes import jaccard
from stmask.model.masks import mask_iou

#: What "this is a new instance" gets for similarity, for both IoU, and for an equal class.
NEW_SIMILARITY, NEW_IOU, NEW_SAME = 0.5, 0.3, 1.0


class Matches(NamedTuple):
    """Positions of detections and of the entries they belong to.

    Attributes:
        new: detections of new instances, in their order.
        entries: entries that were found again ...
        detections: ... and the best detection of each.
        totals: (n, 1 + m) what was compared; column 0 is "new".
        mask_iou: (n, m).
    """

    new: Tensor
    entries: Tensor
    detections: Tensor
    totals: Tensor
    mask_iou: Tensor


def match(found: Detections, known: Detections, coeff: Sequence[float]) -> Matches:
    """Gives every detection its best entry, and every entry its best detection.

    Of several detections that want one entry the highest scored has it, the first one of equal
    scores; the others are nobody's.

    Args:
        found: n detections of a frame.
        known: m entries, where they are expected in that frame.
        coeff: weights of score, mask IoU, box IoU and equal class.
    """
    masks = mask_iou(found.masks > 0.5, known.masks > 0.5)
    totals = _totals(found, known, masks, coeff)
    scores = found.scores.tolist()
    new: list[int] = []
    best: dict[int, int] = {}
    for i, column in enumerate(totals.argmax(1).tolist()):
        entry = column - 1
        if entry < 0:
            new.append(i)
        elif entry not in best or scores[i] > scores[best[entry]]:
            best[entry] = i
    new_rows, entries, detections = (
        torch.tensor(rows, dtype=torch.long, device=totals.device)
        for rows in (new, list(best), list(best.values()))
    )
    return Matches(new_rows, entries, detections, totals, masks)


def _totals(found: Detections, known: Detections, masks: Tensor, coeff: Sequence[float]) -> Tensor:
    """(n, 1 + m) sums of similarity and weighted terms; "new" wins ties, being first."""
    similarity = (found.track @ known.track.t() + 1) / 2
    boxes = jaccard(found.boxes, known.boxes).nan_to_num(0.0)
    same = (found.classes[:, None] == known.classes[None]).float()
    return (
        _with_new(similarity, NEW_SIMILARITY)
        + coeff[0] * found.scores[:, None]
        + coeff[1] * _with_new(masks, NEW_IOU)
        + coeff[2] * _with_new(boxes, NEW_IOU)
        + coeff[3] * _with_new(same, NEW_SAME)
    )


def _with_new(values: Tensor, new: float) -> Tensor:
    return torch.cat([values.new_full((len(values), 1), new), values], 1)
