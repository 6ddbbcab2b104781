"""IoU of tracks against dense masks, and everything malformed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidseg_common import rle
from vidseg_common.errors import MaskError
from vidseg_common.metrics import track_iou as module
from vidseg_common.metrics.track_iou import decode_tracks, mean_area, track_iou
from vidseg_common.rle_batch import are_good


def encode_track(pixels, hidden=()):
    return [None if t in hidden else rle.encode(frame) for t, frame in enumerate(pixels)]


@st.composite
def track_pairs(draw):
    shape = draw(hnp.array_shapes(min_dims=3, max_dims=3, max_side=5))
    count = st.integers(0, 3)
    sides = []
    for _ in range(2):
        masks = [draw(hnp.arrays(bool, shape)) for _ in range(draw(count))]
        for mask in masks:
            mask[[t for t in range(shape[0]) if draw(st.booleans())]] = False
        sides.append(masks)
    return shape, *sides


def dense_iou(first, second, crowd=False):
    union = first.sum() if crowd else (first | second).sum()
    return (first & second).sum() / union if union else 0.0


@settings(max_examples=150, deadline=None)
@given(track_pairs(), st.randoms())
def test_equals_dense_masks(pairs, random):
    shape, dets, gts = pairs
    decoded = []
    for side in (dets, gts):
        tracks = [
            # A frame without pixels is left out or an empty mask: both are the same.
            encode_track(
                mask, [t for t in range(shape[0]) if not mask[t].any() and random.random() > 0.5]
            )
            for mask in side
        ]
        decoded.append(decode_tracks(tracks, *shape))
    for side, masks in zip((dets, gts), decoded, strict=True):
        areas = np.array([mask.sum(axis=(1, 2)) for mask in side]).reshape(-1, shape[0])
        np.testing.assert_array_equal(masks.areas, areas)
    want = [[dense_iou(d, g) for g in gts] for d in dets]
    got = track_iou(*decoded)
    np.testing.assert_array_equal(got, np.array(want).reshape(len(dets), len(gts)))
    crowd = np.array([random.random() > 0.5 for _ in gts], bool)
    want = [[dense_iou(d, g, c) for g, c in zip(gts, crowd, strict=True)] for d in dets]
    with_crowd = track_iou(*decoded, crowd=crowd)
    np.testing.assert_array_equal(with_crowd, np.array(want).reshape(len(dets), len(gts)))
    for least in (0.3, 0.5, 0.9):
        bounded = track_iou(*decoded, at_least=least)
        np.testing.assert_array_equal(bounded[got >= least], got[got >= least])
        assert (bounded[got < least] < least).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 70000), min_size=1, max_size=9), min_size=1, max_size=4))
def test_decodes_any_runs_as_the_codec_does(masks):
    pixels = max(sum(runs) for runs in masks) + 1
    # Runs of any form, zero-length ones too, padded to one size.
    masks = [[*runs, pixels - sum(runs)] for runs in masks]
    track = [{"size": [pixels, 1], "counts": rle.counts_to_string(runs)} for runs in masks]
    decoded = decode_tracks([track], len(track), pixels, 1)
    want = []
    for t, mask in enumerate(track):
        ends = rle.counts_of(mask).cumsum() + t * pixels
        want += [*ends, *([ends[-1]] if len(ends) % 2 else [])]
    assert decoded.changes[0].tolist() == want
    assert decoded.areas.tolist() == [[rle.area(mask) for mask in track]]


def test_long_videos_use_wide_numbers_and_give_the_same():
    rng = np.random.default_rng(1)
    tracks = [encode_track(rng.random((4, 9, 7)) > 0.4) for _ in range(3)]
    narrow = decode_tracks(tracks, 4, 9, 7)
    assert narrow.changes[0].dtype == np.int32
    height = 1 << 20
    tall = [
        [{"size": [height, 1 << 10], "counts": rle.counts_to_string([5, 9, height * 1024 - 14])}]
        * 4
    ]
    wide = decode_tracks(tall, 4, height, 1 << 10)
    assert wide.changes[0].dtype == np.int64
    assert track_iou(wide, wide).tolist() == [[1.0]]


def test_blocks_of_tracks_give_the_same(monkeypatch):
    rng = np.random.default_rng(2)
    tracks = [encode_track(rng.random((3, 6, 5)) > 0.5) for _ in range(7)]
    whole = decode_tracks(tracks, 3, 6, 5)
    monkeypatch.setattr(module, "_MOST_CHARACTERS", 40)
    parts = decode_tracks(tracks, 3, 6, 5)
    np.testing.assert_array_equal(track_iou(whole, parts), track_iou(whole, whole))
    np.testing.assert_array_equal(whole.spans, parts.spans)


def test_all_forms_of_counts_are_the_same():
    mask = rle.encode(np.eye(5))
    runs = rle.counts_of(mask)
    forms = [mask["counts"], mask["counts"].encode(), runs.tolist(), runs]
    tracks = [[{"size": [5, 5], "counts": counts}] for counts in forms]
    decoded = decode_tracks(tracks, 1, 5, 5)
    assert (track_iou(decoded, decoded) == 1).all()


def test_mean_area_leaves_out_empty_frames():
    assert mean_area(np.array([[4, 0, 8], [0, 0, 0]])).tolist() == [6.0, 0.0]


def test_select_keeps_the_order_given():
    tracks = [encode_track(np.ones((1, 2, 2)) * (k > 0)) for k in range(3)]
    chosen = decode_tracks(tracks, 1, 2, 2).select([2, 0])
    assert chosen.areas.tolist() == [[4], [0]]
    assert decode_tracks([], 1, 2, 2).select([]).areas.shape == (0, 1)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        ({"size": [2, 3], "counts": "6"}, "size"),
        ({"size": [3, 3], "counts": "5"}, "5 pixels"),
        ({"size": [3, 3], "counts": "`0"}, "outside|add up"),
        ({"size": [3, 3], "counts": "~"}, "outside"),
        ({"size": [3, 3], "counts": "9é"}, "outside"),
        ({"size": [3, 3], "counts": "9Y"}, "cut off"),
        ({"size": [3, 3], "counts": ""}, "0 pixels"),
        ({"size": [3, 3], "counts": "PPPPPPPPPPPP0"}, "too large"),
        ({"size": [3, 3], "counts": "O:"}, "add up"),
        # 2^32 + 9, which is 9 in 32 bits.
        ({"size": [3, 3], "counts": "YPPPPP4"}, "4294967305 pixels"),
        ({"size": [3, 3], "counts": [4, 4]}, "8 pixels"),
    ],
)
def test_malformed_masks_are_named(mask, words):
    good = rle.encode(np.eye(3))
    with pytest.raises(MaskError, match=words) as caught:
        decode_tracks([[good, None], [good, mask]], 2, 3, 3, ["annotation 7", "annotation 9"])
    assert "annotation 9, frame 1" in str(caught.value)


def test_strings_are_checked_many_at_a_time():
    good = [rle.encode(np.eye(3) * k)["counts"] for k in (0, 1)]
    assert are_good([], 9)
    assert are_good(good, 9)
    assert not are_good(good, 8)
    assert not are_good([*good, "~"], 9)
    assert not are_good([*good, "O:"], 9)


def test_wrong_number_of_frames_is_named():
    with pytest.raises(MaskError, match="track 0 has 1 masks, the video 2 frames"):
        decode_tracks([[None]], 2, 3, 3)
