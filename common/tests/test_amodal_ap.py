"""AP, vAP and MOT of visible and amodal masks, against the records and the rules word for word."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from test_tracking import frame_of, plain_counts

from vidseg_common import rle
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Track,
    Video,
    annotations_of,
)
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.amodal_ap import Part, evaluate, evaluate_part, official_names
from vidseg_common.metrics.amodal_groups import AREAS, OCCLUSIONS
from vidseg_common.metrics.amodal_mot import evaluate as evaluate_mot
from vidseg_common.parity.runner import read_cases, run_case

RECORDS = Path(__file__).parent / "parity" / "vatrack"
H, W = 60, 110  # larger than 96 * 32, so that all ranges of area occur
CATEGORIES = [Category(1, "person"), Category(2, "car"), Category(10, "cup")]
PARTS = [
    *(Part("image", masks, iou) for masks in ("visible", "amodal") for iou in ("segm", "bbox")),
    *(Part("video", masks) for masks in ("visible", "amodal")),
]
# The official ladders: 0.7000000000000001 stands for a recall of 0.7, which 7 of 10 do not reach.
THRESHOLDS, RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0.0, 1.0, 101)


def test_recorded_evaluation() -> None:
    (case,) = [case for case in read_cases(RECORDS) if case["kind"] == "evaluation"]
    outcome = run_case(RECORDS, case)
    assert outcome.verdict == "PASS", outcome.line()


# ---------------------------------------------------------------- the rules word for word


def slow(truth: AnnotationSet, predictions: AnnotationSet, part: Part) -> tuple[Any, Any]:
    """Precision (T, R, K, A, L, M) and recall (T, K, A, L, M), one cell after the other."""
    limits = (100, 300, 1000) if part.level == "image" else (1, 10, 100)
    shape = (10, len(CATEGORIES), 4, 4, 3)
    precision, recall = -np.ones((10, 101, *shape[1:])), -np.ones(shape)
    units = [unit for pair in zip(truth.clips(), predictions.clips(), strict=True)
             for unit in slow_units(*pair, part)]  # fmt: skip
    for t, k, a, o, m in product(*map(range, shape)):
        rows: list[tuple[float, bool]] = []
        num_gt = 0
        for gts, dets in units:
            of_class = [g for g in gts if g["category"] == CATEGORIES[k].id]
            found = [d for d in dets if d["category"] == CATEGORIES[k].id]
            found = sorted(found, key=lambda d: -d["score"])[: limits[m]]
            num_gt += slow_match(of_class, found, THRESHOLDS[t], AREAS[a], OCCLUSIONS[o], rows)
        if num_gt:
            rows.sort(key=lambda row: -row[0])
            right = np.cumsum([is_right for _, is_right in rows])
            wrong = np.cumsum([not is_right for _, is_right in rows])
            recall[t, k, a, o, m] = right[-1] / num_gt if rows else 0
            exact = right / (right + wrong + np.spacing(1.0)) if rows else []
            for r in range(101):
                places = [i for i in range(len(rows)) if right[i] / num_gt >= RECALLS[r]]
                best = max(exact[places[0] :]) if places else 0
                precision[t, r, k, a, o, m] = best
    return precision, recall


def slow_match(
    gts: list[Any], dets: list[Any], threshold: float, area: Any, share: Any, rows: list[Any]
) -> int:
    """Matches one frame or video, adds (score, is right) and returns the number of truths."""

    def is_out(gt: Any) -> bool:
        inside = area.low <= gt["area"] <= area.high and share.low <= gt["hidden"] <= share.high
        return gt["crowd"] or not inside

    order = sorted(gts, key=is_out)
    used: set[int] = set()
    for det in dets:
        best, chosen = min(threshold, 1 - 1e-10), -1
        for g, gt in enumerate(order):
            if g in used and not gt["crowd"]:
                continue
            if chosen > -1 and not is_out(order[chosen]) and is_out(gt):
                break
            overlap = det["iou"](gt)
            if overlap < best:
                continue
            best, chosen = overlap, g
        used.add(chosen)
        ignored = is_out(order[chosen]) if chosen > -1 else not area.low <= det["area"] <= area.high
        if not ignored:
            rows.append((det["score"], chosen > -1))
    return sum(not is_out(gt) for gt in gts)


def slow_units(truth: Clip, predicted: Clip, part: Part) -> Any:
    """Ground truth and detections of every frame, or of the whole video."""
    frames = range(truth.video.num_frames)
    if part.level == "video":
        return [([g for track in truth.tracks if (g := slow_truth_track(track, part))],
                 [slow_det_track(track, part) for track in predicted.tracks])]  # fmt: skip
    return [
        (
            [slow_gt(track, f, part) for track in truth.tracks if track.amodal[f] is not None],
            [slow_det(track, f, part) for track in predicted.tracks if track.amodal[f] is not None],
        )
        for f in frames
    ]


def pixels(mask: Any) -> Any:
    return np.zeros((H, W), bool) if mask is None else rle.decode(mask)


def chosen(track: Track, part: Part) -> Any:
    return track.amodal if part.masks == "amodal" else track.segmentations


def slow_gt(track: Track, f: int, part: Part) -> Any:
    mask = pixels(chosen(track, part)[f])
    return {"mask": mask, "box": track.extra["frames"][f]["bbox_amodal"],
            "area": mask.sum(), "crowd": track.is_crowd,
            "hidden": track.occlude_rates[f], "category": track.category_id}  # fmt: skip


def slow_det(track: Track, f: int, part: Part) -> Any:
    mask, box = pixels(chosen(track, part)[f]), track.bboxes[f]

    def iou(gt: Any) -> float:
        if part.iou == "segm":
            both, one = (mask & gt["mask"]).sum(), mask.sum()
            whole = one if gt["crowd"] else (mask | gt["mask"]).sum()
            return both / whole if both else 0.0
        (x, y, w, h), (p, q, r, s) = box, gt["box"]
        both = max(0, min(x + w, p + r) - max(x, p)) * max(0, min(y + h, q + s) - max(y, q))
        whole = w * h if gt["crowd"] else w * h + r * s - both
        return both / whole if both else 0.0

    return {"iou": iou, "area": box[2] * box[3], "score": track.extra["frame_scores"][f],
            "category": track.extra["frame_categories"][f]}  # fmt: skip


def slow_truth_track(track: Track, part: Part) -> Any:
    pairs = list(zip(chosen(track, part), track.occlude_rates, strict=True))
    kept = [(mask if rate is not None and rate <= 0.75 else None, rate) for mask, rate in pairs]
    rates = sorted(rate for _, rate in kept if rate is not None and rate <= 0.75)
    if not rates:
        return None
    masks = np.stack([pixels(mask) for mask, _ in kept])
    return {"mask": masks, "area": mean_area(masks), "crowd": track.is_crowd,
            "hidden": np.mean(rates[::-1][: math.ceil(len(rates) / 2)]),
            "category": track.category_id}  # fmt: skip


def slow_det_track(track: Track, part: Part) -> Any:
    masks = np.stack([pixels(mask) for mask in chosen(track, part)])

    def iou(gt: Any) -> float:
        both = (masks & gt["mask"]).sum()
        return both / (masks | gt["mask"]).sum() if both else 0.0

    return {"iou": iou, "area": mean_area(masks), "score": track.score,
            "category": track.category_id}  # fmt: skip


def mean_area(masks: Any) -> float:
    areas = [area for area in masks.sum(axis=(1, 2)) if area]
    return float(np.mean(areas)) if areas else 0.0


def make_pair(seed: int) -> tuple[AnnotationSet, AnnotationSet]:
    """Random ground truth, and predictions that are near to some of it."""
    rng = np.random.default_rng(seed)
    truth, predicted = [], []
    for number in (1, 2):
        length = int(rng.integers(1, 4))
        names = tuple(f"v{number}/images/{i}.png" for i in range(length))
        video = Video(number, f"v{number}", H, W, names)
        tracks, found = [], []
        for i in range(rng.integers(1, 5)):
            size = rng.choice([8, 30, 55], 2)
            corner = rng.integers(0, [H - size[0] + 1, W - size[1] * 2 + 1 if size[1] < 55 else 1])
            wide = int(size[1] * rng.integers(1, 3))
            area = (int(corner[0]), int(corner[1]), int(size[0]), wide)
            hidden = rng.integers(0, 10, length) / 10
            present = rng.random(length) < 0.8
            present[rng.integers(length)] = True
            tracks.append(gt_track(i, area, hidden, present, rng))
            for _ in range(rng.integers(0, 3)):
                moved = np.maximum(np.array(area) + rng.integers(-2, 3, 4), [0, 0, 1, 1])
                found.append(det_track(len(found), tuple(moved), length, tracks[-1], rng))
        truth.append(Clip(video, tracks))
        predicted.append(Clip(video, found))
    info = {"masks": "joint"}
    return annotations_of(truth, CATEGORIES), annotations_of(predicted, CATEGORIES, info=info)


def draw(top: int, left: int, height: int, width: int) -> Any:
    mask = np.zeros((H, W), bool)
    mask[top : top + height, left : left + width] = True
    return mask


def gt_track(i: int, area: Any, hidden: Any, present: Any, rng: Any) -> Track:
    top, left, height, width = area
    whole = draw(*area)
    seen = [whole & ~draw(top, left, round(height * share), width) for share in hidden]

    def where(values: Any) -> list[Any]:
        return [
            value if is_there else None for value, is_there in zip(values, present, strict=True)
        ]

    return Track(
        id=i,
        category_id=int(rng.choice([1, 2])),
        segmentations=where([rle.encode(mask) for mask in seen]),
        amodal=where([rle.encode(whole)] * len(hidden)),
        is_crowd=bool(rng.random() < 0.1),
        occlude_rates=where(hidden.tolist()),
        extra={"frames": where([{"bbox_amodal": [left, top, width, height]}] * len(hidden))},
    )


def det_track(i: int, area: Any, length: int, near: Track, rng: Any) -> Track:
    top, left, height, width = (int(value) for value in area)
    whole = rle.encode(draw(top, left, height, width))
    there = [rng.random() < 0.9 for _ in range(length)]
    there[rng.integers(length)] = True
    seen = [s or whole for s in near.segmentations]
    box = [float(v) for v in (left, top, width, height)]
    scores = [round(float(rng.random()), 1) if t else None for t in there]
    categories = [near.category_id if rng.random() < 0.8 else 10 for _ in there]
    return Track(
        id=i,
        category_id=near.category_id,
        segmentations=[m if t else None for m, t in zip(seen, there, strict=True)],
        score=float(np.mean([s for s in scores if s is not None])),
        bboxes=[box if t else None for t in there],
        amodal=[whole if t else None for t in there],
        extra={
            "frame_scores": scores,
            "frame_categories": categories,
            "bboxes_amodal": [box if t else None for t in there],
        },
    )


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PARTS))
@example(3441, Part("image", "visible", "segm"))  # a recall of 7 / 10
def test_against_the_rules(seed: int, part: Part) -> None:
    truth, predictions = make_pair(seed)
    result = evaluate_part(truth, predictions, part)
    precision, recall = slow(truth, predictions, part)
    np.testing.assert_allclose(result.precision, precision, atol=1e-12)
    np.testing.assert_allclose(result.recall, recall, atol=1e-12)


@pytest.mark.parametrize("seed", [17, 19])
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_against_the_rules_everywhere(seed: int, part: Part) -> None:
    truth, predictions = make_pair(seed)
    precision, _ = slow(truth, predictions, part)
    assert (precision > 0).any() and (precision == -1).any()
    result = evaluate_part(truth, predictions, part)
    np.testing.assert_allclose(result.precision, precision, atol=1e-12)


def test_more_than_a_hundred_detections_in_a_frame() -> None:
    """The right one is the 150th: AP is taken at 100, AP50 at 1000 detections."""
    mask = rle.encode(draw(0, 0, 40, 40))
    names = ("v/0.png", "v/1.png")
    video = Video(1, "v", H, W, names)
    gt = Track(1, 1, [mask, mask], amodal=[mask, mask], occlude_rates=[0.1, 0.1])
    wrong = rle.encode(draw(50, 50, 5, 5))
    dets = [
        Track(i, 1, [mask if i == 149 else wrong, None], score=1 - i / 1000) for i in range(400)
    ] + [Track(400, 1, [None, mask], score=0.5)]
    result = evaluate_part(
        annotations_of([Clip(video, [gt])], CATEGORIES),
        annotations_of([Clip(video, dets)], CATEGORIES),
        Part("image", "visible"),
    )
    numbers = result.numbers
    assert [numbers[f"AR{limit}"] for limit in (100, 300, 1000)] == [0.5, 1.0, 1.0]
    assert numbers["AP"] == pytest.approx(51 / 101 / 101)
    # By score: 149 wrong ones, the right one, 250 wrong ones, the right one of the other frame.
    assert numbers["AP50"] == pytest.approx((51 / 150 + 50 * 2 / 401) / 101)


# ---------------------------------------------------------------- the result


def recorded_sets(tmp_path: Path) -> tuple[AnnotationSet, AnnotationSet]:
    inputs = json.loads((RECORDS / "evaluation_input.json").read_text())
    path = tmp_path / "a.json"
    path.write_text(json.dumps(inputs["joint_amodal_bbox"]))
    truth = sailvos.read(path)
    with_scores = []
    for clip in truth.clips():
        for track in clip.tracks:
            track.score = 0.5
        with_scores.append(clip)
    return truth, annotations_of(with_scores, truth.categories)


def test_perfect_results(tmp_path: Path) -> None:
    truth, predictions = recorded_sets(tmp_path)
    result = evaluate(truth, predictions)
    names = ["image_amodal_segm", "video_amodal_segm", "image_amodal_bbox",
             "image_visible_segm", "video_visible_segm"]  # fmt: skip
    assert [part.metric for part in result.parts] == names
    for name in names:
        assert result.numbers[f"{name}_AP"] == pytest.approx(1)
    assert result.numbers["image_amodal_segm_AP50_large"] == -1
    table = result.table().splitlines()
    assert table[0].split() == ["AP", "AP50", "AP50^P", "AP50^H", "AP50^L", "AP50^M", "AP50^S"]
    assert table[1].split() == ["image_amodal_segm", *["100.0"] * 4, "-", "100.0", "100.0"]
    rows = {row["category"]: row for row in result.per_class() if row["AP"] > -1}
    assert list(rows) == ["person", "car", "chair", "stick"]
    content = json.loads(json.dumps(result.to_json()))
    assert content["numbers"] == result.numbers
    official = official_names(result.parts[0].numbers, "segm")
    assert official["segm_mAP_copypaste"].split()[:2] == ["1.000", "1.000"]


def test_workers_give_the_same(tmp_path: Path) -> None:
    truth, predictions = recorded_sets(tmp_path)
    parts = [Part("image", "amodal"), Part("video", "visible")]
    one = evaluate(truth, predictions, parts=parts)
    two = evaluate(truth, predictions, parts=parts, workers=2)
    assert one.numbers == two.numbers
    alone, shared = (evaluate_mot(truth, predictions, workers=workers) for workers in (1, 2))
    assert alone.to_json() == shared.to_json()


def test_file_with_annotation_id_zero(tmp_path: Path) -> None:
    """The original tool takes the number 0 for "no match"; here an id is only a name."""
    truth, _ = recorded_sets(tmp_path)
    file = json.loads((tmp_path / "a.json").read_text())
    for annotation in file["annotations"]:
        annotation["id"] -= 1
    (tmp_path / "b.json").write_text(json.dumps(file))
    shifted = sailvos.read(tmp_path / "b.json")
    _, predictions = recorded_sets(tmp_path)
    part = Part("image", "visible")
    expected = evaluate_part(truth, predictions, part).numbers
    assert evaluate_part(shifted, predictions, part).numbers == expected


def test_truth_by_track_of_a_file(tmp_path: Path) -> None:
    truth, predictions = recorded_sets(tmp_path)
    for masks in ("visible", "amodal"):
        sailvos.write_per_video(truth, tmp_path / "p.json", masks=masks)
        by_track = sailvos.read_per_video(tmp_path / "p.json", masks=masks)
        part = Part("video", masks)
        expected = evaluate_part(truth, predictions, part).numbers
        assert evaluate_part(by_track, predictions, part).numbers == expected


def test_no_detections_and_unknown_videos() -> None:
    truth, predictions = make_pair(3)
    nothing = annotations_of([], CATEGORIES, info={"masks": "joint"})
    numbers = evaluate(truth, nothing).numbers
    assert set(numbers.values()) <= {0.0, -1.0}
    other = annotations_of([Clip(Video(9, "z", H, W, ("z/0.png",)), [])], CATEGORIES)
    with pytest.raises(DatasetError, match="video 9"):
        evaluate(truth, other)
    result = evaluate(
        annotations_of(truth.clips(), CATEGORIES[:2]), predictions, parts=[Part("video", "visible")]
    )
    assert not result.warnings  # only frames are of the class that is missing, no whole track
    result = evaluate(annotations_of(truth.clips(), []), predictions)
    assert set(result.numbers.values()) == {-1.0}


def test_boxes_of_visible_files(tmp_path: Path) -> None:
    truth, _ = recorded_sets(tmp_path)
    sailvos.write(truth, tmp_path / "b.json", kind="visible")
    visible = sailvos.read(tmp_path / "b.json")
    clips = list(visible.clips())
    for clip in clips:
        for track in clip.tracks:
            track.amodal, track.score = None, 0.5
    result = evaluate(visible, annotations_of(clips, visible.categories))
    assert result.parts[-1].metric == "image_visible_bbox"
    assert result.numbers["image_visible_bbox_AP"] == pytest.approx(1)


# ---------------------------------------------------------------- MOT


def test_mot_of_perfect_results(tmp_path: Path) -> None:
    truth, predictions = recorded_sets(tmp_path)
    for masks, iou_type in product(("visible", "amodal"), ("segm", "bbox")):
        if iou_type == "bbox" and masks == "visible":
            continue  # the boxes of these predictions are the amodal ones
        result = evaluate_mot(truth, predictions, masks=masks, iou_type=iou_type)
        row = result.per_class()[0]
        assert (row["class"], row["mota"], row["motp"], row["idf1"]) == ("1 person", 1, 100, 1)
        assert result.numbers["num_misses"] == 0
        assert result.numbers["mota"] == pytest.approx(4 / 24)
    assert result.rows()[-1]["mota"] == pytest.approx(2 / 6)
    assert json.loads(json.dumps(result.to_json()))["rows"][2]["mota"] is None
    assert result.table().splitlines()[3].split()[:3] == ["3", "motorcycle", "-"]


def test_mot_rows_of_the_original_tool_add_by_prefix(tmp_path: Path) -> None:
    truth, predictions = recorded_sets(tmp_path)
    clips = list(predictions.clips())
    for clip in clips:
        clip.tracks = [track for track in clip.tracks if track.category_id != 12]
    result = evaluate_mot(truth, annotations_of(clips, truth.categories))
    right, theirs = result.rows(), result.rows(compat=True)
    assert (right[0]["num_misses"], right[11]["num_misses"]) == (0, theirs[0]["num_misses"])
    assert right[-2]["num_misses"] * 2 == theirs[-2]["num_misses"]


def slow_mot_frames(truth: AnnotationSet, found: AnnotationSet, category: int, part: Part) -> Any:
    """Objects of a class in every frame of every video, with their overlaps by pixel or box."""
    for gt_clip, det_clip in zip(truth.clips(), found.clips(), strict=True):
        frames = []
        for f in range(gt_clip.video.num_frames):
            gts = [t for t in gt_clip.tracks if t.amodal[f] is not None]
            gts = [t for t in gts if t.category_id == category]
            dets = [t for t in det_clip.tracks if t.amodal[f] is not None]
            dets = [t for t in dets if t.extra["frame_categories"][f] == category]
            iou = [[slow_det(d, f, part)["iou"](slow_gt(g, f, part)) for d in dets] for g in gts]
            frames.append(frame_of([t.id for t in gts], [t.id for t in dets], iou))
        yield frames


def slow_mot(truth: AnnotationSet, found: AnnotationSet, category: int, part: Part) -> Any:
    counts, distance = Counter[str](), 0.0
    for frames in slow_mot_frames(truth, found, category, part):
        more, added = plain_counts(frames)
        counts.update(more)
        distance += added
    objects, matched = counts["num_objects"], counts["num_matches"] + counts["num_switches"]
    errors = counts["num_misses"] + counts["num_false_positives"] + counts["num_switches"]
    total = objects + counts["num_predictions"]
    return {
        "mota": 1 - errors / objects if objects else -math.inf if errors else math.nan,
        "motp": 100 * (1 - distance / matched) if matched else math.nan,
        "idf1": 2 * counts["idtp"] / total if total else math.nan,
        **{name: counts[name] for name in ("num_misses", "num_switches", "mostly_tracked")},
    }


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PARTS[:4]))
def test_mot_against_the_rules(seed: int, part: Part) -> None:
    truth, found = make_pair(seed)
    clips = list(truth.clips())
    for clip in clips:
        clip.tracks = [replace(track, is_crowd=False) for track in clip.tracks]
    truth = annotations_of(clips, CATEGORIES)
    reverse = [Clip(clip.video, clip.tracks[::-1]) for clip in found.clips()]
    mirrored = annotations_of(reverse, CATEGORIES, info=found.info)
    result, again = (
        evaluate_mot(truth, d, masks=part.masks, iou_type=part.iou, truth_boxes="amodal")
        for d in (found, mirrored)
    )
    # Equal overlaps leave open who is assigned to whom.
    assume(again.table() == result.table())
    for row, category in zip(result.per_class(), CATEGORIES, strict=True):
        want = slow_mot(truth, found, category.id, part)
        assert {name: row[name] for name in want} == pytest.approx(want, nan_ok=True)
