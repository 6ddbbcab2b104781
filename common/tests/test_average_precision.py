"""Matching and accumulation against literal loops, and their corner cases."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.datasets.annotations import Category
from vidseg_common.metrics import average_precision as ap
from vidseg_common.metrics.ap_result import APLine, VideoMatches, combine

PROTOCOL = ap.Protocol(
    areas=(ap.ALL, ap.Range("small", 0, 10), ap.Range("large", 10, 1e10)),
    levels=(ap.Range("all", 0, 1), ap.Range("light", 0, 0.5), ap.Range("heavy", 0.5, 1)),
    max_dets=(1, 2, 4),
)


def literal_match(group, threshold, area, level):
    """The rules of the spec, word for word; gives (matched, ignored) per detection."""
    ignored_gt = [
        bool(crowd) or not area.low <= a <= area.high or not level.low <= x <= level.high
        for a, crowd, x in zip(group.gt_areas, group.gt_crowd, group.gt_levels, strict=True)
    ]
    order = sorted(range(len(ignored_gt)), key=lambda j: ignored_gt[j])
    used, found = set(), []
    for d in range(len(group.scores)):
        best, m = min(threshold, 1 - 1e-10), None
        for j in order:
            if j in used and not group.gt_crowd[j]:
                continue
            if m is not None and not ignored_gt[m] and ignored_gt[j]:
                break
            if group.iou[d, j] < best:
                continue
            best, m = group.iou[d, j], j
        if m is not None:
            used.add(m)
            found.append((True, ignored_gt[m]))
        else:
            found.append((False, not area.low <= group.areas[d] <= area.high))
    return found, len(ignored_gt) - sum(ignored_gt)


def literal_curve(groups, threshold, area, level, limit, recalls):
    """Precision, recall and scores of one cell."""
    entries, num_gt = [], 0
    for group in groups:
        found, counted = literal_match(group, threshold, area, level)
        num_gt += counted
        entries += list(zip(group.scores, found, strict=True))[:limit]
    if not num_gt:
        return [-1.0] * len(recalls), -1.0, [-1.0] * len(recalls)
    entries.sort(key=lambda entry: -entry[0])
    tp = fp = 0
    rc, pr = [], []
    for _, (matched, ignored) in entries:
        tp += matched and not ignored
        fp += not matched and not ignored
        rc.append(tp / num_gt)
        pr.append(tp / (fp + tp + 2**-52))
    for i in range(len(pr) - 1, 0, -1):
        pr[i - 1] = max(pr[i - 1], pr[i])
    places = [next((i for i, r in enumerate(rc) if r >= want), None) for want in recalls]
    return (
        [0.0 if i is None else pr[i] for i in places],
        rc[-1] if rc else 0.0,
        [0.0 if i is None else entries[i][0] for i in places],
    )


@st.composite
def group_lists(draw):
    groups = []
    for _ in range(draw(st.integers(1, 3))):
        num_d, num_g = draw(st.integers(0, 5)), draw(st.integers(0, 4))
        num_d = min(num_d, PROTOCOL.max_dets[-1])

        def values(count, *choices):
            return np.array(
                draw(st.lists(st.sampled_from(choices), min_size=count, max_size=count))
            )

        iou = values(num_d * num_g, 0.0, 0.4, 0.5, 0.55, 0.7, 0.75, 0.9, 0.95, 1.0)
        groups.append(
            ap.Group(
                scores=-np.sort(-values(num_d, 0.1, 0.5, 0.5, 0.9).astype(float)),
                areas=values(num_d, 0.0, 5.0, 10.0, 50.0).astype(float),
                gt_areas=values(num_g, 0.0, 5.0, 10.0, 50.0).astype(float),
                gt_crowd=values(num_g, False, False, True).astype(bool),
                iou=iou.astype(float).reshape(num_d, num_g),
                gt_levels=values(num_g, 0.0, 0.25, 0.5, 0.75).astype(float),
            )
        )
    return groups


def literal_cell(groups, curves, k, t, a, o, m):
    """One cell of category k of some curves, against the literal loops."""
    area, level = PROTOCOL.areas[a], PROTOCOL.levels[o]
    threshold, limit = PROTOCOL.thresholds[t], PROTOCOL.max_dets[m]
    want = literal_curve(groups, threshold, area, level, limit, PROTOCOL.recalls)
    assert curves.precision[t, :, k, a, o, m].tolist() == want[0]
    assert curves.recall[t, k, a, o, m] == want[1]
    assert curves.scores[t, :, k, a, o, m].tolist() == want[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(group_lists(), min_size=1, max_size=3))
def test_equals_literal_loops(categories):
    matches = [[ap.match(group, PROTOCOL) for group in groups] for groups in categories]
    curves = ap.accumulate(matches, PROTOCOL)
    for k, groups in enumerate(categories):
        for t in (0, 1, 4, 9):
            for a, o, m in np.ndindex(3, 3, 3):
                literal_cell(groups, curves, k, t, a, o, m)


def test_many_cells_are_handled_in_parts(monkeypatch):
    rng = np.random.default_rng(0)
    groups = [
        ap.Group(
            scores=-np.sort(-rng.random(4)),
            areas=rng.uniform(0, 20, 4),
            gt_areas=rng.uniform(0, 20, 3),
            gt_crowd=np.zeros(3, bool),
            iou=rng.random((4, 3)),
            gt_levels=rng.random(3),
        )
        for _ in range(5)
    ]
    matches = [ap.match(group, PROTOCOL) for group in groups]
    categories = [matches[:3], matches[3:], []]
    whole = ap.accumulate(categories, PROTOCOL)
    monkeypatch.setattr(ap, "_MOST_CELLS", 1)
    parts = ap.accumulate(categories, PROTOCOL)
    np.testing.assert_array_equal(whole.precision, parts.precision)
    np.testing.assert_array_equal(whole.recall, parts.recall)
    np.testing.assert_array_equal(whole.scores, parts.scores)


def test_perfect_detections_of_equal_score_have_the_limit_below_one():
    group = ap.Group(
        np.array([1.0, 1.0]), np.ones(2), np.ones(2), np.zeros(2, bool), np.eye(2), None
    )
    curves = ap.accumulate([[ap.match(group, ap.Protocol())]], ap.Protocol())
    assert curves.recall[0, 0, 0, 0].tolist() == [0.5, 1.0, 1.0]
    assert 1 - curves.precision[..., 2].min() == pytest.approx(0, abs=3e-16)


def test_top_order_is_stable():
    assert ap.top_order([0.5, 0.9, 0.5, 0.9], 3).tolist() == [1, 3, 0]
    assert ap.top_order([], 3).tolist() == []


def test_no_groups_and_no_ground_truth_give_minus_one():
    assert (ap.accumulate([[]], PROTOCOL).precision == -1).all()
    empty = ap.Group(np.ones(1), np.ones(1), np.zeros(0), np.zeros(0, bool), np.zeros((1, 0)))
    curves = ap.accumulate([[ap.match(empty, ap.Protocol())]], ap.Protocol())
    assert (curves.precision == -1).all() and (curves.recall == -1).all()


def test_result_orders_videos_by_number_and_counts_them():
    def video(number, score, iou):
        group = ap.Group(np.array([score]), np.ones(1), np.ones(1), np.zeros(1, bool), iou)
        return VideoMatches(number, f"v{number}", {1: ap.match(group, ap.Protocol())})

    right, wrong = np.ones((1, 1)), np.zeros((1, 1))
    lines = (APLine("AP", "AP"), APLine("AR1", "AR", max_dets=1))
    categories = [Category(1, "a"), Category(2, "b")]
    # Of equal scores, those of the video with the lower number come first.
    first = combine(
        "test", ap.Protocol(), lines, categories, [video(2, 0.5, wrong), video(1, 0.5, right)]
    )
    assert first.numbers["AP"] == pytest.approx(51 / 101)
    assert first.numbers["AR1"] == 0.5
    second = combine(
        "test", ap.Protocol(), lines, categories, [video(2, 0.5, right), video(1, 0.5, wrong)]
    )
    assert second.numbers["AP"] == pytest.approx(51 / 101 / 2)
    assert [row["name"] for row in first.per_video()] == ["v2", "v1"]
    assert [row["found"] for row in first.per_video()] == [0, 1]
    assert [row["AP"] for row in first.per_class()] == [first.numbers["AP"], -1.0]
    assert first.to_json()["numbers"] == first.numbers


def test_result_without_categories():
    result = combine("test", PROTOCOL, (APLine("AP", "AP", max_dets=4),), [], [])
    assert result.numbers == {"AP": -1.0}
    assert result.per_class() == []
