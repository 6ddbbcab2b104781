"""Masks of one frame of a clip: run lengths at once, probabilities while they are matched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vidseg_common import rle


class FrameMasks:
    """The distinct masks of a frame, by the number of the mask.

    Attributes:
        encoded: run lengths of every mask where its probability exceeds one half.
        probabilities: (D, H W) in 0 to 1, or None when they are not needed (any more).
    """

    def __init__(self, logits: Tensor, size: tuple[int, int], *, keep: bool) -> None:
        """Enlarges and encodes.

        Args:
            logits: (D, h, w).
            size: height and width of the video.
            keep: hold the probabilities until `forget`.
        """
        large = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
        probabilities = large.sigmoid_()
        binary = (probabilities > 0.5).cpu().numpy()
        self.encoded = [rle.encode(mask) for mask in binary]
        self.probabilities = probabilities.flatten(1) if keep else None

    def forget(self) -> None:
        """Drops the probabilities."""
        self.probabilities = None


#: A mask: the frame it belongs to and its number there.
MaskOf = tuple[FrameMasks, int]


def soft_overlap(
    rows: Sequence[MaskOf], columns: Sequence[MaskOf]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of a b and of a + b - a b over all pixels, for all pairs of a frame's masks.

    Args:
        rows: masks whose probabilities are kept.
        columns: the same.

    Returns:
        Two (rows, columns) arrays.
    """
    a, b = _stacked(rows), _stacked(columns)
    both = (a @ b.T).double()
    either = a.sum(1, dtype=torch.float64)[:, None] + b.sum(1, dtype=torch.float64) - both
    return both.cpu().numpy(), either.cpu().numpy()


def binary_overlap(
    rows: Sequence[MaskOf], columns: Sequence[MaskOf]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of the intersections and unions, for all pairs of a frame's masks."""
    a, b = ([frame.encoded[number] for frame, number in side] for side in (rows, columns))
    areas = np.add.outer([rle.area(mask) for mask in a], [rle.area(mask) for mask in b])
    overlap = np.asarray(rle.iou(a, b), dtype=np.float64)
    both = np.rint(overlap * areas / (1 + overlap))
    return both, areas - both


def _stacked(masks: Sequence[MaskOf]) -> Tensor:
    rows = []
    for frame, number in masks:
        assert frame.probabilities is not None, "the masks of this frame were forgotten"
        rows.append(frame.probabilities[number])
    return torch.stack(rows)
