"""HOTA and Identity of sets of several sequences, from pixels, against their literal definition."""

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from test_hota import plain_hota, plain_idtp, plain_kept

from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.metrics import hota
from vidseg_common.metrics.mots_data import ClassFrame
from vidseg_common.rle import encode

CLASSES = {1: "car", 2: "pedestrian"}
SIZE = (14, 17)
IGNORE = 99
OF_TRUTH = {1: 1, 2: 1, 3: 2}
OF_RESULT = {11: 1, 12: 1, 13: 2, 14: 1}


def random_maps(seed):
    """Ids of truth and results (T, H, W): rectangles that drift apart, swap and vanish."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, 5)
    gt, pred = (np.zeros((length, *SIZE), int) for _ in range(2))
    ignored = (slice(rng.integers(14), 14), slice(rng.integers(17), 17))
    for t in range(length):
        if rng.random() < 0.5:
            gt[t][ignored] = IGNORE
    for i, other in ((1, 11), (2, 12), (3, 13), (None, 14)):
        y, x, h, w = (*rng.integers(0, [8, 10]), *rng.integers(3, 7, 2))
        for t in range(length):
            y, x = np.clip(np.add([y, x], rng.integers(-2, 3, 2)), 0, [9, 11])
            dy, dx = rng.integers(0, 3, 2)
            if i is not None and rng.random() < 0.8:
                gt[t, y : y + h, x : x + w] = i
            if rng.random() < 0.8:
                swapped = {11: 12, 12: 11}.get(other, other) if rng.random() < 0.2 else other
                pred[t, y + dy : y + dy + h, x + dx : x + dx + w] = swapped
    return gt, pred


def frames_of(maps, class_id):
    """Overlaps of one class, pixel by pixel, in every frame."""
    frames = []
    for gt, pred in zip(*maps, strict=True):
        gts = [i for i in np.unique(gt) if OF_TRUTH.get(i) == class_id]
        preds = [i for i in np.unique(pred) if OF_RESULT.get(i) == class_id]
        iou = [
            [((gt == g) & (pred == p)).sum() / ((gt == g) | (pred == p)).sum() for p in preds]
            for g in gts
        ]
        inside = [((gt == IGNORE) & (pred == p)).sum() / (pred == p).sum() for p in preds]
        table = np.array(iou, float).reshape(len(gts), len(preds))
        frames.append(ClassFrame(np.array(gts, int), np.array(preds, int), table, np.array(inside)))
    return frames


def plain_total(parts):
    """HOTA of all sequences from those of each: counts summed, the rest weighted with TP."""
    tp, fn, fp = (sum(p[f"HOTA_{name}"] for p in parts) for name in ("TP", "FN", "FP"))
    some = np.maximum(1, tp)
    ass = {
        name: sum(p[name] * p["HOTA_TP"] for p in parts) / some
        for name in ("AssA", "AssRe", "AssPr")
    }
    located = sum(p["LocA"] * p["HOTA_TP"] for p in parts) / some
    det = tp / np.maximum(1, tp + fn + fp)
    return {
        **ass,
        "LocA": np.where(tp > 0, located, 1.0),
        "DetA": det,
        "HOTA": np.sqrt(det * ass["AssA"]),
        "HOTA_TP": tp,
        "HOTA_FN": fn,
        "HOTA_FP": fp,
    }


def mirrored(frames):
    """The same frames with their results in the opposite order."""
    return [ClassFrame(f.gt, f.pred[::-1], f.iou[:, ::-1], f.ignored[::-1]) for f in frames]


def annotation_set(all_maps, side, classes):
    clips = []
    for number, maps in enumerate(all_maps, 1):
        ids = maps[side]
        names = tuple(map(str, range(len(ids))))
        video = Video(number, f"s{number}", *SIZE, names)
        tracks = [
            Track(i, c, [encode(m == i) if (m == i).any() else None for m in ids])
            for i, c in classes.items()
            if (ids == i).any()
        ]
        ignore = [encode(m == IGNORE) for m in ids] if side == 0 else None
        clips.append(Clip(video, tracks, ignore))
    return annotations_of(clips, [Category(i, name) for i, name in CLASSES.items()])


@given(st.integers(0, 2**32), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_sets_equal_the_literal_definition(seed, num_sequences):
    all_maps = [random_maps(seed + i) for i in range(num_sequences)]
    result = hota.evaluate(
        annotation_set(all_maps, 0, OF_TRUTH), annotation_set(all_maps, 1, OF_RESULT)
    )
    for class_id, name in CLASSES.items():
        sequences = [frames_of(maps, class_id) for maps in all_maps]
        kept = [plain_kept(frames) for frames in sequences]
        want = plain_total([plain_hota(frames) for frames in kept])
        # Which of equally good assignments is taken is not defined.
        others = [plain_kept(mirrored(frames)) for frames in sequences]
        again = plain_total([plain_hota(frames) for frames in others])
        assume(all(np.allclose(want[key], again[key], atol=1e-12) for key in want))
        families = result.total(name).families()
        for key, curve in want.items():
            assert np.abs(families["HOTA"][key] - curve).max() < 1e-12, key
        idtp = sum(plain_idtp(frames) for frames in kept)
        objects = sum(len(gt) + len(pred) for frames in kept for gt, pred, _ in frames)
        assert families["Identity"]["IDTP"] == idtp
        assert math.isclose(families["Identity"]["IDF1"], 2 * idtp / max(2, objects), abs_tol=1e-12)
