"""Losses that keep objects apart: of embeddings and of coefficients (spec 10.2).

Letters as in `stmask.losses.targets`; E length of an embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from stmask.losses.settings import LossSettings
from stmask.losses.targets import Positives

_SMALLEST = 1e-10
#: Rows of pairs whose values are held for the gradient; more are computed twice instead.
_ROWS = 1024


def track_loss(embeddings: Tensor, positives: Positives, settings: LossSettings) -> Tensor:
    """Embeddings of an object are to agree, those of two objects to differ, in all frames.

    Args:
        embeddings: (M, E) of the positives, of length 1.
        positives: their objects.
        settings: the weight.

    Returns:
        A scalar; not divided by the number of frames.
    """
    loss, weight = _sum_pairs(embeddings, positives, slice(None), is_upper=True)
    return settings.track_alpha * loss / weight.clamp(min=_SMALLEST)


def diversity_loss(
    coefficients: Tensor, positives: Positives, num_frames: int, settings: LossSettings
) -> Tensor:
    """Coefficients of an object are to agree, those of two objects of a clip to differ.

    Args:
        coefficients: (M, P) mask coefficients of the positives.
        positives: their objects.
        num_frames: B.
        settings: the weight.

    Returns:
        A scalar.
    """
    unit = torch.nn.functional.normalize(coefficients, dim=1)
    total = unit.new_zeros(())
    for frame in range(0, num_frames, 2):
        start, end = positives.in_frame(frame).start, positives.in_frame(frame + 1).stop
        total = total + _sum_pairs(unit, positives, slice(start, end), is_upper=False)[0]
    return settings.mask_proto_coeff_diversity_alpha / num_frames * total


def _sum_pairs(
    unit: Tensor, positives: Positives, part: slice, *, is_upper: bool
) -> tuple[Tensor, Tensor]:
    """Weighted sum, over pairs of some positives, of their disagreement with the ids.

    Args:
        unit: (M, E) vectors of length 1.
        positives: their objects and weights.
        part: which of the M positives.
        is_upper: every pair once and none with itself; else all ordered pairs.

    Returns:
        The sum, and the sum of the weights.
    """
    vectors, ids, weights = unit[part], positives.ids[part], positives.weights[part]
    total, norm = vectors.sum() * 0.0, weights.new_zeros(())
    for start in range(0, len(vectors), _ROWS):
        arguments = (vectors, ids, weights, start, is_upper)
        if len(vectors) > _ROWS:
            loss, weight = checkpoint(_rows_of_pairs, *arguments, use_reentrant=False)
        else:
            loss, weight = _rows_of_pairs(*arguments)
        total, norm = total + loss, norm + weight
    return total, norm


def _rows_of_pairs(
    vectors: Tensor, ids: Tensor, weights: Tensor, start: int, is_upper: bool
) -> tuple[Tensor, Tensor]:
    """Weighted sum and sum of weights of the pairs of some rows with all columns."""
    rows = slice(start, start + _ROWS)
    likeness = (vectors[rows] @ vectors.t() + 1) / 2  # rows, m
    is_same = ids[rows, None] == ids[None]
    pairs = torch.where(is_same, likeness, 1 - likeness)
    errors = -pairs.clamp(min=_SMALLEST).log()
    weight = weights[rows, None] * weights[None]
    if is_upper:
        weight = weight.triu(diagonal=start + 1)
    return (weight * errors).sum(), weight.sum()
