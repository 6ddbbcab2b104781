"""Runs recorded cases of the original implementation: `python -m stcn.parity [KIT]`.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Weights come from
their own names by a fixed rule, are written into the official container and go through the loader
that reads official files. Every case prints its worst error; an unknown kind fails.
"""

from __future__ import annotations

import json
import sys
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stcn import parity_data
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError, run_cli

RECORDS = Path(__file__).parents[1] / "tests" / "parity" / "records"
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Kit:
    """A folder of records; `weights` writes a manifest's checkpoint once and keeps it."""

    folder: Path
    scratch: Path

    def cases(self) -> list[dict[str, Any]]:
        """The list in cases.json."""
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

    def weights(self, manifest_name: str) -> Path:
        """An official-looking file with the deterministic weights of a manifest."""
        path = self.scratch / f"{Path(manifest_name).stem}.pth"
        if not path.exists():
            manifest = json.loads((self.folder / manifest_name).read_text())
            arrays = fill_state_dict(manifest)
            torch.save(OrderedDict((k, torch.from_numpy(v)) for k, v in arrays.items()), path)
        return path


def fill_state_dict(manifest: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Every weight of a manifest from its own name, shape and gain."""
    gains = manifest.get("gains", {})
    out = {}
    for key in manifest["keys"]:
        name, shape, dtype = key["name"], tuple(key["shape"]), key["dtype"]
        if "value" in key:
            out[name] = np.asarray(key["value"], dtype=dtype).reshape(shape)
        else:
            prefixes = [prefix for prefix in gains if name.startswith(prefix)]
            gain = gains[max(prefixes, key=len)] if prefixes else 1.0
            out[name] = _fill(name, shape, dtype, gain)
    return out


def _fill(name: str, shape: tuple[int, ...], dtype: str, gain: float) -> np.ndarray:
    if not dtype.startswith("float"):
        return np.zeros(shape, dtype=dtype)
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    z = rng.standard_normal(shape)
    if name.endswith("running_var"):
        z = 1 + 0.1 * np.abs(z)
    elif name.endswith("running_mean"):
        z = 0.1 * z
    elif len(shape) <= 1:
        z = 1 + 0.1 * z if name.endswith("weight") else 0.1 * z
    else:
        z = z * gain / np.sqrt(np.prod(shape[1:]))
    return np.asarray(z, dtype=dtype)


def make_input(spec: Mapping[str, Any]) -> np.ndarray:
    """A seeded array: normal, uniform or integers."""
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
    return np.asarray(x, dtype=spec.get("dtype", "float32"))


def build_input(spec: Mapping[str, Any], arrays: Arrays) -> np.ndarray | None:
    """An input in one of the general forms; None for a form only its own case understands."""
    if "npz" in spec:
        return arrays[spec["npz"]]
    if "sum" in spec:
        terms = [build_input(term, arrays) for term in spec["sum"]]
        total = terms[0]
        for term in terms[1:]:
            assert total is not None and term is not None
            total = total + term
        return total
    if "make_input" in spec and isinstance(spec["make_input"].get("seed"), int):
        x = make_input(spec["make_input"])
        return x if "times" not in spec else x * x.dtype.type(spec["times"])
    return None


def output_error(name: str, spec: Mapping[str, Any], arrays: Arrays, got: Any) -> float:
    """Error of one output in units of its tolerance: at most 1 passes."""
    value = np.asarray(got)
    if value.shape != tuple(int(n) for n in arrays[f"out.{name}.shape"]):
        return float("inf")
    flat = value.reshape(-1)
    if f"out.{name}.index" in arrays:
        flat = flat[arrays[f"out.{name}.index"]]
    want = arrays[f"out.{name}.values"]
    if spec["kind"] == "exact":
        return 0.0 if np.array_equal(flat, want) else float("inf")
    if spec["kind"] == "labels":
        return _ratio(float(np.mean(flat != want)), spec["max_mismatch_fraction"])
    if spec["kind"] != "float":
        return float("inf")
    difference = np.abs(flat.astype(np.float64) - want.astype(np.float64)).max(initial=0.0)
    moment = 2 if spec.get("relative_to") == "magnitude" else 1
    scale = max(float(arrays[f"out.{name}.moments"][moment]), 1e-12)
    error = _ratio(float(difference) / scale, spec["tolerance_rel"])
    return float("inf") if np.isnan(error) else error


def _ratio(error: float, tolerance: float) -> float:
    if tolerance == 0:
        return 0.0 if error == 0 else float("inf")
    return error / tolerance


def run_case(kit: Kit, case: Mapping[str, Any]) -> dict[str, float]:
    """Error of every recorded output of a case, in units of its tolerance.

    Raises:
        UserError: nothing here knows the case's kind, or its run does not give an output.
    """
    from stcn import parity_cli, parity_network

    arrays = dict(np.load(kit.folder / case["file"]))
    inputs = {}
    for name, spec in case["inputs"].items():
        value = build_input(spec, arrays) if isinstance(spec, dict) else None
        if value is not None:
            inputs[name] = value
    kind = case["kind"]
    runner: Callable[..., Mapping[str, Any]] | None = getattr(parity_data, f"run_{kind}", None)
    if runner is not None:
        outputs = runner(case, arrays, inputs)
    elif hasattr(parity_network, f"run_{kind}"):
        weights = kit.weights(case["manifest"]) if "manifest" in case else None
        outputs = getattr(parity_network, f"run_{kind}")(case, arrays, inputs, weights)
    elif kind == "cli":
        outputs = parity_cli.run_cli_case(case, arrays, kit.weights(case["manifest"]), kit.scratch)
    else:
        raise UserError(f"unknown case kind {kind!r}")
    unexpected = set(outputs) - set(case["outputs"]) if kind == "cli" else set()
    absent = set(case["outputs"]) - set(outputs)
    if unexpected or absent:
        raise UserError(f"outputs missing: {sorted(absent)}, not expected: {sorted(unexpected)}")
    return {
        name: output_error(name, spec, arrays, outputs[name])
        for name, spec in case["outputs"].items()
    }


def worst_line(case: Mapping[str, Any], errors: Mapping[str, float]) -> tuple[str, bool]:
    """One printed line (worst relative error, its tolerance, verdict) and whether it passed."""
    name = max(errors, key=lambda key: errors[key])
    spec = case["outputs"][name]
    tolerance = spec.get("tolerance_rel", spec.get("max_mismatch_fraction", 0.0))
    error = errors[name] * tolerance if tolerance else errors[name]
    passed = errors[name] <= 1
    verdict = "PASS" if passed else "FAIL"
    if case.get("advisory"):
        verdict += " (advisory)"
    return f"{case['name']:32s} {error:10.3g} {tolerance:10.3g}  {verdict:6s} {name}", passed


def run_kit(folder: Path, write: Callable[[str], object], *, only: Sequence[str] = ()) -> bool:
    """Runs the cases of a kit, one line each; True when all pass.

    Advisory cases may differ from the record, but they must run.

    Args:
        folder: the kit.
        write: receives the lines.
        only: names or kinds of the cases to run; empty runs all.

    Raises:
        UserError: the folder is no kit, or has none of the cases asked for.
    """
    all_passed = True
    with tempfile.TemporaryDirectory(prefix="stcn-parity-") as scratch:
        kit = Kit(folder, Path(scratch))
        cases = [c for c in kit.cases() if not only or c["name"] in only or c["kind"] in only]
        if not cases:
            raise UserError(f"{folder}: no case of the names or kinds {', '.join(only)}")
        write(f"{'case':32s} {'rel. error':>10s} {'tolerance':>10s}  result worst output")
        for case in cases:
            try:
                line, passed = worst_line(case, run_case(kit, case))
                passed = passed or bool(case.get("advisory"))
            except (Exception, SystemExit) as error:  # the other cases are to run all the same
                message = f"{type(error).__name__}: {error}".splitlines()[0]
                line, passed = f"{case['name']:32s} {'-':>10s} {'-':>10s}  FAIL   {message}", False
            write(line)
            all_passed &= passed
    return all_passed


def main(argv: list[str] | None = None) -> int:
    """Entry point of `make parity-stcn [KIT=folder]`."""
    parser = ArgumentParser("stcn.parity", description=__doc__)
    parser.add_argument("kit", nargs="?", type=Path, default=RECORDS, help="folder of records")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="CASE", help="names or kinds of cases to run"
    )
    args = parser.parse_args(argv)

    def write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    return 0 if run_kit(args.kit, write, only=args.only) else 1


if __name__ == "__main__":
    run_cli(main)
