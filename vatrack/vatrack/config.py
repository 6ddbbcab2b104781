"""Configurations: what is read, and the typed settings that are made of it.

>>> cfg = load_config("QDbasedVATrack_SAILVOScut", ["model.roi_head.mask_head.num_convs=4"])
>>> model_settings(cfg).mask_convs
4
"""

from vatrack.config_file import (
    BACKBONES,
    CONFIGS,
    DATA_VARIABLE,
    Config,
    find_config,
    load_config,
    resolve_path,
)
from vatrack.config_settings import (
    dataset_settings,
    inference_settings,
    loss_settings,
    model_settings,
    network_kind,
    num_classes,
    pipeline_settings,
    tracker_settings,
    train_settings,
)

__all__ = [
    "BACKBONES",
    "CONFIGS",
    "DATA_VARIABLE",
    "Config",
    "dataset_settings",
    "find_config",
    "inference_settings",
    "load_config",
    "loss_settings",
    "model_settings",
    "network_kind",
    "num_classes",
    "pipeline_settings",
    "resolve_path",
    "tracker_settings",
    "train_settings",
]
