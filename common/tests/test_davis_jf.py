import dataclasses
import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jf_definition import slow_jf, slow_statistics

from vidseg_common.errors import DatasetError
from vidseg_common.masks import write_binary_mask, write_mask
from vidseg_common.metrics import davis_cli, davis_server, davis_tables
from vidseg_common.metrics.boundary import boundary_radius, count_pair
from vidseg_common.metrics.davis_jf import evaluate_davis, jf_frame
from vidseg_common.metrics.jf_result import JFResult, statistic_of
from vidseg_common.metrics.pair_scores import score_pairs

TASKS = ("semi-supervised", "unsupervised", "tracking")


def write_sequence(root, name, masks):
    for t, mask in enumerate(masks):
        write_mask(root / name / f"{t:05d}.png", mask)


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


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Two sequences of 30 frames with drifting predictions; ids of "a" are permuted."""
    root = tmp_path_factory.mktemp("noisy")
    rng = np.random.default_rng(3)
    for name, num_objects, names in (("a", 3, (0, 3, 1, 2)), ("b", 2, (0, 1, 2))):
        masks = np.zeros((30, 48, 64), np.uint8)
        for object_id in range(1, num_objects + 1):
            y, x = 14 * object_id - 10, 10 * object_id
            masks[:, y : y + 10, x : x + 20] = object_id
        moved = np.stack([np.roll(m, (t // 8, t // 5), (0, 1)) for t, m in enumerate(masks)])
        moved[rng.random(moved.shape) < 0.02] = 0
        write_sequence(root / "gt", name, masks)
        write_sequence(root / "pred", name, np.array(names, np.uint8)[moved])
    return root


@pytest.mark.parametrize("task", TASKS)
def test_processes_do_not_change_the_result(noisy, task):
    alone = score(noisy, ["a", "b"], task=task)
    assert score(noisy, ["a", "b"], task=task, workers=2) == alone
    assert not any(value in (0.0, 1.0) for value in alone.numbers.values())


def test_result_as_json(noisy):
    result = score(noisy, ["a", "b"])
    data = json.loads(json.dumps(result.to_json()))
    assert JFResult.from_json(data) == result
    assert data["global"]["J&F-Mean"] == result.global_mean == (result.j_mean + result.f_mean) / 2
    assert set(data["sequences"]) == {"a", "b"}
    assert len(data["objects"]) == 5
    assert data["objects"][0]["j"]["mean"] == result.rows[0].j.mean
    assert len(data["objects"][0]["j_frames"]) == len(data["objects"][0]["frames"])
    first = [row.j.mean for row in result.rows if row.sequence == "a"]
    assert data["sequences"]["a"]["J-Mean"] == pytest.approx(np.mean(first))
    assert result.per_video()[0] == {"video": "a", **data["sequences"]["a"]}
    assert [(row["video"], row["object_id"]) for row in result.per_object()] == [
        (row.sequence, row.object_id) for row in result.rows
    ]


@pytest.mark.parametrize("task", TASKS)
def test_one_measure_alone(noisy, task):
    both = score(noisy, ["a", "b"], task=task)
    for metric in ("J", "F"):
        one = score(noisy, ["a", "b"], task=task, metrics=[metric])
        assert list(one.numbers) == [f"{metric}-{kind}" for kind in ("Mean", "Recall", "Decay")]
        if task == "semi-supervised":
            assert one.numbers.items() <= both.numbers.items()
        assert one.global_mean == one.numbers[f"{metric}-Mean"] >= 0
        assert "F" not in one.table() if metric == "J" else "J" not in one.table()
        data = json.loads(json.dumps(one.to_json()))
        assert "NaN" not in json.dumps(data)
        assert JFResult.from_json(data).numbers == one.numbers
        assert one.frames_csv().splitlines()[0] == f"Sequence,Frame,{metric}"
    with pytest.raises(DatasetError, match="J, F or both, not G"):
        score(noisy, ["a"], task=task, metrics=["G"])


def test_each_measure_alone_decides_the_assignment(tmp_path):
    # Proposal 1 covers most of the object, proposal 2 draws its outline.
    gt = np.zeros((3, 60, 80), np.uint8)
    gt[:, 10:50, 10:60] = 1
    pred = np.zeros_like(gt)
    pred[:, 10:50, 10:60] = 2
    pred[:, 15:45, 15:55] = 1
    write_sequence(tmp_path / "gt", "s", gt)
    write_sequence(tmp_path / "pred", "s", pred)
    chosen = {
        metrics: score(tmp_path, ["s"], task="unsupervised", metrics=metrics).rows[0].proposal
        for metrics in ("J", "F", "JF")
    }
    assert chosen == {"J": 1, "F": 2, "JF": 2}


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=700))
@settings(deadline=None)
def test_statistics(values):
    statistic = statistic_of(values)
    expected = slow_statistics(values)
    assert dataclasses.astuple(statistic) == pytest.approx(expected, abs=1e-12)
    if len(values) <= 256:
        assert statistic_of(values, compat=True) == statistic


def test_compat_has_the_decay_of_8_bit_indices():
    values = np.linspace(1, 0, 300)
    assert math.isnan(statistic_of(values, compat=True).decay)
    assert statistic_of(values).decay == pytest.approx(0.75, abs=0.01)
    # With 700 frames the last index wraps to one behind the one before it: a wrong number.
    wrong = statistic_of(np.linspace(1, 0, 700), compat=True).decay
    assert not math.isnan(wrong)
    assert wrong < 0.5


def test_compat_keeps_the_row_order_of_the_official_tool(noisy):
    ours = score(noisy, ["a"], task="unsupervised")
    official = score(noisy, ["a"], task="unsupervised", compat=True)
    assert (
        [row.object_id for row in ours.rows]
        == [1, 2, 3]
        == [row.object_id for row in official.rows]
    )
    assert [row.proposal for row in official.rows] == sorted(row.proposal for row in ours.rows)
    assert {row.j for row in ours.rows} == {row.j for row in official.rows}
    assert official.warnings == (
        "a: rows 1..3 are the objects 2, 3, 1, as the official tool has them",
    )


@pytest.mark.parametrize("metrics", ["J", "F", "JF"])
@pytest.mark.parametrize("task", TASKS[:2])
def test_an_object_without_annotation_is_told(tmp_path, task, metrics):
    gt = np.zeros((4, 20, 30), np.uint8)
    gt[:, 3:9, 3:9] = 1
    gt[:, 12:18, 3:9] = 3
    write_sequence(tmp_path / "gt", "s", gt)
    write_sequence(tmp_path / "pred", "s", gt)
    result = score(tmp_path, ["s"], task=task, metrics=metrics)
    (warning,) = result.warnings
    assert "s: object 2 is in no evaluated annotation" in warning
    assert result.global_mean == 1


small_maps = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 11)), elements=st.sampled_from([0, 1, 3])
)


@given(gt=small_maps, data=st.data())
@settings(max_examples=60, deadline=None)
def test_all_pairs_equal_the_definition(gt, data):
    pred = data.draw(hnp.arrays(np.uint8, gt.shape, elements=st.sampled_from([0, 2, 3, 7])))
    gt = np.where(data.draw(hnp.arrays(np.bool_, gt.shape)), gt, 255).astype(np.uint8)
    labelled = gt != 255
    table = score_pairs(gt, pred, boundary_radius(gt.shape))
    assert table.objects == tuple(i for i in (1, 3) if (gt == i).any())
    values = table.take([2, 3, 5, 7], [1, 2, 3])
    for n, proposal in enumerate((2, 3, 5, 7)):
        for k, object_id in enumerate((1, 2, 3)):
            expected = slow_jf(gt == object_id, (pred == proposal) & labelled)
            assert tuple(values[n, k]) == pytest.approx(expected, abs=1e-12)
    without = score_pairs(gt, pred, 1, boundaries=False).values
    assert (without[..., 0] == table.values[..., 0]).all()
    assert np.isnan(without[..., 1]).all()


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_all_pairs_equal_single_comparisons(data):
    shape = (data.draw(st.integers(20, 90)), data.draw(st.integers(40, 200)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    maps = [np.zeros(shape, np.uint8) for _ in range(2)]
    for ids, most in zip(maps, (4, 20), strict=True):
        for object_id in range(1, int(rng.integers(2, most)) + 1):
            y, x = rng.integers(shape[0]), rng.integers(shape[1])
            ids[y : y + rng.integers(1, 40), x : x + rng.integers(1, 60)] = object_id
    radius = data.draw(st.integers(1, 20))
    table = score_pairs(maps[0], maps[1], radius)
    for k in table.objects:
        for n in table.proposals:
            counts = count_pair(np.stack([maps[0] == k, maps[1] == n]), radius)
            assert tuple(table.take([n], [k])[0, 0]) == (counts.j, counts.f)


def test_tracking_rule_knows_objects_of_any_frame(tmp_path):
    gt = np.zeros((4, 30, 40), np.uint8)
    gt[:, 2:10, 2:10] = 40
    gt[2:, 15:25, 15:30] = 9
    gt[:, 28:] = 255
    pred = np.where(gt == 40, 200, 0).astype(np.uint8)
    pred[:, 28:] = 200
    write_sequence(tmp_path / "gt", "s", gt)
    write_sequence(tmp_path / "pred", "s", pred)
    rows = score(tmp_path, ["s"], task="tracking").rows
    # An object without prediction is compared with an empty one, in frames without it too.
    assert [(row.object_id, row.proposal, row.j.mean) for row in rows] == [
        (9, 0, 0.5),
        (40, 200, 1.0),
    ]
    write_sequence(tmp_path / "gt", "s", np.full((4, 30, 40), 255, np.uint8))
    with pytest.raises(DatasetError, match="s: no object in any annotation"):
        score(tmp_path, ["s"], task="tracking")


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


def test_bad_files_are_listed_beside_missing_ones(small):
    write_mask(small / "pred/a/00001.png", np.zeros((20, 31), np.uint8))
    (small / "pred/b/00002.png").unlink()
    with pytest.raises(DatasetError) as caught:
        score(small, ["a", "b"])
    assert "2 problem(s)" in str(caught.value)
    assert "b: missing prediction" in str(caught.value)
    assert "a/00001.png is 31x20 pixels" in str(caught.value)


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


def as_data_set(root, annotations="Annotations"):
    """Makes the folder `gt` a data set; there are no images, nobody needs them."""
    (root / annotations).mkdir()
    (root / "gt").rename(root / annotations / "480p")
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("a\nb\n")


def test_command_line(small, capsys):
    as_data_set(small)
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


def test_command_line_of_chosen_measures(small, capsys):
    as_data_set(small, "Annotations_unsupervised")
    flags = ["--davis_path", str(small), "--results_path", str(small / "pred"), "--quiet"]
    flags += ["--csv_path", str(small / "out"), "--workers", "1"]
    assert davis_cli.main([*flags, "--metric", "F", "--task", "tracking", "--per_frame"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split() == ["F-Mean", "F-Recall", "F-Decay"]
    lines = (small / "out/per-frame_results-val.csv").read_text().splitlines()
    assert lines[:2] == ["Sequence,Frame,F", "a_1,00000,1.000000"]
    assert len(lines) == 1 + 2 * 2 * 6
    assert davis_cli.main([*flags, "--compat"]) == 0


def test_cache_answers_only_the_same_question(small, capsys, monkeypatch):
    as_data_set(small)
    (small / "Annotations_unsupervised").symlink_to(small / "Annotations")
    out = small / "out"
    flags = ["--davis_path", str(small), "--results_path", str(small / "pred"), "--quiet"]
    flags += ["--csv_path", str(out), "--workers", "1", "--use-cache", "--task"]
    computed = []

    def counted(*args, **options):
        computed.append(options["task"])
        return evaluate_davis(*args, **options)

    monkeypatch.setattr(davis_cli, "evaluate_davis", counted)
    printed = []
    for task in ("unsupervised", "semi-supervised", "unsupervised", "semi-supervised"):
        davis_cli.main([*flags, task])
        printed.append(capsys.readouterr().out)
    assert computed == ["unsupervised", "semi-supervised"]
    assert printed[:2] == printed[2:]
    write_mask(small / "pred/a/00001.png", np.zeros((20, 30), np.uint8))
    davis_cli.main([*flags, "semi-supervised"])
    assert computed[2:] == ["semi-supervised"]
    assert capsys.readouterr().out != printed[1]
    davis_cli.main([*flags, "semi-supervised", "--metric", "J"])
    (out / "results-val-semi-supervised.cache.json").write_text("{")
    davis_cli.main([*flags, "semi-supervised"])
    flags.remove("--use-cache")
    davis_cli.main([*flags, "semi-supervised"])
    assert computed[3:] == ["semi-supervised"] * 3


def test_server_command(small, capsys):
    flags = [str(small), str(small / "out"), "--workers", "1"]
    with pytest.raises(DatasetError, match=r"folder not found: .*ref, .*res"):
        davis_server.main(flags)
    (small / "gt").rename(small / "ref")
    (small / "pred").rename(small / "res")
    assert davis_server.main([*flags, "--task", "unsupervised"]) == 0
    text = (small / "out/scores.txt").read_text()
    assert text == capsys.readouterr().out
    assert text.splitlines() == [
        "GlobalMean: 1.000000",
        "JMean: 1.000000",
        "JRecall: 1.000000",
        "JDecay: 0.000000",
        "FMean: 1.000000",
        "FRecall: 1.000000",
        "FDecay: 0.000000",
    ]
    # The data set itself as reference, with and without lists.
    (small / "ref").rename(small / "gt")
    (small / "ref").mkdir()
    (small / "gt").rename(small / "ref/gt")
    as_data_set(small / "ref")
    assert davis_server.main([*flags, "--set", "val"]) == 0
    shutil.rmtree(small / "ref/ImageSets")
    assert davis_server.main(flags) == 0


def test_tables_trim_zeros_like_the_official_ones():
    rows = [{"Sequence": "a,b", "J": 0.5}, {"Sequence": "c", "J": -1.25}]
    assert davis_tables.table_text(rows) == "Sequence     J\n     a,b  0.50\n       c -1.25"
    assert davis_tables.csv_text(rows) == 'Sequence,J\n"a,b",0.500\nc,-1.250\n'
    assert davis_tables.table_text([{"J": 1.0}, {"J": math.nan}]) == "  J\n1.0\nNaN"
    assert davis_tables.csv_text([{"J": math.nan}]) == "J\n\n"
    assert "1.000000e-09" in davis_tables.table_text([{"J": 1e-9}])
