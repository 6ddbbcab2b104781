from __future__ import annotations

import numpy as np
import pytest
import torch

from stemseg.inference.chain import Chainer, ClipMaps, match_labels
from stemseg.inference.cluster import ClusterRule

RULE = ClusterRule(min_seediness=0.5)


def maps_of(frames, values, seediness=None):
    """A clip whose one embedding dimension has the given values, (T, H, W)."""
    values = torch.as_tensor(values, dtype=torch.float32)
    seeds = torch.full_like(values, 0.9) if seediness is None else torch.as_tensor(seediness)
    return ClipMaps(tuple(frames), values[None], torch.full_like(values, 100)[None], seeds[None])


def everywhere(frames, size=(1, 4)):
    return {t: torch.ones(size, dtype=torch.bool) for t in frames}


def literal_match(stored, found):
    """Intersections one pair of labels after the other."""
    rows = [x for x in np.unique(stored) if x != -1]
    columns = [x for x in np.unique(found) if x != -1]
    iou = np.zeros((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            both = ((stored == row) & (found == column)).sum()
            iou[i, j] = both / ((stored == row) | (found == column)).sum()
    return iou, rows, columns


@pytest.mark.parametrize("seed", range(5))
def test_assignment_has_the_largest_sum_of_iou(seed):
    rng = np.random.default_rng(seed)
    stored, found = rng.integers(-1, 5, 300), rng.integers(-1, 7, 300) + 10
    found[found == 9] = -1
    iou, rows, columns = literal_match(stored, found)
    matched = match_labels(stored, found)
    assert len(matched) == min(len(rows), len(columns))
    total = sum(iou[rows.index(row), columns.index(column)] for column, row in matched.items())
    from scipy.optimize import linear_sum_assignment

    assert total == pytest.approx(iou[linear_sum_assignment(-iou)].sum())


def test_pairs_without_overlap_are_joined_unless_a_limit_says_otherwise():
    stored, found = np.array([1, 1, -1, -1]), np.array([-1, -1, 5, 5])
    assert match_labels(stored, found) == {5: 1}
    assert match_labels(stored, found, min_iou=0.1) == {}


def test_only_outliers_match_nothing():
    assert match_labels(np.array([-1, -1]), np.array([1, -1])) == {}
    assert match_labels(np.zeros(0, int), np.zeros(0, int)) == {}


def test_instances_keep_their_label_over_clips_in_any_order_of_seeds():
    chainer = Chainer(RULE)
    first = chainer.add(maps_of((0, 1), [[[0, 0, 5, 5]]] * 2), everywhere((0, 1)))
    assert first.label_map(1).tolist() == [[1, 1, 2, 2]]
    seeds = torch.tensor([[[0.6, 0.6, 0.9, 0.9]]] * 2)
    later = chainer.add(maps_of((1, 2), [[[0, 0, 5, 5]]] * 2, seeds), everywhere((1, 2)))
    assert later.new_frames == (2,)
    assert later.clusters.instance_labels == [3, 4]
    assert later.instance_labels == [2, 1]
    assert later.label_map(2).tolist() == [[1, 1, 2, 2]]
    # The frame that the first clip had shows what this clip alone found.
    assert later.label_map(1).tolist() == [[4, 4, 3, 3]]


def test_a_new_object_gets_a_fresh_label():
    chainer = Chainer(RULE)
    chainer.add(maps_of((0, 1), [[[0, 0, 0, 0]]] * 2), everywhere((0, 1)))
    later = chainer.add(maps_of((1, 2), [[[0, 0, 0, 0]], [[0, 0, 9, 9]]]), everywhere((1, 2)))
    assert later.label_map(2).tolist() == [[1, 1, 3, 3]]


def test_clips_without_foreground_pass():
    chainer = Chainer(RULE)
    nothing = {0: torch.zeros(1, 4, dtype=torch.bool), 1: torch.zeros(1, 4, dtype=torch.bool)}
    found = chainer.add(maps_of((0, 1), torch.zeros(2, 1, 4)), nothing)
    assert not found.label_map(0).any()
    later = chainer.add(maps_of((1, 2), torch.zeros(2, 1, 4)), {1: nothing[1], 2: ~nothing[1]})
    assert later.label_map(2).tolist() == [[1, 1, 1, 1]]


def test_labels_of_old_frames_are_forgotten():
    chainer = Chainer(RULE)
    for start in range(0, 40, 2):
        frames = tuple(range(start, start + 4))
        chainer.add(maps_of(frames, torch.zeros(4, 1, 4)), everywhere(frames))
        assert len(chainer._stored) <= 4


def test_maps_are_enlarged_before_clustering():
    chainer = Chainer(RULE, scale=4)
    values = torch.zeros(1, 2, 4)
    values[..., 2:] = 9
    foreground = {0: torch.ones(8, 16, dtype=torch.bool)}
    labels = chainer.add(maps_of((0,), values), foreground).label_map(0)
    assert labels.shape == (8, 16)
    assert (labels[:, :6] == labels[0, 0]).all()
    assert (labels[:, 10:] == labels[0, 15]).all()
    assert labels[0, 0] != labels[0, 15]
