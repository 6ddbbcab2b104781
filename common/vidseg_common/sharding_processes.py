"""One shard in several processes, which share its sequences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch.distributed

from vidseg_common.distributed import DistInfo
from vidseg_common.sharding import Shards


@contextmanager
def run_shard(shards: Shards, dist: DistInfo) -> Iterator[Path | None]:
    """`Shards.run` in the first process, which tells the others what it gives.

    Args:
        shards: with the shard to run.
        dist: place among the processes; each of them calls this.

    Raises:
        UserError: as `Shards.run`, in the first process.
    """
    with shards.run() if dist.is_main else nullcontext() as folder:
        told = [folder]
        if dist.world_size > 1:
            torch.distributed.broadcast_object_list(told)
        yield told[0]
