"""Runs recorded cases of the original implementation: `python -m stemseg.parity [KIT]`.

A kit is a folder with `cases.json`, manifests of weights and one .npz per case. Weights come from
their own names by a fixed rule, are written into the official container and go through the loader
that reads official files. Every case prints its worst error; an unknown kind fails.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stemseg.parity_kit import Case, Comparison, Kit
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError, run_cli

RECORDS = Path(__file__).parents[1] / "tests" / "parity" / "records"
Runner = Callable[[Case, Kit], Iterable[Comparison]]

#: Module to the kinds whose `run_<kind>` it has.
RUNNERS = {
    "stemseg.parity_network": (
        *("coordinate_maps", "op_frozen_bn", "op_bottleneck", "op_fpn", "decoder", "net"),
    ),
    "stemseg.parity_losses": (
        *("loss_embedding", "loss_lovasz", "loss_semseg_foreground", "targets_rescale"),
        *("lr_schedules", "train", "train_step"),
    ),
    "stemseg.parity_data": (
        *("dataset_parse", "dataset_sampling", "dataset_sample", "dataset_image_filters"),
        *("mask_resize", "collate", "instance_duplicator", "concat_dataset", "rle"),
    ),
    "stemseg.parity_inference": (
        *("resize_rules", "input_dim_flags", "preprocess", "subsequences", "cluster", "chainer"),
        *("output", "kitti_mots_postprocessing", "visualisation", "infer"),
    ),
}


def find_runner(kind: str) -> Runner:
    """The function that runs cases of a kind; its module is imported now.

    Raises:
        UserError: nothing here knows the kind.
    """
    for module, kinds in RUNNERS.items():
        if kind in kinds:
            return getattr(importlib.import_module(module), f"run_{kind}")
    raise UserError(f"unknown case kind {kind!r}")


def run_case(kit: Kit, case: Case) -> list[Comparison]:
    """Every comparison of a case.

    Raises:
        UserError: an unknown kind, an output that is missing, or nothing to compare.
    """
    comparisons = list(find_runner(case["kind"])(case, kit))
    if not comparisons:
        raise UserError(f"case {case['name']!r} compared nothing")
    return comparisons


def worst_line(case: Case, comparisons: Sequence[Comparison]) -> str:
    """One printed line: worst error, its tolerance, verdict."""
    worst = max(comparisons, key=lambda item: (not item.passed, item.severity))
    verdict = "PASS" if worst.passed else "FAIL"
    return (
        f"{case['name']:32s} {worst.error:10.3g} {worst.tolerance:10.3g}  {verdict}  {worst.name}"
    )


def run_kit(folder: Path, write: Callable[[str], object], *, only: Sequence[str] = ()) -> bool:
    """Runs the cases of a kit, one line each; True when all pass.

    Args:
        folder: the kit.
        write: receives the lines.
        only: names or kinds of the cases to run; empty runs all.

    Raises:
        UserError: the folder is no kit, or has none of the cases asked for.
    """
    all_passed = True
    with tempfile.TemporaryDirectory(prefix="stemseg-parity-") as scratch:
        kit = Kit(folder, Path(scratch))
        cases = [c for c in kit.cases() if not only or c["name"] in only or c["kind"] in only]
        if not cases:
            raise UserError(f"{folder}: no case of the names or kinds {', '.join(only)}")
        write(f"{'case':32s} {'error':>10s} {'tolerance':>10s}  result worst output")
        for case in cases:
            try:
                comparisons = run_case(kit, case)
                passed, line = all(c.passed for c in comparisons), worst_line(case, comparisons)
            except (Exception, SystemExit) as error:  # the other cases are to run all the same
                message = f"{type(error).__name__}: {error}".splitlines()[0]
                line, passed = f"{case['name']:32s} {'-':>10s} {'-':>10s}  FAIL  {message}", False
            write(line)
            all_passed &= passed
    return all_passed


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `make parity-stemseg [KIT=folder]`."""
    parser = ArgumentParser("stemseg.parity", description=__doc__)
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
