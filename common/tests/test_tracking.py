import json
import math
from collections import Counter
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.errors import DatasetError
from vidseg_common.metrics import tracking
from vidseg_common.metrics.tracking_counts import (
    TrackingFrame,
    average_numbers,
    combine_counts,
    count_events,
)
from vidseg_common.parity import mot as parity
from vidseg_common.rle import counts_to_string, encode

PARITY = Path(__file__).parent / "parity"
CASE = {
    "name": "mot",
    "inputs": ["mot_boxes.json"],
    "expected": "expected_mot.json",
    "tolerance_abs": 1e-12,
}


def test_recorded_numbers():
    checks = list(parity.check(PARITY, CASE))
    assert len(checks) > 180
    assert [label for label, error, tolerance in checks if not error <= tolerance] == []


def frame_of(gt, pred, iou, gt_ignore=None, covered=None):
    return TrackingFrame(
        np.array(gt, np.int64),
        np.array(pred, np.int64),
        np.array(iou, float).reshape(len(gt), len(pred)),
        np.zeros(len(gt), bool) if gt_ignore is None else np.array(gt_ignore, bool),
        np.zeros(len(pred)) if covered is None else np.array(covered, float),
    )


def random_frames(seed):
    """Tracks that overlap well most of the time; no two assignments tie."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(rng.integers(1, 8)):
        gt = rng.permutation(3)[: rng.integers(0, 4)]
        pred = rng.permutation(4)[: rng.integers(0, 5)] + 50
        high = rng.random((len(gt), len(pred))) < 0.6
        frames.append(frame_of(gt, pred, rng.random(high.shape) / 2 + high / 2))
    return frames


def best_pairs(gt, pred, cost):
    """As many allowed pairs as possible, of the least cost."""
    short, long = sorted((gt, pred), key=len)
    best, found = (0, 0.0), []
    for chosen in permutations(long, len(short)):
        pairs = [(a, b) if short is gt else (b, a) for a, b in zip(short, chosen, strict=True)]
        pairs = [pair for pair in pairs if pair in cost]
        rank = (-len(pairs), sum(cost[pair] for pair in pairs))
        if rank < best:
            best, found = rank, pairs
    return found


def plain_counts(frames):
    """CLEAR-MOT written down literally, with dictionaries of ids."""
    partner, tracked, seen = {}, {}, Counter()
    matches = switches = distance = 0
    for f in frames:
        gt, pred = f.gt_ids.tolist(), f.pred_ids.tolist()
        seen.update(gt)
        cost = {
            (g, p): 1 - f.iou[i, j]
            for i, g in enumerate(gt)
            for j, p in enumerate(pred)
            if f.iou[i, j] >= 0.5
        }
        now = {}
        for g in gt:
            if (g, partner.get(g)) in cost and partner[g] not in now.values():
                now[g] = partner[g]
        matches += len(now)
        left = [g for g in gt if g not in now], [p for p in pred if p not in now.values()]
        for g, p in best_pairs(*left, cost):
            now[g] = p
            switched = partner.get(g, p) != p
            matches, switches = matches + (not switched), switches + switched
        distance += sum(cost[pair] for pair in now.items())
        for g in gt:
            tracked.setdefault(g, []).append(g in now)
        partner |= now
    ratios = [sum(t) / len(t) for t in tracked.values()]
    objects, predictions = seen.total(), sum(len(f.pred_ids) for f in frames)
    until_last = [t[: len(t) - t[::-1].index(True)] for t in tracked.values() if True in t]
    fragmentations = sum(a and not b for t in until_last for a, b in pairwise(t))
    return {
        "num_matches": matches,
        "num_switches": switches,
        "num_misses": objects - matches - switches,
        "num_false_positives": predictions - matches - switches,
        "num_objects": objects,
        "num_predictions": predictions,
        "num_unique_objects": len(seen),
        "mostly_tracked": sum(r >= 0.8 for r in ratios),
        "mostly_lost": sum(r < 0.2 for r in ratios),
        "num_fragmentations": fragmentations,
        "num_frames": len(frames),
        "idtp": plain_idtp(frames),
    }, distance


def plain_idtp(frames):
    common = Counter()
    for f in frames:
        for i, j in np.argwhere(f.iou >= 0.5):
            common[int(f.gt_ids[i]), int(f.pred_ids[j])] += 1
    gts = sorted({g for f in frames for g in f.gt_ids.tolist()})
    preds = sorted({p for f in frames for p in f.pred_ids.tolist()}) + [None] * len(gts)
    ways = permutations(preds, len(gts))
    return max(sum(common[pair] for pair in zip(gts, way, strict=True)) for way in ways)


@given(st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_equal_to_the_literal_definition(seed):
    frames = random_frames(seed)
    counts = count_events(frames)
    want, distance = plain_counts(frames)
    assert {name: getattr(counts, name) for name in want} == want
    assert counts.distance == pytest.approx(distance)
    numbers = counts.numbers()
    if counts.num_objects:
        errors = counts.num_misses + counts.num_switches + counts.num_false_positives
        assert numbers["mota"] == pytest.approx(1 - errors / counts.num_objects)
    if counts.num_objects + counts.num_predictions:
        total = counts.num_objects + counts.num_predictions
        assert numbers["idf1"] == pytest.approx(2 * counts.idtp / total)


def test_iou_of_exactly_half_is_a_match():
    assert count_events([frame_of([1], [2], [[0.5]])]).num_matches == 1
    assert count_events([frame_of([1], [2], [[0.5 - 1e-9]])]).num_matches == 0


def test_undefined_numbers():
    nothing = count_events([frame_of([], [], [])] * 2)
    assert nothing.num_frames == 2
    assert math.isnan(nothing.numbers()["mota"]) and math.isnan(nothing.numbers()["idf1"])
    alarms = count_events([frame_of([], [1], [])])
    assert alarms.numbers()["mota"] == -math.inf
    found = count_events([frame_of([1], [2], [[0.75]])])
    joined = combine_counts([alarms, found])
    assert joined.numbers()["motp"] == pytest.approx(0.25)
    assert joined.numbers()["motp_iou"] == pytest.approx(0.75)
    assert math.isnan(joined.numbers(compat=True)["motp"])
    average = average_numbers([alarms.numbers(), found.numbers()])
    assert average["mota"] == pytest.approx(0.5)  # -inf and NaN count as 0
    assert average["num_false_positives"] == 1
    assert math.isnan(combine_counts([]).numbers()["recall"])


def test_what_is_ignored_is_not_counted():
    # 5 matches an ignored object, 6 lies in an ignore region, 7 too but it matches.
    frame = frame_of(
        [1, 2],
        [5, 6, 7],
        [[0.9, 0.0, 0.0], [0.0, 0.0, 0.8]],
        gt_ignore=[True, False],
        covered=[0.0, 0.6, 1.0],
    )
    counts = count_events([frame])
    assert (counts.num_objects, counts.num_predictions) == (1, 1)
    assert (counts.num_matches, counts.num_false_positives, counts.num_misses) == (1, 0, 0)
    assert count_events([frame_of([], [1, 2], [], covered=[0.5, 0.6])]).num_predictions == 1


SIZE = (12, 16)
VIDEO = Video(1, "a", *SIZE, ("0", "1"))


def mask_of(x, y, w, h):
    mask = np.zeros(SIZE, bool)
    mask[y : y + h, x : x + w] = True
    return encode(mask)


def track(track_id, *boxes, category_id=1, stated=False, **more):
    masks = [None if box is None else mask_of(*box) for box in boxes]
    bboxes = [None if box is None else [float(v) for v in box] for box in boxes]
    if stated:
        return Track(track_id, category_id, [None] * len(boxes), bboxes=bboxes, **more)
    return Track(track_id, category_id, masks, **more)


def score(truth, predictions, ignore=None, **options):
    categories = [Category(1, "car"), Category(2, "dog")]
    sides = [
        annotations_of([Clip(VIDEO, tracks, ignore=region)], categories)
        for tracks, region in ((truth, ignore), (predictions, None))
    ]
    return tracking.evaluate(*sides, **options)


@pytest.mark.parametrize("iou_type, stated", [("bbox", False), ("bbox", True), ("segm", False)])
def test_boxes_and_masks(iou_type, stated):
    truth = [track(1, (0, 0, 4, 4), (1, 0, 4, 4)), track(2, (8, 4, 4, 4), None, category_id=2)]
    found = [
        track(7, (0, 0, 4, 3), None, stated=stated),
        track(8, None, (1, 0, 4, 4), stated=stated),
        track(9, (8, 4, 4, 4), (0, 8, 2, 2), category_id=2, stated=stated),
    ]
    result = score(truth, found, iou_type=iou_type)
    car, dog = result.total("car"), result.total("dog")
    assert (car.num_matches, car.num_switches, car.num_misses) == (1, 1, 0)
    assert car.distance == pytest.approx(0.25)
    assert (dog.num_matches, dog.num_false_positives) == (1, 1)
    assert result.overall["mota"] == pytest.approx(1 - 2 / 3)
    assert result.average["mota"] == pytest.approx((0.5 + 0.0) / 2)
    assert result.numbers["dog/num_false_positives"] == 1
    assert [row["class"] for row in result.per_class()] == ["car", "dog"]
    assert {row["video"] for row in result.per_video()} == {"a"}
    json.dumps(result.to_json(), allow_nan=False)
    assert [line.split()[0] for line in result.table().splitlines()[1:]] == [
        *("car", "dog", "AVERAGE", "OVERALL"),
    ]


def test_an_object_is_not_of_another_class():
    result = score([track(1, (0, 0, 4, 4), None)], [track(1, (0, 0, 4, 4), None, category_id=2)])
    assert (result.total("car").num_misses, result.total("dog").num_false_positives) == (1, 1)


@pytest.mark.parametrize("iou_type", ["bbox", "segm"])
def test_crowds_ignored_objects_and_regions(iou_type):
    crowd = track(1, (0, 0, 8, 8), None, is_crowd=True)
    ignored = track(2, (10, 0, 4, 4), (10, 0, 4, 4), extra={"ignore": 1})
    region = [None, mask_of(0, 8, 4, 4)]
    found = [
        track(5, (1, 1, 3, 3), None),  # in the crowd
        track(6, (10, 0, 4, 4), (10, 0, 4, 4)),  # the ignored object
        track(7, None, (0, 8, 4, 4)),  # in the region
        track(8, (6, 0, 5, 2), None),  # less than half in the crowd
    ]
    result = score([crowd, ignored], found, ignore=region, iou_type=iou_type)
    total = result.total("car")
    assert (total.num_objects, total.num_predictions, total.num_false_positives) == (0, 1, 1)
    assert result.to_json()["overall"]["mota"] == "-inf"


def test_sizes_and_ids_are_checked():
    whole = Track(1, 1, [encode(np.ones((3, 3))), None])
    with pytest.raises(DatasetError, match="video a, frame 0: masks of different sizes"):
        score([track(1, (0, 0, 2, 2), None)], [whole], iou_type="segm")
    twice = [track(4, (0, 0, 2, 2), None), track(4, None, (0, 0, 2, 2))]
    with pytest.raises(DatasetError, match="more than one track"):
        score(twice, [])
    with pytest.raises(DatasetError, match="no classes"):
        empty = annotations_of([Clip(VIDEO, [])], [])
        tracking.evaluate(empty, empty)


def test_several_processes_give_the_same():
    truth = [track(1, (0, 0, 4, 4), (1, 0, 4, 4))]
    categories = [Category(1, "car")]
    videos = [Video(i, f"v{i}", *SIZE, ("0", "1")) for i in range(3)]
    data = annotations_of([Clip(video, truth) for video in videos], categories)
    one, two = (tracking.evaluate(data, data, workers=workers) for workers in (1, 2))
    assert one.to_json() == two.to_json()
    assert one.overall["mota"] == 1
    assert [line.split()[0] for line in one.table().splitlines()[1:]] == [
        *("v0", "v1", "v2", "OVERALL"),
    ]


def test_runs_of_length_zero_do_not_end_the_comparison():
    # The same pixels twice: 4 zeros, 4 ones, "0 zeros", 4 ones, zeros.
    counts = counts_to_string([4, 4, 0, 4, SIZE[0] * SIZE[1] - 12])
    odd = {"size": list(SIZE), "counts": counts}
    result = score([Track(1, 1, [odd, None])], [Track(1, 1, [odd, None])], iou_type="segm")
    assert result.total("car").distance == 0
    assert result.total("car").num_matches == 1
