"""Results of finished videos in a file: an interrupted run goes on after them, shards keep them.

The file is that of `vidseg_common.finished`; an entry is a frame, with its arrays in Base64.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vatrack.outputs.store import PlainFrame, ResultStore
from vidseg_common.distributed import DistInfo
from vidseg_common.finished import FinishedVideos
from vidseg_common.sharding import Shards


def finished_file(out: Path, dist: DistInfo) -> Path:
    """The file of a process, beside the result file."""
    part = f".{dist.rank}-of-{dist.world_size}" if dist.world_size > 1 else ""
    return out.parent / f"{out.stem}.finished{part}.jsonl"


def finished_files(out: Path) -> list[Path]:
    """The files of all processes."""
    return sorted(out.parent.glob(f"{out.stem}.finished*.jsonl"))


def to_entries(frames: Sequence[PlainFrame]) -> list[dict[str, Any]]:
    """The frames of a video in values that JSON knows."""
    return [
        {
            "size": size,
            "arrays": [None if a is None else base64.b64encode(a).decode("ascii") for a in arrays],
            "masks": masks,
        }
        for size, arrays, masks in frames
    ]


def from_entries(entries: Sequence[Mapping[str, Any]]) -> list[PlainFrame]:
    """The frames that `to_entries` was given."""
    return [
        [
            entry["size"],
            [None if text is None else base64.b64decode(text) for text in entry["arrays"]],
            entry["masks"],
        ]
        for entry in entries
    ]


def merge_shards(shards: Shards, store: ResultStore, settings: Mapping[str, Any]) -> None:
    """Fills a store with the results of all shards.

    Args:
        shards: of everything that the store is for.
        store: gets the frames of every video.
        settings: that the files of the shards have.

    Raises:
        UserError: a shard is not finished, or its results are not all there.
    """
    places = {str(video.id): place for place, video in enumerate(store.videos)}
    for index, folder, names in shards.finished():
        with ExitStack() as stack:
            files = [
                stack.enter_context(FinishedVideos(path, settings))
                for path in finished_files(shards.target(folder))
            ]
            for name in names:
                video_id = store.videos[places[name]].id
                kept = next((file for file in files if video_id in file), None)
                if kept is None:
                    raise shards.fault(index, f"it has no results of video {name}")
                store.add(places[name], from_entries(kept.entries(video_id)))
