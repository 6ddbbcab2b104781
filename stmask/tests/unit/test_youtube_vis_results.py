from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stmask.inference.postprocess import FrameResult
from stmask.outputs.youtube_vis import VideoTracks
from vidseg_common import rle
from vidseg_common.errors import DatasetError


def result(ids, classes=None, scores=None, seed=0):
    n = len(ids)
    return FrameResult(
        ids=np.array(ids, np.int64).reshape(n),
        classes=np.array(classes or [1] * n, np.int64).reshape(n),
        scores=np.array(scores or [0.5] * n, np.float32).reshape(n),
        boxes=np.zeros((n, 4), np.int64),
        masks=np.random.default_rng(seed).random((n, 5, 7)) > 0.5,
    )


frames = st.lists(st.lists(st.integers(0, 5), unique=True, max_size=4), min_size=1, max_size=8)


@settings(deadline=None)
@given(frames, st.data())
def test_tracks_of_a_video(video, data):
    tracks, seen = VideoTracks(3, category_ids=[10, 20, 30]), {}
    for t, ids in enumerate(video):
        labels = data.draw(st.lists(st.integers(1, 3), min_size=len(ids), max_size=len(ids)))
        scores = [0.1 + 0.1 * label for label in labels]
        shown = result(ids, labels, scores, seed=t)
        tracks.add(t, shown)
        for i, number in enumerate(ids):
            seen.setdefault(number, []).append((t, labels[i], scores[i], shown.masks[i]))
    entries = tracks.entries(len(video) + 2)
    assert len(entries) == len(seen)
    for entry, parts in zip(entries, seen.values(), strict=True):
        assert entry["video_id"] == 3 and len(entry["segmentations"]) == len(video) + 2
        counts = Counter(label for _, label, _, _ in parts)
        best = min(label for label in counts if counts[label] == max(counts.values()))
        assert entry["category_id"] == 10 * best
        assert entry["score"] == pytest.approx(np.mean([score for _, _, score, _ in parts]))
        masks = {t: mask for t, _, _, mask in parts}
        for t, run_lengths in enumerate(entry["segmentations"]):
            assert (run_lengths is not None) == (t in masks)
            if t in masks:
                assert np.array_equal(rle.decode(run_lengths), masks[t])


def test_classes_without_a_data_set_stay():
    tracks = VideoTracks(1)
    tracks.add(0, result([4], [7]))
    assert tracks.entries(1)[0]["category_id"] == 7


def test_faults_name_video_and_frame():
    tracks = VideoTracks(8, category_ids=[1, 2])
    tracks.add(1, result([0]))
    with pytest.raises(DatasetError, match="video 8, frame 1: expected a frame after 1"):
        tracks.add(1, result([0]))
    with pytest.raises(DatasetError, match="object 5: class 3, but the data set has 2 categories"):
        tracks.add(2, result([5], [3]))
    with pytest.raises(DatasetError, match="results of frame 2, but the video has 2 frames"):
        tracks.entries(2)
    assert VideoTracks(1).entries(0) == []
