"""Losses and training data against what the original implementation recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

from stcn import parity_data
from stcn.parity import build_input, output_error

RECORDS = Path(__file__).parent / "records"
CASES = [
    case
    for case in json.loads((RECORDS / "cases.json").read_text())["cases"]
    if hasattr(parity_data, f"run_{case['kind']}")
]


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_outputs_equal_the_records(case):
    arrays = dict(np.load(RECORDS / case["file"]))
    built = {
        name: build_input(spec, arrays)
        for name, spec in case["inputs"].items()
        if isinstance(spec, dict)
    }
    inputs = {name: value for name, value in built.items() if value is not None}
    outputs = getattr(parity_data, f"run_{case['kind']}")(case, arrays, inputs)
    assert outputs.keys() == case["outputs"].keys()
    errors = {
        name: output_error(name, spec, arrays, outputs[name])
        for name, spec in case["outputs"].items()
    }
    assert max(errors.values()) <= 1, errors


def test_all_seven_kinds_are_recorded():
    assert len({case["kind"] for case in CASES}) == 7
