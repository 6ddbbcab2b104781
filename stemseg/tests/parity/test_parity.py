"""Every recorded case of the original implementation, through the runner behind `make parity`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from stemseg import parity
from stemseg.parity_kit import Comparison, Kit, compare_output, make_input
from vidseg_common.errors import UserError

RECORDS = Path(__file__).parent / "records"
CASES = json.loads((RECORDS / "cases.json").read_text())["cases"]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("parity")
    yield Kit(RECORDS, scratch)
    shutil.rmtree(scratch)  # the weights of three full networks


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case_equals_the_record(kit, case):
    comparisons = parity.run_case(kit, case)
    assert not [item for item in comparisons if not item.passed]


def test_every_record_belongs_to_a_case():
    named = {case["file"] for case in CASES if case["file"]}
    assert named == {path.name for path in RECORDS.glob("*.npz")}


def test_every_kind_has_a_runner():
    known = {kind for kinds in parity.RUNNERS.values() for kind in kinds}
    assert known == {case["kind"] for case in CASES}


def small_kit(folder, **changes):
    case = next(dict(c) for c in CASES if c["name"] == "op_frozen_bn") | changes
    (folder / "cases.json").write_text(json.dumps({"cases": [case]}))
    shutil.copy(RECORDS / "op_frozen_bn.npz", folder)
    return folder


def test_lines_and_verdict(tmp_path):
    lines = []
    assert parity.run_kit(small_kit(tmp_path), lines.append)
    assert len(lines) == 2 and "PASS" in lines[1]


def test_unknown_kind_fails(tmp_path):
    lines = []
    assert not parity.run_kit(small_kit(tmp_path, kind="dance"), lines.append)
    assert "FAIL" in lines[1] and "dance" in lines[1]


def test_wrong_number_fails(tmp_path):
    kit = small_kit(tmp_path)
    arrays = dict(np.load(kit / "op_frozen_bn.npz"))
    arrays["y.values"] = arrays["y.values"] + 1
    np.savez(kit / "op_frozen_bn.npz", **arrays)
    lines = []
    assert not parity.run_kit(kit, lines.append)
    assert "FAIL  y" in lines[1]


@pytest.mark.parametrize("text", [None, "{", '{"cases": []}'])
def test_folder_that_is_no_kit(tmp_path, text):
    if text is not None:
        (tmp_path / "cases.json").write_text(text)
    with pytest.raises(UserError, match=r"cases\.json"):
        parity.run_kit(tmp_path, print)


def test_choice_of_cases(tmp_path):
    with pytest.raises(UserError, match="nothing_of_it"):
        parity.run_kit(small_kit(tmp_path), print, only=["nothing_of_it"])


def recorded(values):
    return {
        "a.shape": np.array(values.shape),
        "a.moments": np.array([values.mean(), values.std(), np.abs(values).max()]),
        "a.values": values.reshape(-1),
    }


def test_measures_of_the_kinds():
    values = np.arange(10.0)
    got = values.copy()
    got[3] += 1
    spec = {"shape": [10], "tolerance_rel": 1e-4}
    most = compare_output(
        "a", {**spec, "kind": "float_most", "min_share": 0.9}, recorded(values), got
    )
    every = compare_output("a", {**spec, "kind": "float"}, recorded(values), torch.from_numpy(got))
    labels = {"shape": [10], "kind": "labels", "min_agreement": 0.9}
    assert most.passed and not every.passed
    assert every.error == pytest.approx(1 / values.std())
    assert compare_output("a", labels, recorded(values), got).passed
    assert not compare_output("a", {"kind": "exact"}, recorded(values), got).passed
    assert not compare_output("a", {**spec, "kind": "float"}, recorded(values), got[:5]).passed
    got[3] = np.nan
    assert not compare_output("a", {**spec, "kind": "float"}, recorded(values), got).passed
    assert not Comparison("a", float("nan"), 1.0).passed
    with pytest.raises(UserError, match="guess"):
        compare_output("a", {"kind": "guess"}, recorded(values), got)


def test_inputs_of_unknown_distribution_are_refused():
    with pytest.raises(UserError, match="poisson"):
        make_input({"shape": [1], "seed": 0, "dist": "poisson"})
