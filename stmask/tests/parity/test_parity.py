"""Every recorded case of the original implementation, through the runner behind `make parity`."""

import json
import shutil

import numpy as np
import pytest
import torch

from stmask.parity import RECORDS, RUNNERS, SUITE
from stmask.parity_kit import Kit, error_of, fill_by_name, tolerance_of
from vidseg_common.errors import UserError
from vidseg_common.parity_kit import make_input

CASES = json.loads((RECORDS / "cases.json").read_text())["cases"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("parity")
    yield Kit(RECORDS, scratch)
    shutil.rmtree(scratch)  # the weights of six full networks


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case_equals_the_record(kit, case):
    comparisons = SUITE.run_case(kit, case)
    assert not [item for item in comparisons if not item.passed]


def test_every_record_belongs_to_a_case():
    named = {case["file"] for case in CASES}
    assert named == {path.name for path in RECORDS.glob("*.npz")}


def test_every_kind_has_a_runner():
    known = {kind for kinds in RUNNERS.values() for kind in kinds}
    assert known == {case["kind"] for case in CASES}


def small_kit(folder, **changes):
    case = next(dict(c) for c in CASES if c["name"] == "boxes") | changes
    (folder / "cases.json").write_text(json.dumps({"cases": [case]}))
    shutil.copy(RECORDS / "boxes.npz", folder)
    return folder


def test_lines_and_verdict(tmp_path):
    lines = []
    assert SUITE.run_kit(small_kit(tmp_path), lines.append)
    assert len(lines) == 2 and "PASS" in lines[1]


def test_unknown_kind_fails(tmp_path):
    lines = []
    assert not SUITE.run_kit(small_kit(tmp_path, kind="dance"), lines.append)
    assert "FAIL" in lines[1] and "dance" in lines[1]


def test_wrong_number_fails(tmp_path):
    kit = small_kit(tmp_path)
    arrays = dict(np.load(kit / "boxes.npz"))
    arrays["decode.values"] = arrays["decode.values"] + 1
    np.savez(kit / "boxes.npz", **arrays)
    lines = []
    assert not SUITE.run_kit(kit, lines.append)
    assert "FAIL  decode" in lines[1]


def test_other_seeds_are_computed_anew(tmp_path):
    case = next(c for c in CASES if c["name"] == "boxes")
    inputs = {name: spec | {"seed": 1 + spec["seed"]} for name, spec in case["inputs"].items()}
    assert not SUITE.run_kit(small_kit(tmp_path, inputs=inputs), [].append)


@pytest.mark.parametrize("text", [None, "{", '{"cases": []}'])
def test_folder_that_is_no_kit(tmp_path, text):
    if text is not None:
        (tmp_path / "cases.json").write_text(text)
    with pytest.raises(UserError, match=r"cases\.json"):
        SUITE.run_kit(tmp_path, print)


def test_choice_of_cases_and_missing_manifest(tmp_path):
    with pytest.raises(UserError, match="nothing_of_it"):
        SUITE.run_kit(small_kit(tmp_path), print, only=["nothing_of_it"])
    with pytest.raises(UserError, match="manifest_x"):
        Kit(tmp_path, tmp_path).weights("manifest_x.json")


def record(folder, **changes):
    arrays = {
        "a.shape": np.array([4]), "a.moments": np.array([1.5, 1.25, 3.0]),
        "a.values": np.arange(4.0), "scalars.shape": np.array([2]),
        "scalars.moments": np.array([2.0, 1.0, 3.0]), "scalars.values": np.array([1.0, 3.0]),
    }  # fmt: skip
    np.savez(folder / "x.npz", **arrays)
    case = {"name": "x", "file": "x.npz", "tolerance_rel": 0.1, "scalars_order": ["b", "c"]}
    return Kit(folder, folder), case | changes


def test_gathered_outputs(tmp_path):
    kit, case = record(tmp_path, tolerance_per_output={"scalars": 0.5, "c": 0.0})
    errors = {
        item.name: (item.error, item.tolerance, item.passed)
        for item in kit.compare(case, {"a": torch.arange(4.0), "b": [1.0, 1.25], "c": 3.5})
    }
    assert errors["a"] == (0.0, 0.1, True)
    assert errors["b"] == (0.25, 0.5, True)
    assert errors["c"] == (0.5, 0.0, False)


def test_outputs_must_be_those_recorded(tmp_path):
    kit, case = record(tmp_path)
    with pytest.raises(UserError, match=r"missing: \['c'\].*recorded: \['d'\]"):
        kit.compare(case, {"a": np.arange(4.0), "b": 1.0, "d": 1.0})
    assert not kit.compare(case, {"a": np.arange(5.0), "b": 1.0, "c": 3.0})[0].passed
    assert not kit.compare(case, {"a": np.arange(4.0), "b": [], "c": 3.0})[1].passed
    assert not kit.compare(case, {"a": np.full(4, np.nan), "b": 1.0, "c": 3.0})[0].passed
    assert tolerance_of(case, "a") == 0.1


def test_a_record_without_spread_is_met_exactly():
    arrays = {"a.shape": np.array([2]), "a.moments": np.array([5.0, 0.0, 5.0]),
              "a.values": np.array([5.0, 5.0])}  # fmt: skip
    assert error_of("a", arrays, [5.0, 5.0]) == 0
    assert error_of("a", arrays, [5.0, 5.001]) > 1e6


def test_modules_are_filled_by_name():
    layer = fill_by_name(torch.nn.Linear(3, 2), "x.", {"x.w": 2.0})
    again = fill_by_name(torch.nn.Linear(3, 2), "x.")
    assert torch.allclose(layer.weight, 2 * again.weight) and torch.equal(layer.bias, again.bias)


def test_inputs():
    spec = {"shape": [3], "seed": 1}
    assert np.array_equal(make_input({**spec, "scale": 2.0}), 2 * make_input(spec))
    with pytest.raises(UserError, match="poisson"):
        make_input(spec | {"dist": "poisson"})
