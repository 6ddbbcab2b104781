"""Runs the cases of a kit and prints one line for each.

A kit is a folder with `cases.json`, inputs and expected numbers. A case whose kind nothing here
knows fails; one whose inputs are not on this machine is skipped, with the reason.
"""

from __future__ import annotations

import importlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from vidseg_common.arguments import ArgumentParser
from vidseg_common.errors import UserError
from vidseg_common.parity.records import CaseSkipped, Check

Checker = Callable[[Path, dict[str, Any]], Iterable[Check]]

_PACKAGE = "vidseg_common.parity"
_CHECKOUT_RECORDS = Path(__file__).resolve().parents[2] / "tests" / "parity"


@dataclass(frozen=True)
class Outcome:
    """The result of one case.

    Attributes:
        name: name of the case.
        verdict: "PASS", "FAIL" or "SKIPPED".
        detail: what differs most, or why the case failed or was skipped.
        error: the largest error, measured by what is allowed for it; NaN where nothing ran.
        tolerance: what is allowed for that error; NaN where nothing ran.
    """

    name: str
    verdict: str
    detail: str
    error: float = math.nan
    tolerance: float = math.nan

    def line(self) -> str:
        """The line that is printed."""
        error, tolerance = (
            "-" if math.isnan(value) else f"{value:.3g}" for value in (self.error, self.tolerance)
        )
        return f"{self.name:24s} {error:>10s} {tolerance:>10s}  {self.verdict:8s} {self.detail}"


def read_cases(kit: Path) -> list[dict[str, Any]]:
    """The list in `cases.json`.

    Raises:
        UserError: no such file, another format, or no case in it.
    """
    path = kit / "cases.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; a parity kit is a folder with a cases.json")
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        named = [dict(case) | {"name": str(case["name"])} for case in cases]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the case list of a parity kit ({error!r})") from error
    if not named:
        raise UserError(f"{path}: has no cases, so nothing would be compared")
    return named


def checker_of(kind: str) -> Checker:
    """The function that runs cases of a kind.

    Raises:
        UserError: nothing here knows the kind.
    """
    module = kind.replace("-", "_")
    if module.isidentifier() and find_spec(f"{_PACKAGE}.{module}") is not None:
        check: Checker | None = getattr(
            importlib.import_module(f"{_PACKAGE}.{module}"), "check", None
        )
        if check is not None:
            return check
    raise UserError(f"unknown case kind {kind!r}")


def run_case(kit: Path, case: Mapping[str, Any]) -> Outcome:
    """Runs one case; whatever goes wrong in it becomes its outcome.

    Args:
        kit: folder of the records.
        case: its entry in `cases.json`.
    """
    name = str(case["name"])
    try:
        checks = list(checker_of(str(case.get("kind")))(kit, dict(case)))
    except CaseSkipped as reason:
        return Outcome(name, "SKIPPED", str(reason))
    except Exception as error:  # the other cases are to run all the same
        text = str(error).splitlines() or [""]
        return Outcome(name, "FAIL", f"{type(error).__name__}: {text[0]}")
    if not checks:
        return Outcome(name, "FAIL", "nothing was compared")
    worst = max(checks, key=lambda check: (_excess(check), check[2]))
    verdict = "PASS" if _excess(worst) <= 1 else "FAIL"
    return Outcome(name, verdict, f"{worst[0]} ({len(checks)} compared)", worst[1], worst[2])


def _excess(check: Check) -> float:
    """Error in units of its tolerance: at most 1 passes."""
    _, error, tolerance = check
    if math.isnan(error):
        return math.inf
    if tolerance == 0:
        return 0.0 if error == 0 else math.inf
    return error / tolerance


def run_kit(kit: Path, write: Callable[[str], object]) -> bool:
    """Runs every case of a kit, one line each; True when none fails.

    Args:
        kit: folder of the records.
        write: receives every line as soon as it is known.

    Raises:
        UserError: the folder is no kit.
    """
    cases = read_cases(kit)
    write(f"{'case':24s} {'error':>10s} {'tolerance':>10s}  {'result':8s} worst value")
    failed = 0
    for case in cases:
        outcome = run_case(kit, case)
        failed += outcome.verdict == "FAIL"
        write(outcome.line())
    return failed == 0


def build_parser() -> ArgumentParser:
    """The command line."""
    parser = ArgumentParser(
        prog="python -m vidseg_common.parity",
        description="Compare with recorded numbers; exit status 1 when a case fails.",
    )
    parser.add_argument(
        "kit", nargs="?", type=Path, help="folder of records (default: those of the checkout)"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a kit.

    Args:
        arguments: command line without the program, those of the process by default.

    Returns:
        0, or 1 when a case failed.

    Raises:
        UserError: the folder is no kit, or none was named where there is no checkout.
    """
    kit: Path | None = build_parser().parse_args(arguments).kit
    if kit is None and not (_CHECKOUT_RECORDS / "cases.json").is_file():
        raise UserError(
            "the records are part of the source tree, which is not here; name a folder of records"
        )

    def write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    return 0 if run_kit(kit or _CHECKOUT_RECORDS, write) else 1
