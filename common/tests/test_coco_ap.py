"""COCO AP: the records, the reference library on random images, and every error."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from test_average_precision import literal_curve

from vidseg_common import rle
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.average_precision import Group, Range
from vidseg_common.metrics.box_iou import box_iou
from vidseg_common.metrics.coco_ap import evaluate
from vidseg_common.parity.runner import run_case

PARITY = Path(__file__).parent / "parity"
CASES = {case["name"]: case for case in json.loads((PARITY / "cases.json").read_text())["cases"]}
SIZE = (120, 110)


def test_records():
    outcome = run_case(PARITY, CASES["coco"])
    assert outcome.verdict == "PASS", outcome.detail


def blob(rng, size=None):
    mask = np.zeros(SIZE, bool)
    h, w = rng.integers(1, 110, 2) if size is None else size
    y, x = rng.integers(0, SIZE[0] - h + 1), rng.integers(0, SIZE[1] - w + 1)
    mask[y : y + h, x : x + w] = rng.random((h, w)) < 0.9
    return mask


def shaken(rng, mask):
    return np.roll(mask, rng.integers(-6, 7, 2), axis=(0, 1))


def random_sets(seed):
    """Ground truth and predictions; scores of one digit, so that many are equal."""
    rng = np.random.default_rng(seed)
    categories = [Category(c, f"class {c}") for c in (3, 1, 7)]
    truth, predictions, number = [], [], 0
    for image in rng.permutation(12) + 1:
        video = Video(int(image), f"{image}", *SIZE, (f"{image}.jpg",))
        gts, dets = [], []
        for _ in range(rng.integers(0, 6)):
            number += 1
            mask, category = blob(rng), int(rng.choice([1, 3]))
            encoded = rle.encode(mask)
            area = float(mask.sum()) + rng.choice([0, 40])
            fields = {"areas": [area], "bboxes": [rle.to_bbox(encoded)]}
            crowd = bool(rng.random() < 0.2)
            gts.append(Track(number, category, [encoded], is_crowd=crowd, **fields))
            for _ in range(rng.integers(0, 4)):
                moved = rle.encode(shaken(rng, mask))
                score = round(float(rng.random()), 1)
                kind = category if rng.random() < 0.8 else 7
                box = [v + float(rng.normal(0, 2)) for v in rle.to_bbox(moved)]
                box[2:] = np.abs(box[2:]).tolist()
                dets.append(Track(len(dets) + 1, kind, [moved], score=score, bboxes=[box]))
        for k in range(120 if image == 5 else 0):
            moved = rle.encode(blob(rng, (30, 30)))
            dets.append(Track(1000 + k, 1, [moved], score=0.5, bboxes=[rle.to_bbox(moved)]))
        truth.append(Clip(video, gts))
        predictions.append(Clip(video, dets))
    return annotations_of(truth, categories), annotations_of(predictions, categories)


def reference(truth, predictions, iou_type, class_agnostic):
    """The numbers of pycocotools."""
    images = [{"id": v.id, "height": v.height, "width": v.width} for v in truth.videos]
    annotations = [
        {
            "id": t.id,
            "image_id": clip.video.id,
            "category_id": t.category_id,
            "iscrowd": int(t.is_crowd),
            "area": t.areas[0],
            "bbox": t.bboxes[0],
            "segmentation": t.segmentations[0],
        }
        for clip in truth.clips()
        for t in clip.tracks
    ]
    results = [
        {"image_id": clip.video.id, "category_id": t.category_id, "score": t.score}
        | ({"bbox": t.bboxes[0]} if iou_type == "bbox" else {"segmentation": t.segmentations[0]})
        for clip in predictions.clips()
        for t in clip.tracks
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {
            "images": images,
            "annotations": annotations,
            "categories": [vars(c) for c in truth.categories],
        }
        gt.createIndex()
        scores = COCOeval(gt, gt.loadRes(results), iou_type)
        scores.params.useCats = int(not class_agnostic)
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    return scores


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_the_reference_library(iou_type, seed):
    truth, predictions = random_sets(seed)
    want = reference(truth, predictions, iou_type, False)
    got = evaluate(truth, predictions, iou_type=iou_type)
    np.testing.assert_allclose(list(got.numbers.values()), want.stats, rtol=0, atol=1e-12)
    assert [category.id for category in got.categories] == [1, 3, 7]
    np.testing.assert_array_equal(got.precision[..., 0, :], want.eval["precision"])
    np.testing.assert_array_equal(got.recall[..., 0, :], want.eval["recall"])
    np.testing.assert_array_equal(got.scores[..., 0, :], want.eval["scores"])


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_classes_pooled(iou_type):
    truth, predictions = random_sets(2)
    want = reference(truth, predictions, iou_type, True)
    got = evaluate(truth, predictions, iou_type=iou_type, class_agnostic=True)
    np.testing.assert_allclose(list(got.numbers.values()), want.stats, rtol=0, atol=1e-12)
    assert [row["category"] for row in got.per_class()] == ["all"]


def test_workers_change_nothing():
    truth, predictions = random_sets(3)
    one, two = (evaluate(truth, predictions, workers=workers) for workers in (1, 2))
    assert one.to_json() == two.to_json()


def single(number, pixels, score=None, category=1, **fields):
    return Track(number, category, [rle.encode(pixels)], score=score, **fields)


def sets(truth, predictions, frames=1):
    video = Video(1, "one", *SIZE, tuple(f"{t}.jpg" for t in range(frames)))
    classes = [Category(1, "a")]
    return [annotations_of([Clip(video, tracks)], classes) for tracks in (truth, predictions)]


def test_boxes_and_areas_follow_from_masks_where_the_file_has_none():
    mask = np.zeros(SIZE)
    mask[3:50, 4:30] = 1
    pair = sets([single(1, mask)], [single(1, mask, 0.5)])
    for iou_type in ("segm", "bbox"):
        result = evaluate(*pair, iou_type=iou_type)
        assert result.numbers["AP"] == pytest.approx(1)
        assert result.num_gt[0, :, 0].tolist() == [1, 0, 1, 0]


def test_objects_without_mask():
    mask, box = np.zeros(SIZE), [4.0, 3.0, 26.0, 47.0]
    mask[3:50, 4:30] = 1
    empty = Track(1, 1, [None], score=0.5, bboxes=[box])
    pair = sets([single(1, mask)], [empty])
    assert evaluate(*pair, iou_type="bbox").numbers["AP"] == pytest.approx(1)
    assert evaluate(*pair).numbers["AP"] == 0
    nothing = replace(empty, bboxes=None)
    assert evaluate(*sets([single(1, mask)], [nothing]), iou_type="bbox").numbers["AP"] == 0
    as_mask = single(1, mask, 0.5, bboxes=[box], extra={"box_only": True})
    assert "whose box is taken as the mask (1)" in evaluate(*sets([], [as_mask])).warnings[0]


def test_unknown_classes_are_told():
    mask = np.ones(SIZE)
    result = evaluate(*sets([single(1, mask)], [single(1, mask, 0.5, category=4)]))
    assert result.numbers["AP"] == 0
    assert "category 4" in result.warnings[0]


def test_videos_are_refused():
    with pytest.raises(DatasetError, match="has 2 frames"):
        evaluate(*sets([], [], frames=2))


def test_box_iou():
    dets, gts = [[0, 0, 10, 10], [50, 50, 0, 0]], [[5, 0, 10, 10], [20, 20, 4, 4], [0, 0, 20, 20]]
    np.testing.assert_allclose(box_iou(dets, gts), [[50 / 150, 0, 0.25], [0, 0, 0]])
    np.testing.assert_allclose(box_iou(dets, gts, [True, False, True])[0], [0.5, 0, 1])
    assert box_iou([], gts).shape == (0, 3)
    assert box_iou(dets, []).shape == (2, 0)


def slow_groups(truth, predictions, category, iou_type):
    """Objects and detections of one class in every image, overlaps counted pixel by pixel."""
    groups = []
    by_image = {clip.video.id: clip for clip in predictions.clips()}
    for clip in sorted(truth.clips(), key=lambda clip: clip.video.id):
        gts = [t for t in clip.tracks if t.category_id == category]
        dets = [t for t in by_image[clip.video.id].tracks if t.category_id == category]
        dets = sorted(dets, key=lambda t: -t.score)[:100]
        iou = np.array([[slow_iou(d, g, iou_type) for g in gts] for d in dets])
        areas = [
            rle.decode(d.segmentations[0]).sum() if iou_type == "segm" else np.prod(d.bboxes[0][2:])
            for d in dets
        ]
        groups.append(
            Group(
                np.array([d.score for d in dets]),
                np.array(areas, float),
                np.array([g.areas[0] for g in gts]),
                np.array([g.is_crowd for g in gts], bool),
                iou.reshape(len(dets), len(gts)),
                np.zeros(len(gts)),
            )
        )
    return groups


def slow_iou(det, gt, iou_type):
    if iou_type == "segm":
        d, g = rle.decode(det.segmentations[0]) > 0, rle.decode(gt.segmentations[0]) > 0
        both, one, other = (d & g).sum(), d.sum(), g.sum()
    else:
        (x, y, w, h), (a, b, c, e) = det.bboxes[0], gt.bboxes[0]
        both = max(0, min(x + w, a + c) - max(x, a)) * max(0, min(y + h, b + e) - max(y, b))
        one, other = w * h, c * e
    return both / (one if gt.is_crowd else one + other - both) if both else 0.0


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
@given(seed=st.integers(0, 2**32))
@settings(max_examples=4, deadline=None)
def test_equals_literal_loops(iou_type, seed):
    truth, predictions = random_sets(seed)
    got = evaluate(truth, predictions, iou_type=iou_type)
    areas = [(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)]
    thresholds, recalls = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)
    for k, category in enumerate((1, 3, 7)):
        groups = slow_groups(truth, predictions, category, iou_type)
        for t, a, m in product((0, 4, 9), range(4), range(3)):
            area, limit = Range("area", *areas[a]), (1, 10, 100)[m]
            want = literal_curve(groups, thresholds[t], area, Range("all", 0, 1), limit, recalls)
            np.testing.assert_allclose(got.precision[t, :, k, a, 0, m], want[0], atol=1e-12)
            assert got.recall[t, k, a, 0, m] == pytest.approx(want[1], abs=1e-12)
