"""Which boxes are chosen: numbers, order, balance."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vatrack.losses.assignment import IGNORED, NEGATIVE, Assignment, assign
from vatrack.losses.sampling import choose, sample_boxes
from vatrack.losses.settings import AssignSettings, SampleSettings

BALANCED = SampleSettings(256, 0.5, max_negatives=3, balanced=True)


def assigned(num_positives, num_negatives, num_objects=3, overlaps=None):
    objects = torch.cat(
        [torch.arange(num_positives) % num_objects, torch.full((num_negatives,), NEGATIVE)]
    )
    if overlaps is None:
        overlaps = torch.linspace(0, 0.29, max(num_negatives, 1))[:num_negatives]
    return Assignment(objects, torch.cat([torch.full((num_positives,), 0.9), overlaps]))


def run(found, sampling, seed=0):
    boxes = torch.arange(len(found.objects) * 4.0).reshape(-1, 4)
    sample = choose(boxes, found, sampling, torch.Generator().manual_seed(seed))
    assert torch.equal(sample.boxes, boxes[torch.cat([sample.positives, sample.negatives])])
    return sample


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 40),
    st.integers(0, 60),
    st.booleans(),
    st.integers(4, 40),
    st.sampled_from([-1, 0, 1, 3]),
)
def test_numbers_of_a_sample(num_positives, num_negatives, balanced, num, limit):
    sampling = SampleSettings(num, 0.5, max_negatives=limit, balanced=balanced)
    sample = run(assigned(num_positives, num_negatives), sampling)
    p, n = len(sample.positives), len(sample.negatives)
    assert p == min(num_positives, num // 2)
    room = num - p if limit < 0 else min(num - p, limit * max(1, p))
    assert n == min(num_negatives, room)
    for rows in (sample.positives, sample.negatives):
        assert torch.equal(rows, rows.unique())
    assert (sample.objects == sample.positives % 3).all()
    assert (sample.negatives >= num_positives).all()


def test_positives_are_balanced_over_objects():
    objects = torch.tensor([0] * 500 + [1] * 20 + [2] * 300 + [NEGATIVE] * 10)
    found = Assignment(objects, torch.zeros(len(objects)))
    counts = run(found, BALANCED).objects.bincount().tolist()
    assert counts[1] == 20 and sum(counts) == 128
    assert min(counts[0], counts[2]) >= 43  # round(128 / 3) + 1 = 44, one object has less


def test_negatives_that_touch_nothing_only_fill_up():
    overlaps = torch.cat([torch.zeros(2000), torch.full((100,), 0.2)])
    found = assigned(50, 2100, overlaps=overlaps)
    negatives = run(found, BALANCED).negatives
    assert len(negatives) == 150
    assert (found.max_overlaps[negatives] > 0).sum() == 100


def test_negatives_are_balanced_over_overlap():
    overlaps = torch.cat([torch.full((900,), 0.05), torch.full((60,), 0.5), torch.full((60,), 0.7)])
    found = assigned(30, 1020, overlaps=overlaps)
    drawn = found.max_overlaps[run(found, BALANCED).negatives]
    counts = [int((drawn == value).sum()) for value in (0.05, 0.5, 0.7)]
    assert sum(counts) == 90 and min(counts) >= 30


def test_seeds_repeat():
    found = assigned(300, 900)
    for sampling in (BALANCED, SampleSettings(64, 0.25)):
        first, again, other = (run(found, sampling, seed) for seed in (5, 5, 6))
        assert torch.equal(first.boxes, again.boxes)
        assert not torch.equal(first.boxes, other.boxes)


def test_assignment_takes_the_best_and_ignores_the_middle():
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 12]])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30], [0, 0, 10, 12]])
    found = assign(boxes, objects, AssignSettings(0.7, 0.3, 0.5))
    assert found.objects.tolist() == [0, IGNORED, NEGATIVE, 1]
    assert found.max_overlaps.tolist() == pytest.approx([1, 0.5, 0, 1])


def test_later_objects_take_tied_boxes():
    objects = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [90, 90, 95, 95]])
    boxes = torch.tensor([[0.0, 0, 10, 4], [0, 6, 10, 10], [50, 50, 60, 60]])
    found = assign(boxes, objects, AssignSettings(0.7, 0.3, 0.3, low_quality=True))
    assert found.objects.tolist() == [1, 1, NEGATIVE]
    without = assign(boxes, objects, AssignSettings(0.7, 0.3, 0.3))
    assert without.objects.tolist() == [IGNORED, IGNORED, NEGATIVE]


@pytest.mark.parametrize("num_boxes", [0, 5])
@pytest.mark.parametrize("num_objects", [0, 2])
def test_without_boxes_or_objects(num_boxes, num_objects):
    boxes, objects = torch.ones((num_boxes, 4)), torch.zeros((num_objects, 4))
    gen = torch.Generator()
    sample = sample_boxes(boxes, objects, AssignSettings(), BALANCED, gen)
    assert len(sample.positives) == num_objects  # the objects' own boxes
    assert sample.boxes.shape[1] == 4
