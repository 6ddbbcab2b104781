"""Every recorded case of the original implementation, through the runner behind `make parity`."""

import json
import shutil

import numpy as np
import pytest
import torch

from devis.parity import RECORDS, RUNNERS, SUITE
from devis.parity_kit import Kit, text_error
from vidseg_common import rle
from vidseg_common.errors import UserError

CASES = json.loads((RECORDS / "cases.json").read_text())["cases"]
KNOWN = {kind for kinds in RUNNERS.values() for kind in kinds}


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("parity")
    yield Kit(RECORDS, scratch)
    shutil.rmtree(scratch)  # the weights of full networks


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case_equals_the_record(kit, case):
    comparisons = SUITE.run_case(kit, case)
    assert not [item for item in comparisons if not item.passed]


def test_every_record_belongs_to_a_case():
    assert {case["name"] for case in CASES} == {path.stem for path in RECORDS.glob("*.npz")}


def test_every_kind_has_a_runner():
    assert {case["kind"] for case in CASES} == KNOWN


def small_kit(folder, **changes):
    case = next(dict(c) for c in CASES if c["name"] == "batch_padding") | changes
    (folder / "cases.json").write_text(json.dumps({"cases": [case]}))
    shutil.copy(RECORDS / "batch_padding.npz", folder)
    return folder


def test_lines_and_verdict(tmp_path):
    lines = []
    assert SUITE.run_kit(small_kit(tmp_path), lines.append)
    assert len(lines) == 2 and "PASS" in lines[1]


def test_unknown_kind_fails(tmp_path):
    lines = []
    assert not SUITE.run_kit(small_kit(tmp_path, kind="dance"), lines.append)
    assert "FAIL" in lines[1] and "dance" in lines[1]


@pytest.mark.parametrize(("name", "step"), [("tensors", 1e-2), ("exact_mask", 1)])
def test_wrong_number_fails(tmp_path, name, step):
    folder = small_kit(tmp_path)
    arrays = dict(np.load(folder / "batch_padding.npz"))
    arrays[f"out.{name}.values"][7] += step
    np.savez(folder / "batch_padding.npz", **arrays)
    lines = []
    assert not SUITE.run_kit(folder, lines.append)
    assert f"FAIL  {name}" in lines[1]


def test_other_seeds_are_computed_anew(tmp_path):
    case = next(c for c in CASES if c["name"] == "batch_padding")
    inputs = {name: spec | {"seed": 1 + spec["seed"]} for name, spec in case["inputs"].items()}
    assert not SUITE.run_kit(small_kit(tmp_path, inputs=inputs), [].append)


def test_outputs_must_be_those_recorded(tmp_path):
    small = Kit(small_kit(tmp_path), tmp_path)
    case = small.cases()[0]
    with pytest.raises(UserError, match=r"missing: \['exact_mask'\].*recorded: \['more'\]"):
        small.compare(case, {"tensors": torch.zeros(1), "more": 1})
    with pytest.raises(UserError, match="manifest_x"):
        small.state("manifest_x.json")


def test_shapes_and_numbers_that_are_none(tmp_path):
    small = Kit(small_kit(tmp_path), tmp_path)
    shape = small.arrays(small.cases()[0])["out.tensors.shape"]
    outputs = {"tensors": torch.full(tuple(shape), float("nan")), "exact_mask": torch.zeros(2)}
    assert not any(item.passed for item in small.compare(small.cases()[0], outputs))


def test_few_pixels_of_a_mask_may_differ(tmp_path):
    flat = np.zeros(10000, np.uint8)
    arrays = {"out.mask_a.shape": np.array([10000]), "out.mask_a.moments": np.array([0.5, 0.5, 1]),
              "out.mask_a.values": flat}  # fmt: skip
    np.savez(tmp_path / "x.npz", **arrays)
    case = {"name": "x", "outputs": ["mask_a"], "tolerances": {"mask_a": 1e-4}}
    for wrong, passes in ((0, True), (10, True), (11, False)):
        got = flat.copy()
        got[:wrong] = 1
        assert Kit(tmp_path, tmp_path).compare(case, {"mask_a": got})[0].passed == passes


@pytest.mark.parametrize(
    ("got", "want", "error"),
    [
        ("a\nb", "a\nb", 0.0),
        ("a", "b", float("inf")),
        ("[1, 2]", "[1, 2]", 0.0),
        ("[1, 2]", "[1, 3]", float("inf")),
        ("[1, 2]", "[1]", float("inf")),
        ('{"a": 2.0}', '{"a": 2.0}', 0.0),
        ('{"a": 1.0}', '{"a": 2.0}', 0.5),
        ('{"b": 1.0}', '{"a": 2.0}', float("inf")),
        ("[null]", '[{"size": [2, 2], "counts": "04"}]', float("inf")),
        ('{"size": [2, 2], "counts": "04"}', '{"size": [2, 2], "counts": "4"}', float("inf")),
        ('{"size": [2, 3], "counts": "06"}', '{"size": [2, 2], "counts": "04"}', float("inf")),
    ],
)
def test_texts(got, want, error):
    assert text_error(got, want) == error


def test_run_lengths_may_differ_by_a_pixel():
    mask = np.ones((100, 100), bool)
    want = json.dumps(rle.encode(mask))
    mask[3, 4] = False
    assert text_error(json.dumps(rle.encode(mask)), want) == 0
    mask[:2] = False
    assert text_error(json.dumps(rle.encode(mask)), want) == float("inf")
