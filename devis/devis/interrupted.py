"""What an evaluation keeps, so that an interrupted one goes on after its last finished video."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from devis.config import Config, to_dict
from devis.data.opening import OpenSet
from vidseg_common.distributed import DistInfo
from vidseg_common.download import sha256_of
from vidseg_common.files import check_writable
from vidseg_common.finished import FinishedVideos, open_finished

_NAME = "results.finished"


@contextlib.contextmanager
def keep_finished(
    weights: Path | None,
    cfg: Config,
    chosen: OpenSet,
    folder: Path,
    dist: DistInfo,
    dtype: torch.dtype,
) -> Iterator[FinishedVideos | None]:
    """Keeps the results of every video, or image, that this process is through with.

    Args:
        weights: the file that is evaluated; None, in a training, keeps nothing.
        cfg: of the evaluation.
        chosen: the data set.
        folder: of the results.
        dist: place among several processes; each has a file of its own.
        dtype: number format of the network.
    """
    if weights is None:
        yield None
        return
    part = f".{dist.rank}-of-{dist.world_size}" if dist.world_size > 1 else ""
    settings = {
        **result_settings(weights, cfg, chosen, dtype),
        "images": str(chosen.images.resolve()),
        "device": dist.device.type,
    }
    check_writable(folder)
    with open_finished(folder / f"{_NAME}{part}.jsonl", settings) as finished:
        yield finished


def result_settings(
    weights: Path, cfg: Config, chosen: OpenSet, dtype: torch.dtype
) -> dict[str, Any]:
    """What results depend on, but for the machine and its folders.

    Args:
        weights: the file that is evaluated.
        cfg: of the evaluation.
        chosen: the data set.
        dtype: number format of the network.
    """
    keys = to_dict(cfg)
    # Which files these are, their content tells.
    for group, name in (
        *(("MODEL", "WEIGHTS"), ("DATASETS", "DATA_PATH")),
        *(("TEST", "INPUT_FOLDER"), ("TEST", "EPOCHS_TO_EVAL")),
    ):
        del keys[group][name]
    return {
        "weights": sha256_of(weights),
        "annotations": sha256_of(chosen.file),
        **{name: keys[name] for name in ("MODEL", "DATASETS", "INPUT", "TEST")},
        "batch": cfg.SOLVER.BATCH_SIZE,
        "precision": str(dtype),
    }


def forget_finished(folder: Path) -> None:
    """Deletes what all processes have kept, once the results are written."""
    for path in folder.glob(f"{_NAME}*.jsonl"):
        path.unlink()
