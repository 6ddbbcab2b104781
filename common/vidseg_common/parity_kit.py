"""Reading a method's parity kit: deterministic weights and inputs, and the verdict on one output.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Every weight comes
from its own name by a fixed rule, so that no trained file is needed.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vidseg_common.errors import UserError

Arrays = dict[str, np.ndarray]
Case = Mapping[str, Any]
#: How a manifest says that the file is the state dict itself, without a container around it.
BARE = ("flat state dict", "bare state dict")


@dataclass(frozen=True)
class Comparison:
    """One output against its record.

    Attributes:
        name: of the output.
        error: in the measure of its kind; infinite for another shape.
        tolerance: the largest error that passes.
    """

    name: str
    error: float
    tolerance: float = 0.0

    @property
    def passed(self) -> bool:
        """False also for an error that is not a number."""
        return self.error <= self.tolerance

    @property
    def severity(self) -> float:
        """Error in units of the tolerance, to find the worst of a case."""
        if self.tolerance > 0:
            return self.error / self.tolerance
        return 0.0 if self.error == 0 else float("inf")


@dataclass(frozen=True)
class Kit:
    """A folder of records, and one to write in; weights of a manifest are written once."""

    folder: Path
    scratch: Path

    def cases(self) -> list[dict[str, Any]]:
        """The list in cases.json.

        Raises:
            UserError: the folder is no kit, or an empty one.
        """
        path = self.folder / "cases.json"
        if not path.is_file():
            raise UserError(f"{path}: no such file; a parity kit has a cases.json")
        try:
            cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: is not the case list of a parity kit ({error!r})") from error
        if not cases:
            raise UserError(f"{path}: has no cases, so nothing would be compared")
        return cases

    def case(self, name: str) -> dict[str, Any]:
        """The case of a name, for cases that refer to another one.

        Raises:
            UserError: there is none.
        """
        for case in self.cases():
            if case["name"] == name:
                return case
        raise UserError(f"{self.folder}: no case named {name!r}")

    def arrays(self, case: Case) -> Arrays:
        """The npz of a case; empty for a case without file."""
        return dict(np.load(self.folder / case["file"])) if case.get("file") else {}

    def inputs(self, case: Case) -> Arrays:
        """Inputs that a rule makes, and those stored in the npz as `input.NAME`, by name."""
        specs = case.get("inputs") or {}
        made = {
            name: make_input(spec)
            for name, spec in (specs.items() if isinstance(specs, dict) else ())
            if isinstance(spec, dict) and "shape" in spec and "seed" in spec
        }
        stored = self.arrays(case).items()
        return made | {k.removeprefix("input."): v for k, v in stored if k.startswith("input.")}

    def manifest(self, name: str) -> dict[str, Any]:
        """A manifest of the kit: its keys, gains and container.

        Raises:
            UserError: the kit has none of that name.
        """
        path = self.folder / name
        if not path.is_file():
            raise UserError(f"{path}: no such manifest in the kit")
        return json.loads(path.read_text(encoding="utf-8"))

    def weights(self, manifest_name: str) -> Path:
        """A file like the released one, with the deterministic weights of a manifest."""
        path = self.scratch / f"{Path(manifest_name).stem}.pth"
        if not path.exists():
            manifest = self.manifest(manifest_name)
            arrays = fill_state_dict(manifest)
            state = OrderedDict((k, torch.from_numpy(v)) for k, v in arrays.items())
            bare = any(word in manifest.get("container", "") for word in BARE)
            torch.save(
                state if bare else {"model": state}, path, _use_new_zipfile_serialization=False
            )
        return path


def exact(name: str, got: Any, expected: Any) -> Comparison:
    """Plain values (after a round trip through JSON) that must be equal."""
    plain = json.loads(json.dumps(got))
    return Comparison(name, 0.0 if plain == expected else float("inf"))


def fill_state_dict(manifest: Mapping[str, Any], prefix: str = "") -> Arrays:
    """Every weight of a manifest from its own name, shape and gain.

    Args:
        manifest: "keys", and "gains" by prefix of the name.
        prefix: put before every name when drawing, not in the result.
    """
    gains = manifest.get("gains", {})
    out: Arrays = {}
    for key in manifest["keys"]:
        name, shape, dtype = key["name"], tuple(key["shape"]), key.get("dtype", "float32")
        if "value" in key:
            out[name] = np.asarray(key["value"], dtype=dtype).reshape(shape)
            continue
        prefixes = [start for start in gains if (prefix + name).startswith(start)]
        gain = gains[max(prefixes, key=len)] if prefixes else key.get("gain", 1.0)
        out[name] = _fill(prefix + name, shape, dtype, gain)
    return out


def _fill(name: str, shape: tuple[int, ...], dtype: str, gain: float) -> np.ndarray:
    if not dtype.startswith("float"):
        return np.zeros(shape, dtype=dtype)
    z = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    if name.endswith("running_var"):
        z = 1 + 0.1 * np.abs(z)
    elif name.endswith("running_mean"):
        z = 0.1 * z
    elif len(shape) <= 1:
        z = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
    else:
        z = z * gain / np.sqrt(np.prod(shape[1:]))
    return np.asarray(z, dtype=dtype)


def fill_module(module: nn.Module, params: Mapping[str, Any]) -> None:
    """The weights of a case's "params" into a module, strictly."""
    arrays = fill_state_dict(params, params["prefix"])
    module.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()}, strict=True)


def make_input(spec: Mapping[str, Any]) -> np.ndarray:
    """A seeded array: normal, uniform or integers, times its "scale".

    Raises:
        UserError: another distribution.
    """
    rng = np.random.RandomState(spec["seed"])
    shape, kind = tuple(spec["shape"]), spec.get("dist", "normal")
    x: np.ndarray
    if kind == "normal":
        x = rng.standard_normal(shape)
    elif kind == "uniform":
        x = rng.uniform(spec.get("low", 0.0), spec.get("high", 1.0), shape)
    elif kind == "integers":
        x = rng.randint(spec["low"], spec["high"], shape)
    else:
        raise UserError(f"unknown distribution {kind!r} in an input of the kit")
    x = np.asarray(x, dtype=spec.get("dtype", "float32"))
    return x * x.dtype.type(spec["scale"]) if "scale" in spec else x
