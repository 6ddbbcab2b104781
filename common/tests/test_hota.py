import itertools
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.datasets import mots as mots_format
from vidseg_common.datasets.mots_files import read_seqmap
from vidseg_common.errors import DatasetError
from vidseg_common.metrics import hota
from vidseg_common.metrics.hota_scores import ALPHAS, drop_ignored, score_hota
from vidseg_common.metrics.identity import count_identity
from vidseg_common.metrics.mots_data import ClassFrame, number_tracks
from vidseg_common.metrics.tracking_cli import main

PARITY = Path(__file__).parent / "parity"
KIT = PARITY / "mots"
RECORD = json.loads((PARITY / "expected_mots.json").read_text())
SEQUENCES = read_seqmap(KIT / "all.seqmap")


def frame_of(gt, pred, iou, ignored=None):
    shape = (len(gt), len(pred))
    ignored = np.zeros(len(pred)) if ignored is None else np.array(ignored, float)
    return ClassFrame(np.array(gt, int), np.array(pred, int), np.reshape(iou, shape), ignored)


def random_frames(seed):
    """Frames of random tracks with random overlaps, among which no two assignments tie."""
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(rng.integers(0, 6)):
        gt = rng.permutation(4)[: rng.integers(0, 4)]
        pred = rng.permutation(5)[: rng.integers(0, 5)] + 10
        iou = rng.random((len(gt), len(pred))) * (rng.random((len(gt), len(pred))) < 0.8)
        ignored = rng.random(len(pred)) * (rng.random(len(pred)) < 0.4)
        frames.append(frame_of(gt, pred, iou, ignored))
    return frames


def assignments(rows, columns):
    """Every way to pair as many rows and columns as possible."""
    short, long = sorted((rows, columns), key=len)
    for chosen in itertools.permutations(long, len(short)):
        pairs = zip(short, chosen, strict=True)
        yield list(pairs) if short is rows else [(r, c) for c, r in pairs]


def best_pairs(score):
    ways = assignments(list(range(score.shape[0])), list(range(score.shape[1])))
    return max(ways, key=lambda pairs: sum(score[pair] for pair in pairs))


def plain_kept(frames):
    kept = []
    for f in frames:
        allowed = np.where(f.iou < 0.5, 0, f.iou)
        matched = {p for g, p in best_pairs(allowed) if allowed[g, p] > 0}
        keep = [p for p in range(len(f.pred)) if p in matched or not f.ignored[p] > 0.5]
        kept.append((f.gt.tolist(), f.pred[keep].tolist(), f.iou[:, keep]))
    return kept


def plain_hota(frames):
    """HOTA written down literally, over dictionaries of pairs of ids."""
    n_gt = Counter(g for gt, _, _ in frames for g in gt)
    n_pred = Counter(p for _, pred, _ in frames for p in pred)
    potential = Counter()
    for gt, pred, s in frames:
        for i, g in enumerate(gt):
            for j, p in enumerate(pred):
                rest = s[i].sum() + s[:, j].sum() - s[i, j]
                potential[g, p] += s[i, j] / rest if rest > 1e-15 else 0
    align = {k: v / (n_gt[k[0]] + n_pred[k[1]] - v) for k, v in potential.items()}
    rows = []
    for alpha in np.linspace(0.05, 0.95, 19):
        tp, loc, pairs = 0, 0.0, Counter()
        for gt, pred, s in frames:
            score = np.array([[align[g, p] for p in pred] for g in gt]).reshape(s.shape) * s
            for i, j in best_pairs(score):
                if s[i, j] >= alpha - 1e-15:
                    tp, loc = tp + 1, loc + s[i, j]
                    pairs[gt[i], pred[j]] += 1
        fn, fp = n_gt.total() - tp, n_pred.total() - tp
        shares = [
            (c * c / (n_gt[g] + n_pred[p] - c), c * c / n_gt[g], c * c / n_pred[p])
            for (g, p), c in pairs.items()
        ]
        ass = np.sum(shares, axis=0) / max(1, tp) if shares else np.zeros(3)
        det = [tp / max(1, tp + fn + fp), tp / max(1, tp + fn), tp / max(1, tp + fp)]
        located, owta = loc / tp if tp else 1.0, math.sqrt(det[1] * ass[0])
        rows.append([math.sqrt(det[0] * ass[0]), *det, *ass, located, owta, tp, fn, fp])
    names = [*("HOTA", "DetA", "DetRe", "DetPr", "AssA", "AssRe", "AssPr", "LocA", "OWTA")]
    names += ["HOTA_TP", "HOTA_FN", "HOTA_FP"]
    return dict(zip(names, np.array(rows).T, strict=True))


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_equal_to_the_literal_definition(seed):
    frames = random_frames(seed)
    kept = plain_kept(frames)
    ours = score_hota(drop_ignored(number_tracks(frames))).curves()
    want = plain_hota(kept)
    assert set(ours) == set(want)
    for name, curve in want.items():
        assert np.abs(ours[name] - curve).max() < 1e-12, name


def plain_idtp(frames):
    overlap = Counter()
    for gt, pred, s in frames:
        overlap.update((gt[i], pred[j]) for i, j in np.argwhere(s >= 0.5))
    gts = sorted({g for gt, _, _ in frames for g in gt})
    preds = sorted({p for _, pred, _ in frames for p in pred})
    return max(sum(overlap[pair] for pair in way) for way in assignments(gts, preds))


@given(st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_identity_is_the_best_of_all_assignments(seed):
    frames = random_frames(seed)
    kept = plain_kept(frames)
    ours = count_identity(drop_ignored(number_tracks(frames)))
    assert ours.idtp == plain_idtp(kept)
    assert ours.idtp + ours.idfn == sum(len(gt) for gt, _, _ in kept)
    assert ours.idtp + ours.idfp == sum(len(pred) for _, pred, _ in kept)


def test_iou_of_exactly_half_is_a_match():
    frames = [frame_of([1], [7], [[0.5]], ignored=[1.0])]
    scores = hota.score_sequence(number_tracks(frames))
    assert (scores.clear.tp, scores.identity.idtp) == (1, 1)
    assert scores.hota.tp[ALPHAS < 0.51].tolist() == [1] * 10
    assert scores.hota.tp[ALPHAS > 0.51].tolist() == [0] * 9


def test_the_worst_prediction_in_the_ignore_region_goes():
    frames = [frame_of([1], [7, 8, 9], [[0.8, 0.6, 0.0]], ignored=[1.0, 1.0, 0.5])]
    kept = drop_ignored(number_tracks(frames))
    assert kept.num_pred == 2  # 8 is unmatched; 9 is inside by exactly one half
    assert kept.num_pred_tracks == 2


@pytest.mark.parametrize("num_gt, num_pred", [(0, 0), (0, 2), (2, 0)])
@pytest.mark.parametrize("num_frames", [0, 3])
def test_nothing_there(num_gt, num_pred, num_frames):
    gt, pred = list(range(num_gt)), list(range(num_pred))
    frames = [frame_of(gt, pred, np.zeros((num_gt, num_pred)))] * num_frames
    families = hota.score_sequence(number_tracks(frames)).families()
    assert families["HOTA"]["LocA"].tolist() == [1.0] * 19
    assert families["HOTA"]["HOTA"].tolist() == [0.0] * 19
    assert families["CLEAR"]["MOTA"] == families["Identity"]["IDF1"] == 0
    assert families["Count"]["Dets"] == num_pred * num_frames
    joined = hota.combine_scores([hota.score_sequence(number_tracks(frames))])
    assert joined.families()["HOTA"]["LocA"].tolist() == [1.0] * 19


def test_annotation_sets_give_the_same_as_files():
    truth = mots_format.read(KIT / "gt")
    predictions = mots_format.read_results(KIT / "pred", truth)
    lengths = [(video.name, video.num_frames - 1) for video in truth.videos]
    want = hota.evaluate_files(KIT / "pred", KIT / "gt", lengths, workers=2)
    got = hota.evaluate(truth, predictions)
    assert got.to_json() == want.to_json()
    json.dumps(got.to_json(), allow_nan=False)
    classes = [got.total(name).numbers()["HOTA"] for name in ("car", "pedestrian")]
    assert got.numbers["HOTA"] == pytest.approx(np.mean(classes))
    assert got.numbers["car/HOTA"] == classes[0]
    assert [row["class"] for row in got.per_class()] == ["car", "pedestrian"]
    assert len(got.per_video()) == 2 * len(truth.videos)


@pytest.fixture
def kitti(tmp_path):
    shutil.copytree(KIT / "gt", tmp_path / "gt" / "label_02")
    shutil.copytree(KIT / "pred", tmp_path / "trackers" / "m" / "data")
    return [
        "kitti",
        *("--GT_FOLDER", str(tmp_path / "gt")),
        *("--TRACKERS_FOLDER", str(tmp_path / "trackers")),
    ]


def test_kitti_command_writes_the_official_files(kitti, tmp_path, capsys):
    out = tmp_path / "out"
    seqmap = ["--SEQMAP_FILE", str(KIT / "all.seqmap")]
    assert main([*kitti, *seqmap, "--OUTPUT_FOLDER", str(out), "--USE_PARALLEL", "True"]) == 0
    for name, text in RECORD["trackeval_summary_files"].items():
        assert (out / "m" / name).read_text() == text
    assert (out / "m" / "car_plot.png").stat().st_size > 1000
    header, *rows = (out / "m" / "car_detailed.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [*(name for name, _ in SEQUENCES), "COMBINED"]
    column = header.split(",").index("HOTA___75")
    want = RECORD["trackeval"]["0000"]["car"]["HOTA"]["HOTA"][14]
    assert float(rows[0].split(",")[column]) == pytest.approx(want, abs=1e-12)
    printed = capsys.readouterr().out
    assert "HOTA: m-car" in printed and "Identity: m-pedestrian" in printed


def test_kitti_command_with_zips_and_choices(kitti, tmp_path, capsys):
    folder = tmp_path / "trackers" / "m" / "data"
    shutil.make_archive(str(folder), "zip", folder)
    shutil.rmtree(folder)
    shutil.copy(KIT / "all.seqmap", tmp_path / "gt" / "evaluate_mots.seqmap.mine")
    choices = "--METRICS CLEAR --CLASSES_TO_EVAL car --PLOT_CURVES False --OUTPUT_DETAILED False"
    words = [*kitti, "--INPUT_AS_ZIP", "True", "--SPLIT_TO_EVAL", "mine", *choices.split()]
    assert main(words) == 0
    assert "HOTA:" not in capsys.readouterr().out
    written = {path.name for path in folder.parent.iterdir()}
    assert written == {"data.zip", "car_summary.txt"}
    assert (folder.parent / "car_summary.txt").read_text().startswith("MOTA MOTP")


def test_kitti_command_says_what_is_missing(kitti, tmp_path):
    with pytest.raises(DatasetError, match=r"0008\.txt(.|\n)*0018\.txt"):
        main([*kitti, "--GT_LOC_FORMAT", "{gt_folder}/label_02/{seq}.txt"])
    with pytest.raises(DatasetError, match="no sequence map for the split 'other'"):
        main([*kitti, "--SPLIT_TO_EVAL", "other"])
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match="no tracker in"):
        main([*kitti[:-1], str(tmp_path / "none")])
    with pytest.raises(SystemExit):
        main([*kitti, "--PRINT_RESULTS", "yes"])


def test_challenge_tree_counts_frames_from_one(tmp_path, capsys):
    gt = tmp_path / "data" / "MOTS-train" / "0001"
    (gt / "gt").mkdir(parents=True)
    lines = (KIT / "gt" / "0000.txt").read_text().splitlines()
    shifted = [" ".join([str(int(line.split()[0]) + 1), *line.split()[1:]]) for line in lines]
    (gt / "gt" / "gt.txt").write_text("\n".join(shifted) + "\n")
    (gt / "seqinfo.ini").write_text("[Sequence]\nseqLength=14\n")
    (tmp_path / "data" / "seqmaps").mkdir()
    (tmp_path / "data" / "seqmaps" / "MOTS-train.txt").write_text("name\n0001\n")
    results = tmp_path / "trackers" / "MOTS-train" / "m" / "data"
    results.mkdir(parents=True)
    shutil.copy(gt / "gt" / "gt.txt", results / "0001.txt")
    words = ["mots-challenge", "--GT_FOLDER", str(tmp_path / "data")]
    words += ["--TRACKERS_FOLDER", str(tmp_path / "trackers"), "--PLOT_CURVES", "False"]
    assert main(words) == 0
    assert (results.parent / "pedestrian_summary.txt").read_text().split("\n")[1].startswith("100 ")
    assert "car" not in capsys.readouterr().out
    (gt / "seqinfo.ini").unlink()
    with pytest.raises(DatasetError, match=r"seqinfo\.ini: not found"):
        main(words)
