"""Comparing with the records of DeVIS: a tolerance per output, exact numbers, texts and masks.

A runner is a function `run_<kind>(case, kit)` that computes every output by its recorded name and
gives `kit.compare(case, outputs)`.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vidseg_common import parity_kit, rle
from vidseg_common.errors import UserError
from vidseg_common.parity_kit import Arrays, Case, Comparison, fill_state_dict

IN, OUT = "in.", "out."
#: Share of the pixels of a recorded 0/1 array that may differ.
MASK_SHARE = 1e-3
#: Largest relative difference of numbers inside a recorded text.
TEXT_TOLERANCE = 1e-5
#: Smallest overlap of run lengths inside a recorded text.
TEXT_IOU = 0.999


@dataclass(frozen=True)
class Kit(parity_kit.Kit):
    """A kit of DeVIS."""

    def arrays(self, case: Case) -> Arrays:
        """The npz of a case; it bears the name of the case."""
        return dict(np.load(self.folder / f"{case['name']}.npz"))

    def inputs(self, case: Case) -> Arrays:
        """Inputs that a rule makes, and those stored in the npz as `in.NAME`, by name."""
        stored = self.arrays(case)
        return {
            name: stored[IN + name] if spec == "npz" else parity_kit.make_input(spec)
            for name, spec in case["inputs"].items()
        }

    def tensors(self, case: Case) -> dict[str, Tensor]:
        """The numeric inputs of a case as tensors, by name."""
        arrays = self.inputs(case).items()
        return {name: torch.from_numpy(a) for name, a in arrays if a.dtype.kind not in "US"}

    def state(self, manifest_name: str) -> OrderedDict[str, Tensor]:
        """Every weight of a manifest by its name, in its order, those with two names under both.

        Integer tables that the architecture computes (`fixed`) are filled with zeros.
        """
        manifest = self.manifest(manifest_name)
        arrays = fill_state_dict(manifest)
        for key in manifest["keys"]:
            if "alias_of" in key:
                arrays[key["name"]] = arrays[key["alias_of"]]
        return OrderedDict((name, torch.from_numpy(value)) for name, value in arrays.items())

    def released_file(self, manifest_name: str, module: nn.Module) -> Path:
        """A file like the released one, with the deterministic weights of a manifest.

        Args:
            manifest_name: of the kit.
            module: the network it is for; the tables that the architecture computes are its own.
        """
        path = self.scratch / f"{Path(manifest_name).stem}.pth"
        if not path.exists():
            state, own = self.state(manifest_name), module.state_dict()
            fixed = [key["name"] for key in self.manifest(manifest_name)["keys"] if "fixed" in key]
            state.update((name, own[name]) for name in fixed if name in own)
            torch.save({"model": state}, path, _use_new_zipfile_serialization=False)
        return path

    def compare(self, case: Case, outputs: Mapping[str, Any]) -> list[Comparison]:
        """Every recorded output of a case against what we have.

        Args:
            case: the entry of cases.json.
            outputs: arrays, tensors, numbers or texts by the recorded names; no others.

        Raises:
            UserError: outputs are missing, or there are others than those recorded.
        """
        recorded = set(case["outputs"])
        absent, extra = recorded - set(outputs), set(outputs) - recorded
        if absent or extra:
            raise UserError(f"outputs missing: {sorted(absent)}, not recorded: {sorted(extra)}")
        arrays = self.arrays(case)
        return [_comparison(case, arrays, name, outputs[name]) for name in case["outputs"]]


def fill_by_case(module: nn.Module, case: Case) -> nn.Module:
    """Fills a module with the weights of a case (a small manifest), strictly, and returns it.

    Args:
        module: its state dict's names follow the prefix of the manifest.
        case: with "weights".
    """
    prefix = case["weights"]["prefix"]
    arrays = fill_state_dict(case["weights"])
    for key in case["weights"]["keys"]:
        if "alias_of" in key:
            arrays[key["name"]] = arrays[key["alias_of"]]
    fixed = {key["name"].removeprefix(prefix) for key in case["weights"]["keys"] if "fixed" in key}
    state = {k.removeprefix(prefix): torch.from_numpy(v) for k, v in arrays.items()}
    own = module.state_dict()
    module.load_state_dict(state | {name: own[name] for name in fixed}, strict=True)
    return module


def _comparison(case: Case, arrays: Arrays, name: str, got: Any) -> Comparison:
    if name.startswith("text_"):
        return Comparison(name, text_error(str(got), str(arrays[OUT + name])), TEXT_TOLERANCE)
    if name.startswith("mask_") and arrays[f"{OUT}{name}.values"].dtype.kind in "bui":
        return Comparison(name, _error(name, arrays, got, share=True), MASK_SHARE)
    tolerance = 0.0 if name.startswith("exact_") else case["tolerances"].get(name, 0.0)
    return Comparison(name, _error(name, arrays, got), float(tolerance))


def _error(name: str, arrays: Arrays, got: Any, *, share: bool = False) -> float:
    """Largest difference in units of the recorded spread, or the share that differs."""
    value = np.asarray(got.detach().cpu() if isinstance(got, Tensor) else got)
    if value.shape != tuple(int(n) for n in arrays[f"{OUT}{name}.shape"]):
        return float("inf")
    flat, want = value.reshape(-1), arrays[f"{OUT}{name}.values"]
    if f"{OUT}{name}.index" in arrays:
        flat = flat[arrays[f"{OUT}{name}.index"]]
    difference = np.abs(flat.astype(np.float64) - want.astype(np.float64))
    if share:
        return float((difference > 0).mean()) if difference.size else 0.0
    largest = float(difference.max(initial=0.0))
    if math.isnan(largest):
        return float("inf")
    return largest / max(float(arrays[f"{OUT}{name}.moments"][1]), 1e-12)


def text_error(got: str, want: str) -> float:
    """Error of a text: JSON is compared by its values, anything else as it stands.

    Numbers count by their relative difference; run lengths must overlap nearly wholly; any other
    difference is infinite.
    """
    try:
        expected = json.loads(want)
    except ValueError:
        return 0.0 if got == want else float("inf")
    return _value_error(json.loads(got), expected)


def _value_error(got: Any, want: Any) -> float:
    if isinstance(want, dict) and set(want) == {"size", "counts"} and got is not None:
        return 0.0 if got == want or _overlap(got, want) >= TEXT_IOU else float("inf")
    if isinstance(want, dict) and isinstance(got, dict) and set(got) == set(want):
        return max((_value_error(got[key], want[key]) for key in want), default=0.0)
    if isinstance(want, list) and isinstance(got, list) and len(got) == len(want):
        return max((_value_error(a, b) for a, b in zip(got, want, strict=True)), default=0.0)
    if isinstance(want, float) and isinstance(got, float):
        return abs(got - want) / max(abs(want), 1e-12)
    return 0.0 if got == want and type(got) is type(want) else float("inf")


def _overlap(got: Any, want: Any) -> float:
    """Intersection over union of two run lengths of the same size; 1 for two empty ones."""
    if got["size"] != want["size"]:
        return 0.0
    first, second = rle.decode(got), rle.decode(want)
    union = np.logical_or(first, second).sum()
    return float(np.logical_and(first, second).sum() / union) if union else 1.0
