import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.datasets import mots as mots_format
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.datasets.mots_files import MotsObject, read_seqmap, write_id_map
from vidseg_common.datasets.overlap import masks_of
from vidseg_common.errors import DatasetError, run_cli
from vidseg_common.metrics import mots, mots_counts
from vidseg_common.metrics.mots_cli import main
from vidseg_common.metrics.mots_data import (
    frames_of_objects,
    overlaps_of_frame,
)
from vidseg_common.parity import mots as parity
from vidseg_common.rle import counts_to_string, decode, encode

PARITY = Path(__file__).parent / "parity"
KIT = PARITY / "mots"
RECORD = json.loads((PARITY / "expected_mots.json").read_text())
CASE = {
    "name": "mots",
    "inputs": ["mots/gt", "mots/pred", "mots/all.seqmap", "mots_idmaps.npz"],
    "expected": "expected_mots.json",
    "tolerance_abs": 1e-12,
}
SEQUENCES = read_seqmap(KIT / "all.seqmap")


def test_recorded_numbers():
    checks = list(parity.check(PARITY, CASE))
    assert len(checks) > 1300
    assert [label for label, error, tolerance in checks if not error <= tolerance] == []


def dense_objects(id_maps):
    """Objects of (T, H, W) id maps: class is id // 10, 10 the ignore region as in MOTS."""
    return [
        MotsObject(t, i, i // 10, mask)
        for t, id_map in enumerate(id_maps)
        for i, mask in masks_of(id_map).items()
    ]


def count(gt, pred, class_id=1):
    frames = zip(
        frames_of_objects(dense_objects(gt), len(gt)),
        frames_of_objects(dense_objects(pred), len(gt)),
        strict=True,
    )
    return mots.count_mots([overlaps_of_frame(*pair) for pair in frames], [class_id])[class_id]


def plain_numbers(gt, pred, class_id=1):
    """The family written down literally from its definition, on pixels."""
    tp = fp = fn = ignored = switches = fragments = 0
    soft, precision, history = 0.0, 0.0, {}
    for g_map, p_map in zip(gt, pred, strict=True):
        gts = [i for i in np.unique(g_map) if i // 10 == class_id]
        preds = [i for i in np.unique(p_map) if i // 10 == class_id]
        matched, frame_soft, frame_tp = set(), 0.0, 0
        for g in gts:
            a = [-1]
            for p in preds:
                g_mask, p_mask = g_map == g, p_map == p
                iou = (g_mask & p_mask).sum() / (g_mask | p_mask).sum()
                if iou > 0.5:
                    a, frame_soft, frame_tp = [p], frame_soft + iou, frame_tp + 1
                    matched.add(p)
            history.setdefault(g, []).extend(a)
        for p in preds:
            inside = ((p_map == p) & (g_map // 10 == 10)).sum() / (p_map == p).sum()
            ignored += p not in matched and inside > 0.5
            fp += p not in matched and not inside > 0.5
        tp, fn, soft = tp + frame_tp, fn + len(gts) - frame_tp, soft + frame_soft
        precision += frame_soft / frame_tp if frame_tp else 1
    tracked = {"MT": 0, "PT": 0, "ML": 0}
    for a in history.values():
        share = sum(x != -1 for x in a) / len(a)
        tracked["MT" if share > 0.8 else "ML" if share < 0.2 else "PT"] += 1
        last = a[0]
        for f in range(1, len(a)):
            switches += a[f] != -1 and last != -1 and a[f] != last
            inner = f < len(a) - 1 and a[f - 1] != a[f] and last != -1
            fragments += inner and a[f] != -1 and a[f + 1] != -1
            last = a[f] if a[f] != -1 else last
        fragments += len(a) > 1 and a[-2] != a[-1] and last != -1 and a[-1] != -1
    n = sum(len(a) for a in history.values())
    return {
        "tp": tp, "fp": fp, "fn": fn, "n_itr": ignored, "id_switches": switches,
        "fragments": fragments, "n_gt": n, "total_cost": soft,
        "MODSP": precision / len(gt), "FAR": fp / len(gt),
        "sMOTSA": (soft - fp - switches) / n if n else -math.inf,
        "MOTSA": 1 - (fn + fp + switches) / n if n else -math.inf,
        "MOTSP": soft / tp if tp else math.inf,
        **{key: value / max(1, len(history)) for key, value in tracked.items()},
    }  # fmt: skip


IDS = np.array([0, 10, 11, 12, 20, 100], np.int32)


def random_maps(seed):
    """Objects that come and go, and predictions of them with errors and changing ids."""
    rng = np.random.default_rng(seed)
    shape = (rng.integers(1, 7), 3, 4)
    gt = np.where(rng.random(shape) < 0.3, rng.choice(IDS, shape), rng.choice(IDS, (1, 3, 4)))
    noise = rng.choice([0.0, 0.1, 0.3, 1.0])
    pred = np.where(rng.random(shape) < noise, rng.choice(IDS, shape), gt)
    for frame in pred:
        if rng.random() < 0.3:
            frame[:] = np.select([frame == 10, frame == 11], [11, 10], frame)
    return gt.astype(np.int32), pred.astype(np.int32)


@given(st.integers(0, 2**32))
@settings(max_examples=300, deadline=None)
def test_equal_to_the_literal_definition(seed):
    maps = random_maps(seed)
    ours = count(*maps).numbers()
    for key, value in plain_numbers(*maps).items():
        assert ours[key] == pytest.approx(value, abs=1e-12), key


def one_row(*values):
    return np.array([[[*values]]], np.int32)


def test_iou_of_exactly_half_is_no_match():
    ours = count(one_row(10, 10, 0, 0), one_row(10, 0, 0, 0))
    assert (ours.tp, ours.fp, ours.fn) == (0, 1, 1)


def test_exactly_half_inside_the_ignore_region_is_a_false_alarm():
    assert count(one_row(100, 0, 0), one_row(11, 11, 0)).fp == 1
    ours = count(one_row(100, 100, 0), one_row(11, 11, 11))
    assert (ours.fp, ours.num_ignored) == (0, 1)


@pytest.mark.parametrize("side", ["truth", "predictions", "both"])
def test_nothing_there(side):
    gt = pred = np.zeros((3, 2, 2), np.int32)
    gt = gt + 10 * (side == "predictions")
    pred = pred + 10 * (side == "truth")
    numbers = count(gt, pred).numbers()
    assert numbers["MOTSP"] == math.inf
    accuracy = {"truth": -math.inf, "predictions": 0.0, "both": -math.inf}[side]
    assert numbers["sMOTSA"] == numbers["MODSA"] == accuracy
    assert numbers["recall"] == numbers["precision"] == numbers["F1"] == 0.0
    assert numbers["MODSP"] == 1.0


def test_switches_and_fragments_of_one_track():
    assert mots_counts._events_of([]) == (0, 0)
    assert mots_counts._events_of([-1, -1, -1]) == (0, 0)
    assert mots_counts._events_of([1, 2]) == (1, 1)
    assert mots_counts._events_of([1, -1, 1, 1]) == (0, 1)
    assert mots_counts._events_of([1, -1, 1, -1]) == (0, 0)  # back for one frame inside
    assert mots_counts._events_of([-1, -1, 1]) == (0, 1)  # counts at the end: first time


def test_png_on_either_side_and_several_processes(tmp_path):
    want = mots.evaluate_files(KIT / "pred", KIT / "gt", SEQUENCES).to_json()
    for name, last in SEQUENCES:
        (tmp_path / name).mkdir()
        objects = mots_format.read_sequence(KIT / "gt" / f"{name}.txt")
        for t in range(last + 1):
            masks = [decode(o.rle) * o.track_id for o in objects if o.frame == t]
            if masks:
                write_id_map(tmp_path / name / f"{t:06d}.png", sum(masks))
    got = mots.evaluate_files(KIT / "pred", tmp_path, SEQUENCES, workers=2)
    assert got.to_json() == want


def test_annotation_sets_give_the_same():
    truth = mots_format.read(KIT / "gt")
    predictions = mots_format.read_results(KIT / "pred", truth)
    names = [video.name for video in truth.videos]
    lengths = [(video.name, video.num_frames - 1) for video in truth.videos]
    want = mots.evaluate_files(KIT / "pred", KIT / "gt", lengths)
    got = mots.evaluate(truth, predictions)
    assert got.to_json() == want.to_json()
    assert [row["class"] for row in got.per_class()] == ["car", "pedestrian"]
    assert {row["video"] for row in got.per_video()} == set(names)
    values = [got.total(name).numbers()["sMOTSA"] for name in ("car", "pedestrian")]
    assert got.numbers["sMOTSA"] == pytest.approx(np.mean(values))


def test_one_sequence_is_enough(tmp_path, capsys):
    seqmap = tmp_path / "one.seqmap"
    seqmap.write_text("0000 empty 000000 000013\n")
    out = tmp_path / "out.json"
    words = [KIT / "pred", KIT / "gt", seqmap, "--quiet", "--json", out, "--workers", "1"]
    assert main([str(word) for word in words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Evaluate class: Cars"
    assert lines[3] == RECORD["mots_tools"]["car"]["printed"][2]
    written = json.loads(out.read_text())
    assert written["classes"]["car"]["all"] == written["classes"]["car"]["0000"]


def test_all_problems_are_told_at_once(tmp_path, capsys):
    shutil.copytree(KIT / "pred", tmp_path / "pred")
    for name in ("0000", "0006"):
        path = tmp_path / "pred" / f"{name}.txt"
        path.chmod(0o644)
        path.write_text("99 1001 1 29 53 cU11]:\n")
    words = [str(tmp_path / "pred"), str(KIT / "gt"), str(KIT / "all.seqmap"), "--quiet"]
    with pytest.raises(SystemExit) as status:
        run_cli(lambda: main(words))
    message = capsys.readouterr().err
    assert status.value.code == 2
    assert "0000.txt: line 1" in message and "0006.txt: line 1" in message
    (tmp_path / "pred" / "0001.txt").unlink()
    (tmp_path / "pred" / "0002.txt").unlink()
    with pytest.raises(DatasetError, match=r"0001\.txt(.|\n)*0002\.txt"):
        main(words)
    with pytest.raises(DatasetError, match="folder not found"):
        main([str(tmp_path / "none"), *words[1:]])
    with pytest.raises(DatasetError, match="no sequence"):
        mots.evaluate_files(KIT / "pred", KIT / "gt", [])


def make_set(*clips):
    return annotations_of(clips, [Category(1, "car")])


def make_clip(name, tracks, num_frames=1):
    video = Video(1, name, 2, 3, tuple(map(str, range(num_frames))))
    return Clip(video, tracks)


def test_videos_must_fit():
    track = Track(1, 1, [encode(np.ones((2, 3)))])
    one = make_set(make_clip("a", [track]))
    with pytest.raises(DatasetError, match="no video"):
        mots.evaluate(make_set(), make_set())
    with pytest.raises(DatasetError, match=r"a: not in the predictions(.|\n)*b: not in the ground"):
        mots.evaluate(one, make_set(make_clip("b", [track])))
    with pytest.raises(DatasetError, match="2 frames predicted, 1 in"):
        mots.evaluate(one, make_set(make_clip("a", [], 2)))
    with pytest.raises(DatasetError, match="frame 0: masks of different sizes"):
        mots.evaluate(one, make_set(make_clip("a", [Track(1, 1, [encode(np.ones((3, 3)))])])))


def test_overlapping_masks_and_equal_ids_are_refused():
    left, whole = encode([[1, 1, 0], [0, 0, 0]]), encode(np.ones((2, 3)))
    one = make_set(make_clip("a", [Track(1, 1, [whole])]))
    two = make_set(make_clip("a", [Track(1, 1, [whole]), Track(2, 1, [left])]))
    with pytest.raises(DatasetError, match=r"sequence a: masks overlap .* frame 0"):
        mots.evaluate(one, two)
    same = make_set(make_clip("a", [Track(7, 1, [whole]), Track(7, 1, [None])]))
    with pytest.raises(DatasetError, match=r"more than one track of a class has the id \[7\]"):
        mots.evaluate(one, same)


def test_crowds_are_ignore_regions():
    whole, right = encode(np.ones((2, 3))), encode([[0, 1, 1], [0, 1, 1]])
    truth = make_set(make_clip("a", [Track(1, 1, [right], is_crowd=True)]))
    result = mots.evaluate(truth, make_set(make_clip("a", [Track(5, 1, [whole])])))
    assert result.total("car").num_ignored == 1


def test_runs_of_length_zero_do_not_end_the_comparison(tmp_path):
    counts = counts_to_string([1, 1, 0, 2, 2])
    odd = {"size": [2, 3], "counts": counts}
    one = make_set(make_clip("a", [Track(1, 1, [odd])]))
    assert mots.evaluate(one, one).total("car").soft_tp == 1
    (tmp_path / "0000.txt").write_text(f"0 1001 1 2 3 {counts}\n")
    result = mots.evaluate_files(tmp_path, tmp_path, [("0000", 0)])
    assert result.total("car").soft_tp == 1


def test_malformed_masks_name_the_sequence():
    bad = make_set(make_clip("a", [Track(1, 1, [{"size": [2, 3], "counts": "1"}])]))
    with pytest.raises(DatasetError, match="sequence a: RLE runs add up to 1"):
        mots.evaluate(bad, bad)
