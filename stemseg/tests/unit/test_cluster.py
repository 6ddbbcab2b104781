from __future__ import annotations

import pytest
import torch
from torch import Tensor

from stemseg.inference.cluster import ClusterRule, cluster


def literal(
    embeddings: Tensor, bandwidths: Tensor, seediness: Tensor, rule: ClusterRule, first_label=1
) -> Tensor:
    """The clusterer as the specification tells it, instance by instance, over all points."""
    num_points = len(seediness)
    labels = torch.full((num_points,), -1)
    free = torch.tensor([1 / std**2 for std in rule.free_dim_stds])
    stored: list[Tensor] = []
    points_left = False
    available = labels == -1
    for i in range(rule.max_instances):
        available = labels == -1
        points_left = bool(available.any())
        if not points_left:
            break
        index = available.nonzero()[:, 0]
        best = seediness[available].argmax()
        if seediness[available][best] < rule.min_seediness:
            break
        center = embeddings[available][best]
        bandwidth = torch.cat([bandwidths[available][best], free])
        distance = (bandwidth * (embeddings[available] - center) ** 2).sum(1).sqrt()
        probability = torch.exp(-0.5 * distance)
        labels[index[probability > rule.primary_prob]] = first_label + i
        row = torch.full((num_points,), 1e8)
        row[available] = distance
        stored.append(row)
    if points_left and stored:
        largest, instance = torch.stack(stored).max(0)
        taken = (torch.exp(-0.5 * largest) > rule.secondary_prob) & available
        labels[taken] = instance[taken] + first_label
    return labels


def make_points(num_points=4000, num_objects=6, spread=0.15, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centers = torch.rand(num_objects, 4, generator=generator) * 2 - 1
    owner = torch.randint(num_objects, (num_points,), generator=generator)
    noise = torch.randn(num_points, 4, generator=generator)
    embeddings = centers[owner] + spread * noise
    bandwidths = 25 * torch.exp(0.2 * torch.randn(num_points, 2, generator=generator))
    seediness = torch.rand(num_points, generator=generator)
    return embeddings, bandwidths, seediness


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"max_instances": 3},
        {"max_instances": 3, "primary_prob": 0.65, "min_seediness": 0.1},
        {"primary_prob": 0.7, "secondary_prob": 0.2, "min_seediness": 0.97},
        {"secondary_prob": 0.01, "min_seediness": 0.9},
    ],
)
def test_labels_are_those_of_the_literal_form(changes, seed):
    rule = ClusterRule(free_dim_stds=(0.3, 0.3), **changes)
    points = make_points(seed=seed)
    expected = literal(*points, rule, first_label=5)
    embeddings, bandwidths, seediness = points
    found = cluster(embeddings.T, bandwidths.T, seediness, rule, first_label=5)
    assert torch.equal(found.labels, expected)
    assert len(expected.unique()) > 1


def test_secondary_assignment_happens_at_all():
    rule = ClusterRule(0.97, 0.7, 0.2, free_dim_stds=(0.3, 0.3))
    points = make_points(spread=0.1, num_objects=1)
    without = literal(*points, ClusterRule(0.97, 0.7, 1.0, free_dim_stds=(0.3, 0.3)))
    assert (literal(*points, rule) != without).any()


def test_points_of_the_last_round_may_be_overwritten_at_the_limit_of_instances():
    # Two centres close to each other: a point of the second is near the first one too.
    embeddings = torch.tensor([[0.0], [0.24], [0.12], [0.25]])
    bandwidths = torch.full((4, 1), 100.0)
    seediness = torch.tensor([0.9, 0.8, 0.3, 0.2])
    rule = ClusterRule(0.5, 0.5, 0.2, max_instances=2)
    expected = literal(embeddings, bandwidths, seediness, rule)
    assert expected.tolist() == [1, 1, 1, 1]
    assert cluster(embeddings.T, bandwidths.T, seediness, rule).labels.tolist() == [1, 1, 1, 1]


def test_left_over_points_go_to_the_nearest_centre_when_asked():
    embeddings = torch.tensor([[0.0], [0.4], [0.17]])
    bandwidths = torch.full((3, 1), 100.0)
    seediness = torch.tensor([0.9, 0.8, 0.1])
    farthest = ClusterRule(0.5, 0.5, 0.2)
    nearest = ClusterRule(0.5, 0.5, 0.2, nearest_secondary=True)
    arguments = (embeddings.T, bandwidths.T, seediness)
    assert cluster(*arguments, farthest).labels.tolist() == [1, 2, 2]
    assert cluster(*arguments, nearest).labels.tolist() == [1, 2, 1]


def test_no_points_give_no_instances():
    found = cluster(torch.zeros(4, 0), torch.zeros(2, 0), torch.zeros(0), ClusterRule())
    assert found.labels.shape == (0,)
    assert found.instance_labels == []
    assert found.centers.shape == found.stds.shape == (0, 4)


def test_low_seediness_leaves_outliers():
    found = cluster(torch.zeros(4, 3), torch.ones(4, 3), torch.full((3,), 0.79), ClusterRule())
    assert found.labels.tolist() == [-1, -1, -1]


def test_first_of_equal_seeds_is_the_centre():
    embeddings = torch.tensor([[1.0, 2.0, 1.0]])
    found = cluster(embeddings, torch.ones(1, 3) * 100, torch.ones(3), ClusterRule())
    assert found.centers[:, 0].tolist() == [1.0, 2.0]
    assert found.labels.tolist() == [1, 2, 1]


def test_inputs_are_not_changed():
    embeddings, bandwidths, seediness = make_points(200)
    before = embeddings.clone(), bandwidths.clone(), seediness.clone()
    cluster(embeddings.T, bandwidths.T, seediness, ClusterRule(free_dim_stds=(0.3, 0.3)))
    assert all(map(torch.equal, before, (embeddings, bandwidths, seediness)))


@pytest.mark.parametrize("limit", [0, 256])
def test_limits_that_bytes_do_not_hold_are_refused(limit: int) -> None:
    with pytest.raises(ValueError, match="1 to 255 instances"):
        ClusterRule(max_instances=limit)
