"""`scripts/logger.py`: any two fields of a training's log against each other (spec 10.6).

A query is a path of fields with dots between them, such as `iter`, `loss.Total` or `lr`; `elapsed`
is the time of training until then, in hours, over all sessions, and `time` the time of day in
seconds. A query may begin with `x.`, as the original's do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stmask.commands.flags import say
from stmask.tools.plot_loss import smooth
from vidseg_common.arguments import did_you_mean
from vidseg_common.config import ArgumentParser
from vidseg_common.errors import UserError
from vidseg_common.files import atomic_path
from vidseg_common.logging import read_jsonl
from vidseg_common.metrics.parallel import positive_int

_SUFFIXES = (".png", ".svg", ".pdf")
_ELAPSED = "elapsed"


class Log:
    """The records of a training's log.

    Args:
        path: NAME.log in the folder of the checkpoints.

    Raises:
        UserError: the file is missing or has no records.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.records = [r for r in read_jsonl(self.path) if {"type", "data", "session"} <= r.keys()]
        if not self.records:
            raise UserError(f"{self.path}: is not the log of a training, or has no records")

    def sessions(self) -> list[int]:
        """Numbers of the sessions."""
        return sorted({record["session"] for record in self.records})

    def query(self, kind: str, field: str, session: int | None = None) -> np.ndarray:
        """(T,) values of a field, NaN where a record lacks it.

        Args:
            kind: of records: "train", "val" or "session".
            field: see the module.
            session: only this one.

        Raises:
            UserError: no such records, or none has the field.
        """
        rows = self._rows(kind, session)
        field = field.removeprefix("x.").removeprefix("data.")
        if field == _ELAPSED and kind == "train":
            return self.elapsed(session)
        values = [_find(row, field) for row in rows]
        if all(value is None for value in values):
            near = did_you_mean(field, _fields(rows[0]["data"]))
            raise UserError(f"{self.path}: no {kind} record has the field {field!r}{near}")
        return np.array([_number(value) for value in values])

    def elapsed(self, session: int | None = None) -> np.ndarray:
        """(T,) hours of training at the end of every iteration, pauses left out."""
        seconds = [_number(_find(row, _ELAPSED)) for row in self._rows("train", session)]
        return np.cumsum(np.nan_to_num(np.array(seconds))) / 3600

    def means(self, kind: str, field: str) -> dict[int, float]:
        """Mean of a field in each session that has it."""
        kinds = {(r["type"], r["session"]) for r in self.records}
        found = [number for number in self.sessions() if (kind, number) in kinds]
        return {n: float(np.nanmean(self.query(kind, field, n))) for n in found}

    def _rows(self, kind: str, session: int | None) -> list[dict[str, Any]]:
        rows = [r for r in self.records if r["type"] == kind and session in (None, r["session"])]
        if not rows:
            kinds = ", ".join(sorted({record["type"] for record in self.records}))
            where = "" if session is None else f" in session {session}"
            raise UserError(f"{self.path}: no {kind} records{where}; it has {kinds}")
        return rows


def _find(record: dict[str, Any], field: str) -> Any:
    value: Any = {**record["data"], "time": record.get("time"), "session": record["session"]}
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _fields(data: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for key, value in data.items():
        inner = _fields(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}"]
        found += inner
    return found


def plot(log: Log, kind: str, x: str, y: str, path: Path, *, window: int = 1) -> None:
    """Draws a field over another one, a curve for each session.

    Args:
        log: the records.
        kind: of the records.
        x: field of the horizontal axis.
        y: field of the vertical axis.
        path: picture to write.
        window: values that are averaged.

    Raises:
        UserError: see `Log.query`.
    """
    kinds = {(r["type"], r["session"]) for r in log.records}
    curves = {
        n: (log.query(kind, x, n), smooth(log.query(kind, y, n), window))
        for n in log.sessions()
        if (kind, n) in kinds
    } or {0: (log.query(kind, x), log.query(kind, y))}
    figure, axes = _figure(f"{log.path.stem}, {kind}", x, y)
    for number, (places, values) in curves.items():
        axes.plot(places, values, label=f"session {number}", linewidth=1.5)
    axes.legend(fontsize="small")
    _save(figure, path)


def bar(log: Log, kind: str, y: str, path: Path) -> None:
    """Draws the mean of a field in each session.

    Raises:
        UserError: see `Log.query`.
    """
    means = log.means(kind, y)
    if not means:
        log.query(kind, y)
    figure, axes = _figure(f"{log.path.stem}, {kind}, mean", "session", y)
    axes.bar([str(number) for number in means], list(means.values()), width=0.6)
    _save(figure, path)


def _figure(title: str, x: str, y: str) -> tuple[Any, Any]:
    # Its import takes a second, which --help need not wait for.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    if path.suffix not in _SUFFIXES:
        raise UserError(f"{path}: expected a name that ends in {', '.join(_SUFFIXES)}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def build_parser() -> ArgumentParser:
    """Flags of the script."""
    parser = ArgumentParser("logger.py", description="Draw fields of the log of a training.")
    add = parser.add_argument
    add("log", type=Path, help="NAME.log in the folder of the checkpoints")
    add("type", help="of records: train, val or session")
    add("xquery", help="field of the horizontal axis, such as iter or elapsed (hours)")
    add("yquery", help="field of the vertical axis, such as loss.Total or mAP")
    add("-o", "--output", type=Path, help="picture to write; default: LOG_TYPE.png")
    add("--window", type=positive_int, default=1, help="values that are averaged")
    add("--bar", action="store_true", help="the mean of each session as a bar")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draws.

    Raises:
        UserError: the log has no such records or fields.
    """
    args = build_parser().parse_args(argv)
    log = Log(args.log)
    output = args.output or args.log.with_name(f"{args.log.stem}_{args.type}.png")
    if args.bar:
        bar(log, args.type, args.yquery, output)
    else:
        plot(log, args.type, args.xquery, args.yquery, output, window=args.window)
    shown = [record for record in log.records if record["type"] == args.type]
    count = len({record["session"] for record in shown})
    say(f"{len(shown)} {args.type} records of {count} session(s): {output}")
    return 0
