"""Classes of tracks, gathered frame by frame. Source: spec sections 8 (item 5), 9.2 and 9.3.

Letters: C classes, K labels, h and w a map at stride 4, H and W the label map, which is as large
or enlarged.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stemseg.inference.chain import enlarge
from stemseg.inference.cluster import OUTLIER

ClassKind = Literal["scores", "votes", "none"]


class ClassGatherer(Protocol):
    """Turns class logits of frames into a class per label."""

    def add(self, labels: Tensor, logits: Tensor) -> None:
        """Takes the (H, W) labels and the (C, h, w) logits of a frame, background first."""
        ...

    def category_of(self, label: int, num_pixels: int) -> int:
        """Class of a label that has so many pixels, from 1."""
        ...


class ClassScores:
    """The class with the largest mean logit over all pixels of a label (YouTube-VIS)."""

    def __init__(self) -> None:
        self._sums: dict[int, NDArray[np.float64]] = {}

    def add(self, labels: Tensor, logits: Tensor) -> None:
        """See `ClassGatherer`."""
        counts = torch.bincount(labels.flatten() - OUTLIER)
        ids = [i for i in (counts.nonzero()[:, 0] + OUTLIER).tolist() if i > 0]
        if not ids:
            return
        wanted = torch.tensor(ids, dtype=labels.dtype, device=labels.device)
        masks = (labels[None] == wanted[:, None, None]).float()  # K, H, W
        weights = _at_map_size(masks, (logits.shape[1], logits.shape[2]))  # K, h, w
        sums = torch.einsum("khw,chw->kc", weights, logits[1:].to(weights)).double().cpu().numpy()
        for label, row in zip(ids, sums, strict=True):
            self._sums[label] = self._sums.get(label, 0.0) + row

    def probabilities(self, label: int, num_pixels: int) -> NDArray[np.float64]:
        """(C - 1,) softmax of the mean logits, background left out."""
        mean = self._sums[label] / num_pixels
        exp = np.exp(mean - mean.max())
        probabilities: NDArray[np.float64] = exp / exp.sum()
        return probabilities

    def category_of(self, label: int, num_pixels: int) -> int:
        """See `ClassGatherer`."""
        return int(self.probabilities(label, num_pixels).argmax()) + 1


class ClassVotes:
    """The class that most pixels of a label are of, background not counted (KITTI-MOTS)."""

    def __init__(self) -> None:
        self._votes: defaultdict[int, dict[int, int]] = defaultdict(dict)

    def add(self, labels: Tensor, logits: Tensor) -> None:
        """See `ClassGatherer`."""
        if labels.shape[0] != logits.shape[1]:
            logits = enlarge(logits, labels.shape[0] // logits.shape[1])
        self.add_map(labels.cpu().numpy(), logits.argmax(0).cpu().numpy())

    def add_map(self, labels: NDArray[np.integer], classes: NDArray[np.integer]) -> None:
        """Takes labels (H, W) and the class of every pixel (H, W), 0 for background."""
        voting = (labels > 0) & (classes > 0)
        pairs = np.stack([labels[voting], classes[voting]])
        found, counts = np.unique(pairs, axis=1, return_counts=True)
        for label, kind, count in zip(*found.tolist(), counts.tolist(), strict=True):
            votes = self._votes[label]
            votes[kind] = votes.get(kind, 0) + count

    def category_of(self, label: int, num_pixels: int) -> int:
        """See `ClassGatherer`; without any vote class 1, of equal ones the lower."""
        votes = self._votes.get(label, {})
        return min(votes, key=lambda kind: (-votes[kind], kind), default=1)


def class_gatherer(kind: ClassKind) -> ClassGatherer | None:
    """A new gatherer: "scores" for YouTube-VIS, "votes" for KITTI-MOTS."""
    if kind == "scores":
        return ClassScores()
    return ClassVotes() if kind == "votes" else None


def _at_map_size(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """What each logit of a map weighs in the sum of the enlarged logits over each mask.

    Summing enlarged logits over a mask is the same as summing the logits with these weights, and
    there are fewer labels in a frame than classes.

    Args:
        masks: (K, H, W) of 0 and 1.
        size: (h, w) of the logits.

    Returns:
        (K, h, w).
    """
    if tuple(masks.shape[1:]) == size:
        return masks
    factor = masks.shape[1] // size[0]
    columns = _gather_sides(masks, factor)  # K, H, w
    return _gather_sides(columns.transpose(1, 2), factor).transpose(1, 2)


def _gather_sides(x: Tensor, factor: int) -> Tensor:
    """The transpose of linear enlargement along the last side, (K, H, W) to (K, H, W / factor)."""
    cells = x.unflatten(2, (-1, factor))  # K, H, w, factor
    place = (torch.arange(factor, device=x.device) + 0.5) / factor - 0.5  # within a cell
    before, after = (-place).clamp(min=0), place.clamp(min=0)
    shares = torch.stack([before, 1 - before - after, after], 1).to(x)  # factor, 3
    left, own, right = (cells @ shares).unbind(3)  # K, H, w each
    total = own.clone()
    total[..., :-1] += left[..., 1:]
    total[..., 1:] += right[..., :-1]
    # There is nothing beyond the border, so it keeps what would go there.
    total[..., 0] += left[..., 0]
    total[..., -1] += right[..., -1]
    return total
