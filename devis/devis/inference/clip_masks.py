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
        probabilities: (D, H, W) in 0 to 1, or None when they are not needed (any more).
    """

    def __init__(self, logits: Tensor, size: tuple[int, int], *, keep: bool) -> None:
        """Enlarges and encodes.

        Args:
            logits: (D, h, w).
            size: height and width of the video.
            keep: hold the probabilities until `forget`.
        """
        large = F.interpolate(logits[None], size, mode="bilinear", align_corners=False)[0]
        binary = (large > 0).cpu().numpy()
        self.encoded = [rle.encode(mask) for mask in binary]
        self.probabilities = large.sigmoid_() if keep else None

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
    both = (a.flatten(1) @ b.flatten(1).T).double()
    either = _total(a)[:, None] + _total(b) - both
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
    """(K, H, W) probabilities; where they are all those of a frame, nothing is copied."""
    frame, numbers = masks[0][0], [number for _, number in masks]
    whole = _probabilities(frame)
    if all(other is frame for other, _ in masks):
        return whole if numbers == list(range(len(whole))) else whole[numbers]
    return torch.stack([_probabilities(frame)[number] for frame, number in masks])


def _probabilities(frame: FrameMasks) -> Tensor:
    assert frame.probabilities is not None, "the masks of this frame were forgotten"
    return frame.probabilities


def _total(masks: Tensor) -> Tensor:
    """(K) sums of (K, H, W): rows of pixels in single, rows of a mask in double precision."""
    return masks.sum(2).double().sum(1)
