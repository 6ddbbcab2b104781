"""`scripts/plot_loss.py`: curves of the losses of a training, from its JSON log (spec 10.6)."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stmask.commands.flags import say
from vidseg_common.arguments import did_you_mean
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError
from vidseg_common.files import atomic_path
from vidseg_common.logging import read_jsonl
from vidseg_common.metrics.parallel import positive_int

_SUFFIXES = (".png", ".svg", ".pdf")
_AXES = ("iter", "epoch", "elapsed")


def build_parser() -> ArgumentParser:
    """Flags of the script."""
    parser = ArgumentParser("plot_loss.py", description="Draw the losses of a training.")
    add = parser.add_argument
    add("log", type=Path, help="NAME.log in the folder of the checkpoints")
    add("-o", "--output", type=Path, help="picture to write; default: LOG_loss.png")
    add("--losses", nargs="+", metavar="NAME", help="such as B C Total; default: all")
    add("--session", type=int, help="number of the session; default: all, later ones win")
    add("--window", type=positive_int, default=100, help="iterations that are averaged")
    add("--x", choices=_AXES, default="iter", help="horizontal axis; elapsed: hours of training")
    add("--log_scale", action="store_true", help="logarithmic vertical axis")
    return parser


def read_losses(log: Path, session: int | None = None) -> list[dict[str, Any]]:
    """The records of training, one per iteration, in order.

    Iterations that a resumed session did again are taken from it.

    Args:
        log: the JSON-lines file.
        session: only this one.

    Raises:
        UserError: the file is missing or has no such records.
    """
    if not log.is_file():
        raise UserError(f"no log of a training: {log}")
    rows: list[dict[str, Any]] = []
    for record in read_jsonl(log):
        data = record.get("data")
        is_wanted = session is None or record.get("session") == session
        if record.get("type") != "train" or not isinstance(data, dict) or not is_wanted:
            continue
        # A session that went back to a checkpoint replaces what came after it.
        while rows and rows[-1]["iter"] >= data["iter"]:
            rows.pop()
        rows.append(data)
    if not rows:
        of_session = "" if session is None else f" of session {session}"
        raise UserError(f"{log}: has no records of training{of_session}")
    return rows


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """(T,) mean of each value and those before it, at most `window` of them; NaN is left out."""
    known = np.isfinite(values)
    sums = np.cumsum(np.concatenate([[0.0], np.where(known, values, 0.0)]))
    counts = np.cumsum(np.concatenate([[0], known]))
    first = np.maximum(np.arange(1, len(values) + 1) - window, 0)
    with np.errstate(invalid="ignore"):
        return (sums[1:] - sums[first]) / (counts[1:] - counts[first])


def main(argv: Sequence[str] | None = None) -> int:
    """Draws the curves.

    Raises:
        UserError: the log has no records, or no such loss.
    """
    args = build_parser().parse_args(argv)
    rows = read_losses(args.log, args.session)
    known = list(dict.fromkeys(name for row in rows for name in row["loss"]))
    for name in args.losses or ():
        if name not in known:
            raise UserError(f"{args.log}: has no loss {name!r}{did_you_mean(name, known)}")
    curves = {
        name: np.array([float(row["loss"].get(name, np.nan)) for row in rows])
        for name in args.losses or known
    }
    output = args.output or args.log.with_name(f"{args.log.stem}_loss.png")
    if output.suffix not in _SUFFIXES:
        raise UserError(f"{output}: expected a name that ends in {', '.join(_SUFFIXES)}")
    _draw(output, _places(rows, args.x), curves, args)
    say(f"{len(rows)} iterations in {output}")
    return 0


def _places(rows: Sequence[Mapping[str, Any]], axis: str) -> np.ndarray:
    """Where the records lie on the horizontal axis; time goes on over the sessions."""
    if axis != "elapsed":
        return np.array([row[axis] for row in rows], np.float64)
    # Every record has the time of its own iteration.
    return np.cumsum([float(row["elapsed"]) for row in rows]) / 3600


def _draw(
    path: Path, places: np.ndarray, curves: Mapping[str, np.ndarray], args: argparse.Namespace
) -> None:
    # Its import takes a second, which --help need not wait for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    for name, values in curves.items():
        width = 2.5 if name == "Total" else 1.2
        axes.plot(places, smooth(values, args.window), label=name, linewidth=width)
    units = {"iter": "iteration", "epoch": "epoch", "elapsed": "hours"}
    title = f"{args.log.stem}, mean of {args.window} iterations"
    axes.set(xlabel=units[args.x], ylabel="loss", title=title)
    if args.log_scale:
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
