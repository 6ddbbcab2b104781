from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.metrics.clear_mot import combine_clear, count_clear
from vidseg_common.metrics.mots_data import ClassFrame, number_tracks


def frame_of(gt, pred, iou):
    iou = np.array(iou, float).reshape(len(gt), len(pred))
    return ClassFrame(np.array(gt, int), np.array(pred, int), iou, np.zeros(len(pred)))


def random_frames(seed):
    """Tracks that overlap well most of the time; no two assignments tie."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(rng.integers(0, 8)):
        gt = rng.permutation(3)[: rng.integers(0, 4)]
        pred = rng.permutation(4)[: rng.integers(0, 5)]
        high = rng.random((len(gt), len(pred))) < 0.6
        frames.append(frame_of(gt, pred, rng.random(high.shape) / 2 + high / 2))
    return frames


def best_pairs(score):
    rows, columns = score.shape
    if rows <= columns:
        ways = (list(enumerate(p)) for p in permutations(range(columns), rows))
    else:
        ways = ([(r, c) for c, r in enumerate(p)] for p in permutations(range(rows), columns))
    return max(ways, key=lambda pairs: sum(score[pair] for pair in pairs))


def plain_clear(frames):
    """CLEAR written down literally, with dictionaries of ids."""
    tp = idsw = 0
    overlap, last, previous = 0.0, {}, {}
    seen, matched, starts = Counter(), Counter(), Counter()
    for f in frames:
        seen.update(f.gt.tolist())
        if not len(f.gt) or not len(f.pred):
            continue
        score = f.iou.copy()
        for i, g in enumerate(f.gt.tolist()):
            for j, p in enumerate(f.pred.tolist()):
                score[i, j] += 1000 * (previous.get(g) == p)
                if f.iou[i, j] < 0.5:
                    score[i, j] = 0
        now = {}
        for i, j in best_pairs(score):
            if score[i, j] > 0:
                g, p = int(f.gt[i]), int(f.pred[j])
                idsw += g in last and last[g] != p
                starts[g] += g not in previous
                matched[g] += 1
                now[g] = last[g] = p
                tp, overlap = tp + 1, overlap + f.iou[i, j]
        previous = now
    ratios = [matched[g] / n for g, n in seen.items()]
    mt, ml = sum(r > 0.8 for r in ratios), sum(r < 0.2 for r in ratios)
    return {
        "CLR_TP": tp,
        "CLR_FN": seen.total() - tp,
        "CLR_FP": sum(len(f.pred) for f in frames) - tp,
        "IDSW": idsw,
        "MT": mt,
        "PT": len(ratios) - mt - ml,
        "ML": ml,
        "Frag": sum(n - 1 for n in starts.values()),
        "MOTP_sum": overlap,
        "CLR_Frames": len(frames),
    }


@given(st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_equal_to_the_literal_definition(seed):
    frames = random_frames(seed)
    ours = count_clear(number_tracks(frames)).numbers()
    want = plain_clear(frames)
    for key, value in want.items():
        assert ours[key] == pytest.approx(value, abs=1e-12), key
    num_gt = want["CLR_TP"] + want["CLR_FN"]
    errors = want["CLR_FP"] + want["IDSW"]
    assert ours["MOTA"] == (pytest.approx((want["CLR_TP"] - errors) / num_gt) if num_gt else 0)


def test_memory_outlives_empty_frames():
    frames = [
        frame_of([1], [5], [0.9]),
        frame_of([1], [], []),
        frame_of([], [6], []),
        # 5 overlaps less than 6 now, but had the track in the last frame with both.
        frame_of([1], [5, 6], [0.6, 0.9]),
    ]
    counts = count_clear(number_tracks(frames))
    assert (counts.idsw, counts.frag, counts.tp) == (0, 0, 2)
    assert counts.overlap == pytest.approx(1.5)


def test_a_switch_is_counted_after_a_gap():
    frames = [frame_of([1], [5], [0.9]), frame_of([1], [6], [0.1]), frame_of([1], [6], [0.9])]
    counts = count_clear(number_tracks(frames))
    assert (counts.idsw, counts.frag, counts.fn, counts.fp) == (1, 1, 1, 1)


@pytest.mark.parametrize(
    "gt, pred, quirk, straight",
    [([], [1], (1.0, 0.0, 0), (0.0, 1.0, 2)), ([1], [], (1.0, 0.0, 0), (1.0, 0.0, 2))],
)
def test_quirks_are_only_there_where_asked_for(gt, pred, quirk, straight):
    sequence = number_tracks([frame_of(gt, pred, [])] * 2)
    names = ("MLR", "FP_per_frame", "CLR_Frames")
    with_quirks = count_clear(sequence, compat=True).numbers(compat=True)
    assert tuple(with_quirks[name] for name in names) == quirk
    without = count_clear(sequence).numbers()
    assert tuple(without[name] for name in names) == straight
    assert with_quirks["MOTA"] == without["MOTA"] == 0


def test_a_class_without_ground_truth_in_all_sequences():
    part = count_clear(number_tracks([frame_of([], [1, 2], [])] * 3))
    joined = combine_clear([part, part])
    assert joined.fp == 12
    assert joined.numbers(joined=True)["MOTA"] == 0
    assert joined.numbers(joined=True, compat=True)["MOTA"] == -12
    assert combine_clear([]).numbers(joined=True)["FP_per_frame"] == 0
