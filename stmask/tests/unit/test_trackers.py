"""Ids through a video, with a network that moves nothing or as told."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.inference.candidates import Candidates
from stmask.inference.plain_tracker import PlainTracker
from stmask.inference.settings import InferenceSettings
from stmask.inference.tracker import Tracker

NUM_PROTO, SIZE = 2, (12, 16)


class Mover:
    """A temporal network that regresses the same numbers for its first instances."""

    def __init__(self, loc=(0.0, 0.0, 0.0, 0.0), num_rows=1000):
        self.loc, self.num_rows = torch.tensor(loc), num_rows
        self.num_moved = 0

    def temporal_features(self, *maps):
        return torch.cat(maps, 1)

    def TemporalNet(self, rois):  # noqa: N802
        assert rois.shape[1:] == (16, 7, 7)
        self.num_moved += len(rois)
        is_moved = torch.arange(len(rois))[:, None] < self.num_rows
        return self.loc * is_moved, torch.zeros(len(rois), NUM_PROTO)


def frame(*objects, boxes=None, scores=None, classes=None):
    """Detections of objects, whose embeddings are unit vectors and whose boxes lie apart."""
    n = len(objects)
    places = torch.tensor([[0.2 * i, 0.1, 0.2 * i + 0.19, 0.9] for i in objects]).view(n, 4)
    return Candidates(
        boxes=places if boxes is None else torch.tensor(boxes),
        coeffs=torch.full((n, NUM_PROTO), 3.0),
        track=torch.eye(8)[list(objects)],
        classes=torch.tensor(classes or [1] * n, dtype=torch.long),
        scores=torch.tensor(scores or [0.9 - 0.01 * i for i in range(n)]).view(n),
        centerness=torch.ones(n),
        proto=torch.ones(*SIZE, NUM_PROTO),
        fpn_feat=torch.ones(1, 4, 3, 4),
        t2s_feat=torch.ones(1, 4, 3, 4),
    )


def tracker(mover=None, **changes):
    return Tracker(mover or Mover(), InferenceSettings(**changes))


def test_ids_last_through_a_gap_and_are_not_given_twice():
    video = tracker()
    assert video.step(frame(0, 1)).ids.tolist() == [0, 1]
    assert video.step(frame(1)).ids.tolist() == [0, 1]
    for _ in range(30):
        video.step(frame(1))
    assert video.step(frame(1)).ids.tolist() == [1]
    assert video.step(frame(2, 0)).ids.tolist() == [0, 1, 2]
    assert video.memory.lost.tolist() == [0, 1, 0]


def test_an_object_that_is_missed_is_shown_for_ten_frames_more():
    video = tracker()
    video.step(frame(0))
    shown = [len(video.step(frame())) for _ in range(12)]
    assert shown == [1] * 10 + [0, 0]
    # It is found again under its number, even so.
    assert video.step(frame(0)).ids.tolist() == [0]


def test_scores_decay_until_they_are_seen_no_more():
    video = tracker()
    video.step(frame(0, scores=[0.06]))
    shown = [video.step(frame()).scores.tolist() for _ in range(5)]
    assert shown[0] == pytest.approx([0.057])
    assert [len(scores) for scores in shown] == [1, 1, 1, 0, 0]


def test_the_better_of_two_detections_of_one_object_has_it():
    video = tracker()
    video.step(frame(0))
    result = video.step(frame(0, 0, scores=[0.5, 0.7], classes=[2, 3]))
    assert result.ids.tolist() == [0]
    assert result.classes.tolist() == [3]
    assert result.scores.tolist() == pytest.approx([0.7])


def test_negative_scores_are_remembered_but_not_shown():
    video = tracker()
    assert len(video.step(frame(0, scores=[-0.4]))) == 0
    assert len(video.memory) == 1
    assert video.step(frame(0)).ids.tolist() == [0]


def test_many_frames_without_detections_before_and_after():
    mover = Mover()
    video = tracker(mover)
    for _ in range(200):
        assert len(video.step(frame())) == 0
    assert video.memory is None and mover.num_moved == 0
    video.step(frame(0, 1))
    for _ in range(200):
        result = video.step(frame())
    assert len(result) == 0 and len(video.memory) == 2
    video.reset()
    assert video.memory is None
    assert video.step(frame(3)).ids.tolist() == [0]


def test_a_mask_of_one_pixel_is_not_shown():
    video = tracker()
    # The crop takes a pixel more on every side: rows and columns outside the map do not count.
    corner = [[-0.9, -0.9, -0.05, -0.05], [0.0, 0.0, 0.2, 0.2]]
    assert video.step(frame(0, 1, boxes=corner)).ids.tolist() == [1]


@pytest.mark.parametrize(
    "loc",
    [(0.0, 0.0, 50.0, 50.0), (0.0, 0.0, -50.0, -50.0), (40.0, 0.0, 9.0, 9.0), (-40.0, -1.0, 0, 0)],
)
def test_a_lost_object_that_runs_away_disturbs_nothing(loc):
    """Its box grows, shrinks or moves until its numbers would leave the range of the format."""
    video = tracker(Mover(loc, num_rows=2))
    video.step(frame(0, 1, 2))
    ids = [video.step(frame(2)).ids.tolist() for _ in range(200)]
    assert ids[20:] == [[2]] * 180
    entries = video.memory.entries
    assert len(entries) == 3
    assert all(x.isfinite().all() for x in (entries.boxes, entries.coeffs, entries.masks))


def test_two_thousand_frames_of_new_objects_need_no_more_than_the_limit():
    video = tracker(Mover((-100.0, 0.0, 0.0, 0.0)), max_memory=20)
    longest, bytes_held = 0, 0
    for t in range(2000):
        result = video.step(frame(t % 5))
        assert result.ids.tolist()[-1] == t  # nothing is where it is expected
        longest = max(longest, len(video.memory))
        bytes_held = max(bytes_held, video.memory.entries.masks.untyped_storage().nbytes())
    assert longest <= 20
    assert bytes_held <= 21 * SIZE[0] * SIZE[1] * 4


def test_what_was_lost_for_longest_is_forgotten_beyond_the_limit():
    video = tracker(max_memory=2)
    video.step(frame(0, 1, 2, 3))
    assert len(video.memory) == 4  # all of them may still be shown
    for _ in range(11):
        video.step(frame(3))
    assert video.memory.entries.ids.tolist() == [2, 3]
    assert video.step(frame(0, 3)).ids.tolist() == [3, 4]
    endless = tracker(max_memory=None)
    endless.step(frame(0, 1, 2, 3))
    for _ in range(20):
        endless.step(frame(3))
    assert len(endless.memory) == 4


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 4), unique=True, max_size=4), min_size=1, max_size=25))
def test_an_object_has_one_id_for_ever(video_objects):
    video = tracker()
    known = {}
    for objects in video_objects:
        result = video.step(frame(*objects))
        if video.memory is None:
            continue
        ids = video.memory.entries.ids.tolist()
        assert ids == list(range(len(ids)))
        assert result.ids.tolist() == sorted(set(result.ids.tolist()))
        for row, embedding in zip(ids, video.memory.entries.track, strict=True):
            assert known.setdefault(row, int(embedding.argmax())) == int(embedding.argmax())
        assert {known[i] for i in ids} >= set(objects)


def plain(**changes):
    return PlainTracker(InferenceSettings(temporal_fusion_module=False, **changes))


def test_plain_tracker_shows_detections_only():
    video = plain()
    assert len(video.step(frame())) == 0
    assert video.step(frame(0, 1)).ids.tolist() == [0, 1]
    assert len(video.step(frame())) == 0
    assert video.step(frame(2, 1)).ids.tolist() == [2, 1]
    video.reset()
    assert video.step(frame(2)).ids.tolist() == [0]


@pytest.mark.parametrize(("removes", "ids"), [(True, [0]), (False, [0, -1])])
def test_plain_tracker_has_no_second_detection_of_an_object(removes, ids):
    video = plain(remove_false_inst=removes)
    video.step(frame(0))
    assert video.step(frame(0, 0)).ids.tolist() == ids


def test_plain_tracker_does_not_learn_from_what_it_cannot_tell_apart():
    near = [[0.1, 0.1, 0.5, 0.9], [0.15, 0.1, 0.55, 0.9]]
    video = plain()
    video.step(frame(0, 1, boxes=near))
    seen = video.step(frame(0, boxes=[[0.12, 0.1, 0.52, 0.9]]))
    assert seen.ids.tolist() == [0]
    assert video.memory.boxes[0].tolist() == pytest.approx(near[0])
    alone = plain()
    alone.step(frame(0))
    alone.step(frame(0, boxes=[[0.02, 0.1, 0.2, 0.9]]))
    assert alone.memory.boxes[0].tolist() == pytest.approx([0.02, 0.1, 0.2, 0.9])


def test_settings_are_checked():
    with pytest.raises(ValueError, match="max_memory"):
        InferenceSettings(max_memory=0)
    with pytest.raises(ValueError, match="match_coeff"):
        InferenceSettings(match_coeff=(1.0, 2.0))
