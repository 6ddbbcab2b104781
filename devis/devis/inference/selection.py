"""From what the network gives to predictions: the best pairs of query and class (spec 8.1, 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from devis.losses.boxes import corners

Size = tuple[int, int]


class ImageSelection(NamedTuple):
    """Predictions of a batch of images, best first.

    Attributes:
        queries: (B, K) numbers of the queries.
        scores: (B, K) in 0 to 1.
        labels: (B, K) outputs of the class head, from 0.
        boxes: (B, K, 4) corners x, y, x, y in pixels of the original image.
    """

    queries: Tensor
    scores: Tensor
    labels: Tensor
    boxes: Tensor


class ClipSelection(NamedTuple):
    """Predictions of a clip, best first; n real frames, K predictions.

    Attributes:
        queries: (K) numbers of the instance slots; a slot may appear with several classes.
        scores: (n, K) of every frame.
        labels: (n, K) from 1.
        centers: (n, K, 2) of the boxes, x and y in 0 to 1.
        boxes: (n, K, 4) corners in pixels of the video, inside it.
    """

    queries: Tensor
    scores: Tensor
    labels: Tensor
    centers: Tensor
    boxes: Tensor

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The slots that need a mask in ascending order, and which one every prediction has."""
        unique, inverse = torch.unique(self.queries, return_inverse=True)
        return unique, inverse


def select_images(
    logits: Tensor, boxes: Tensor, sizes: Sequence[Size], num_out: int, *, top_k: bool = True
) -> ImageSelection:
    """The predictions of a batch of images.

    Args:
        logits: (B, N, C).
        boxes: (B, N, 4) centre, width, height in 0 to 1.
        sizes: height and width of every original image.
        num_out: predictions kept of every image.
        top_k: best pairs of query and class; false: the best class of every query.
    """
    scores, queries, labels = _best(logits.sigmoid(), num_out, top_k)
    chosen = corners(boxes).gather(1, queries[..., None].expand(-1, -1, 4))
    scale = torch.tensor([[w, h, w, h] for h, w in sizes], dtype=boxes.dtype, device=boxes.device)
    return ImageSelection(queries, scores, labels, chosen * scale[:, None])


def select_clip(
    logits: Tensor,
    boxes: Tensor,
    *,
    num_frames: int,
    real_frames: int,
    size: Size,
    num_out: int,
    top_k: bool = True,
) -> ClipSelection:
    """The predictions of a clip: chosen by their mean score, kept with that of every frame.

    Args:
        logits: (1, T Q, C), frame after frame.
        boxes: (1, T Q, 4) centre, width, height in 0 to 1.
        num_frames: T.
        real_frames: frames at the beginning that are not repeated ones.
        size: height and width of the video.
        num_out: predictions kept.
        top_k: as for `select_images`.
    """
    scores = logits.sigmoid().reshape(num_frames, -1, logits.shape[-1])[:real_frames]  # n, Q, C
    _, queries, labels = (x[0] for x in _best(scores.mean(0, keepdim=True), num_out, top_k))
    chosen = boxes.reshape(num_frames, -1, 4)[:real_frames, queries]  # n, K, 4
    height, width = size
    limits = boxes.new_tensor([width, height, width, height])
    pixels = torch.minimum((corners(chosen) * limits).clamp(min=0), limits)
    frames = (labels + 1).expand(real_frames, -1)
    return ClipSelection(queries, scores[:, queries, labels], frames, chosen[..., :2], pixels)


def _best(scores: Tensor, num_out: int, top_k: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, queries and classes of (B, N, C) scores, best first."""
    if top_k:
        number = min(num_out, scores[0].numel())
        values, index = scores.flatten(1).topk(number)
        return values, index // scores.shape[-1], index % scores.shape[-1]
    best, classes = scores.max(-1)
    values, queries = best.sort(dim=1, descending=True)
    return values, queries, classes.gather(1, queries)


def paste_masks(
    logits: Tensor, padded: Size, network_sizes: Sequence[Size], sizes: Sequence[Size]
) -> list[Tensor]:
    """Masks of a batch of images at their original sizes.

    Args:
        logits: (B, K, h, w).
        padded: height and width of the batch.
        network_sizes: of every image inside the batch.
        sizes: of every original image.

    Returns:
        One (K, 1, H, W) bool tensor per image.
    """
    masks = []
    for image, (height, width), size in zip(logits, network_sizes, sizes, strict=True):
        large = F.interpolate(image[:, None], padded, mode="bilinear", align_corners=False)
        binary = large.sigmoid() > 0.5
        inside = binary[..., :height, :width].to(torch.float32)
        masks.append(F.interpolate(inside, size, mode="nearest") > 0.5)
    return masks
