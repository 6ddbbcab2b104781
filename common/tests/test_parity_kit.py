"""Kits of recorded numbers: weights by name, inputs by rule, the runner and its verdict."""

import json
import sys
import types

import numpy as np
import pytest
import torch

from vidseg_common.errors import UserError
from vidseg_common.parity_cases import Suite, worst_line
from vidseg_common.parity_kit import (
    Comparison,
    Kit,
    exact,
    fill_module,
    fill_state_dict,
    make_input,
)

KEYS = [
    {"name": "a.weight", "shape": [2, 3]},
    {"name": "a.running_var", "shape": [4]},
    {"name": "a.running_mean", "shape": [4]},
    {"name": "a.num", "shape": [], "dtype": "int64"},
    {"name": "norm.weight", "shape": [4]},
    {"name": "fixed", "shape": [2], "dtype": "float32", "value": [1, 2]},
]


@pytest.fixture
def kit(tmp_path):
    """Two cases of a kind that doubles its input, and one of an unknown kind."""
    cases = [
        {"name": "good", "kind": "double", "wanted": 2.0, "file": None, "inputs": {}},
        {"name": "bad", "kind": "double", "wanted": 3.0},
        {"name": "odd", "kind": "triple"},
        {"name": "empty", "kind": "nothing"},
    ]
    (tmp_path / "cases.json").write_text(json.dumps({"cases": cases}))
    for container in ("bare state dict", "model"):
        manifest = {"keys": KEYS, "gains": {"a.": 2.0}, "container": container}
        (tmp_path / f"{container.split()[0]}.json").write_text(json.dumps(manifest))
    return Kit(tmp_path, tmp_path)


@pytest.fixture
def suite(kit, monkeypatch):
    module = types.ModuleType("kinds_of_a_test")
    module.run_double = lambda case, _: [Comparison("x", abs(case["wanted"] - 2.0), 0.5)]
    module.run_nothing = lambda *_: []
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return Suite("test", {module.__name__: ("double", "nothing")}, Kit, kit.folder)


def test_weights_come_from_their_names():
    got = fill_state_dict({"keys": KEYS, "gains": {"a.": 2.0, "a.w": 4.0}})
    plain = fill_state_dict({"keys": KEYS})
    assert np.array_equal(got["a.weight"], 4 * plain["a.weight"])
    assert (got["a.running_var"] >= 1).all() and abs(got["norm.weight"] - 1).max() < 1
    assert got["a.num"].dtype == np.int64 and got["fixed"].tolist() == [1, 2]
    renamed = fill_state_dict({"keys": [KEYS[0] | {"name": "weight"}]}, "a.")
    assert np.array_equal(renamed["weight"], plain["a.weight"])


def test_modules_are_filled_strictly():
    layer = torch.nn.Linear(3, 2, bias=False)
    fill_module(layer, {"prefix": "a.", "keys": [{"name": "weight", "shape": [2, 3]}]})
    expected = fill_state_dict({"keys": KEYS})["a.weight"]
    assert np.array_equal(layer.weight.detach().numpy(), expected)
    with pytest.raises(RuntimeError, match="Missing"):
        fill_module(layer, {"prefix": "a.", "keys": []})


def test_inputs_come_from_their_rules():
    spec = {"shape": [5], "seed": 3}
    assert make_input(spec).dtype == np.float32
    assert (make_input({**spec, "dist": "uniform", "low": 2.0, "high": 3.0}) >= 2).all()
    drawn = make_input({**spec, "dist": "integers", "low": 0, "high": 9, "dtype": "uint8"})
    assert drawn.dtype == np.uint8
    assert np.array_equal(make_input({**spec, "scale": 0.5}), make_input(spec) / 2)
    with pytest.raises(UserError, match="poisson"):
        make_input({**spec, "dist": "poisson"})


def test_containers_of_weights(kit):
    bare = torch.load(kit.weights("bare.json"), weights_only=True)
    wrapped = torch.load(kit.weights("model.json"), weights_only=True)
    assert list(bare) == list(wrapped["model"]) == [key["name"] for key in KEYS]
    with pytest.raises(UserError, match=r"absent\.json"):
        kit.weights("absent.json")


def test_cases_and_their_arrays(kit):
    np.savez(kit.folder / "x.npz", **{"input.a": np.zeros(2), "b": np.ones(2)})
    case = {"file": "x.npz", "inputs": {"c": {"shape": [1], "seed": 0}, "d": "words"}}
    assert set(kit.inputs(case)) == {"a", "c"} and set(kit.arrays(case)) == {"input.a", "b"}
    assert kit.case("bad")["wanted"] == 3.0
    with pytest.raises(UserError, match="no case named 'x'"):
        kit.case("x")


def test_comparisons():
    assert Comparison("x", 0.0).passed and not Comparison("x", 1.0).passed
    assert not Comparison("x", float("nan"), 1.0).passed
    assert Comparison("x", 1.0).severity == float("inf") and Comparison("x", 0.0).severity == 0
    assert exact("x", (1, 2), [1, 2]).passed and not exact("x", 1, 2).passed
    line = worst_line({"name": "n"}, [Comparison("a", 1.0, 2.0), Comparison("b", 0.9, 1.0)])
    assert line.split() == ["n", "0.9", "1", "PASS", "b"]


def test_the_runner_goes_on_after_a_failure(kit, suite):
    lines = []
    assert not suite.run_kit(kit.folder, lines.append)
    verdicts = [line.split()[3] for line in lines[1:]]
    assert verdicts == ["PASS", "FAIL", "FAIL", "FAIL"]
    assert "triple" in lines[3] and "compared nothing" in lines[4]


def test_command_line(kit, suite, capsys):
    assert suite.main([str(kit.folder), "--only", "good"]) == 0
    assert suite.main(["--only", "bad"]) == 1
    assert "bad" in capsys.readouterr().out
    with pytest.raises(UserError, match="nobody"):
        suite.main(["--only", "nobody"])


@pytest.mark.parametrize("text", [None, "{", '{"cases": []}', "[]"])
def test_folders_that_are_no_kit(tmp_path, text):
    if text is not None:
        (tmp_path / "cases.json").write_text(text)
    with pytest.raises(UserError, match=r"cases\.json"):
        Kit(tmp_path, tmp_path).cases()
