"""Running the cases of a method's parity kit: one printed line each, and the verdict.

A runner of a kind of case is a function `run_<kind>(case, kit)` that gives one `Comparison` per
number or file; a method keeps the table of its modules and the kinds that each one runs.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidseg_common.arguments import ArgumentParser
from vidseg_common.errors import UserError
from vidseg_common.parity_kit import Case, Comparison, Kit

Runner = Callable[[Case, Any], Iterable[Comparison]]


@dataclass(frozen=True)
class Suite:
    """What a method needs to be compared with its records.

    Attributes:
        name: of the method.
        runners: module to the kinds whose `run_<kind>` it has; imported when first needed.
        kit: the class that reads the folder.
        records: the folder that is used when none is given.
    """

    name: str
    runners: Mapping[str, Sequence[str]]
    kit: type[Kit]
    records: Path

    def find_runner(self, kind: str) -> Runner:
        """The function that runs cases of a kind.

        Raises:
            UserError: nothing here knows the kind.
        """
        for module, kinds in self.runners.items():
            if kind in kinds:
                return getattr(importlib.import_module(module), f"run_{kind}")
        raise UserError(f"unknown case kind {kind!r}")

    def run_case(self, kit: Kit, case: Case) -> list[Comparison]:
        """Every comparison of a case.

        Raises:
            UserError: an unknown kind, an output that is missing, or nothing to compare.
        """
        comparisons = list(self.find_runner(case["kind"])(case, kit))
        if not comparisons:
            raise UserError(f"case {case['name']!r} compared nothing")
        return comparisons

    def run_kit(
        self, folder: Path, write: Callable[[str], object], *, only: Sequence[str] = ()
    ) -> bool:
        """Runs the cases of a kit, one line each; True when all pass.

        Args:
            folder: the kit.
            write: receives the lines.
            only: names or kinds of the cases to run; empty runs all.

        Raises:
            UserError: the folder is no kit, or has none of the cases asked for.
        """
        all_passed = True
        with tempfile.TemporaryDirectory(prefix=f"{self.name}-parity-") as scratch:
            kit = self.kit(folder, Path(scratch))
            cases = [c for c in kit.cases() if not only or c["name"] in only or c["kind"] in only]
            if not cases:
                raise UserError(f"{folder}: no case of the names or kinds {', '.join(only)}")
            write(f"{'case':32s} {'error':>10s} {'tolerance':>10s}  result worst output")
            for case in cases:
                try:
                    comparisons = self.run_case(kit, case)
                    passed, line = all(c.passed for c in comparisons), worst_line(case, comparisons)
                except (Exception, SystemExit) as error:  # the other cases are to run all the same
                    message = f"{type(error).__name__}: {error}".splitlines()[0]
                    line = f"{case['name']:32s} {'-':>10s} {'-':>10s}  FAIL  {message}"
                    passed = False
                write(line)
                all_passed &= passed
        return all_passed

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Entry point of `make parity-METHOD [KIT=folder]`."""
        parser = ArgumentParser(
            f"{self.name}.parity",
            description=f"Runs recorded cases of the original implementation of {self.name}.",
        )
        parser.add_argument(
            "kit", nargs="?", type=Path, default=self.records, help="folder of records"
        )
        parser.add_argument(
            "--only", nargs="+", default=[], metavar="CASE", help="names or kinds of cases to run"
        )
        args = parser.parse_args(argv)

        def write(line: str) -> None:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

        return 0 if self.run_kit(args.kit, write, only=args.only) else 1


def worst_line(case: Case, comparisons: Sequence[Comparison]) -> str:
    """One printed line: worst error, its tolerance, verdict."""
    worst = max(comparisons, key=lambda item: (not item.passed, item.severity))
    verdict = "PASS" if worst.passed else "FAIL"
    return (
        f"{case['name']:32s} {worst.error:10.3g} {worst.tolerance:10.3g}  {verdict}  {worst.name}"
    )
