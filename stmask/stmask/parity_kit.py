"""Comparing with the records of STMask: one tolerance a case, scalars and constants gathered.

A runner is a function `run_<kind>(case, kit)` that computes every output by its recorded name and
gives `kit.compare(case, outputs)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidseg_common import parity_kit
from vidseg_common.errors import UserError
from vidseg_common.parity_kit import Arrays, Case, Comparison, fill_state_dict

#: The record that holds the first value of every scalar or constant output, in "scalars_order".
SCALARS = "scalars"


@dataclass(frozen=True)
class Kit(parity_kit.Kit):
    """A kit of STMask."""

    def manifest_of(self, case: Case) -> str:
        """The name of the manifest of a case's variant."""
        return f"manifest_{case['variant']}.json"

    def tensors(self, case: Case) -> dict[str, Tensor]:
        """The inputs of a case as tensors, by name."""
        return {name: torch.from_numpy(value) for name, value in self.inputs(case).items()}

    def recorded(self, case: Case) -> set[str]:
        """Names of the recorded outputs, the gathered ones among them."""
        names = {k.removesuffix(".shape") for k in self.arrays(case) if k.endswith(".shape")}
        return (names - {SCALARS}) | set(case.get("scalars_order", ()))

    def compare(self, case: Case, outputs: Mapping[str, Any]) -> list[Comparison]:
        """Every recorded output of a case against what we have.

        Args:
            case: the entry of cases.json.
            outputs: arrays, tensors or numbers by the recorded names; more than those is an error.

        Raises:
            UserError: outputs are missing, or there are others than those recorded.
        """
        recorded = self.recorded(case)
        absent, extra = recorded - set(outputs), set(outputs) - recorded
        if absent or extra:
            raise UserError(f"outputs missing: {sorted(absent)}, not recorded: {sorted(extra)}")
        arrays, gathered = self.arrays(case), list(case.get("scalars_order", ()))
        return [
            _compare_scalar(case, arrays, gathered.index(name), name, value)
            if name in gathered
            else Comparison(name, error_of(name, arrays, value), tolerance_of(case, name))
            for name, value in outputs.items()
        ]


def fill_by_name(
    module: nn.Module, prefix: str, gains: Mapping[str, float] | None = None
) -> nn.Module:
    """Fills a module whose weights a case draws by the names `prefix` + parameter, and returns it.

    Args:
        module: with its final shapes.
        prefix: put before every name when drawing.
        gains: by prefix of the whole name.
    """
    keys = [
        {"name": name, "shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in module.state_dict().items()
    ]
    arrays = fill_state_dict({"keys": keys, "gains": dict(gains or {})}, prefix)
    module.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()}, strict=True)
    return module


def tolerance_of(case: Case, name: str) -> float:
    """The largest error that an output may have: its own tolerance, else that of the case."""
    return float(case.get("tolerance_per_output", {}).get(name, case["tolerance_rel"]))


def error_of(name: str, arrays: Arrays, got: Any) -> float:
    """Largest difference in units of the recorded standard deviation; infinite for another shape.

    Args:
        name: of the output.
        arrays: the npz of its case.
        got: array, tensor or number.
    """
    value = _array(got)
    if value.shape != tuple(int(n) for n in arrays[f"{name}.shape"]):
        return float("inf")
    flat, want = value.reshape(-1), arrays[f"{name}.values"]
    if f"{name}.index" in arrays:
        flat = flat[arrays[f"{name}.index"]]
    return _difference(flat, want, arrays[f"{name}.moments"])


def _compare_scalar(case: Case, arrays: Arrays, index: int, name: str, got: Any) -> Comparison:
    """Every value of a constant output against the one value that was recorded of it.

    A tolerance of its own wins over that of the gathered record.
    """
    want = arrays[f"{SCALARS}.values"][index : index + 1]
    own = case.get("tolerance_per_output", {})
    tolerance = tolerance_of(case, name if name in own else SCALARS)
    value = _array(got).reshape(-1)
    if not value.size:
        return Comparison(name, float("inf"), tolerance)
    return Comparison(
        name,
        _difference(value, np.repeat(want, value.size), arrays[f"{SCALARS}.moments"]),
        tolerance,
    )


def _array(got: Any) -> np.ndarray:
    return got.detach().numpy() if isinstance(got, Tensor) else np.asarray(got)


def _difference(got: np.ndarray, want: np.ndarray, moments: np.ndarray) -> float:
    """In units of the recorded spread; a record without spread must be met exactly."""
    difference = np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0)
    return float("inf") if np.isnan(difference) else float(difference / max(moments[1], 1e-12))
