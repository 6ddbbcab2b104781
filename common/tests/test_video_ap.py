"""Video AP: the records, literal loops on dense masks, files read in parts, and every error."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vidseg_common import rle
from vidseg_common.datasets import youtube_vis
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Track,
    Video,
    annotations_of,
)
from vidseg_common.datasets.youtube_vis_lazy import open_annotations, open_results
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.video_ap import OVIS, evaluate, occlusion_score
from vidseg_common.parity.runner import run_case

PARITY = Path(__file__).parent / "parity"
CASES = {case["name"]: case for case in json.loads((PARITY / "cases.json").read_text())["cases"]}
LEVELS = ("no_occlusion", "slight_occlusion", "severe_occlusion")
SIZE = (4, 5)


@pytest.mark.parametrize("name", ["ytvis", "ovis", "vis_small"])
def test_records(name):
    outcome = run_case(PARITY, CASES[name])
    assert outcome.verdict == "PASS", outcome.detail


def video(number, frames=2):
    return Video(number, f"v{number}", *SIZE, tuple(f"{t}.jpg" for t in range(frames)))


def track(number, pixels, category=1, score=None, **fields):
    masks = [rle.encode(frame) if frame.any() else None for frame in np.asarray(pixels, bool)]
    return Track(number, category, masks, score=score, **fields)


def sets(truth, predictions, categories=(1, 2), frames=2):
    """Data sets of tracks by video number."""
    classes = [Category(c, f"class {c}") for c in categories]
    return tuple(
        annotations_of([Clip(video(v, frames), tracks) for v, tracks in side.items()], classes)
        for side in (truth, predictions)
    )


def full(*frames):
    return np.ones((len(frames), *SIZE)) * np.array(frames)[:, None, None]


@st.composite
def data_sets(draw):
    frames = draw(st.integers(1, 3))
    truth, predictions = {}, {}

    def pixels():
        # Few different masks, so that equal IoU and IoU of exactly a threshold occur.
        masks = np.zeros((frames, *SIZE), bool)
        for t in range(frames):
            masks[t, : draw(st.integers(0, 4)), draw(st.integers(0, 1)) :] = draw(st.booleans())
        return masks

    for v in draw(st.permutations([3, 1])):
        truth[v] = [
            track(
                k,
                pixels(),
                draw(st.sampled_from([1, 2])),
                is_crowd=draw(st.sampled_from([False, False, True])),
                areas=draw(
                    st.lists(
                        st.sampled_from([None, 0, 5, 128.0**2, 30000, 70000]),
                        min_size=frames,
                        max_size=frames,
                    )
                ),
                occlusion=draw(
                    st.lists(st.sampled_from([None, *LEVELS]), min_size=frames, max_size=frames)
                ),
            )
            for k in range(draw(st.integers(0, 3)))
        ]
        predictions[v] = [
            track(
                k,
                pixels(),
                draw(st.sampled_from([1, 2, 9])),
                score=draw(st.sampled_from([0.1, 0.5, 0.9])),
            )
            for k in range(draw(st.integers(0, 4)))
        ]
    return sets(truth, predictions, frames=frames)


def dense(masks, frames):
    return np.stack([np.zeros(SIZE, bool) if m is None else rle.decode(m) for m in masks])


def mean_visible(values):
    visible = [value for value in values if value]
    return sum(visible) / len(visible) if visible else 0.0


def literal_level(levels):
    scores = sorted({LEVELS[0]: 0, LEVELS[1]: 0.25, LEVELS[2]: 0.75}[x] for x in levels if x)
    highest = scores[len(scores) // 2 :]
    return sum(highest) / len(highest) if highest else 0.0


def literal_ap(truth, predictions, category, threshold, area, level):
    """AP at one threshold, of one class and one pair of ranges; -1 without ground truth."""
    entries, num_gt = [], 0
    predicted = {clip.video.id: clip for clip in predictions.clips()}
    for clip in sorted(truth.clips(), key=lambda clip: clip.video.id):
        frames = clip.video.num_frames
        gts = [t for t in clip.tracks if t.category_id == category]
        dets = [t for t in predicted[clip.video.id].tracks if t.category_id == category]
        dets.sort(key=lambda t: -t.score)
        ignored = [
            t.is_crowd
            or not area.low <= mean_visible(t.areas) <= area.high
            or not level.low <= literal_level(t.occlusion) <= level.high
            for t in gts
        ]
        num_gt += len(gts) - sum(ignored)
        used = set()
        for det in dets:
            d = dense(det.segmentations, frames)
            best, m = min(threshold, 1 - 1e-10), None
            for j in sorted(range(len(gts)), key=lambda j: ignored[j]):
                g = dense(gts[j].segmentations, frames)
                union = (d | g).sum()
                iou = (d & g).sum() / union if union else 0.0
                if j in used and not gts[j].is_crowd:
                    continue
                if m is not None and not ignored[m] and ignored[j]:
                    break
                if iou >= best:
                    best, m = iou, j
            if m is not None:
                used.add(m)
                entries.append((det.score, True, ignored[m]))
            else:
                inside = area.low <= mean_visible(d.sum(axis=(1, 2)).tolist()) <= area.high
                entries.append((det.score, False, not inside))
    if not num_gt:
        return -1.0
    entries.sort(key=lambda entry: -entry[0])
    tp = np.cumsum([hit and not skip for _, hit, skip in entries] or [0])
    fp = np.cumsum([not hit and not skip for _, hit, skip in entries] or [0])
    precision = tp / (fp + tp + 2.0**-52)
    reached = [
        max((p for p, n in zip(precision, tp, strict=True) if n / num_gt >= r), default=0.0)
        for r in np.linspace(0, 1, 101)
    ]
    return float(np.mean(reached))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data_sets())
def test_equals_literal_loops_on_dense_masks(pair):
    truth, predictions = pair
    result = evaluate(truth, predictions, benchmark="ovis")
    for k, category in enumerate((1, 2)):
        for t in (0, 5):
            for a, area in enumerate(OVIS.areas):
                for o, level in enumerate(OVIS.levels):
                    want = literal_ap(truth, predictions, category, OVIS.thresholds[t], area, level)
                    got = result.precision[t, :, k, a, o, -1].mean()
                    assert got == pytest.approx(want, abs=1e-12)
    plain = evaluate(truth, predictions)
    np.testing.assert_array_equal(plain.precision[..., 0, :], result.precision[..., 0, :])


def test_workers_and_reading_in_parts_change_nothing():
    gt, pred = PARITY / "vis_gt.json", PARITY / "vis_pred.json"
    truth = youtube_vis.read(gt)
    predictions = youtube_vis.read_results(pred, truth)
    want = evaluate(truth, predictions)
    lazy = open_annotations(gt)
    for other in (
        evaluate(truth, predictions, workers=2),
        evaluate(lazy, open_results(pred, lazy)),
        evaluate(lazy, open_results(pred, lazy), workers=2),
    ):
        np.testing.assert_array_equal(other.precision, want.precision)
        np.testing.assert_array_equal(other.recall, want.recall)
        assert other.to_json() == want.to_json()
    assert any("category 99" in warning for warning in want.warnings)
    assert want.table().count("\n") == 12


def test_ap_of_nothing():
    truth, nothing = sets({1: [track(1, full(1, 1))], 2: []}, {})
    result = evaluate(truth, nothing)
    assert result.numbers["AP"] == 0.0
    assert [row["AP"] for row in result.per_class()] == [0.0, -1.0]
    assert result.per_video()[0]["ground_truth"] == 1
    no_videos = AnnotationSet([], [Category(1, "a")], lambda i: None)
    assert evaluate(no_videos, no_videos).numbers["AP"] == -1.0


def test_only_the_best_hundred_count():
    wrong, right = full(0, 0), full(1, 1)
    wrong[0, 0, 0] = 1
    tracks = [track(k, wrong, score=0.9) for k in range(100)]
    truth, predictions = sets({1: [track(1, right)]}, {1: [*tracks, track(100, right, score=0.1)]})
    assert evaluate(truth, predictions).numbers["AR100"] == 0.0
    truth, predictions = sets(
        {1: [track(1, right)]}, {1: [*tracks[1:], track(100, right, score=0.1)]}
    )
    assert evaluate(truth, predictions).numbers["AR100"] == 1.0


def test_occlusion_score():
    assert occlusion_score([None, None]) == 0.0
    assert occlusion_score(["severe_occlusion", "no_occlusion", None, "slight_occlusion"]) == 0.5
    with pytest.raises(DatasetError, match="'heavy'"):
        occlusion_score(["heavy"])


def test_missing_occlusion_is_told():
    truth, predictions = sets({1: [track(1, full(1, 1))]}, {1: [track(1, full(1, 1), score=1.0)]})
    result = evaluate(truth, predictions, benchmark="ovis")
    assert result.numbers["AP_light"] == pytest.approx(1)
    assert result.numbers["AP_heavy"] == -1
    assert "without occlusion" in result.warnings[0]


def test_areas_follow_from_masks_where_the_file_has_none():
    truth, predictions = sets({1: [track(1, full(1, 0))]}, {1: []})
    assert evaluate(truth, predictions).num_gt[0, :, 0].tolist() == [1, 1, 0, 0]
    stated = replace(truth.load(0).tracks[0], areas=[128.0**2, None])
    truth, predictions = sets({1: [stated]}, {1: []})
    # Exactly at a limit, it counts in two ranges.
    assert evaluate(truth, predictions).num_gt[0, :, 0].tolist() == [1, 1, 1, 0]


def test_all_problems_are_listed_at_once():
    good = track(1, full(1, 1))
    short = Track(4, 1, [None], score=0.5)
    large = Track(5, 1, [None, rle.encode(np.ones((9, 9)))], score=0.5)
    broken = Track(6, 1, [None, {"size": list(SIZE), "counts": "~"}], score=0.5)
    unscored = [track(7, full(1, 1)), track(8, full(1, 1), score=float("nan"))]
    truth, predictions = sets(
        {1: [good], 2: [good], 3: [good], 4: [good, good], 5: [track(1, full(1, 1), 3)], 6: []},
        {1: [short], 2: [large], 3: [broken], 4: [], 5: [], 6: unscored},
    )
    with pytest.raises(DatasetError) as caught:
        evaluate(truth, predictions)
    message = str(caught.value)
    for words in (
        "video 1 (v1): prediction 4 has 1 masks, the video 2 frames",
        "video 2 (v2): prediction 5, frame 1: the mask has size [9, 9]",
        "video 3 (v3): prediction 6, frame 1: RLE string has a character",
        "video 4 (v4): annotation id 1 occurs 2 times",
        "video 5 (v5): annotations of category 3",
        "video 6 (v6): prediction 7 has the score None",
        "video 6 (v6): prediction 8 has the score nan",
    ):
        assert words in message


def test_videos_that_do_not_fit():
    truth, predictions = sets({1: [track(1, full(1, 1))]}, {1: [], 8: []})
    with pytest.raises(DatasetError, match=r"video 8 \(v8\) is not in the ground truth"):
        evaluate(truth, predictions)
    twice = annotations_of([Clip(video(1), []), Clip(video(1), [])], truth.categories)
    with pytest.raises(DatasetError, match="the predictions have video 1 2 times"):
        evaluate(truth, twice)
    hidden = replace(truth, has_annotations=False)
    with pytest.raises(DatasetError, match="no ground truth"):
        evaluate(hidden, truth)


def write(folder, gt, pred):
    folder.mkdir(exist_ok=True)
    paths = folder / "gt.json", folder / "pred.json"
    for path, content in zip(paths, (gt, pred), strict=True):
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return paths


@pytest.fixture
def small():
    return json.loads((PARITY / "vis_small.json").read_text())["annotation_ids_renumbered"]


def test_files_of_any_shape_are_opened(tmp_path, small):
    gt, pred = small["gt"], small["pred"]
    want = evaluate(*load_whole(*write(tmp_path / "a", gt, pred))).numbers
    braces = json.loads(json.dumps(gt))
    braces["videos"][0]["file_names"] = ["a/}{0.jpg", "a/{{1.jpg"]
    braces["annotations"][0]["note"] = "}}"
    noted = [dict(entry, note='{"') for entry in pred]
    # In the first shapes braces are only structure, in the others the file is read at once.
    for number, (g, p) in enumerate(
        [
            (json.dumps(gt, indent=3), json.dumps(pred, indent=1)),
            (dict(reversed(gt.items())), [dict(reversed(entry.items())) for entry in pred]),
            (braces, noted),
        ]
    ):
        paths = write(tmp_path / str(number), g, p)
        truth = open_annotations(paths[0])
        assert evaluate(truth, open_results(paths[1], truth)).numbers == want
    truth = open_annotations(tmp_path / "a" / "gt.json")
    shutil.make_archive(str(tmp_path / "zipped"), "zip", root_dir=tmp_path / "a")
    youtube_vis.write_results(
        youtube_vis.read_results(tmp_path / "a" / "pred.json", truth), tmp_path / "results.zip"
    )
    assert evaluate(truth, open_results(tmp_path / "results.zip", truth)).numbers == want


def load_whole(gt, pred):
    truth = youtube_vis.read(gt)
    return truth, youtube_vis.read_results(pred, truth)


def change(entries, **fields):
    return [dict(entries[0], **fields), *entries[1:]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"video_id": 77}, "77 is not among the videos"),
        ({"score": None}, "score"),
        ({"segmentations": [None]}, "has 1 entries, the video 2 frames"),
        ({"segmentations": [None, {"size": [1, 2], "counts": "2"}]}, "1x2"),
        ({"segmentations": [None, {"size": [30, 40], "counts": "2"}]}, "2 pixels"),
        ({"category_id": "x"}, "category_id"),
    ],
)
def test_bad_results_are_named_when_opened_in_parts(tmp_path, small, changes, words):
    paths = write(tmp_path, small["gt"], change(small["pred"], **changes))
    truth = open_annotations(paths[0])
    with pytest.raises(DatasetError, match=words):
        evaluate(truth, open_results(paths[1], truth))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"video_id": 77}, "77 is not among the videos"),
        ({"category_id": 9}, "9 is not among the categories"),
        ({"category_id": [1]}, "is not among the categories"),
        ({"id": 2}, "the id 2 occurs more than once"),
        ({"iscrowd": 5}, "iscrowd"),
        ({"segmentations": None}, "segmentations"),
    ],
)
def test_bad_annotations_are_named_when_opened_in_parts(tmp_path, small, changes, words):
    gt = dict(small["gt"], annotations=change(small["gt"]["annotations"], **changes))
    paths = write(tmp_path, gt, small["pred"])
    with pytest.raises(DatasetError, match=words):
        truth = open_annotations(paths[0])
        evaluate(truth, open_results(paths[1], truth))


@pytest.mark.parametrize(
    "text", ["", "[", '[{"video_id": 1}', '[{"video_id": 1} {"video_id": 1}]', "{}", "[{'a': 1}]"]
)
def test_files_that_are_no_results(tmp_path, small, text):
    paths = write(tmp_path, small["gt"], text)
    truth = open_annotations(paths[0])
    with pytest.raises(DatasetError):
        evaluate(truth, open_results(paths[1], truth))
    with pytest.raises(DatasetError):
        open_results(tmp_path / "none.json", truth)


def test_twice_the_same_key_is_found(tmp_path, small):
    text = json.dumps(small["pred"][:1]).replace('"score"', '"video_id": 3, "score"')
    paths = write(tmp_path, small["gt"], text)
    truth = open_annotations(paths[0])
    with pytest.raises(DatasetError, match="more than once"):
        evaluate(truth, open_results(paths[1], truth))


def test_sets_without_annotations_are_told(tmp_path, small):
    for given_value in (None, []):
        gt = dict(small["gt"], annotations=given_value)
        truth = open_annotations(write(tmp_path, gt, [])[0])
        assert truth.has_annotations == (given_value is not None)
