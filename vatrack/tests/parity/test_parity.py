"""Every recorded case of the original implementation, through the runner behind `make parity`."""

import json
import shutil

import numpy as np
import pytest
import torch

from vatrack.parity import RECORDS, RUNNERS, SUITE
from vatrack.parity_kit import Kit
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


def test_every_kind_has_a_runner():
    assert {case["kind"] for case in CASES} == KNOWN


def test_every_record_belongs_to_a_case():
    files = {case["file"] for case in CASES if case["file"]} | {"conversion_frames.npz"}
    assert files == {path.name for path in RECORDS.glob("*.npz")}


def small_kit(folder, **changes):
    """A kit with one case and its record: numbers, exact ones, a mask and its area."""
    arrays = {}
    recorded = {
        "number": np.array([1.5, 0.0], np.float32),
        "ids": np.array([3, 4, 5]),
        "mask": np.packbits(np.eye(16, dtype=bool), axis=-1),
        "area": np.array([16]),
    }
    for name, value in recorded.items():
        arrays[f"out.{name}.shape"] = np.array(value.shape)
        arrays[f"out.{name}.moments"] = np.array([value.mean(), value.std(), value.max()])
        arrays[f"out.{name}.values"] = value.reshape(-1)
    np.savez(folder / "x.npz", **arrays)
    case = {
        "name": "x",
        "file": "x.npz",
        "kind": "coder",
        "outputs": list(recorded),
        "exact": ["ids"],
        "nearly": ["mask", "area"],
        "tolerance_rel": 1e-4,
    }
    (folder / "cases.json").write_text(json.dumps({"cases": [case | changes]}))
    return Kit(folder, folder), case


GOOD = {
    "number": torch.tensor(1.5),
    "ids": np.array([3, 4, 5]),
    "mask": np.eye(16, dtype=bool)[None][0],
    "area": np.array([16]),
}


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, []),
        ({"number": 1.50001}, []),
        ({"number": 1.6}, ["number"]),
        ({"number": float("nan")}, ["number"]),
        ({"ids": np.array([3, 4, 6])}, ["ids"]),
        ({"ids": np.array([3, 4])}, ["ids"]),
        ({"area": np.array([19])}, []),
        ({"area": np.array([20])}, ["area"]),
        ({"mask": np.eye(16, k=1, dtype=bool)}, ["mask"]),
        ({"mask": np.eye(15, dtype=bool)}, ["mask"]),
        ({"more": 1}, []),
    ],
)
def test_verdicts(tmp_path, changes, wrong):
    small, case = small_kit(tmp_path)
    comparisons = small.compare(case, GOOD | changes)
    assert [item.name for item in comparisons if not item.passed] == wrong


def test_three_pixels_of_a_mask_may_differ(tmp_path):
    small, case = small_kit(tmp_path)
    for count, passes in ((3, True), (4, False)):
        mask = np.eye(16, dtype=bool)
        mask[0, 5 : 5 + count] = True
        compared = small.compare(case, GOOD | {"mask": mask})
        assert all(item.passed for item in compared) == passes


def test_outputs_must_be_there(tmp_path):
    small, case = small_kit(tmp_path)
    with pytest.raises(UserError, match=r"missing: \['area'\]"):
        small.compare(case, {k: v for k, v in GOOD.items() if k != "area"})
    with pytest.raises(UserError, match="manifest_x"):
        small.state("x")


def test_unknown_kind_fails(tmp_path):
    small_kit(tmp_path, kind="dance")
    lines = []
    assert not SUITE.run_kit(tmp_path, lines.append)
    assert "FAIL" in lines[1] and "dance" in lines[1]


def test_features_are_made_by_the_rule():
    maps = Kit(RECORDS, RECORDS).features(5, (101, 171))
    assert [tuple(m.shape[2:]) for m in maps] == [(26, 43), (13, 22), (7, 11), (4, 6), (2, 3)]
    expected = 2 * np.random.RandomState(6).standard_normal((1, 256, 13, 22)).astype("float32")
    assert np.array_equal(maps[1], expected)
