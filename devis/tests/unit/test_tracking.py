"""Joining clips: matching, merging frame by frame, classes, thresholds, memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from devis.config_tree import ClipTracking
from devis.data.clips import clips_of_video
from devis.inference.clip_masks import FrameMasks, binary_overlap, soft_overlap
from devis.inference.matching import Seen, cost_matrix, mask_overlap
from devis.inference.results import finish
from devis.inference.tracking import ClipOutput, ClipTracker

SIZE = (8, 12)
FRAMES = 6


def clip(scores, labels, columns, num_frames=FRAMES):
    """Predictions of constant score whose mask is one column of the image each."""
    number = len(scores)
    masks = torch.full((num_frames, number, *SIZE), -9.0)
    for index, column in enumerate(columns):
        masks[:, index, :, column] = 9.0
    centers = torch.tensor([[column / SIZE[1], 0.5] for column in columns])
    return ClipOutput(
        scores=torch.tensor(scores).expand(num_frames, -1).clone(),
        labels=torch.tensor(labels).expand(num_frames, -1),
        centers=centers.expand(num_frames, -1, -1),
        boxes=torch.zeros(num_frames, number, 4),
        masks=masks,
        mask_of=torch.arange(number),
    )


def columns_of(track):
    found = []
    for seen in track.frames:
        mask = None if seen is None else seen.mask[0].encoded[seen.mask[1]]
        found.append(None if mask is None else mask["counts"])
    return found


def test_instances_keep_their_track_when_clips_list_them_in_another_order():
    tracker = ClipTracker(ClipTracking(), FRAMES, SIZE)
    tracker.step(clip([0.9, 0.5], [1, 2], [2, 7]))
    tracker.step(clip([0.5, 0.9], [2, 1], [7, 2]))
    assert tracker.costs[0].argmin(1).tolist() == [1, 0]
    for track in tracker.tracks:
        assert len(track.frames) == 10 and len(set(columns_of(track))) == 1


def test_the_higher_score_wins_on_shared_frames():
    tracker = ClipTracker(ClipTracking(), FRAMES, SIZE)
    first, second = clip([0.5], [1], [2]), clip([0.6], [3], [3])
    second.scores[1, 0] = 0.4
    tracker.step(first)
    tracker.step(second)
    labels = [seen.label for seen in tracker.tracks[0].frames]
    assert labels == [1, 1, 1, 1, 3, 1, 3, 3, 3, 3]


def test_equal_scores_keep_the_older_frame():
    tracker = ClipTracker(ClipTracking(), FRAMES, SIZE)
    tracker.step(clip([0.5], [1], [2]))
    tracker.step(clip([0.5], [2], [2]))
    assert [seen.label for seen in tracker.tracks[0].frames] == [1] * 6 + [2] * 4


def test_the_last_clip_may_win_on_all_frames_it_repeats():
    tracker = ClipTracker(ClipTracking(), FRAMES, SIZE)
    tracker.step(clip([0.5], [1], [2]))
    tracker.step(clip([0.9], [2], [2]), start=3)
    assert [seen.label for seen in tracker.tracks[0].frames] == [1] + [2] * 6


def test_only_the_next_overlap_keeps_probabilities():
    tracker = ClipTracker(ClipTracking(), FRAMES, SIZE)
    for _ in range(4):
        tracker.step(clip([0.5, 0.6], [1, 1], [2, 5]))
    seen = [item for item in tracker.tracks[0].frames if item is not None]
    held = [item.mask[0].probabilities is not None for item in seen]
    assert held == [False] * 16 + [True] * 2 and len(tracker._held) == 2


def test_binary_masks_keep_no_probabilities():
    tracker = ClipTracker(ClipTracking(USE_BINARY_MASK_IOU=True), FRAMES, SIZE)
    tracker.step(clip([0.5], [1], [2]))
    assert all(seen.mask[0].probabilities is None for seen in tracker.tracks[0].frames)


def test_a_long_overlap_takes_masks_of_several_clips():
    tracker = ClipTracker(ClipTracking(STRIDE=1), FRAMES, SIZE)
    for score in (0.5, 0.4, 0.6, 0.3):
        tracker.step(clip([score, 0.1], [1, 2], [2, 8]))
    assert len(tracker.tracks[0].frames) == 9
    assert all(np.argmin(cost, axis=1).tolist() == [0, 1] for cost in tracker.costs)


def test_classes_are_matched_apart_when_asked_for():
    tracker = ClipTracker(ClipTracking(PER_CLASS_MATCHING=True), FRAMES, SIZE)
    tracker.step(clip([0.9, 0.5], [1, 2], [2, 7]))
    tracker.step(clip([0.9, 0.8], [3, 1], [7, 2]))
    tracker.step(clip([0.9, 0.8], [3, 2], [7, 2]))
    assert [cost.shape for cost in tracker.costs] == [(1, 1), (1, 1)]
    spans = [[seen is not None for seen in track.frames] for track in tracker.tracks]
    assert [sum(span) for span in spans] == [10, 6, 10, 6]
    assert spans[1] == [True] * 6 + [False] * 8
    assert spans[2] == [False] * 4 + [True] * 10
    assert spans[3] == [False] * 8 + [True] * 6
    assert [track.ended for track in tracker.tracks] == [True, True, False, False]


@pytest.mark.parametrize("length", [2, 6, 7, 10, 13, 15])
def test_every_frame_of_a_video_is_covered_once(length):
    video = clips_of_video(length, FRAMES, 4)
    tracker = ClipTracker(ClipTracking(), FRAMES, SIZE)
    for number in range(len(video.clips)):
        last = number == len(video.clips) - 1
        made = clip([0.5], [1], [2], video.real_length or FRAMES)
        tracker.step(made, video.last_start if last else 0)
    assert [len(track.frames) for track in tracker.tracks] == [length]


def frame_masks(seed, number, keep=True):
    generator = torch.Generator().manual_seed(seed)
    return FrameMasks(3 * torch.randn(number, 4, 6, generator=generator), SIZE, keep=keep)


def seen(frame, number, score=0.5, label=1, center=(0.5, 0.5)):
    return Seen(score, label, list(center), [0.0] * 4, (frame, number))


def slow_overlap(old, new, options):
    """As the formula reads, pair by pair."""
    out = np.zeros((len(old), len(new)))
    for i, a_window in enumerate(old):
        for j, b_window in enumerate(new):
            both, either = [], []
            for a, b in zip(a_window, b_window, strict=True):
                x, y = (s.mask[0].probabilities[s.mask[1]].double() for s in (a, b))
                if options.USE_BINARY_MASK_IOU:
                    x, y = (x > 0.5).double(), (y > 0.5).double()
                both.append(float((x * y).sum()))
                either.append(float((x + y - x * y).sum()))
            ratio = np.array(both) / np.maximum(either, 1e-6)
            whole = sum(both) / max(sum(either), 1e-6)
            out[i, j] = ratio.mean() if options.USE_FRAME_AVERAGE_IOU else whole
    return out


@given(seed=st.integers(0, 1000), binary=st.booleans(), average=st.booleans())
@settings(max_examples=20, deadline=None)
def test_overlap_equals_the_slow_form(seed, binary, average):
    options = ClipTracking(USE_BINARY_MASK_IOU=binary, USE_FRAME_AVERAGE_IOU=average)
    first, second = ([frame_masks(seed + 7 * k + s, 3) for k in range(2)] for s in (0, 1))
    old = [[seen(frame, n) for frame in first] for n in (0, 2, 2)]
    new = [[seen(frame, n) for frame in second] for n in (1, 0)]
    got = mask_overlap(old, new, options)
    np.testing.assert_allclose(got, slow_overlap(old, new, options), rtol=1e-4)


def test_empty_masks_overlap_by_zero():
    empty = FrameMasks(torch.full((1, 4, 6), -200.0), SIZE, keep=True)
    for measure in (soft_overlap, binary_overlap):
        both, either = measure([(empty, 0)], [(empty, 0)])
        assert both[0, 0] < 1e-30 and either[0, 0] < 1e-30
    window = [[seen(empty, 0)]]
    for binary in (False, True):
        for average in (False, True):
            options = ClipTracking(USE_BINARY_MASK_IOU=binary, USE_FRAME_AVERAGE_IOU=average)
            assert mask_overlap(window, window, options)[0, 0] < 1e-20


def test_every_term_of_the_cost():
    frame = frame_masks(0, 1, keep=False)
    old = [[seen(frame, 0, 0.5, 1, (0.2, 0.4)), seen(frame, 0, 0.7, 2, (0.2, 0.4))]]
    new = [[seen(frame, 0, 0.6, 1, (0.4, 0.5)), seen(frame, 0, 0.4, 1, (0.2, 0.4))]]
    off = ClipTracking(CLASS_COST=0, MASK_COST=0, SCORE_COST=0, CENTER_COST=0)
    costs = {
        name: cost_matrix(old, new, replace(off, **{name: 2.0}))[0, 0]
        for name in ("CLASS_COST", "SCORE_COST", "CENTER_COST")
    }
    assert costs == pytest.approx(
        {"CLASS_COST": -1.0, "SCORE_COST": 0.4, "CENTER_COST": 2 * (0.2 + 0.1) / 4}
    )
    assert cost_matrix(old, new, off).tolist() == [[0.0]]


def track(*pairs):
    frame = frame_masks(0, 1, keep=False)
    return [pair and seen(frame, 0, pair[0], pair[1]) for pair in pairs]


@pytest.mark.parametrize(
    ("frames", "options", "expected"),
    [
        ([(0.4, 2), (0.8, 1), None], {}, (0.6, 1)),
        ([(0.9, 2), (0.2, 1), (0.3, 1)], {"FINAL_CLASS_POLICY": "score_weighting"}, (1.4 / 3, 2)),
        ([(0.5, 2), (0.5, 1)], {"FINAL_CLASS_POLICY": "score_weighting"}, (0.5, 2)),
        ([(0.1, 1), (0.2, 1), (0.9, 1)], {"FINAL_SCORE_POLICY": "median"}, (0.2, 1)),
        ([(0.1, 1), (0.9, 2)], {"MIN_FRAME_SCORE": 0.5}, (0.9, 2)),
        ([(0.1, 1), (0.9, 2)], {"MIN_FRAME_SCORE": 0.5, "MIN_DETECTIONS": 2}, None),
        ([(0.5, 1)], {"MIN_TRACK_SCORE": 0.5}, None),
        ([(0.0, 1)], {"MIN_TRACK_SCORE": 0.0, "MIN_FRAME_SCORE": 0.0}, (0.0, 1)),
        ([None, None], {"MIN_DETECTIONS": 0}, None),
    ],
)
def test_what_remains_of_a_track(frames, options, expected):
    results = finish([track(*frames)], ClipTracking(**options))
    if expected is None:
        assert results == []
    else:
        assert (results[0].score, results[0].label) == (pytest.approx(expected[0]), expected[1])
        assert len(results[0].frames) == len(frames)


def test_entries_of_the_result_file():
    (result,) = finish([track((0.4, 2), None)], ClipTracking())
    entry = result.entry(7)
    assert list(entry) == ["video_id", "score", "category_id", "segmentations"]
    assert entry["video_id"] == 7 and entry["segmentations"][1] is None
    assert entry["segmentations"][0]["size"] == list(SIZE)
