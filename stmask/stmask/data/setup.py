"""The training set of a configuration (spec 2, 8)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stmask.config import DATA_ROOT_VARIABLE
from stmask.data.annotations import read_videos
from stmask.data.augment import make_changes
from stmask.data.pairs import PairDataset, PairRules
from stmask.pixels import MEAN, STD
from vidseg_common.errors import ConfigError, DatasetError

#: The one normalisation that images get, as configurations say it.
_NORMALISATION = {"mean": list(MEAN), "std": list(STD), "to_rgb": True}


def build_dataset(dataset: Any, num_classes: int, *, progress: bool = False) -> PairDataset:
    """Opens a data set for training.

    Args:
        dataset: the configuration of a data set, such as `cfg.train_dataset`.
        num_classes: of the network, background included.
        progress: show a bar on stderr while the annotations are read.

    Raises:
        ConfigError: a value of the configuration does not fit.
        DatasetError: the file is missing or cannot be used, has no annotations, or more
            categories than the network tells apart.
    """
    rules = pair_rules(dataset)
    if not Path(dataset.ann_file).is_file():
        raise DatasetError(
            f"no annotation file {dataset.ann_file} (the environment variable "
            f"{DATA_ROOT_VARIABLE} names the folder of the data sets)"
        )
    data = read_videos(dataset.ann_file, dataset.img_prefix, progress=progress)
    found = len(data.category_names)
    if found > num_classes - 1:
        raise DatasetError(
            f"{data.file}: field categories: has {found}, but the network tells "
            f"{num_classes - 1} apart; choose the configuration of this data set"
        )
    return PairDataset(data, rules)


def pair_rules(dataset: Any) -> PairRules:
    """How pairs are drawn and changed, of the configuration of a data set.

    Raises:
        ConfigError: a value does not fit.
    """
    if dataset.img_norm_cfg != _NORMALISATION:
        raise ConfigError(
            f"img_norm_cfg: expected {_NORMALISATION}, which every model was trained with, "
            f"got {dataset.img_norm_cfg}"
        )
    if not 0 <= dataset.flip_ratio <= 1:
        raise ConfigError(f"flip_ratio: expected a probability, got {dataset.flip_ratio}")
    for key in ("clip_frames", "size_divisor"):
        if getattr(dataset, key) < 1:
            raise ConfigError(f"{key}: expected 1 or more, got {getattr(dataset, key)}")
    return PairRules(
        stride=dataset.clip_frames,
        flip_ratio=dataset.flip_ratio,
        sizes=_sizes(dataset.img_scale),
        keep_ratio=dataset.resize_keep_ratio,
        divisor=dataset.size_divisor,
        changes=make_changes(dataset.extra_aug),
    )


def _sizes(img_scale: Any) -> tuple[tuple[int, int], ...]:
    sizes = tuple(tuple(size) for size in img_scale)
    good = all(len(size) == 2 and min(size) >= 1 for size in sizes)
    if not good or len(sizes) not in (1, 2):
        raise ConfigError(
            f"img_scale: expected one or two lists [width, height], got {img_scale!r}"
        )
    return sizes
