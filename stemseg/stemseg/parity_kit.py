"""Comparing with the records of STEm-Seg: every output has a kind, a shape and a tolerance.

A runner of a kind of case is a function `run_<kind>(case, kit)` that gives one `Comparison` per
number or file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from vidseg_common import parity_kit
from vidseg_common.errors import UserError
from vidseg_common.parity_kit import (
    Arrays,
    Case,
    Comparison,
    exact,
    fill_module,
    make_input,
)

__all__ = [
    "Arrays",
    "Case",
    "Comparison",
    "Kit",
    "compare_output",
    "exact",
    "fill_module",
    "make_input",
]


@dataclass(frozen=True)
class Kit(parity_kit.Kit):
    """A kit of STEm-Seg."""

    def compare(self, case: Case, outputs: Mapping[str, Any]) -> list[Comparison]:
        """Every recorded output of a case against what we have.

        Args:
            case: with "outputs".
            outputs: arrays, tensors or numbers by the recorded names; more than those is an error.

        Raises:
            UserError: outputs are missing, or there are others than those recorded.
        """
        absent, extra = set(case["outputs"]) - set(outputs), set(outputs) - set(case["outputs"])
        if absent or extra:
            raise UserError(f"outputs missing: {sorted(absent)}, not recorded: {sorted(extra)}")
        arrays = self.arrays(case)
        return [
            compare_output(name, spec, arrays, outputs[name])
            for name, spec in case["outputs"].items()
        ]


def compare_output(name: str, spec: Mapping[str, Any], arrays: Arrays, got: Any) -> Comparison:
    """One output against its record, by the measure of its kind.

    Args:
        name: of the output.
        spec: its entry in the case: kind, shape, thin and tolerance.
        arrays: the npz of the case.
        got: array, tensor or number.

    Raises:
        UserError: a kind of output that is not known.
    """
    value = got.detach().numpy() if isinstance(got, Tensor) else np.asarray(got)
    tolerance = _tolerance(spec)
    thin = spec.get("thin") or 0
    if "shape" in spec and value.shape != tuple(spec["shape"]):
        return Comparison(name, float("inf"), tolerance)
    if thin:
        value = value.reshape(-1)[::thin]
    if value.shape != tuple(int(n) for n in arrays[f"{name}.shape"]):
        return Comparison(name, float("inf"), tolerance)
    flat, want = value.reshape(-1), arrays[f"{name}.values"]
    if f"{name}.index" in arrays:
        flat = flat[arrays[f"{name}.index"]]
    spread = max(float(arrays[f"{name}.moments"][1]), 1e-12)
    return Comparison(name, _error(spec, flat, want, spread), tolerance)


def _tolerance(spec: Mapping[str, Any]) -> float:
    kind = spec["kind"]
    if kind == "labels":
        return round(1.0 - float(spec["min_agreement"]), 12)
    if kind == "float_most":
        return float(spec["tolerance_rel"])
    keys = {"float": "tolerance_rel", "scalar": "tolerance_abs"}
    if kind == "exact":
        return 0.0
    if kind not in keys:
        raise UserError(f"unknown kind of output {kind!r}")
    return float(spec[keys[kind]])


def _error(spec: Mapping[str, Any], got: np.ndarray, want: np.ndarray, spread: float) -> float:
    kind = spec["kind"]
    if kind == "exact":
        return 0.0 if np.array_equal(got, want) else float("inf")
    if kind == "labels":
        return float(np.mean(got != want)) if got.size else 0.0
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64))
    if np.isnan(difference).any():
        return float("inf")
    if kind == "scalar":
        return float(difference.max(initial=0.0))
    difference = np.sort(difference / spread)
    if kind == "float_most" and difference.size:
        # The largest error among the share of values that must be right.
        needed = int(np.ceil(spec["min_share"] * difference.size - 1e-9))
        return float(difference[max(needed, 1) - 1])
    return float(difference.max(initial=0.0))
