"""Files of weights to networks: read without running anything, loaded strictly (spec 7.4, 9).

Released files hold their configuration as a pickled `yacs` node, those of Deformable DETR their
arguments. Both are read as inert containers; neither package is needed and none of its code runs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from devis.config import Config, load_config, model_settings
from devis.model import build
from devis.model.settings import ModelSettings
from vidseg_common.checkpoint import load_checkpoint, load_strict, shapes_of, strip_prefix
from vidseg_common.errors import CheckpointError

#: Entry of a file that holds the weights.
MODEL_KEY = "model"
#: Names of the shipped configurations whose weights were published.
RELEASED = (
    *("deformable_mask_head_R_50", "deformable_mask_head_R_101", "deformable_mask_head_SwinL"),
    *("devis_R_50_YT-19", "devis_Swin_L_YT-19", "devis_R_50_YT-21", "devis_Swin_L_YT-21"),
    *("devis_R_50_OVIS", "devis_Swin_L_OVIS"),
)


class Inert:
    """Stands for a foreign object of a file: keeps what it was made of and does nothing."""

    def __init__(self, *args: Any) -> None:
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


#: Class or function of a file to what is made in its place.
STAND_INS: list[tuple[type, str]] = [
    (OrderedDict, "yacs.config.CfgNode"),
    (OrderedDict, "fvcore.common.config.CfgNode"),
    (Inert, "argparse.Namespace"),
    (Inert, "numpy.core.multiarray.scalar"),
    (Inert, "numpy._core.multiarray.scalar"),
    (Inert, "numpy.dtype"),
]


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights.

    Attributes:
        path: of the file.
        model: name to tensor.
        rest: the other entries (optimizer, lr_scheduler, epoch, cfg, ...), if there are any.
    """

    path: Path
    model: dict[str, Tensor]
    rest: dict[str, Any] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a released file, a training checkpoint or a bare mapping of weights.

    Raises:
        CheckpointError: missing, truncated or foreign file, or one that asks for code other than
            the known containers; the message lists what it asked for.
    """
    path = Path(path)
    with torch.serialization.safe_globals(list(STAND_INS)):
        content = load_checkpoint(path)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{path}: expected a mapping with the entry {MODEL_KEY!r}, or of name to tensor; "
            f"holds {type(content).__name__}"
        )
    inner = content.get(MODEL_KEY)
    weights = inner if isinstance(inner, Mapping) else content
    foreign = [k for k, v in weights.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if foreign or not weights:
        what = f"entry {foreign[0]!r} is no named tensor" if foreign else "there are none"
        raise CheckpointError(f"{path}: not the weights of a network: {what}")
    rest = {} if weights is content else {k: v for k, v in content.items() if k != MODEL_KEY}
    return Checkpoint(path, strip_prefix(dict(weights), "module."), rest)


def load_network(
    path: str | Path, cfg: Config | ModelSettings, classes: int | None = None
) -> nn.Module:
    """The network of a configuration with the weights of a file, in eval mode.

    Args:
        path: a released file under any name, or a training checkpoint.
        cfg: the configuration, or the settings of the network.
        classes: width of the class head; None takes that of the data set.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the message has a table of the
            keys that differ and the released variant that would fit.
        ConfigError: the configuration describes no network.
    """
    settings = cfg if isinstance(cfg, ModelSettings) else model_settings(cfg, classes)
    network = build(settings)
    load_weights(network, read_checkpoint(path))
    return network.eval()


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Tensors into a network, strictly.

    Raises:
        CheckpointError: as `load_network`.
    """
    fits = shapes_of(checkpoint.model) == shapes_of(network.state_dict())
    variants = {} if fits else released_shapes()
    load_strict(network, checkpoint.model, source=str(checkpoint.path), variants=variants)


def released_shapes() -> dict[str, dict[str, tuple[int, ...]]]:
    """Keys and shapes of the released models, to say which one a file would fit."""
    with torch.device("meta"):
        return {
            name: shapes_of(build(model_settings(load_config(name))).state_dict())
            for name in RELEASED
        }
