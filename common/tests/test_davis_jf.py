import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.errors import DatasetError
from vidseg_common.masks import write_binary_mask, write_mask
from vidseg_common.metrics import davis_cli, davis_tables
from vidseg_common.metrics.davis_jf import evaluate_davis, jf_frame
from vidseg_common.metrics.jf_result import statistic_of

PARITY = Path(__file__).parent / "parity"
RECORD = json.loads((PARITY / "expected_davis.json").read_text())
SEQUENCES = np.load(PARITY / "davis_sequences.npz")
TASKS = ("semi-supervised", "unsupervised")
TOLERANCE = 1e-12


def write_sequence(root, name, masks):
    for t, mask in enumerate(masks):
        write_mask(root / name / f"{t:05d}.png", mask)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    root = tmp_path_factory.mktemp("davis")
    for name in RECORD["sequences"]:
        write_sequence(root / "gt", name, SEQUENCES[f"{name}.gt"])
        write_sequence(root / "pred", name, SEQUENCES[f"{name}.pred"])
    return root


def score(root, sequences, **options):
    return evaluate_davis(root / "gt", root / "pred", sequences, progress=False, **options)


@pytest.fixture
def small(tmp_path):
    masks = np.zeros((6, 20, 30), np.uint8)
    masks[:, 4:12, 5:15] = 1
    masks[:, 14:18, 3:25] = 2
    for name in ("a", "b"):
        write_sequence(tmp_path / "gt", name, masks)
        write_sequence(tmp_path / "pred", name, masks)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "task"),
    [
        (name, task)
        for name, entry in RECORD["sequences"].items()
        for task in TASKS
        if task in entry
    ],
)
def test_recorded_sequences(recorded, name, task):
    expected = RECORD["sequences"][name][task]
    if "refused" in expected:
        with pytest.raises(DatasetError, match=rf"{name}: predicted id \d+ in .*\.png"):
            score(recorded, [name], task=task)
        return
    rows = score(recorded, [name], task=task).rows
    assert [row.object_id for row in rows] == sorted(int(i) for i in expected["by_object"])
    for row in rows:
        wanted = expected["by_object"][str(row.object_id)]
        wide = expected.get("decay_with_wide_integers", {})
        for letter, statistic, frames in (
            ("J", row.j, row.j_frames),
            ("F", row.f, row.f_frames),
        ):
            decay = wanted[f"{letter}_D"]
            decay = wide[f"{letter}_D"] if decay is None else decay
            assert abs(statistic.mean - wanted[f"{letter}_M"]) <= TOLERANCE
            assert abs(statistic.recall - wanted[f"{letter}_R"]) <= TOLERANCE
            assert abs(statistic.decay - decay) <= TOLERANCE
            if f"{letter}_frames" in wanted:
                np.testing.assert_allclose(frames, wanted[f"{letter}_frames"], 0, TOLERANCE)
        if "proposal" in wanted:
            assert row.proposal == wanted["proposal"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("task", TASKS)
def test_recorded_benchmark_character_by_character(recorded, tmp_path, task, workers):
    expected = RECORD["benchmark"][task]
    result = score(recorded, RECORD["benchmark"]["sequences"], task=task, workers=workers)
    heading = f"Evaluating sequences for the {task} task...\n"
    assert heading + result.table("val") == "\n".join(expected["stdout"])
    for path in result.write_csv(tmp_path, "val"):
        assert path.read_text() == expected[path.name]
    for key, value in result.global_scores.items():
        assert abs(value - expected["global"][key]) <= TOLERANCE
    for row in result.rows:
        np.testing.assert_allclose((row.j.mean, row.f.mean), expected["rows"][row.name], 0, 1e-12)
    assert any("id_gap: object 2" in warning for warning in result.warnings)


def test_result_as_json(recorded):
    result = score(recorded, ["two_objects", "length_5"])
    data = json.loads(json.dumps(result.to_json()))
    assert data["global"]["J&F-Mean"] == result.global_mean == (result.j_mean + result.f_mean) / 2
    assert set(data["sequences"]) == {"two_objects", "length_5"}
    assert len(data["objects"]) == 3
    assert data["objects"][0]["j"]["mean"] == result.rows[0].j.mean
    assert len(data["objects"][0]["j_frames"]) == len(data["objects"][0]["frames"])
    two = [row.j.mean for row in result.rows if row.sequence == "two_objects"]
    assert data["sequences"]["two_objects"]["J-Mean"] == pytest.approx(np.mean(two))


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=700))
@settings(deadline=None)
def test_statistics(values):
    statistic = statistic_of(values)
    assert statistic.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert statistic.recall == np.mean(np.array(values) > 0.5)
    assert not math.isnan(statistic.decay)
    if len(values) == 1:
        assert statistic.decay == 0


def test_all_missing_predictions_are_listed(small):
    for name in ("a/00001", "a/00003", "b/00004"):
        (small / "pred" / f"{name}.png").unlink()
    # First and last frame are not evaluated, so nobody needs them.
    (small / "pred/a/00000.png").unlink()
    with pytest.raises(DatasetError, match=r"3 problem\(s\)") as caught:
        score(small, ["a", "b"])
    for name in ("00001.png", "00003.png", "00004.png"):
        assert name in str(caught.value)
    with pytest.raises(DatasetError, match=r"4 problem\(s\)"):
        score(small, ["a", "b"], task="unsupervised")


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_files_of_all_sequences_are_listed(small, workers):
    write_mask(small / "pred/a/00001.png", np.zeros((20, 31), np.uint8))
    write_mask(small / "pred/a/00003.png", np.full((20, 30), 9, np.uint8))
    (small / "pred/b/00002.png").write_bytes(b"broken")
    with pytest.raises(DatasetError) as caught:
        score(small, ["a", "b"], workers=workers)
    message = str(caught.value)
    assert "3 problem(s)" in message
    assert "a/00001.png is 31x20 pixels, its annotation 30x20" in message
    assert "a: predicted id 9 in" in message
    assert "b/00002.png: not an image" in message


def test_missing_folders_and_short_sequences(small):
    for t in range(1, 5):
        (small / f"gt/b/0000{t}.png").unlink()
    with pytest.raises(DatasetError) as caught:
        score(small, ["a", "b", "gone"])
    assert "b: 2 annotated frame(s)" in str(caught.value)
    assert "gone: no annotation" in str(caught.value)
    with pytest.raises(DatasetError, match="no results at all"):
        evaluate_davis(small / "gt", small / "empty", ["a"], progress=False)
    with pytest.raises(DatasetError, match="no sequence"):
        score(small, [])


def test_first_annotation_without_objects(small):
    write_mask(small / "gt/a/00000.png", np.full((20, 30), 255))
    with pytest.raises(DatasetError, match="no object in the first annotation"):
        score(small, ["a"])


def test_davis2016_rule_merges_all_ids(tmp_path):
    gt = np.zeros((5, 40, 60), bool)
    gt[:, 10:30, 10:40] = True
    pred = np.where(gt, 7, 0).astype(np.uint8)
    pred[:, :20] *= 3
    pred[:, 25:30, 10:40] = 0
    for t in range(5):
        write_binary_mask(tmp_path / "gt" / "s" / f"{t:05d}.png", gt[t])
    write_sequence(tmp_path / "pred", "s", pred)
    (row,) = score(tmp_path, ["s"], binary=True).rows
    expected = jf_frame(gt[0], pred[0] > 0)
    assert (row.j_frames[0], row.f_frames[0]) == expected
    assert len(row.j_frames) == 3
    with pytest.raises(DatasetError, match="no unsupervised"):
        score(tmp_path, ["s"], binary=True, task="unsupervised")


def test_command_line(small, capsys):
    (small / "gt").rename(small / "480p")
    (small / "Annotations").mkdir()
    (small / "480p").rename(small / "Annotations/480p")
    (small / "ImageSets/2017").mkdir(parents=True)
    (small / "ImageSets/2017/val.txt").write_text("a\nb\n")
    flags = ["--davis_path", str(small), "--results_path", str(small / "pred"), "--quiet"]
    flags += ["--task", "semi-supervised"]
    assert davis_cli.main([*flags, "--workers", "2", "--json", str(small / "out.json")]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[7].split() == ["a_1", "1.0", "1.0"]
    assert (
        (small / "pred/global_results-val.csv")
        .read_text()
        .endswith("\n1.000,1.000,1.000,0.000,1.000,1.000,0.000\n")
    )
    assert json.loads((small / "out.json").read_text())["global"]["J&F-Mean"] == 1.0
    assert davis_cli.main([*flags, "--year", "2016", "--sequences", "b"]) == 0
    with pytest.raises(DatasetError, match="Annotations_unsupervised"):
        davis_cli.main([*flags[:-1], "unsupervised"])
    with pytest.raises(SystemExit) as caught:
        davis_cli.main([*flags, "--worker", "2"])
    assert caught.value.code == 2
    with pytest.raises(SystemExit):
        davis_cli.main([*flags, "--workers", "0"])
    assert "--workers" in capsys.readouterr().err


def test_tables_trim_zeros_like_the_official_ones():
    rows = [{"Sequence": "a,b", "J": 0.5}, {"Sequence": "c", "J": -1.25}]
    assert davis_tables.table_text(rows) == "Sequence     J\n     a,b  0.50\n       c -1.25"
    assert davis_tables.csv_text(rows) == 'Sequence,J\n"a,b",0.500\nc,-1.250\n'
    assert davis_tables.table_text([{"J": 1.0}, {"J": math.nan}]) == "  J\n1.0\nNaN"
    assert davis_tables.csv_text([{"J": math.nan}]) == "J\n\n"
    assert "1.000000e-09" in davis_tables.table_text([{"J": 1e-9}])


@pytest.mark.skipif("VIDSEG_DATA" not in os.environ, reason="VIDSEG_DATA is not set")
def test_published_predictions_on_davis2016():
    record = json.loads((PARITY / "osvos_davis2016.json").read_text())
    data = Path(os.environ["VIDSEG_DATA"])
    gt_root = data / "davis2016" / "Annotations" / "480p"
    names = [name for name in record["sequences"] if (gt_root / name).is_dir()]
    results = data / "osvos_predictions"
    rows = evaluate_davis(gt_root, results, names, binary=True, workers=2, progress=False).rows
    assert len(rows) == len(names) > 0
    for row in rows:
        expected = record["sequences"][row.sequence]
        for letter, statistic, frames in (
            ("J", row.j, row.j_frames),
            ("F", row.f, row.f_frames),
        ):
            assert abs(statistic.mean - expected[f"{letter}_mean"]) <= 1e-9
            assert abs(statistic.recall - expected[f"{letter}_recall"]) <= 1e-9
            assert abs(statistic.decay - expected[f"{letter}_decay"]) <= 1e-9
            np.testing.assert_allclose(frames, expected[f"{letter}_per_frame"], 0, 1e-6)
    if len(names) == len(record["sequences"]):
        mean = np.mean([(row.j.mean + row.f.mean) / 2 for row in rows])
        assert abs(mean - record["set"]["J&F_mean"]) <= 1e-9
