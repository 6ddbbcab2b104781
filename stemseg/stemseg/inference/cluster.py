"""Sequential clustering of pixel embeddings into instances. Source: spec section 8.1.

Letters: P points, E embedding dimensions, F free ones among them, K instances. Point arrays are
(dimension, P), so that every step runs over contiguous memory.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from stemseg.config import Config

OUTLIER = -1
"""Label of points that no instance takes."""

_TAKEN = -math.inf
# Arrays are cut down to the points still available once this share of them is taken.
_COMPACT_SHARE = 0.5


@dataclass(frozen=True)
class ClusterRule:
    """Settings of the clusterer.

    Attributes:
        min_seediness: smallest seediness of a centre.
        primary_prob: points above this probability join an instance.
        secondary_prob: the same for the second assignment, of points left over.
        free_dim_stds: standard deviation of each free dimension.
        max_instances: limit per clip.
        nearest_secondary: give points left over to the nearest centre. The published results
            take the farthest one, among points that are near to all centres.
    """

    min_seediness: float = 0.8
    primary_prob: float = 0.5
    secondary_prob: float = 0.3
    free_dim_stds: tuple[float, ...] = ()
    max_instances: int = 20
    nearest_secondary: bool = False

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


@dataclass
class _Points:
    """The points a round looks at: some may be taken, which their seediness then says."""

    embeddings: Tensor
    seediness: Tensor
    index: Tensor | None = None
    num_taken: int = 0

    @property
    def num_available(self) -> int:
        return self.seediness.numel() - self.num_taken

    def original(self, position: Tensor) -> Tensor:
        """Positions among all points."""
        return position if self.index is None else self.index[position]

    def available(self) -> Tensor:
        """Positions of the available points."""
        return (self.seediness > _TAKEN).nonzero()[:, 0]

    def take(self, position: Tensor) -> None:
        self.seediness[position] = _TAKEN
        self.num_taken += position.numel()
        if self.num_taken > _COMPACT_SHARE * self.seediness.numel():
            self._compact()

    def _compact(self) -> None:
        kept = self.available()
        self.index = self.original(kept)
        self.embeddings = self.embeddings[:, kept]
        self.seediness = self.seediness[kept]
        self.num_taken = 0


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
    num_points = seediness.numel()
    labels = torch.full((num_points,), OUTLIER, dtype=torch.int64, device=seediness.device)
    points = _Points(embeddings.float(), seediness.float().clone())
    free = embeddings.new_tensor([1 / std**2 for std in rule.free_dim_stds], dtype=torch.float32)
    limit = squared_distance_limit(rule.primary_prob)
    centers: list[Tensor] = []
    betas: list[Tensor] = []
    masks: list[Tensor] = []
    left = None  # points available when the last round began
    for number in range(rule.max_instances):
        if points.num_available == 0:
            left = None
            break
        best = points.seediness.argmax()
        if not points.seediness[best] >= rule.min_seediness:
            left = points.original(points.available())
            break
        if number == rule.max_instances - 1:
            left = points.original(points.available())
        center = points.embeddings[:, best]
        beta = torch.cat([bandwidths[:, points.original(best)].float(), free])
        near = squared_distances(points.embeddings, center, beta) < limit
        if points.num_taken:
            near &= points.seediness > _TAKEN
        position = near.nonzero()[:, 0]
        taken = points.original(position)
        labels[taken] = first_label + number
        points.take(position)
        centers.append(center.clone())
        betas.append(beta)
        if with_masks:
            masks.append(_as_mask(taken, num_points))
    clusters = Clusters(
        labels,
        list(range(first_label, first_label + len(centers))),
        _stack(centers, embeddings.shape[0], seediness),
        _stack(betas, embeddings.shape[0], seediness),
        torch.stack(masks) if masks else None,
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
    difference = embeddings - center[:, None]
    return beta @ difference.mul_(difference)


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


def _as_mask(position: Tensor, num_points: int) -> Tensor:
    mask = torch.zeros(num_points, dtype=torch.bool, device=position.device)
    mask[position] = True
    return mask


def _stack(rows: list[Tensor], width: int, like: Tensor) -> Tensor:
    return torch.stack(rows) if rows else like.new_zeros((0, width))
