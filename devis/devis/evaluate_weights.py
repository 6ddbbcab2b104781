"""Evaluates files of weights: all at once, one shard of the data, or shards put together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from devis.checkpoint import load_network
from devis.config import Config
from devis.data.opening import OpenSet
from devis.evaluate import RESULTS, evaluate, score_results, weights_of, write_results
from devis.evaluation_set import open_evaluation_set
from devis.interrupted import result_settings
from vidseg_common.commands.common import say
from vidseg_common.conversion import select_positions
from vidseg_common.distributed import DistInfo
from vidseg_common.errors import ConfigError
from vidseg_common.files import OutputLock, check_writable
from vidseg_common.sharding import Sharding, Shards, merged_entries
from vidseg_common.sharding_processes import run_shard


@dataclass(frozen=True)
class How:
    """How weights are evaluated.

    Attributes:
        dist: place among several processes, and the device.
        dtype: number format of the network.
        workers: processes of the metric.
        sharding: which shard is run, or that shards are put together; None runs all at once.
    """

    dist: DistInfo
    dtype: torch.dtype = torch.float32
    workers: int = 1
    sharding: Sharding | None = None


def evaluate_weights(cfg: Config, how: How) -> dict[str, dict[str, float]]:
    """Evaluates the weights that a configuration names, see `weights_of`.

    Returns:
        Name of the folder in `OUTPUT_DIR` to what `evaluate` gives.

    Raises:
        UserError: weights, data, shards or an output are unusable.
    """
    files, root, scores = weights_of(cfg), Path(cfg.OUTPUT_DIR), {}
    for name, file in files.items():
        if len(files) > 1 and how.dist.is_main:
            say(f"{file}:")
        if how.sharding is None:
            scores[name] = _run(cfg, how, file, root / name)
        else:
            scores[name] = _shards(cfg, how, how.sharding, file, root / name)
    return scores


def _run(
    cfg: Config, how: How, file: Path, folder: Path, part: OpenSet | None = None
) -> dict[str, float]:
    dist = how.dist
    network = load_network(file, cfg).to(dist.device)
    return evaluate(
        network,
        cfg,
        device=dist.device,
        folder=folder,
        dist=dist,
        dtype=how.dtype,
        workers=how.workers,
        weights=file,
        part=part,
    )


def _shards(
    cfg: Config, how: How, sharding: Sharding, file: Path, target: Path
) -> dict[str, float]:
    """Runs a shard, or puts shards together and scores them."""
    if cfg.TEST.VIZ.VIDEO_NAMES:
        raise ConfigError("TEST.VIZ.VIDEO_NAMES does not go with --num-shards")
    chosen = open_evaluation_set(cfg)
    videos, is_images = chosen.data.videos, cfg.DATASETS.TYPE == "coco"
    shards = Shards(
        sharding,
        target,
        method="devis",
        data=chosen.file.name,
        lengths={str(video.id): video.num_frames for video in videos},
        settings=result_settings(file, cfg, chosen, how.dtype),
        # The images of a batch share their padding.
        batch=cfg.SOLVER.BATCH_SIZE if is_images else 1,
    )
    if sharding.is_merge:
        if not how.dist.is_main:
            return {}
        key = "image_id" if is_images else "video_id"
        entries = merged_entries(shards, key, lambda folder: shards.target(folder) / RESULTS)
        with OutputLock(check_writable(target)):
            write_results(target, entries)
        return score_results(cfg, chosen, target, how.workers)
    with run_shard(shards, how.dist) as folder:
        if folder is not None:
            mine = set(shards.names())
            places = [i for i, video in enumerate(videos) if str(video.id) in mine]
            part = OpenSet(chosen.file, chosen.images, select_positions(chosen.data, places))
            _run(cfg, how, file, shards.target(folder), part)
    return {}
