"""Evaluation of everything, of one shard, or of shards that are put together."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from stcn.commands.common import metrics_folder, say
from stcn.evaluate import (
    EvalPlan,
    EvalStats,
    RunLog,
    evaluate,
    expected_files,
    read_log,
    read_masks,
)
from stcn.inference.predictor import Predictor
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.sharding import Shards, sharding_of, take_file

#: From the output folder, what else `evaluate` is given.
Hooks = Callable[[Path], Mapping[str, Any]]


def run_plan(
    args: argparse.Namespace,
    plan: EvalPlan,
    predictor: Callable[[], Predictor],
    *,
    data: str,
    hooks: Hooks | None = None,
    extra: str | None = None,
) -> EvalStats | None:
    """Does what the flags of shards ask for.

    Args:
        args: with the flags of `add_output_flags`.
        plan: of the whole data set.
        predictor: makes the predictor, where one is needed.
        data: name of the data set and its split.
        hooks: see `Hooks`.
        extra: a file of every video in the output folder besides its masks, with {} for its name.

    Returns:
        What happened; None after a shard, which is not scored.

    Raises:
        UserError: see `evaluate` and `Shards`.
    """
    sharding = sharding_of(args)
    if sharding is None:
        stats = evaluate(plan, predictor(), **(hooks(args.output) if hooks else {}))
        say(*stats.lines())
        return stats
    shards = Shards(
        sharding,
        args.output,
        method="stcn",
        data=data,
        lengths={record.name: record.num_frames for record in plan.records},
        settings=plan.settings,
    )
    if sharding.is_merge:
        stats = _merge(plan, shards, args.output, extra)
        say(*stats.lines())
        return stats
    with shards.run() as folder:
        if folder is not None:
            output = shards.target(folder)
            part = _part(plan, args.output, output, set(shards.names()))
            say(*evaluate(part, predictor(), **(hooks(output) if hooks else {})).lines())
    return None


def _part(plan: EvalPlan, whole: Path, output: Path, names: set[str]) -> EvalPlan:
    """The plan of some videos, with another output folder."""
    return replace(
        plan,
        records=[record for record in plan.records if record.name in names],
        root=output / plan.root.relative_to(whole),
        run_file=metrics_folder(output) / plan.run_file.name,
        is_part=True,
    )


def _merge(plan: EvalPlan, shards: Shards, output: Path, extra: str | None) -> EvalStats:
    """Copies the results of all shards to where a run of everything has them."""
    stats, entries = EvalStats(), {}
    parts = shards.finished()
    check_writable(plan.root)
    with OutputLock(plan.root):
        log = RunLog(plan)
        for index, folder, names in parts:
            source = shards.target(folder)
            part = _part(plan, output, source, set(names))
            finished = read_log(replace(part, overwrite=False)).get("videos", {})
            for record in part.records:
                entry = finished.get(record.name)
                if entry is None:
                    if read_masks(part, record)[0]:
                        raise shards.fault(index, f"it has no results of {record.name}")
                    stats.skipped[record.name] = "no annotated frame with an object"
                    continue
                files = expected_files(part, record, entry["first"])
                files += [source / extra.format(record.name)] if extra else []
                for file in files:
                    if not file.is_file():
                        raise shards.fault(index, f"there is no {file}")
                    take_file(file, output / file.relative_to(source))
                entries[record.name] = entry
        for record in plan.records:
            if record.name in entries:
                log.add(record, **entries[record.name])
                stats.done.append(record.name)
    stats.seconds = sum(entry["seconds"] for entry in entries.values())
    stats.frames = sum(entry["frames"] for entry in entries.values())
    return stats
