"""Published predictions of OSVOS on DAVIS 2016 under every metric that fits them.

J and F are compared with the recorded numbers, the others with what follows from the overlap of the
two masks of every frame. VIDSEG_DATA names the folder with `davis2016` and `osvos_predictions`.
"""

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from cli_data import run
from PIL import Image
from test_average_precision import literal_curve
from test_hota import plain_hota
from test_tracking import frame_of, plain_counts

from vidseg_common import rle
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Track,
    Video,
    annotations_of,
)
from vidseg_common.masks import read_indices, write_mask
from vidseg_common.metrics import coco_ap, hota, mots, tracking, video_ap
from vidseg_common.metrics.average_precision import Group, Range
from vidseg_common.metrics.folder_jf import evaluate_folders

DATA = Path(os.environ.get("VIDSEG_DATA", "data-not-there"))
TRUTH, FOUND = DATA / "davis2016/Annotations/480p", DATA / "osvos_predictions"
RECORD = json.loads((Path(__file__).parent / "parity/osvos_davis2016.json").read_text())
NAMES = sorted(path.name for path in TRUTH.glob("*") if (FOUND / path.name).is_dir())
pytestmark = pytest.mark.skipif(not NAMES, reason="VIDSEG_DATA names no folder with both")

ANY, EVERY = Range("all", 0, 1), Range("all", 0, 1e10)
THRESHOLDS, RECALLS = np.linspace(0.5, 0.95, 10), np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Sequence:
    """Both masks of every frame, and their sizes, boxes and overlaps."""

    truth: AnnotationSet
    found: AnnotationSet
    areas: np.ndarray  # (T, 2) pixels
    both: np.ndarray  # (T,)
    iou: np.ndarray  # (T,)
    box_iou: np.ndarray  # (T,)


@cache
def sequence(name, number):
    paths = sorted((TRUTH / name).glob("*.png"))
    masks = [
        [np.array(Image.open(root / name / path.name).convert("L")) > 0 for path in paths]
        for root in (TRUTH, FOUND)
    ]
    both = np.array([(a & b).sum() for a, b in zip(*masks, strict=True)])
    union = np.array([(a | b).sum() for a, b in zip(*masks, strict=True)])
    areas = np.array([[m.sum() for m in side] for side in masks]).T
    boxes = [[rle.to_bbox(rle.encode(m)) for m in side] for side in masks]
    box_iou = [slow_box_iou(*pair) for pair in zip(*boxes, strict=True)]
    video = Video(number, name, *masks[0][0].shape, tuple(f"{name}/{p.name}" for p in paths))
    sets = []
    for side in masks:
        shown = [rle.encode(m) if m.any() else None for m in side]
        track = Track(number, 1, shown, score=0.5, occlusion=["no_occlusion"] * len(shown))
        clip = Clip(video, [track])
        sets.append(AnnotationSet([video], [Category(1, "object")], lambda _, clip=clip: clip))
    return Sequence(*sets, areas, both, both / np.maximum(1, union), np.array(box_iou))


def slow_box_iou(first, second):
    (x, y, w, h), (a, b, c, d) = first, second
    both = max(0, min(x + w, a + c) - max(x, a)) * max(0, min(y + h, b + d) - max(y, b))
    return both / (w * h + c * d - both) if both else 0.0


def sequences():
    return [sequence(name, number) for number, name in enumerate(NAMES, 1)]


def joined(parts):
    """One set of several."""
    videos = [part.videos[0] for part in parts]
    return AnnotationSet(videos, parts[0].categories, lambda i: parts[i].load(0))


def frames_of(part, iou):
    """Overlaps in every frame, of the objects that are there."""
    return [
        frame_of([1] * bool(gt), [1] * bool(pred), [value] if gt and pred else [])
        for (gt, pred), value in zip(part.areas, iou, strict=True)
    ]


def both_sets():
    return joined([s.truth for s in sequences()]), joined([s.found for s in sequences()])


def literal_ap(groups):
    """AP, AP50 and AP75 of one class."""
    curves = [literal_curve(groups, t, EVERY, ANY, 100, RECALLS)[0] for t in THRESHOLDS]
    return [np.mean(curves), np.mean(curves[0]), np.mean(curves[5])]


def group_of(iou, gt_area, area):
    """One object and one prediction, either may be missing."""
    gts, dets = [gt_area] if gt_area else [], [area] if area else []
    return Group(
        np.full(len(dets), 0.5),
        np.array(dets, float),
        np.array(gts, float),
        np.zeros(len(gts), bool),
        np.full((len(dets), len(gts)), iou),
        np.zeros(len(gts)),
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The masks of both sides as object 1, as the rule of 2016 has it."""
    root = tmp_path_factory.mktemp("masks")
    for kind, source in (("gt", TRUTH), ("pred", FOUND)):
        for name in NAMES:
            for path in (source / name).glob("*.png"):
                write_mask(root / kind / name / path.name, (read_indices(path) > 0).astype("uint8"))
    return root


def test_folders_give_the_recorded_numbers(folders):
    found = evaluate_folders(folders / "gt", folders / "pred", workers=2, progress=False)
    rows = {row.sequence: row for row in found.rows}
    assert list(rows) == NAMES
    for name in NAMES:
        want = RECORD["sequences"][name]
        assert rows[name].j_frames == pytest.approx(want["J_per_frame"], abs=1e-6)
        assert rows[name].f_frames == pytest.approx(want["F_per_frame"], abs=1e-6)


@pytest.mark.parametrize("benchmark", ["ytvis", "ovis"])
def test_video_ap(benchmark):
    groups = []
    for part in sequences():
        union = part.areas.sum() - part.both.sum()
        sizes = [side[side > 0].mean() for side in part.areas.T]
        groups.append(group_of(part.both.sum() / union, *sizes))
    want = literal_ap(groups)
    assert 0 < want[0] < 1
    numbers = video_ap.evaluate(*both_sets(), benchmark=benchmark).numbers
    assert [numbers[key] for key in ("AP", "AP50", "AP75")] == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_image_ap(iou_type):
    """Every frame is an image of its own."""
    stills, groups = ([], []), []
    for part in sequences():
        overlaps = part.iou if iou_type == "segm" else part.box_iou
        clips = part.truth.load(0), part.found.load(0)
        for t, (iou, areas) in enumerate(zip(overlaps, part.areas, strict=True)):
            number = len(groups) + 1
            groups.append(group_of(iou, *areas))
            for side, clip in zip(stills, clips, strict=True):
                old = clip.video
                video = Video(number, f"{number}", old.height, old.width, (old.file_names[t],))
                mask = clip.tracks[0].segmentations[t]
                tracks = [] if mask is None else [Track(number, 1, [mask], score=0.5)]
                side.append(Clip(video, tracks))
    truth, found = (annotations_of(side, [Category(1, "object")]) for side in stills)
    numbers = coco_ap.evaluate(truth, found, iou_type=iou_type).numbers
    want = literal_ap(groups)
    assert 0 < want[0] < 1
    assert [numbers[key] for key in ("AP", "AP50", "AP75")] == pytest.approx(want, abs=1e-12)


def test_mots():
    tp, soft, misses, alarms, num_gt = 0, 0.0, 0, 0, 0
    for part in sequences():
        matched = part.iou > 0.5
        tp, soft = tp + matched.sum(), soft + part.iou[matched].sum()
        misses += ((part.areas[:, 0] > 0) & ~matched).sum()
        alarms += ((part.areas[:, 1] > 0) & ~matched).sum()
        num_gt += (part.areas[:, 0] > 0).sum()
    numbers = mots.evaluate(*both_sets()).total("object").numbers()
    assert (numbers["tp"], numbers["fn"], numbers["fp"]) == (tp, misses, alarms)
    assert numbers["id_switches"] == 0
    assert numbers["MOTSP"] == pytest.approx(soft / tp, abs=1e-12)
    assert numbers["sMOTSA"] == pytest.approx((soft - alarms) / num_gt, abs=1e-12)
    assert numbers["MOTSA"] == pytest.approx(1 - (misses + alarms) / num_gt, abs=1e-12)


def test_hota():
    result = hota.evaluate(*both_sets())
    for name, part in zip(NAMES, sequences(), strict=True):
        frames = [
            (f.gt_ids.tolist(), f.pred_ids.tolist(), f.iou) for f in frames_of(part, part.iou)
        ]
        families = result.scores["object"][name].families()
        for key, curve in plain_hota(frames).items():
            assert np.abs(families["HOTA"][key] - curve).max() < 1e-12, key
        matched = (part.iou >= 0.5).sum()
        assert families["CLEAR"]["CLR_TP"] == families["Identity"]["IDTP"] == matched
        objects = (part.areas > 0).sum()
        assert families["Identity"]["IDF1"] == pytest.approx(2 * matched / objects)


@pytest.mark.parametrize("iou_type", ["segm", "bbox"])
def test_mot(iou_type):
    result = tracking.evaluate(*both_sets(), iou_type=iou_type)
    for name, part in zip(NAMES, sequences(), strict=True):
        overlaps = part.iou if iou_type == "segm" else part.box_iou
        want, distance = plain_counts(frames_of(part, overlaps))
        counts = result.counts["object"][name]
        assert {key: getattr(counts, key) for key in want} == want
        assert counts.distance == pytest.approx(distance)


def test_commands(folders, tmp_path):
    """The same predictions through converted files give the numbers of the masks."""
    truth, found = tmp_path / "gt.json", tmp_path / "found.json"
    source = ("--from", "mask-folder", "--to", "ytvis2019")
    assert run("convert", folders / "gt", *source, "-o", truth) == 0
    source = ("--from", "davis-results", "--to", "ytvis-results")
    assert run("convert", folders / "pred", *source, "-o", found) == 0
    assert run("validate", found, "--gt", truth) == 0
    line = ("--metric", "ytvis", "--gt", truth, "--pred", found, "-o", tmp_path / "r")
    assert run("evaluate", *line, "--quiet") == 0
    numbers = json.loads((tmp_path / "r/result.json").read_text())["numbers"]
    want = video_ap.evaluate(*both_sets()).numbers["AP"]
    assert numbers["AP"] == pytest.approx(want, abs=1e-12)
