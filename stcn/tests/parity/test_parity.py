"""Every recorded case of the original implementation, through the runner behind `make parity`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stcn import parity
from vidseg_common.errors import UserError

RECORDS = Path(__file__).parent / "records"
CASES = json.loads((RECORDS / "cases.json").read_text())["cases"]
SMALL = ("aggregate", "ms_merge", "pad_to_16")


def as_parameter(case):
    marks = pytest.mark.xfail(strict=False) if case.get("advisory") else ()
    return pytest.param(case, id=case["name"], marks=marks)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("parity")
    yield parity.Kit(RECORDS, scratch)
    shutil.rmtree(scratch)  # the weights of four full networks


@pytest.mark.parametrize("case", [as_parameter(case) for case in CASES])
def test_case_equals_the_record(kit, case):
    errors = parity.run_case(kit, case)
    assert errors.keys() == case["outputs"].keys()
    too_large = {name: error for name, error in errors.items() if not error <= 1}
    assert not too_large


def test_every_record_belongs_to_a_case():
    named = {case["file"] for case in CASES}
    assert named == {path.name for path in RECORDS.glob("*.npz")}


@pytest.fixture
def small_kit(tmp_path):
    """A kit of three quick cases that a test may spoil: its folder and the content of its list."""
    cases = [case for case in CASES if case["name"] in SMALL]
    for case in cases:
        shutil.copy(RECORDS / case["file"], tmp_path)
    (tmp_path / "cases.json").write_text(json.dumps({"cases": cases}))
    return tmp_path, cases


def run(folder, cases, capsys):
    (folder / "cases.json").write_text(json.dumps({"cases": cases}))
    status = parity.main([str(folder)])
    return status, capsys.readouterr().out.splitlines()[1:]


def line_of(lines, name):
    (line,) = [line for line in lines if line.startswith(f"{name} ")]
    return line


def test_whole_kit_passes_with_one_line_a_case(small_kit, capsys):
    status, lines = run(*small_kit, capsys)
    assert status == 0
    assert [line.split()[0] for line in lines] == [case["name"] for case in small_kit[1]]
    assert all(line.split()[3] == "PASS" for line in lines)


def test_cases_are_chosen_by_name_or_kind(small_kit, capsys):
    folder, _ = small_kit
    assert parity.main([str(folder), "--only", "aggregate", "pad_to_16"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["aggregate", "pad_to_16"]
    with pytest.raises(UserError, match="no case of the names or kinds nothing"):
        parity.main([str(folder), "--only", "nothing"])


def test_unknown_kind_fails_and_the_others_still_run(small_kit, capsys):
    folder, cases = small_kit
    status, lines = run(folder, [{**cases[0], "kind": "telepathy"}, *cases[1:]], capsys)
    assert status == 1
    assert "FAIL" in lines[0]
    assert "unknown case kind 'telepathy'" in lines[0]
    assert all("PASS" in line for line in lines[1:])


@pytest.mark.parametrize("name", ["aggregate", "ms_merge", "pad_to_16"])
def test_perturbed_record_fails(small_kit, capsys, name):
    folder, cases = small_kit
    (case,) = [case for case in cases if case["name"] == name]
    arrays = dict(np.load(folder / case["file"]))
    key = next(key for key in arrays if key.startswith("out.") and key.endswith(".values"))
    values = arrays[key].copy()
    values.flat[0] += 1
    np.savez(folder / case["file"], **{**arrays, key: values})
    status, lines = run(folder, cases, capsys)
    assert status == 1
    assert "FAIL" in line_of(lines, name)
    assert sum("PASS" in line for line in lines) == 2


def test_advisory_case_may_differ_but_must_run(small_kit, capsys):
    folder, cases = small_kit
    (case,) = [case for case in cases if case["name"] == "ms_merge"]
    path = folder / case["file"]
    arrays = dict(np.load(path))
    (key,) = [key for key in arrays if key.startswith("out.") and key.endswith(".values")]
    np.savez(path, **{**arrays, key: arrays[key] + 1})
    status, lines = run(folder, [{**case, "advisory": True}], capsys)
    assert status == 0
    assert "FAIL (advisory)" in lines[0]
    path.unlink()
    status, lines = run(folder, [{**case, "advisory": True}], capsys)
    assert status == 1
    assert "No such file" in lines[0]


def test_outputs_that_are_missing_fail(small_kit, capsys):
    folder, cases = small_kit
    (case,) = [case for case in cases if case["name"] == "aggregate"]
    spec = {"kind": "exact"}
    status, lines = run(
        folder, [{**case, "outputs": {**case["outputs"], "more": spec}}, cases[-1]], capsys
    )
    assert status == 1
    assert "outputs missing: ['more']" in lines[0]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"cases": []}'])
def test_foreign_lists_are_refused(tmp_path, text):
    (tmp_path / "cases.json").write_text(text)
    with pytest.raises(UserError, match=r"cases\.json"):
        parity.main([str(tmp_path)])


def test_folder_without_list_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        parity.main([str(tmp_path)])


@pytest.mark.parametrize(
    ("spec", "got", "error"),
    [
        ({"kind": "exact"}, [1.0, 2.0], 0),
        ({"kind": "exact"}, [1.0, 2.1], np.inf),
        ({"kind": "labels", "max_mismatch_fraction": 0.5}, [1.0, 3.0], 1),
        ({"kind": "labels", "max_mismatch_fraction": 0.0}, [1.0, 3.0], np.inf),
        ({"kind": "float", "tolerance_rel": 0.1}, [1.0, 2.05], 1),
        ({"kind": "float", "tolerance_rel": 0.1}, [1.0, np.nan], np.inf),
        ({"kind": "float", "tolerance_rel": 0.1}, [1.0, 2.0, 3.0], np.inf),
        ({"kind": "guess"}, [1.0, 2.0], np.inf),
    ],
)
def test_error_of_an_output(spec, got, error):
    arrays = {
        "out.x.shape": np.array([2]),
        "out.x.values": np.array([1.0, 2.0]),
        "out.x.moments": np.array([1.5, 0.5, 2.0]),
    }
    assert parity.output_error("x", spec, arrays, np.array(got)) == pytest.approx(error)
