"""Names of published files and the configurations behind them; which one a file belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import nn

from devis.checkpoint import load_weights, read_checkpoint
from devis.config import Config, load_config, model_settings
from devis.model import build
from vidseg_common.config import from_dict
from vidseg_common.datasets.category_names import standard_categories
from vidseg_common.datasets.coco_categories import COCO_CATEGORIES
from vidseg_common.errors import CheckpointError, ConfigError

#: Name of a released file, without suffix, to its configuration (spec section 10).
RELEASED = {
    "r50_deformable_detr_segmentation": "deformable_mask_head_R_50",
    "r101_deformable_detr_segmentation": "deformable_mask_head_R_101",
    "swinL_deformable_detr_segmentation": "deformable_mask_head_SwinL",
    "r50_devis_yt-19": "devis_R_50_YT-19",
    "swinL_devis_yt-19": "devis_Swin_L_YT-19",
    "r50_devis_yt-21": "devis_R_50_YT-21",
    "swinL_devis_yt-21": "devis_Swin_L_YT-21",
    "r50_devis_ovis": "devis_R_50_OVIS",
    "swinL_devis_ovis": "devis_Swin_L_OVIS",
}
#: Name of a file that only training starts from, to a configuration that starts from it.
STARTS = {
    "r50_deformable_detr_plus_iterative_bbox_refinement-checkpoint": "deformable_mask_head_R_50",
    "r50_deformable_detr_segmentation_ablation_1lvl_res": "devis_ablation2_single-scale",
}
#: Entry of a checkpoint that holds the configuration.
CONFIG_KEY = "cfg"


class Model(NamedTuple):
    """A network and its configuration."""

    network: nn.Module
    cfg: Config


def open_model(path: str | Path, config: str | Path | None = None) -> Model:
    """Loads a file, strictly, in eval mode.

    Args:
        path: a released file or a training checkpoint.
        config: file or name of the configuration. None takes the one that belongs to the name of
            the file, else the one that the file holds, as checkpoints of a training do.

    Raises:
        CheckpointError: the file cannot be read, does not fit, or tells no configuration.
        ConfigError: there is no such configuration.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    name = config or RELEASED.get(path.stem)
    if name is not None:
        cfg = load_config(name)
    else:
        stored = checkpoint.rest.get(CONFIG_KEY)
        if not isinstance(stored, Mapping):
            raise CheckpointError(
                f"{path}: neither its name nor its content tells the configuration; give "
                f"--config-file; names known are {', '.join(RELEASED)}"
            )
        cfg = from_dict(Config, dict(stored), source=f"{path}, entry {CONFIG_KEY}")
    network = build(model_settings(cfg))
    load_weights(network, checkpoint)
    return Model(network.eval(), cfg)


def class_names(cfg: Config) -> dict[int, str]:
    """Names of the classes of a configuration's validation set, by the number of the category."""
    if cfg.DATASETS.TYPE == "coco":
        return {category.id: category.name for category in COCO_CATEGORIES}
    name = cfg.DATASETS.VAL_DATASET
    if name.startswith("ovis"):
        kind = "ovis"
    else:
        kind = "ytvis2019" if name.endswith("_19") else "ytvis2021"
    return {category.id: category.name for category in standard_categories(kind)}


def require_clips(cfg: Config, path: str | Path) -> None:
    """Refuses a model of images where a video is to be tracked.

    Raises:
        ConfigError: it is one.
    """
    if cfg.DATASETS.TYPE != "vis":
        raise ConfigError(
            f"{path}: is a model of single images (DATASETS.TYPE {cfg.DATASETS.TYPE}); videos need "
            "a DeVIS model"
        )
