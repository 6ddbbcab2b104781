import numpy as np
import pytest

from vatrack.inference import Tracker, TrackerSettings


def rows(*scores, labels=None, axis=0, embeds=None):
    """Detections apart from each other whose embeddings are axes of a space, far apart."""
    n = len(scores)
    left = np.arange(n, dtype=np.float32) * 20
    boxes = np.stack([left, left, left + 10, left + 10, np.array(scores)], 1).astype(np.float32)
    chosen = np.arange(n) + axis if embeds is None else np.array(embeds)
    vectors = np.zeros((n, 16), np.float32)
    vectors[np.arange(n), chosen] = 10
    return boxes, np.zeros(n, np.int64) if labels is None else np.array(labels), vectors


def test_ids_follow_embeddings_and_start_again_after_a_reset():
    tracker = Tracker()
    order, ids = tracker.match(*rows(0.5, 0.9), 0)
    assert order.tolist() == [1, 0] and ids.tolist() == [0, 1]
    boxes, labels, embeds = rows(0.5, 0.9, embeds=[1, 0])
    order, ids = tracker.match(boxes, labels, embeds, 1)
    assert order.tolist() == [1, 0] and ids.tolist() == [1, 0]
    tracker.reset()
    assert tracker.match(boxes, labels, embeds, 0)[1].tolist() == [0, 1]


def test_another_label_is_another_object_unless_labels_do_not_count():
    for with_cats, expected in ((True, 1), (False, 0)):
        tracker = Tracker(TrackerSettings(with_cats=with_cats))
        tracker.match(*rows(0.9), 0)
        assert tracker.match(*rows(0.9, labels=[3]), 1)[1].tolist() == [expected]


def test_a_row_covered_by_a_better_one_is_a_duplicate():
    boxes, _, embeds = rows(0.9, 0.8)
    boxes[1, :4] = boxes[0, :4]
    order, ids = Tracker().match(boxes, np.array([0, 5]), embeds, 0)
    assert order.tolist() == [0] and ids.tolist() == [0]


def test_tracks_are_forgotten_and_memory_is_bounded():
    tracker = Tracker(TrackerSettings(memo_tracklet_frames=3))
    generator = np.random.default_rng(0)
    for t in range(20):
        boxes, labels, _ = rows(*[0.9] * 8)
        embeds = generator.normal(0, 10, (8, 16)).astype(np.float32)
        tracker.match(boxes, labels, embeds, t)
        assert len(tracker.state.tracks.ids) <= 3 * 8
        assert len(tracker.state.backdrops) <= 1


def test_weak_rows_are_backdrops_and_give_no_ids():
    tracker = Tracker(TrackerSettings(init_score_thr=0.5))
    _, ids = tracker.match(*rows(0.9, 0.2), 0)
    assert ids.tolist() == [0, -1]
    assert [len(part.labels) for part in tracker.state.backdrops] == [1]


def test_a_weak_match_is_dropped():
    tracker = Tracker(TrackerSettings(init_score_thr=0.1, obj_score_thr=0.5))
    tracker.match(*rows(0.9), 0)
    assert tracker.match(*rows(0.3), 1)[1].tolist() == [-2]


def test_no_rows_are_no_error():
    tracker = Tracker()
    order, ids = tracker.match(*rows(), 0)
    assert not len(order) and not len(ids)
    tracker.match(*rows(0.9), 1)
    assert not len(tracker.match(*rows(), 2)[1])


@pytest.mark.parametrize(
    "values", [{"memo_momentum": 1.5}, {"match_metric": "dot"}, {"memo_tracklet_frames": -1}]
)
def test_settings_are_checked(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        TrackerSettings(**values)
