import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.losses import FrameTargets, LossSettings
from stmask.losses.matching import match_frame, match_frames
from stmask.losses.targets import find_positives
from stmask.model.boxes import jaccard

SETTINGS = LossSettings()


def targets(boxes, labels=None, ids=None):
    n = len(boxes)
    return FrameTargets(
        torch.tensor(boxes, dtype=torch.float32).reshape(n, 4),
        torch.tensor(labels or list(range(1, n + 1)), dtype=torch.int64),
        torch.tensor(ids or list(range(11, n + 11)), dtype=torch.int64),
        torch.zeros((n, 4, 4), dtype=torch.uint8),
    )


def match_slowly(objects, priors, logits):
    """The rules of the specification, one prior and one object after the other."""
    n, num_priors = len(objects.boxes), len(priors)
    iou = jaccard(objects.boxes, priors).tolist()
    best = [max(iou[j][i] for j in range(n)) for i in range(num_priors)]
    row = [max(range(n), key=lambda j, i=i: iou[j][i]) for i in range(num_priors)]
    for i in range(num_priors):
        if sum(iou[j][i] > 0.5 - 0.1 for j in range(n)) > 1:
            best[i] = 0.45
    quality = {}
    for i in range(num_priors):
        if best[i] > 0.5:
            error = -math.log(logits[i].softmax(0)[objects.labels[row[i]]].item())
            quality[i] = 2 / (1 + math.exp(error))
    rise = sum(quality.values()) / len(quality) if quality else 0.0
    for i, value in quality.items():
        best[i] += value
    free = {(j, i) for j in range(n) for i in range(num_priors)}
    while free:
        j, i = max(sorted(free), key=lambda pair: iou[pair[0]][pair[1]])
        best[i], row[i] = 2.0, j
        free = {(a, b) for a, b in free if a != j and b != i}
    classes, ids = [], []
    for i in range(num_priors):
        is_positive = best[i] >= 0.5 + rise
        label = int(objects.labels[row[i]]) if is_positive else -1
        classes.append(0 if best[i] < 0.4 + rise else label)
        ids.append(int(objects.ids[row[i]]) if is_positive else 0)
    return classes, ids, row


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 30))
def test_equals_the_rules_written_out(seed, num_objects, num_priors):
    gen = torch.Generator().manual_seed(seed)

    def boxes(n):
        low = torch.rand((n, 2), generator=gen) * 0.4
        return torch.cat([low, low + 0.2 + torch.rand((n, 2), generator=gen) * 0.4], 1)

    objects, priors = targets(boxes(num_objects).tolist()), boxes(num_priors)
    logits = 2 * torch.randn((num_priors, 6), generator=gen)
    found = match_frame(objects, priors, logits, SETTINGS)
    classes, ids, row = match_slowly(objects, priors, logits)
    assert found.classes.tolist() == classes
    assert found.ids.tolist() == ids
    assert found.objects.tolist() == row


def test_a_frame_without_objects_is_background():
    found = match_frame(targets([]), torch.rand(5, 4), torch.zeros(5, 3), SETTINGS)
    assert not found.classes.any() and not found.ids.any() and not found.objects.any()


def test_every_object_gets_a_prior_of_its_own():
    same = [[0.1, 0.1, 0.3, 0.3]] * 3
    priors = torch.tensor([[0.1, 0.1, 0.3, 0.3], [0.5, 0.5, 0.9, 0.9], [0.8, 0.1, 0.9, 0.2]])
    found = match_frame(targets(same), priors, torch.zeros(3, 5), SETTINGS)
    assert sorted(found.ids.tolist()) == [11, 12, 13]
    # More objects than priors: as many as there are priors.
    found = match_frame(targets(same), priors[:1], torch.zeros(1, 5), SETTINGS)
    assert found.classes.tolist() == [1]


def test_a_prior_between_two_objects_is_ignored():
    near = targets([[0.10, 0.1, 0.50, 0.5], [0.14, 0.1, 0.54, 0.5]])
    priors = torch.tensor([[0.10, 0.1, 0.50, 0.5], [0.14, 0.1, 0.54, 0.5], [0.12, 0.1, 0.52, 0.5]])
    found = match_frame(near, priors, torch.zeros(3, 5), SETTINGS)
    assert found.classes.tolist() == [1, 2, -1]


def test_positives_of_a_batch():
    frames = [targets([[0.1, 0.1, 0.4, 0.4]]), targets([]), targets([[0.5, 0.5, 0.9, 0.9]], [4])]
    priors = torch.tensor([[0.1, 0.1, 0.4, 0.4], [0.5, 0.5, 0.9, 0.9], [0.5, 0.5, 0.89, 0.89]])
    logits = torch.zeros(3, 3, 6)
    found = find_positives(match_frames(frames, priors, logits, SETTINGS), frames)
    assert found.frame.tolist() == [0, 2, 2] and found.prior.tolist() == [0, 1, 2]
    assert found.weights.tolist() == [1.0, 0.5, 0.5]
    assert found.boxes[1].tolist() == pytest.approx([0.5, 0.5, 0.9, 0.9])
    assert [found.in_frame(n) for n in range(3)] == [slice(0, 1), slice(1, 1), slice(1, 3)]
    values = torch.arange(9).view(3, 3)
    assert found.of(values).tolist() == [0, 7, 8]
