"""Training losses: embedding (Lovasz hinge, bandwidths, seediness), semantic and foreground.

Source: method specification section 7.8. Everything is computed in float32, whatever the
precision of the maps.

Axes: N clips, T frames, h and w of the maps, P = T*h*w pixels of a clip, E embedding dims, F of
them free (of fixed bandwidth), B = E - F learned bandwidths, I instances of a clip, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

#: Bandwidth of a pixel = BANDWIDTH_GAIN * exp(raw bandwidth).
BANDWIDTH_GAIN = 10.0
#: The terms that are minimised; the other entries of a result are parts of the first.
OPTIMISED = ("embedding_loss", "semantic_segmentation_loss", "foreground")


class Heads(Protocol):
    """What the network gives for a batch of clips.

    Attributes:
        embeddings: (N, E, T, h, w).
        raw_bandwidths: (N, B, T, h, w), before the exponential.
        seediness: (N, 1, T, h, w) in [0, 1].
        semseg_logits: (N, C, T, h, w), where the model has one with a foreground channel at the
            end; None without a semantic head.
    """

    @property
    def embeddings(self) -> Tensor:
        """Place of every pixel."""

    @property
    def raw_bandwidths(self) -> Tensor:
        """Logarithmic inverse variances."""

    @property
    def seediness(self) -> Tensor:
        """How good a centre every pixel is."""

    @property
    def semseg_logits(self) -> Tensor | None:
        """Class scores."""


@dataclass
class MapTargets:
    """What a clip should look like, at the resolution of the maps.

    Attributes:
        masks: (I, T, h, w) uint8, one for each instance; instances without a pixel are allowed.
        ignore: (T, h, w) uint8, 1 where nothing is known.
        classes: (T, h, w) int64 class of every pixel, 0 is background.
    """

    masks: Tensor
    ignore: Tensor
    classes: Tensor


def lovasz_hinge(logits: Tensor, labels: Tensor) -> Tensor:
    """The Lovasz extension of the Jaccard loss at the hinge errors of binary logits.

    Args:
        logits: (P,) scores, positive for the object.
        labels: (P,) 0 or 1.
    """
    labels = labels.to(logits.dtype)
    errors = 1.0 - logits * (2.0 * labels - 1.0)
    errors, order = errors.sort(descending=True)
    return torch.dot(F.relu(errors), _jaccard_steps(labels[order]).to(errors.dtype))


def _jaccard_steps(labels: Tensor) -> Tensor:
    """How much the Jaccard loss 1 - intersection / union grows with every further wrong pixel.

    A wrong pixel of the object takes one off the intersection, any other adds one to the union;
    written out, the differences need no subtraction of nearly equal numbers.

    Args:
        labels: (P,) 0 or 1, hardest pixel first.
    """
    inside = labels > 0.5
    found = inside.long().cumsum(0)
    total = found[-1:]
    intersection = (total - found).float()
    union = (total + (~inside).long().cumsum(0)).float()
    outside = intersection / (union * (union - 1.0)).clamp(min=1.0)
    steps = torch.where(inside, 1.0 / union.clamp(min=1.0), outside)
    # Without an object the first wrong pixel already makes the loss 1.
    steps[0] = torch.where(total[0] == 0, torch.ones_like(steps[0]), steps[0])
    return steps


def soft_mask(embeddings: Tensor, centre: Tensor, bandwidth: Tensor) -> Tensor:
    """Probability of every pixel under an instance's Gaussian.

    Args:
        embeddings: (E, P).
        centre: (E,) mean embedding.
        bandwidth: (E,) inverse variances.

    Returns:
        (P,) in (0, 1].
    """
    distances = ((embeddings - centre[:, None]) ** 2 * bandwidth[:, None]).sum(0)
    return torch.exp(-0.5 * distances)


@dataclass
class _Sums:
    """Terms summed over the instances of some clips; smoothness over the clips."""

    lovasz: Tensor
    smoothness: Tensor
    seediness: Tensor
    num_instances: int = 0


@dataclass(frozen=True)
class EmbeddingLoss:
    """Pulls every pixel into the Gaussian of its instance and out of the others.

    Attributes:
        free_dim_stds: fixed standard deviations of the F free dims.
        weight_lovasz: of the soft masks' overlap with the truth.
        weight_smoothness: of bandwidths that vary within an instance.
        weight_seediness: of seediness that differs from the soft mask.
        weight: of the whole.
    """

    free_dim_stds: tuple[float, ...] = ()
    weight_lovasz: float = 1.0
    weight_smoothness: float = 10.0
    weight_seediness: float = 1.0
    weight: float = 1.0

    def __call__(self, heads: Heads, targets: Sequence[MapTargets]) -> dict[str, Tensor]:
        """The loss of a batch and, without their weights, its terms.

        Instances without a pixel do not count. (The original goes on to compare the others with
        wrong masks.) A batch without any instance gives zeros that still touch the maps.

        Returns:
            embedding_loss, lovasz_loss, variance_smoothness_loss, seediness_loss.
        """
        zero = sum(m.float().sum() * 0.0 for m in (heads.embeddings, heads.raw_bandwidths))
        zero = zero + heads.seediness.float().sum() * 0.0
        sums = _Sums(zero, zero, zero)
        for n, target in enumerate(targets):
            self._add_clip(sums, heads, n, target)
        if sums.num_instances == 0:
            sums = _Sums(zero, zero, zero)
        lovasz = sums.lovasz / max(1, sums.num_instances)
        smoothness = sums.smoothness / len(targets)
        seediness = sums.seediness / (sums.num_instances + 1)
        total = (
            self.weight_lovasz * lovasz
            + self.weight_smoothness * smoothness
            + self.weight_seediness * seediness
        )
        return {
            "embedding_loss": self.weight * total,
            "lovasz_loss": lovasz,
            "variance_smoothness_loss": smoothness,
            "seediness_loss": seediness,
        }

    def _add_clip(self, sums: _Sums, heads: Heads, n: int, target: MapTargets) -> None:
        embeddings = heads.embeddings[n].float().flatten(1)  # E, P
        raw = heads.raw_bandwidths[n].float().flatten(1)  # B, P
        seediness = heads.seediness[n].float().flatten()  # P
        masks = target.masks.flatten(1)  # I, P
        masks = masks[masks.bool().any(1)]
        bandwidths = BANDWIDTH_GAIN * raw.exp()
        free = raw.new_tensor([1.0 / std**2 for std in self.free_dim_stds])
        smoothness = []
        for mask in masks.float():
            count = mask.sum()
            centre = (embeddings * mask).sum(1) / count  # E
            bandwidth = torch.cat([(bandwidths * mask).sum(1) / count, free])  # E
            prob = soft_mask(embeddings, centre, bandwidth)
            sums.lovasz = sums.lovasz + lovasz_hinge(2.0 * prob - 1.0, mask)
            deviation = (raw - ((raw * mask).sum(1) / count)[:, None]) ** 2 * mask
            smoothness.append(deviation.sum() / (count * max(1, len(raw))))
            seeds = (seediness - prob.detach()) ** 2 * mask
            sums.seediness = sums.seediness + seeds.sum() / count
        sums.seediness = sums.seediness + _background_seediness(seediness, masks, target.ignore)
        if smoothness:
            sums.smoothness = sums.smoothness + torch.stack(smoothness).mean()
        sums.num_instances += len(smoothness)


def _background_seediness(seediness: Tensor, masks: Tensor, ignore: Tensor) -> Tensor:
    """Mean squared seediness of the pixels of no instance; ignored ones count as zeros.

    Args:
        seediness: (P,).
        masks: (I, P).
        ignore: (T, h, w).

    Returns:
        A scalar; 0 where every pixel belongs to an instance. (The original gives NaN.)
    """
    background = ~masks.bool().any(0) if len(masks) else torch.ones_like(seediness).bool()
    counted = background & (ignore.flatten() == 0)
    return (seediness**2 * counted).sum() / background.sum().clamp(min=1)


def semantic_loss(
    logits: Tensor, classes: Tensor, ignore: Tensor | None = None, weight: float = 1.0
) -> Tensor:
    """Mean cross entropy over the pixels of a clip, averaged over the clips.

    Args:
        logits: (N, C, T, h, w) class scores without the foreground channel.
        classes: (N, T, h, w) int64 in 0..C-1.
        ignore: (N, T, h, w), pixels to leave out. The published training leaves none out.
        weight: of the loss.
    """
    pixels = F.cross_entropy(logits.float(), classes, reduction="none")  # N, T, h, w
    return weight * _mean_known(pixels, ignore)


def foreground_loss(logits: Tensor, classes: Tensor, ignore: Tensor) -> Tensor:
    """Mean binary cross entropy over the pixels not ignored of a clip, averaged over the clips.

    Args:
        logits: (N, T, h, w) scores of the foreground channel.
        classes: (N, T, h, w); every class but 0 is foreground.
        ignore: (N, T, h, w).
    """
    truth = (classes > 0).float()
    pixels = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return _mean_known(pixels, ignore)


def _mean_known(pixels: Tensor, ignore: Tensor | None) -> Tensor:
    """Mean over the clips of the mean over their known pixels; a clip without any gives 0."""
    if ignore is None:
        return pixels.flatten(1).mean(1).mean()
    known = (ignore == 0).flatten(1)
    return ((pixels.flatten(1) * known).sum(1) / known.sum(1).clamp(min=1)).mean()


class STEmSegLoss:
    """All losses of a configuration.

    Args:
        cfg: the whole configuration (sections MODEL and TRAINING are read). With
            SEMSEG_IGNORE_AWARE the ignore mask takes pixels out of the semantic loss; it was meant
            to, but does not in the published training.

    Raises:
        ValueError: a semantic loss that does not exist.
    """

    def __init__(self, cfg: Any) -> None:
        losses, weights = cfg.TRAINING.LOSSES, cfg.TRAINING.LOSSES.EMBEDDING
        if losses.SEMSEG != "CrossEntropy":
            raise ValueError(
                f"TRAINING.LOSSES.SEMSEG must be CrossEntropy, the only one, not {losses.SEMSEG!r}"
            )
        self.embedding = EmbeddingLoss(
            tuple(weights.FREE_DIM_STDS),
            weights.WEIGHT_LOVASZ,
            weights.WEIGHT_VARIANCE_SMOOTHNESS,
            weights.WEIGHT_SEEDINESS,
            weights.WEIGHT,
        )
        self.semseg_weight = float(losses.WEIGHT_SEMSEG)
        self.has_foreground = bool(cfg.MODEL.SEMSEG.FOREGROUND_CHANNEL)
        self.ignore_aware = bool(losses.SEMSEG_IGNORE_AWARE)

    def __call__(self, heads: Heads, targets: Sequence[MapTargets]) -> dict[str, Tensor]:
        """The losses of a batch, by the names under which they are logged.

        Returns:
            Those of `OPTIMISED` that the model has, and the terms of the embedding loss; float32
            scalars. What is minimised is the sum of the former, `total_loss`.
        """
        losses = self.embedding(heads, targets)
        if heads.semseg_logits is not None:
            classes = torch.stack([target.classes for target in targets])  # N, T, h, w
            ignore = torch.stack([target.ignore for target in targets])  # N, T, h, w
            logits = heads.semseg_logits
            if self.has_foreground:
                losses["foreground"] = foreground_loss(logits[:, -1], classes, ignore)
                logits = logits[:, :-1]
            losses["semantic_segmentation_loss"] = semantic_loss(
                logits, classes, ignore if self.ignore_aware else None, self.semseg_weight
            )
        return losses


def total_loss(losses: dict[str, Tensor]) -> Tensor:
    """The sum of the losses that are minimised."""
    return sum(
        (losses[n] for n in OPTIMISED if n in losses), torch.zeros_like(losses[OPTIMISED[0]])
    )
