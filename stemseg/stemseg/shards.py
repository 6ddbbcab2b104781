"""One shard of an evaluation, and shards that are put together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stemseg.evaluate import EvalPlan, EvalStats, picture_folder
from stemseg.outputs.writers import id_of
from stemseg.run_log import RunLog
from vidseg_common.conversion import select_positions
from vidseg_common.datasets.annotations import Video
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.sharding import Sharding, Shards, take_file


def shards_of(plan: EvalPlan, sharding: Sharding) -> Shards:
    """The shards of an evaluation."""
    return Shards(
        sharding,
        plan.writer.output,
        method="stemseg",
        data=plan.benchmark.name,
        lengths={id_of(video): video.num_frames for video in plan.benchmark.data.videos},
        settings=plan.settings,
    )


def part_of(plan: EvalPlan, shards: Shards, folder: Path, names: list[str]) -> EvalPlan:
    """The evaluation of some sequences in the folder of a shard."""
    data = plan.benchmark.data
    places = [i for i, video in enumerate(data.videos) if id_of(video) in set(names)]
    whole, output = plan.writer, shards.target(folder)
    scratch = output.with_name(whole.scratch.name)
    writer = type(whole)(output, scratch, whole.max_tracks, whole.category_names)
    return replace(
        plan,
        benchmark=replace(plan.benchmark, data=select_positions(data, places)),
        writer=writer,
        run_file=scratch / plan.run_file.name,
    )


def merge(plan: EvalPlan, shards: Shards) -> EvalStats:
    """Copies the results of all shards to where a run of everything has them.

    Raises:
        UserError: a shard is missing or not what it should be; the folder holds results of other
            settings, is in use or cannot be written.
    """
    stats, found = EvalStats(), {}
    parts = shards.finished()
    check_writable(plan.writer.output)
    with OutputLock(plan.writer.output):
        log = RunLog(plan.run_file, plan.writer.output, plan.settings, overwrite=plan.overwrite)
        for index, folder, names in parts:
            if not names:
                continue
            part = part_of(plan, shards, folder, names)
            finished = RunLog(part.run_file, part.writer.output, plan.settings).finished
            for video in part.benchmark.data.videos:
                if id_of(video) not in finished:
                    raise shards.fault(index, f"it has no results of {id_of(video)}")
                for source, target in _copies(part, plan, video):
                    if not source.is_file():
                        raise shards.fault(index, f"there is no {source}")
                    take_file(source, target)
                found[id_of(video)] = finished[id_of(video)]
        for video in plan.benchmark.data.videos:
            log.add(id_of(video), found[id_of(video)])
        stats.notes.append(f"{len(found)} sequences of {len(parts)} shards")
        stats.results = plan.writer.finish(plan.benchmark.data.videos)
    return stats


def _copies(part: EvalPlan, whole: EvalPlan, video: Video) -> Iterator[tuple[Path, Path]]:
    """Files of a sequence in a shard, and where a run of everything has them."""
    yield from zip(part.writer.files(video), whole.writer.files(video), strict=True)
    if whole.save_vis:
        for path in sorted(picture_folder(part, video).glob("*.jpg")):
            yield path, picture_folder(whole, video) / path.name
