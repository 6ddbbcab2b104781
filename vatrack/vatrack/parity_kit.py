"""Comparing with the records of VATrack: numbers by tolerance, exact ones, thresholded masks.

A runner is a function `run_<kind>(case, kit)` that computes every output by its recorded name and
gives `kit.compare(case, outputs)`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vidseg_common import parity_kit
from vidseg_common.errors import UserError
from vidseg_common.parity_kit import Arrays, Case, Comparison, fill_state_dict, make_input

IN, OUT = "in.", "out."
#: Pixels of a recorded mask that may differ; an area may differ by as many.
MASK_PIXELS = 3
STRIDES = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Kit(parity_kit.Kit):
    """A kit of VATrack."""

    def inputs(self, case: Case) -> Arrays:
        """The inputs stored in the npz as `in.NAME`, by name."""
        stored = self.arrays(case).items()
        return {name.removeprefix(IN): value for name, value in stored if name.startswith(IN)}

    def tensors(self, case: Case) -> dict[str, Tensor]:
        """The numeric inputs of a case as tensors, by name."""
        arrays = self.inputs(case).items()
        return {name: torch.from_numpy(a) for name, a in arrays if a.dtype.kind not in "US"}

    def features(self, seed: int, size_hw: tuple[int, int]) -> list[Tensor]:
        """The five feature maps (1, 256, h, w) of the cases without a backbone.

        Args:
            seed: of the finest map; the others count up.
            size_hw: of the padded image.
        """
        h, w = size_hw
        sizes = [(math.ceil(h / stride), math.ceil(w / stride)) for stride in STRIDES]
        specs = [{"shape": [1, 256, *s], "seed": seed + i} for i, s in enumerate(sizes)]
        return [torch.from_numpy(2 * make_input(spec)) for spec in specs]

    def state(self, variant: str) -> OrderedDict[str, Tensor]:
        """Every weight of a manifest by its name, in its order.

        Args:
            variant: as in the cases, "vatrack_r50".
        """
        arrays = fill_state_dict(self.manifest(f"manifest_{variant}.json"))
        return OrderedDict((name, torch.from_numpy(value)) for name, value in arrays.items())

    def released_file(self, variant: str) -> Path:
        """A file like the released one, with the deterministic weights of a manifest."""
        path = self.scratch / f"{variant}.pth"
        if not path.exists():
            meta = {"epoch": 12, "iter": 100, "mmcv_version": "1.2.7", "CLASSES": ("person",)}
            content = {"meta": meta, "state_dict": self.state(variant), "optimizer": {}}
            torch.save(content, path, _use_new_zipfile_serialization=False)
        return path

    def compare(self, case: Case, outputs: Mapping[str, Any]) -> list[Comparison]:
        """Every recorded output of a case against what we have.

        Args:
            case: the entry of cases.json.
            outputs: arrays, tensors or numbers by the recorded names; others are left out, since
                a kit may have recorded only some. Masks are boolean, not packed.

        Raises:
            UserError: an output is missing.
        """
        absent = set(case["outputs"]) - set(outputs)
        if absent:
            raise UserError(f"outputs missing: {sorted(absent)}")
        arrays = self.arrays(case)
        return [_comparison(case, arrays, name, outputs[name]) for name in case["outputs"]]


def _comparison(case: Case, arrays: Arrays, name: str, value: Any) -> Comparison:
    got = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    want, shape = arrays[f"{OUT}{name}.values"], arrays[f"{OUT}{name}.shape"]
    if name in case.get("nearly", ()):
        return Comparison(name, _pixels(arrays, name, got), MASK_PIXELS)
    if got.size == 1 and got.dtype.kind == "f" and tuple(shape) == (2,):
        got = np.array([got.item(), 0.0], got.dtype)
    is_packed = got.dtype == bool and want.dtype == np.uint8 and got.shape != tuple(shape)
    if is_packed:
        got = np.packbits(got, axis=-1)
    error = parity_error(arrays, name, got)
    is_exact = case.get("exact") == "all" or name in case.get("exact", ())
    return Comparison(name, error, 0.0 if is_exact else float(case["tolerance_rel"]))


def parity_error(arrays: Arrays, name: str, got: np.ndarray) -> float:
    """Largest difference of the recorded values, in units of their spread.

    Returns:
        Infinity for another shape, and for numbers that are none.
    """
    if got.shape != tuple(int(n) for n in arrays[f"{OUT}{name}.shape"]):
        return float("inf")
    difference = np.abs(_difference(arrays, name, got))
    largest = float(difference.max(initial=0.0))
    if math.isnan(largest):
        return float("inf")
    return largest / max(float(arrays[f"{OUT}{name}.moments"][1]), 1e-12)


def _difference(arrays: Arrays, name: str, got: np.ndarray) -> np.ndarray:
    flat = got.reshape(-1)
    if f"{OUT}{name}.index" in arrays:
        flat = flat[arrays[f"{OUT}{name}.index"]]
    want = arrays[f"{OUT}{name}.values"]
    difference = flat.astype(np.float64) - want.astype(np.float64)
    # Numbers that are none at the same places are equal.
    difference[np.isnan(flat.astype(np.float64)) & np.isnan(want.astype(np.float64))] = 0.0
    return difference


def _pixels(arrays: Arrays, name: str, got: np.ndarray) -> float:
    """Most pixels of one mask that differ, or the largest difference of an area."""
    shape = tuple(int(n) for n in arrays[f"{OUT}{name}.shape"])
    packed = np.packbits(got, axis=-1) if got.dtype == bool else got
    if packed.shape != shape:
        return float("inf")
    if got.dtype != bool:
        return float(np.abs(_difference(arrays, name, got)).max(initial=0.0))
    want = arrays[f"{OUT}{name}.values"]
    if f"{OUT}{name}.index" in arrays:  # a sample of the bytes: all of them as one mask
        sample = np.asarray(packed.reshape(-1)[arrays[f"{OUT}{name}.index"]] ^ want, np.uint8)
        return float(np.unpackbits(sample).sum())
    other = np.unpackbits(np.asarray(packed ^ want.reshape(shape), np.uint8), axis=-1)
    return float(other.sum(axis=(-2, -1)).max(initial=0))
