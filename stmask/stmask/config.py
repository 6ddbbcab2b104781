"""Configurations by name: the active one, every released one, data sets and backbones (spec 2).

>>> from stmask.config import cfg, set_cfg
>>> set_cfg("STMask_plus_resnet50_ada_config")
>>> cfg.backbone.args[0]
[3, 4, 6, 3]

Names are looked up in tables; an unknown name or key is an error that names the nearest one. A
YAML file serves as a configuration too: the name of its `base`, and what it changes.
"""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from stmask import config_data as data
from stmask.model.settings import NetworkSettings
from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import ConfigError

#: Where the data sets lie, unless the environment variable DATA_ROOT_VARIABLE says otherwise.
DATA_ROOT = "../datasets"
DATA_ROOT_VARIABLE = "STMASK_DATA_ROOT"
#: Keys that hold a data set: role to key.
DATASET_KEYS = {
    "train": "train_dataset",
    "valid_sub": "valid_sub_dataset",
    "valid": "valid_dataset",
    "test": "test_dataset",
}
#: What `set_dataset` calls the two data sets that it replaces.
SET_DATASET_ROLES = {"train": "train_dataset", "eval": "valid_dataset"}


class ConfigKeyError(ConfigError, AttributeError):
    """A key that a configuration does not have."""


class Config:
    """Values as attributes; the keys are fixed when it is made.

    Mappings under the keys in `NESTED` become configurations themselves.
    """

    NESTED = ("backbone", "fpn", *DATASET_KEYS.values())

    def __init__(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self.__dict__[key] = _nested(key, copy.deepcopy(value))

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        raise self._unknown(key)

    def __setattr__(self, key: str, value: Any) -> None:
        if key not in self.__dict__:
            raise self._unknown(key)
        self.__dict__[key] = _nested(key, value)

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # it is mutable

    def __repr__(self) -> str:
        return f"Config({self.__dict__.get('name', '')!r}, {len(self.__dict__)} keys)"

    def as_dict(self) -> dict[str, Any]:
        """Plain nested values, a copy."""
        return {
            key: value.as_dict() if isinstance(value, Config) else copy.deepcopy(value)
            for key, value in self.__dict__.items()
        }

    def copy(self, changes: Mapping[str, Any] | None = None) -> Config:
        """A new configuration with some values changed.

        Args:
            changes: key to value; a mapping for `backbone`, `fpn` or a data set changes those
                keys of it that it names.

        Raises:
            ConfigError: an unknown key, or a value of another kind than the present one.
        """
        made = Config(self.__dict__)
        for key, value in (changes or {}).items():
            made._change(key, copy.deepcopy(value))
        return made

    def replace(self, other: Config | Mapping[str, Any]) -> None:
        """Overwrites values in place, so that all who hold this object see the change.

        Raises:
            ConfigError: as `copy`; nothing is changed then.
        """
        values = other.__dict__ if isinstance(other, Config) else other
        self.__dict__.update(self.copy(values).__dict__)

    def print(self) -> None:
        """Lists every key and its value on standard output."""
        for key in sorted(self.__dict__):
            sys.stdout.write(f"{key} = {self.__dict__[key]!r}\n")

    def _change(self, key: str, value: Any) -> None:
        if key not in self.__dict__:
            raise self._unknown(key)
        present = self.__dict__[key]
        if isinstance(value, Config):
            self.__dict__[key] = value
        elif isinstance(present, Config) and isinstance(value, Mapping):
            self.__dict__[key] = present.copy(value)
        else:
            _check_kind(key, present, value)
            self.__dict__[key] = _nested(key, value)

    def _unknown(self, key: str) -> ConfigKeyError:
        return ConfigKeyError(f"unknown key {key!r}{did_you_mean(key, self.__dict__)}")


def _nested(key: str, value: Any) -> Any:
    return Config(value) if key in Config.NESTED and isinstance(value, Mapping) else value


def _check_kind(key: str, present: Any, value: Any) -> None:
    """Numbers for numbers, lists for lists; a key that holds None takes anything.

    Raises:
        ConfigError: of another kind.
    """
    kinds = (bool, (int, float), str, (list, tuple), Mapping)
    for kind in kinds:
        if isinstance(present, kind):
            wrong = not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)
            if wrong and value is not None:
                raise ConfigError(f"{key}: expected a value like {present!r}, got {value!r}")
            return


# --- data sets and backbones ----------------------------------------------------------------------


def dataset_names() -> list[str]:
    """Names that `get_dataset` knows."""
    return [f"{role}_{family}_dataset" for family in data.FILES for role in DATASET_KEYS]


def get_dataset(name: str) -> Config:
    """The data set of a name such as `valid_sub_OVIS_dataset`.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name == "dataset_base":
        return Config(data.DATASET_BASE)
    if name not in dataset_names():
        raise ConfigError(f"unknown data set {name!r}{did_you_mean(name, dataset_names())}")
    role = next(r for r in sorted(DATASET_KEYS, key=len, reverse=True) if name.startswith(f"{r}_"))
    ann_file, img_prefix = data.FILES[name[len(role) + 1 : -len("_dataset")]][role]
    root = os.environ.get(DATA_ROOT_VARIABLE) or DATA_ROOT
    return Config(
        data.DATASET_BASE
        | {"ann_file": f"{root}/{ann_file}", "img_prefix": f"{root}/{img_prefix}"}
        | {"test_mode": role in data.TEST_MODE}
    )


def get_backbone(name: str) -> Config:
    """The backbone of a name such as `resnet50_dcn_inter3_backbone`, with its own anchors.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name not in data.BACKBONES:
        raise ConfigError(f"unknown backbone {name!r}{did_you_mean(name, data.BACKBONES)}")
    return Config(data.BACKBONE_BASE | data.BACKBONES[name])


def _datasets(family: str) -> dict[str, Config]:
    return {key: get_dataset(f"{role}_{family}_dataset") for role, key in DATASET_KEYS.items()}


# --- named configurations -------------------------------------------------------------------------


def _youtube_vos_base() -> Config:
    sets = _datasets("YouTube_VOS")
    chosen = {key: sets[key] for key in ("train_dataset", "valid_dataset")}
    return Config(chosen | data.YOUTUBE_VOS_BASE)


def _make(backbone: str, name: str | None, family: str, changes: Mapping[str, Any]) -> Config:
    """An STMask; without a name it keeps that of the base."""
    levels = [2, 3, 4] if backbone.startswith("darknet") else [1, 2, 3]
    anchors = data.STMASK_ANCHORS | {"selected_layers": levels}
    if backbone.startswith("darknet"):
        anchors |= {"use_pixel_scales": True, "preapply_sqrt": False, "use_square_anchors": True}
    classes = data.CLASS_NAMES[family]
    values = {**data.YOUTUBE_VOS_BASE, **data.STMASK_BASE, **data.ADDED, **_datasets(family)}
    values |= {
        "backbone": get_backbone(backbone).copy(anchors),
        "fpn": data.FPN_BASE | {"num_downsample": 2, "use_conv_downsample": True},
        "num_classes": len(classes) + 1,
        "classes": list(classes),
    }
    values |= changes
    if name is not None:
        values["name"] = name
    return Config(values)


def _table() -> dict[str, Callable[[], Config]]:
    """Every named configuration and how it is made."""
    table: dict[str, Callable[[], Config]] = {"YouTube_VOS_base_config": _youtube_vos_base}

    def add(
        name: str,
        backbone: str,
        family: str = "YouTube_VOS",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        own = None if name == "STMask_base" else name
        table[f"{name}_config"] = lambda: _make(backbone, own, family, changes or {})

    add("STMask_base", "resnet101_backbone")
    add("STMask_resnet50", "resnet50_backbone")
    add("STMask_darknet53", "darknet53_backbone")
    calibrations: dict[str, dict[str, Any]] = {
        "": {},
        "_ada": {"use_dcn_class": True, "use_pred_offset": True},
        "_ali": {"use_dcn_class": True},
    }
    families = {"": "YouTube_VOS", "_OVIS": "OVIS", "_YTVIS2021": "YouTube_VOS2021"}
    for suffix, family in families.items():
        for size, backbone in (("base", "resnet101"), ("resnet50", "resnet50")):
            for mode, changes in calibrations.items():
                name = f"STMask_plus_{size}{mode}{suffix}"
                add(name, f"{backbone}_dcn_inter3_backbone", family, changes)
    return table


CONFIGS = _table()


def get_config(name: str) -> Config:
    """A new copy of a named configuration.

    Args:
        name: one of `CONFIGS`, or the path of a YAML file.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name.endswith((".yaml", ".yml")):
        return _read_file(Path(name))
    if name not in CONFIGS:
        raise ConfigError(f"unknown configuration {name!r}{did_you_mean(name, CONFIGS)}")
    made = CONFIGS[name]()
    if not made.name:
        made.name = name.split("_config")[0]
    return made


def _read_file(path: Path) -> Config:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: is not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict) or not isinstance(values.get("base"), str):
        raise ConfigError(f"{path}: expected the key 'base' with the name of a configuration")
    base = get_config(values.pop("base"))
    try:
        return base.copy({"name": path.stem} | values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


#: The active configuration.
cfg = get_config("STMask_base_config")


def set_cfg(name: str) -> None:
    """Makes a named configuration the active one, in place.

    Raises:
        ConfigError: as `get_config`.
    """
    chosen = get_config(name)
    cfg.__dict__.clear()
    cfg.__dict__.update(chosen.__dict__)


def set_dataset(name: str, role: str) -> None:
    """Replaces a data set of the active configuration.

    Args:
        name: of the data set.
        role: "train" or "eval".

    Raises:
        ConfigError: no such data set or role.
    """
    if role not in SET_DATASET_ROLES:
        raise ConfigError(f"role {role!r}: expected one of {', '.join(SET_DATASET_ROLES)}")
    setattr(cfg, SET_DATASET_ROLES[role], get_dataset(name))


def network_settings(config: Config) -> NetworkSettings:
    """The network that a configuration describes.

    Raises:
        ConfigError: there is no such network.
    """
    kinds = {"ResNetBackbone": "resnet", "DarkNetBackbone": "darknet53"}
    backbone, fpn = config.backbone, config.fpn
    if backbone is None or backbone.type not in kinds:
        kind = None if backbone is None else backbone.type
        raise ConfigError(f"backbone.type: expected one of {', '.join(kinds)}, got {kind!r}")
    blocks, *deformable = backbone.args
    stages, interval = deformable if deformable else ([], 0)
    kernels = [params["kernel_size"] for _, params in sorted(config.head_layer_params.items())]
    conf, mask, track, *_ = config.extra_layers
    calibrated = config.use_dcn_class or config.use_dcn_track or config.use_dcn_mask
    values: dict[str, Any] = {
        "backbone": kinds[backbone.type],
        "blocks": tuple(blocks),
        "dcn_interval": interval,
        "dcn_stages": tuple(i for i, count in enumerate(stages) if count),
        "num_classes": config.num_classes,
        "num_prototypes": config.mask_proto_n,
        "embed_dim": config.embed_dim,
        "kernels": tuple((h, w) for h, w in kernels),
        "scales_per_anchor": len(backbone.pred_scales[0]),
        "conf_depth": conf,
        "bbox_depth": conf,
        "mask_depth": mask,
        "track_depth": track,
        "fcb": None if not calibrated else "ada" if config.use_pred_offset else "ali",
        "calibrate_class": config.use_dcn_class,
        "calibrate_track": config.use_dcn_track,
        "calibrate_mask": config.use_dcn_mask,
        "share_head": config.share_prediction_module,
        "num_downsample": fpn.num_downsample,
        "conv_downsample": fpn.use_conv_downsample,
        "relu_pred": fpn.relu_pred_layers,
        "relu_downsample": fpn.relu_downsample_layers,
        "fpn_channels": fpn.num_features,
        "temporal_fusion": config.temporal_fusion_module,
        "patch_size": config.correlation_patch_size,
        "correlation_level": config.correlation_selected_layer,
        "semantic": config.use_semantic_segmentation_loss,
        "maskiou_channels": tuple(layer[0] for layer in config.maskiou_net if config.use_maskiou),
    }
    return _checked_settings(values | config.network_sizes)


def _checked_settings(values: Mapping[str, Any]) -> NetworkSettings:
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    try:
        return NetworkSettings(**{**values, **lists})
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error)) from error
