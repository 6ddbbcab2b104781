"""Sequential clustering of pixel embeddings into instances. Source: spec section 8.1.

Letters: P points, E embedding dimensions, F free ones among them, K instances. Point arrays are
(dimension, P), so that every step runs over contiguous memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stemseg.config import Config

OUTLIER = -1
"""Label of points that no instance takes."""

# Arrays are cut down to the points still available once this share of them is taken.
_COMPACT_SHARE = 0.5
_MOST_INSTANCES = 255  # their numbers are kept in bytes


@dataclass(frozen=True)
class ClusterRule:
    """Settings of the clusterer.

    Attributes:
        min_seediness: smallest seediness of a centre.
        primary_prob: points above this probability join an instance.
        secondary_prob: the same for the second assignment, of points left over.
        free_dim_stds: standard deviation of each free dimension.
        max_instances: limit per clip, at most 255.
        nearest_secondary: give points left over to the nearest centre. The published results
            take the farthest one, among points that are near to all centres.
    """

    min_seediness: float = 0.8
    primary_prob: float = 0.5
    secondary_prob: float = 0.3
    free_dim_stds: tuple[float, ...] = ()
    max_instances: int = 20
    nearest_secondary: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.max_instances <= _MOST_INSTANCES:
            raise ValueError(f"1 to {_MOST_INSTANCES} instances, not {self.max_instances}")

    @classmethod
    def from_config(cls, cfg: Config, *, min_seediness: float | None = None) -> ClusterRule:
        """The rule of a configuration; `min_seediness` takes the place of its value."""
        section = cfg.CLUSTERING
        configured = float(section.MIN_SEEDINESS_PROB)
        return cls(
            min_seediness=configured if min_seediness is None else min_seediness,
            primary_prob=float(section.PRIMARY_PROB_THRESHOLD),
            secondary_prob=float(section.SECONDARY_PROB_THRESHOLD),
            free_dim_stds=tuple(cfg.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS),
        )


@dataclass(frozen=True)
class Clusters:
    """Instances of a clip.

    Attributes:
        labels: (P,) int64, instance label or -1.
        instance_labels: label of each instance, in the order of their centres.
        centers: (K, E).
        bandwidths: (K, E), inverse variances.
        primary_masks: (K, P) bool, the points that each centre took in its turn; None unless
            asked for.
    """

    labels: Tensor
    instance_labels: list[int]
    centers: Tensor
    bandwidths: Tensor
    primary_masks: Tensor | None = None

    @property
    def stds(self) -> Tensor:
        """(K, E) standard deviations."""
        return (1 / self.bandwidths).clamp(min=1e-8).sqrt()


class _Points:
    """The points that a round looks at: those still free, and some that are taken.

    Args:
        embeddings: (E, P).
        seediness: (P,).
        rule: see `ClusterRule`.
    """

    def __init__(self, embeddings: Tensor, seediness: Tensor, rule: ClusterRule) -> None:
        self.embeddings = embeddings
        self.limit = squared_distance_limit(rule.primary_prob)
        #: Number of the instance that took a point, from 1; 0 for a free one.
        self.taken_by = torch.zeros_like(seediness, dtype=torch.uint8)
        self.is_free = torch.ones_like(seediness, dtype=torch.bool)
        self.numbers = torch.zeros_like(self.taken_by)
        self.index: Tensor | None = None
        self.num_free = seediness.numel()
        # Only points of enough seediness become centres, so the others need no look.
        self.candidates = (seediness >= rule.min_seediness).nonzero()[:, 0]
        self.seeds = seediness[self.candidates]

    def original(self, position: Tensor) -> Tensor:
        """Positions among all points."""
        return position if self.index is None else self.index[position]

    def free(self) -> Tensor:
        """Positions of the free points among all points."""
        return self.original(self.is_free.nonzero()[:, 0])

    def best(self) -> Tensor | None:
        """Position of the free point with the largest seediness, None if that is too small."""
        kept = self.is_free[self.candidates].nonzero()[:, 0]
        if kept.numel() < self.seeds.numel():
            self.candidates, self.seeds = self.candidates[kept], self.seeds[kept]
        return self.candidates[self.seeds.argmax()] if self.seeds.numel() else None

    def take(self, center: Tensor, beta: Tensor, number: int) -> None:
        """Instance `number` takes the free points close to its centre."""
        near = squared_distances(self.embeddings, center, beta) < self.limit
        near &= self.is_free
        self.is_free ^= near
        # Many times faster than masked_fill_.
        self.taken_by.add_(near.view(torch.uint8), alpha=number)
        self.num_free -= int(near.count_nonzero())
        if self.num_free < _COMPACT_SHARE * near.numel():
            self._compact()

    def _compact(self) -> None:
        kept = self.is_free.nonzero()[:, 0]
        # Candidates move with their points.
        free = self.is_free[self.candidates].nonzero()[:, 0]
        self.candidates = torch.searchsorted(kept, self.candidates[free])
        self.seeds = self.seeds[free]
        self.store()
        self.index = self.original(kept)
        self.embeddings, self.taken_by = self.embeddings[:, kept], self.taken_by[kept]
        self.is_free = torch.ones_like(self.taken_by, dtype=torch.bool)

    def store(self) -> Tensor:
        """(all points,) number of the instance that took each, 0 for none."""
        if self.index is None:
            self.numbers.copy_(self.taken_by)
        else:
            self.numbers[self.index] = self.taken_by
        return self.numbers


def cluster(
    embeddings: Tensor,
    bandwidths: Tensor,
    seediness: Tensor,
    rule: ClusterRule,
    *,
    first_label: int = 1,
    with_masks: bool = False,
) -> Clusters:
    """Finds instances one after the other: the best seed left, then all points close to it.

    Args:
        embeddings: (E, P) float32.
        bandwidths: (E - F, P), inverse variances of the dimensions that are not free.
        seediness: (P,), 0..1.
        rule: see `ClusterRule`.
        first_label: label of the first instance.
        with_masks: also return what each centre took.
    """
    embeddings = embeddings.float()
    points = _Points(embeddings, seediness, rule)
    free = embeddings.new_tensor([1 / std**2 for std in rule.free_dim_stds])
    centers: list[Tensor] = []
    betas: list[Tensor] = []
    left = None  # points free when the last round began
    for number in range(1, rule.max_instances + 1):
        best = points.best()
        if best is None or number == rule.max_instances:
            left = points.free()
        if best is None:
            break
        center = points.embeddings[:, best]
        beta = torch.cat([bandwidths[:, points.original(best)].float(), free])
        centers.append(center.clone())
        betas.append(beta)
        points.take(centers[-1], beta, number)
    numbers = points.store()
    labels = torch.where(numbers == 0, OUTLIER, numbers.long() + (first_label - 1))
    instances = range(1, len(centers) + 1)
    clusters = Clusters(
        labels,
        [first_label - 1 + i for i in instances],
        _stack(centers, embeddings.shape[0], seediness),
        _stack(betas, embeddings.shape[0], seediness),
        torch.stack([numbers == i for i in instances]) if with_masks and centers else None,
    )
    if left is not None and centers:
        _assign_left_over(clusters, embeddings, left, rule)
    return clusters


def squared_distances(embeddings: Tensor, center: Tensor, beta: Tensor) -> Tensor:
    """Sum over dimensions of beta * (embedding - center)**2.

    Args:
        embeddings: (E, P).
        center: (E,).
        beta: (E,).

    Returns:
        (P,).
    """
    squares = F.mse_loss(embeddings, center[:, None].expand_as(embeddings), reduction="none")
    return beta @ squares


def squared_distance_limit(prob: float) -> float:
    """The squared distance at which the probability exp(-0.5 * distance) falls to `prob`.

    The distance itself, not its square, is in the exponent, unlike in training: published
    results are made so.
    """
    if prob >= 1:
        return 0.0
    return (2 * math.log(prob)) ** 2 if prob > 0 else math.inf


def _assign_left_over(
    clusters: Clusters, embeddings: Tensor, left: Tensor, rule: ClusterRule
) -> None:
    """Gives points left over to an instance, in place.

    Args:
        clusters: the instances so far.
        embeddings: (E, P).
        left: positions of the points that were available when the last round began.
        rule: see `ClusterRule`.
    """
    limit = squared_distance_limit(rule.secondary_prob)
    best = embeddings.new_full((left.numel(),), math.inf if rule.nearest_secondary else -1.0)
    chosen = torch.zeros_like(left)
    pairs = zip(clusters.instance_labels, clusters.centers, clusters.bandwidths, strict=True)
    for label, center, beta in pairs:
        distance = squared_distances(embeddings[:, left].float(), center, beta)
        better = distance < best if rule.nearest_secondary else distance > best
        best = torch.where(better, distance, best)
        chosen = torch.where(better, torch.full_like(chosen, label), chosen)
        if not rule.nearest_secondary:
            # Whoever is far from one centre is out: its largest distance is too large.
            kept = best < limit
            left, best, chosen = left[kept], best[kept], chosen[kept]
    near = best < limit
    clusters.labels[left[near]] = chosen[near]


def _stack(rows: list[Tensor], width: int, like: Tensor) -> Tensor:
    return torch.stack(rows) if rows else like.new_zeros((0, width))
