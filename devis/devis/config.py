"""Configurations: defaults, over them a YAML file, over them KEY VALUE words (spec section 2)."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devis.config_check import check
from devis.config_tree import Config
from devis.data.catalog import find
from devis.losses.settings import LossSettings
from devis.model.settings import ModelSettings, TemporalSettings
from vidseg_common.arguments import did_you_mean
from vidseg_common.config import apply_overrides, dump_yaml, load_yaml, to_dict
from vidseg_common.errors import ConfigError

__all__ = [
    "CONFIGS",
    "Config",
    "dump_yaml",
    "find_config",
    "load_config",
    "loss_settings",
    "model_settings",
    "num_classes",
    "to_dict",
    "update",
]

CONFIGS = Path(__file__).parents[1] / "configs"
COMMAND_LINE = "command line"


def load_config(name_or_path: str | Path, opts: Sequence[Any] = ()) -> Config:
    """Loads and checks a configuration.

    Args:
        name_or_path: a file, or one of `configs/` by its path there or by its name, with or
            without the suffix ("devis_R_50_YT-19").
        opts: see `update`.

    Raises:
        ConfigError: no such file, an unknown key, or values that do not fit (together).
    """
    path = find_config(name_or_path)
    return update(load_yaml(Config, path), opts, source=str(path) if not opts else COMMAND_LINE)


def find_config(name_or_path: str | Path) -> Path:
    """The file that a path or a name stands for.

    Raises:
        ConfigError: there is none; the nearest name is offered.
    """
    path = Path(name_or_path)
    shipped = {file.stem: file for file in sorted(CONFIGS.rglob("*.yaml"))}
    for candidate in (path, CONFIGS / path, CONFIGS / f"{path}.yaml"):
        if candidate.is_file():
            return candidate
    name = path.name.removesuffix(".yaml")
    if name in shipped and path.parent == Path():
        return shipped[name]
    hint = did_you_mean(name, shipped) or f"; there are {', '.join(shipped)}"
    raise ConfigError(f"{path}: no such configuration{hint}")


def update(cfg: Config, opts: Sequence[Any], *, source: str = COMMAND_LINE) -> Config:
    """A checked copy with the values of `KEY VALUE ...` words.

    Args:
        cfg: the configuration; it is not changed.
        opts: dotted key, then its value as a Python literal or plain text, and so on; or
            "KEY=VALUE".
        source: where the values come from, for messages.

    Raises:
        ConfigError: an unknown key, a key without a value, or a value that does not fit.
    """
    cfg = apply_overrides(cfg, [_literal(word) for word in opts], source=COMMAND_LINE)
    check(cfg, source)
    return cfg


def _literal(word: Any) -> Any:
    """Lists and quoted text as Python writes them; any other word stays as it is."""
    if not isinstance(word, str) or not word.lstrip().startswith(("[", "(", "'", '"')):
        return word
    try:
        return ast.literal_eval(word.strip())
    except (ValueError, SyntaxError):
        return word


def num_classes(cfg: Config) -> int:
    """Width of the class head, as the validation set has it (spec 3).

    Raises:
        ConfigError: an unknown data set.
    """
    return find(cfg.DATASETS.TYPE, cfg.DATASETS.VAL_DATASET, "DATASETS.VAL_DATASET").num_classes


def model_settings(cfg: Config, classes: int | None = None) -> ModelSettings:
    """The network that a configuration describes.

    Args:
        cfg: checked.
        classes: width of the class head; None takes that of the data set.

    Raises:
        ConfigError: an unknown data set, or there is no such network.
    """
    model, is_vis = cfg.MODEL, cfg.DATASETS.TYPE == "vis"
    classes = num_classes(cfg) if classes is None else classes
    try:
        return ModelSettings(
            family="devis" if is_vis else "mask_head" if model.MASK_ON else "deformable_detr",
            num_classes=classes,
            backbone=model.BACKBONE,
            dilation=model.BACKBONE_DILATION,
            num_queries=model.NUM_QUERIES,
            hidden_dim=model.HIDDEN_DIM,
            dim_feedforward=model.DIM_FEEDFORWARD,
            dropout=model.DROPOUT,
            num_levels=model.NUM_FEATURE_LEVELS,
            refine_boxes=model.WITH_BBX_REFINE,
            box_gradient=model.BBX_GRADIENT_PROP,
            refine_points=model.WITH_REF_POINT_REFINE,
            enc_layers=model.TRANSFORMER.ENCODER_LAYERS,
            dec_layers=model.TRANSFORMER.DECODER_LAYERS,
            num_heads=model.TRANSFORMER.N_HEADS,
            enc_points=model.TRANSFORMER.ENC_N_POINTS,
            dec_points=model.TRANSFORMER.DEC_N_POINTS,
            modulated=model.MASK_HEAD.USE_MDC,
            attention_levels=model.MASK_HEAD.UPSAMPLING_RESOLUTIONS,
            mask_features=model.MASK_HEAD.USED_FEATURES,
            mask_layers=model.LOSS.MASK_AUX_LOSS,
            temporal=_temporal_settings(cfg) if is_vis else None,
        )
    except ValueError as error:
        raise ConfigError(f"MODEL: {error}") from error


def _temporal_settings(cfg: Config) -> TemporalSettings:
    devis = cfg.MODEL.DEVIS
    attention = devis.DEFORMABLE_ATTENTION
    return TemporalSettings(
        num_frames=devis.NUM_FRAMES,
        embedding=devis.TEMPORAL_EMBEDDING,
        connected=not attention.DISABLE_TEMPORAL_CONNECTIONS,
        connect_all=attention.ENC_CONNECT_ALL_FRAMES,
        window=attention.ENC_TEMPORAL_WINDOW,
        instance_aware=attention.INSTANCE_AWARE_ATTENTION,
        enc_points=attention.ENC_N_POINTS_TEMPORAL_FRAME,
        dec_points=attention.DEC_N_POINTS_TEMPORAL_FRAME,
        conv_head_3d=cfg.MODEL.MASK_HEAD.DEVIS.CONV_HEAD_3D,
    )


def loss_settings(cfg: Config) -> LossSettings:
    """Costs and weights that a configuration describes.

    Args:
        cfg: checked.
    """
    model, loss, matcher = cfg.MODEL, cfg.MODEL.LOSS, cfg.MODEL.MATCHER
    return LossSettings(
        class_cost=matcher.CLASS_COST,
        l1_cost=matcher.BBX_L1_COST,
        giou_cost=matcher.BBX_GIOU_COST,
        sum_l1=matcher.USE_SUM_L1_DISTANCE,
        class_weight=loss.CLASS_COEF,
        l1_weight=loss.BBX_L1_COEF,
        giou_weight=loss.BBX_GIOU_COEF,
        mask_weight=loss.SEGM_MASK_COEF,
        dice_weight=loss.SEGM_DICE_COEF,
        alpha=loss.FOCAL_ALPHA,
        dec_layers=model.TRANSFORMER.DECODER_LAYERS,
        auxiliary=loss.AUX_LOSS,
        weigh_layers=loss.AUX_LOSS_WEIGHTING,
        mask_layers=loss.MASK_AUX_LOSS,
        masks=model.MASK_ON,
    )
