"""The scores of whole sets of masks, against the protocols written down literally."""

import math
import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jf_definition import slow_jf, slow_statistics

from vidseg_common.datasets.youtube_vos import ObjectMeta
from vidseg_common.masks import write_mask
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.metrics.folder_jf import evaluate_folders
from vidseg_common.metrics.youtube_vos import evaluate_youtube_vos

SEEDS = st.integers(0, 2**32)
VOID = 255
COLUMNS = [f"{measure}-{kind}" for measure in "JF" for kind in ("Mean", "Recall", "Decay")]


def random_videos(seed, *, void):
    """Two videos of rectangles that move, and what a poor method makes of them."""
    rng = np.random.default_rng(seed)
    videos = {}
    for name in ("a", "b"):
        gt = np.zeros((rng.integers(3, 7), 9, 12), np.uint8)
        num_objects = rng.integers(1, 4)
        for i in range(1, num_objects + 1):
            (y, x), first = rng.integers(0, [6, 8]), rng.integers(0, 3) if i < num_objects else 0
            for t in range(first, len(gt)):
                gt[t, y : y + 3, x : x + 5] = i
                y, x = np.clip(np.add([y, x], rng.integers(-1, 2, 2)), 0, [6, 8])
        pred = np.roll(gt, rng.integers(-1, 2, 2), (1, 2))
        pred[rng.random(gt.shape) < 0.1] = rng.integers(0, num_objects + 1)
        if void:
            ids = rng.permutation(num_objects + 2)[: num_objects + 1]
            pred = np.where(pred > 0, ids.astype(np.uint8)[pred], 0).astype(np.uint8)
            gt[rng.random(gt.shape) < 0.1] = VOID
        gt[0, 0, 0] = num_objects  # K is the largest id of the first annotation
        videos[name] = (gt, pred)
    return videos


def score(videos, evaluate):
    """Calls a metric with the folders of annotations and results of some videos."""
    with tempfile.TemporaryDirectory() as folder:
        for name, pair in videos.items():
            for kind, masks in zip(("gt", "pred"), pair, strict=True):
                for t, mask in enumerate(masks):
                    write_mask(Path(folder) / kind / name / f"{5 * t:05d}.png", mask)
        return evaluate(Path(folder) / "gt", Path(folder) / "pred")


def pair_frames(gt, pred, labelled):
    """J and F of every frame."""
    return np.array(
        [slow_jf(g & v, p & v) for g, p, v in zip(gt, pred, labelled, strict=True)]
    ).T.tolist()


def row_of(gt, pred, labelled):
    """J-Mean, J-Recall, J-Decay, F-Mean, F-Recall, F-Decay of one object."""
    return [x for values in pair_frames(gt, pred, labelled) for x in slow_statistics(values)]


@given(SEEDS, st.booleans())
@settings(max_examples=15, deadline=None)
def test_semi_supervised(seed, binary):
    videos = random_videos(seed, void=False)
    rows = []
    for gt, pred in videos.values():
        inner = slice(1, -1)
        ids = [None] if binary else range(1, gt[0].max() + 1)
        for i in ids:
            g, p = (gt > 0, pred > 0) if binary else (gt == i, pred == i)
            rows.append(row_of(g[inner], p[inner], np.ones_like(g)[inner]))
    found = score(
        videos, lambda *roots: evaluate_davis(*roots, list(videos), binary=binary, progress=False)
    )
    means = np.mean(rows, axis=0)
    assert [found.numbers[name] for name in COLUMNS] == pytest.approx(means, abs=1e-12)
    assert found.global_mean == pytest.approx((means[0] + means[3]) / 2, abs=1e-12)


@given(SEEDS)
@settings(max_examples=15, deadline=None)
def test_unsupervised(seed):
    videos = random_videos(seed, void=True)
    num_objects, total, rows, is_unique = 0, 0.0, [], True
    for gt, pred in videos.values():
        first = np.where(gt[0] == VOID, 0, gt[0])
        objects = range(1, first.max() + 1)
        proposals = range(1, max(pred.max(), len(objects)) + 1)
        table = {(n, k): row_of(gt == k, pred == n, gt != VOID) for n in proposals for k in objects}
        ways = [
            list(zip(way, objects, strict=True)) for way in permutations(proposals, len(objects))
        ]
        sums = [sum((table[pair][0] + table[pair][3]) / 2 for pair in way) for way in ways]
        best = max(sums)
        is_unique &= sum(value > best - 1e-9 for value in sums) == 1
        rows += [table[pair] for pair in ways[sums.index(best)]]
        num_objects, total = num_objects + len(objects), total + best
    found = score(
        videos,
        lambda *roots: evaluate_davis(*roots, list(videos), task="unsupervised", progress=False),
    )
    assert found.global_mean == pytest.approx(total / num_objects, abs=1e-12)
    if is_unique:
        means = np.mean(rows, axis=0)
        assert [found.numbers[name] for name in COLUMNS] == pytest.approx(means, abs=1e-12)


@given(SEEDS, st.booleans(), st.booleans())
@settings(max_examples=15, deadline=None)
def test_folders(seed, skip, void):
    videos = random_videos(seed, void=void)
    rows = {}
    for name, (gt, pred) in videos.items():
        labelled = gt != (VOID if void else 0.5)
        chosen = range(1, len(gt) - 1) if skip else range(len(gt))
        seen, frames = set(), {}
        for t in chosen:
            seen |= {*gt[t][labelled[t]].tolist(), *pred[t][labelled[t]].tolist()} - {0}
            for i in seen:
                jf = slow_jf((gt[t] == i) & labelled[t], (pred[t] == i) & labelled[t])
                frames.setdefault(i, []).append(jf)
        there = {*gt[list(chosen)].ravel().tolist()} - {0, VOID if void else 0}
        rows |= {(name, i): np.mean(frames[i], axis=0) for i in there}
    found = score(
        videos,
        lambda *roots: evaluate_folders(
            *roots, void=VOID if void else None, skip_first_and_last=skip, progress=False
        ),
    )
    got = {(row.sequence, row.object_id): (row.j, row.f) for row in found.rows}
    assert set(got) == set(rows)
    for key, want in rows.items():
        assert got[key] == pytest.approx(want, abs=1e-12)
    assert found.global_mean == pytest.approx(np.mean(list(rows.values())), abs=1e-12)


@given(SEEDS, st.booleans())
@settings(max_examples=15, deadline=None)
def test_youtube_vos(seed, include_first):
    videos = random_videos(seed, void=False)
    rng = np.random.default_rng(seed)
    meta, means = {}, {"J_seen": [], "F_seen": [], "J_unseen": [], "F_unseen": []}
    for name, (gt, pred) in videos.items():
        meta[name] = {}
        for i in range(1, gt.max() + 1):
            start = int(np.flatnonzero((gt == i).any(axis=(1, 2)))[0]) if (gt == i).any() else 0
            frames = range(start, len(gt))
            category = str(rng.choice(["dog", "unicorn"]))
            meta[name][i] = ObjectMeta(category, tuple(f"{5 * t:05d}" for t in frames))
            scored = frames if include_first else frames[1:]
            if len(scored):
                rows = [slow_jf(gt[t] == i, pred[t] == i) for t in scored]
                group = "seen" if category == "dog" else "unseen"
                for measure, value in zip("JF", np.mean(rows, axis=0), strict=True):
                    means[f"{measure}_{group}"].append(value)
    want = {name: float(np.mean(v)) if v else math.nan for name, v in means.items()}
    want["overall"] = float(np.nanmean(list(want.values())))
    found = score(
        videos,
        lambda gt, pred: evaluate_youtube_vos(
            gt, meta, pred, seen_categories={"dog"}, include_first=include_first, progress=False
        ),
    )
    assert found.numbers == pytest.approx(want, abs=1e-12, nan_ok=True)
