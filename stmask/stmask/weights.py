"""Names of released files and of training checkpoints, and the configurations behind them."""

from __future__ import annotations

from pathlib import Path

from stmask.config import CONFIGS, get_config, network_settings
from stmask.model.settings import NetworkSettings
from stmask.saved import SavedName

#: Name in the authors' first table, without suffix, to configuration (spec 1.1).
FIRST_TABLE = {
    "STMask_r50_FCA+TF": "STMask_plus_resnet50_config",
    "STMask_r50_ali": "STMask_plus_resnet50_ali_config",
    "STMask_r50_ada": "STMask_plus_resnet50_ada_config",
    "STMask_r101_FCA+TF": "STMask_plus_base_config",
    "STMask_r101_ali": "STMask_plus_base_ali_config",
    "STMask_r101_ada": "STMask_plus_base_ada_config",
}
#: Names of the released models in the later table, which are those of their configurations.
RELEASED = (
    *("STMask_plus_resnet50", "STMask_plus_resnet50_ali", "STMask_plus_resnet50_ada"),
    *("STMask_plus_base", "STMask_plus_base_ali", "STMask_plus_base_ada"),
    *("STMask_plus_resnet50_YTVIS2021", "STMask_plus_resnet50_ada_YTVIS2021"),
    *("STMask_plus_base_YTVIS2021", "STMask_plus_base_ada_YTVIS2021"),
    *("STMask_plus_resnet50_OVIS", "STMask_plus_resnet50_ada_OVIS"),
    *("STMask_plus_base_OVIS", "STMask_plus_base_ada_OVIS"),
)
#: Starting points of the training (spec 10.4).
COCO_STARTS = ("yolact_plus_base_54_800000", "yolact_plus_resnet50_54_800000")


def config_name_of(path: str | Path) -> str | None:
    """The configuration that a file's name tells, or None.

    Understood are released files under either of their names, and checkpoints of a training,
    NAME_EPOCH_ITERATION.pth with or without `_interrupt`.
    """
    stem = Path(path).name.removesuffix(".pth")
    if stem in FIRST_TABLE:
        return FIRST_TABLE[stem]
    saved = SavedName.of(path)
    name = f"{saved.name if saved else stem}_config"
    return name if name in CONFIGS else None


def config_name_for(settings: NetworkSettings) -> str | None:
    """The first configuration whose network has exactly these settings, or None."""
    return _BY_SETTINGS.get(settings)


def _by_settings() -> dict[NetworkSettings, str]:
    table: dict[NetworkSettings, str] = {}
    # Released models first: STMask_base_config and its like share nothing with them.
    for name in sorted(CONFIGS, key=lambda name: "_plus_" not in name):
        if name != "YouTube_VOS_base_config":
            table.setdefault(network_settings(get_config(name)), name)
    return table


_BY_SETTINGS = _by_settings()
