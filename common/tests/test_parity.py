"""The recorded cases of masks and of J and F, and the runner itself."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from vidseg_common.errors import UserError
from vidseg_common.parity import runner
from vidseg_common.parity.records import difference, recorded

KIT = Path(__file__).parent / "parity"
CASES = {case["name"]: case for case in runner.read_cases(KIT)}
OWN = [
    *("jf_frames", "davis_sequences", "davis_generic", "davis_trackeval", "davis_benchmark"),
    *("ytvos", "rle"),
]


@pytest.mark.parametrize("name", OWN)
def test_recorded_case(name):
    case = CASES[name]
    checks = list(runner.checker_of(case["kind"])(KIT, case))
    assert len(checks) > 30
    # Far closer than the record asks for: everything is counting.
    assert [check for check in checks if not check[1] <= 1e-12] == []


@pytest.mark.parametrize("name", CASES)
def test_every_kind_is_known(name):
    assert callable(runner.checker_of(CASES[name]["kind"]))


def test_published_predictions(monkeypatch):
    """Compared where VIDSEG_DATA names the data, skipped with a reason elsewhere."""
    outcome = runner.run_case(KIT, CASES["osvos_davis2016"])
    assert outcome.verdict in ("PASS", "SKIPPED"), outcome.detail
    monkeypatch.setenv("VIDSEG_DATA", str(KIT))
    outcome = runner.run_case(KIT, CASES["osvos_davis2016"])
    assert outcome.verdict == "SKIPPED"
    assert "VIDSEG_DATA" in outcome.detail


@pytest.fixture
def kit(tmp_path):
    """A kit of one frame."""
    square = np.zeros((20, 30), np.uint8)
    square[5:15, 5:15] = 1
    np.savez(tmp_path / "frames.npz", **{"a.gt": square, "a.pred": square})
    frame = {"shape": [20, 30], "radius": 1, "J": 1.0, "F": 1.0}
    frame |= {"boundary_pixels_gt": 40, "boundary_pixels_pred": 40}
    (tmp_path / "numbers.json").write_text(json.dumps({"frames": {"a": frame}}))
    case = {"name": "one", "kind": "jf-frames", "inputs": ["frames.npz"]}
    write_cases(tmp_path, [case | {"expected": "numbers.json: frames"}])
    return tmp_path


def write_cases(kit, cases):
    (kit / "cases.json").write_text(json.dumps({"format": 1, "cases": cases}))


def run(kit):
    lines = []
    return runner.run_kit(kit, lines.append), lines


def test_a_kit_under_other_names_passes(kit, capsys):
    passed, lines = run(kit)
    assert passed
    assert len(lines) == 2
    assert lines[1].split()[:4] == ["one", "0", "1e-09", "PASS"]
    assert runner.main([str(kit)]) == 0
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(("number", "shown"), [(0.9, "0.1"), (None, "inf")])
def test_a_wrong_number_fails_with_its_error(kit, number, shown):
    text = (kit / "numbers.json").read_text()
    (kit / "numbers.json").write_text(text.replace('"J": 1.0', f'"J": {json.dumps(number)}'))
    passed, lines = run(kit)
    assert not passed
    assert lines[1].split()[:4] == ["one", shown, "1e-09", "FAIL"]
    assert "a: J and F" in lines[1]
    assert runner.main([str(kit)]) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "unheard-of"}, "unknown case kind 'unheard-of'"),
        ({"kind": "runner"}, "unknown case kind 'runner'"),
        ({"kind": "../x"}, "unknown case kind"),
        ({"kind": None}, "unknown case kind"),
        ({"inputs": []}, "names no file that ends in .npz"),
        ({"expected": "gone.json"}, "the kit has no file"),
        ({"inputs": ["numbers.json", "cases.npz"]}, "the kit has no file"),
    ],
)
def test_what_cannot_run_fails_and_the_rest_runs(kit, changes, reason):
    good = json.loads((kit / "cases.json").read_text())["cases"][0]
    write_cases(kit, [good | {"name": "bad"} | changes, good])
    passed, lines = run(kit)
    assert not passed
    assert "FAIL" in lines[1]
    assert reason in lines[1]
    assert "PASS" in lines[2]


def test_a_case_that_compares_nothing_fails(kit):
    (kit / "numbers.json").write_text('{"frames": {}}')
    assert "nothing was compared" in run(kit)[1][1]


@pytest.mark.parametrize("text", ["", "[]", '{"cases": []}', '{"cases": [{"kind": "rle"}]}'])
def test_what_is_no_kit_is_refused(kit, text):
    (kit / "cases.json").write_text(text)
    with pytest.raises(UserError, match=r"cases\.json"):
        runner.main([str(kit)])
    (kit / "cases.json").unlink()
    with pytest.raises(UserError, match="no such file"):
        runner.main([str(kit)])


def test_without_a_checkout_a_kit_must_be_named(monkeypatch, tmp_path):
    monkeypatch.setattr(runner, "_CHECKOUT_RECORDS", tmp_path)
    with pytest.raises(UserError, match="name a folder"):
        runner.main([])


def test_recorded_numbers():
    values = recorded([[1, None], ["inf", "-inf"]])
    assert values[1].tolist() == [math.inf, -math.inf]
    assert math.isnan(values[0, 1])
    assert difference([math.nan, math.inf, 2.0], [None, "inf", 1.5]) == 0.5
    assert difference([1.0], [None]) == math.inf
    assert difference(-math.inf, "inf") == math.inf
    assert difference([1.0], [1.0, 1.0]) == math.inf
    assert difference([], []) == 0.0
