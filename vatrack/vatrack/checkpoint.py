"""Files of weights in the container of mmcv: read without running anything, loaded strictly.

A file is {"meta", "state_dict", "optimizer"}; a bare mapping of weights is read too, and keys may
begin with `module.`. Source: spec 1.1.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vatrack import __version__
from vatrack.config import Config, model_settings
from vatrack.model import ModelSettings, VATrackNet, build
from vatrack.model.settings import BACKBONES
from vidseg_common.checkpoint import (
    compare_state,
    load_checkpoint,
    load_strict,
    save_atomic,
    shapes_of,
    strip_prefix,
)
from vidseg_common.datasets.sailvos import CLASS_NAMES
from vidseg_common.errors import CheckpointError

STATE, META, OPTIMIZER = "state_dict", "meta", "optimizer"
#: Version of the container that files claim, the one of the published files.
CONTAINER_VERSION = "1.2.7"
#: Kinds of network whose shapes differ; AmodalTrack is the network of QDTrack.
_KINDS = ("qdtrack", "vatrack", "vatrack2bbox")
#: Makes numbers of NumPy, as the notes in `meta` of some files hold them; runs nothing else.
_SCALAR = np.float64().__reduce__()[0]
_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights.

    Attributes:
        path: of the file.
        state: name to tensor, without `module.`.
        meta: epoch, iter, config, CLASSES and so on; empty for a bare mapping.
        optimizer: state of the optimiser; None where there is none.
        rest: the other entries.
    """

    path: Path
    state: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)
    optimizer: dict[str, Any] | None = None
    rest: dict[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, where the file has them."""
        names = self.meta.get("CLASSES")
        good = isinstance(names, Sequence) and not isinstance(names, str)
        return tuple(map(str, names)) if good and names else None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Reads a released file, a training checkpoint or a bare mapping of weights.

    Raises:
        CheckpointError: missing, truncated or foreign file, or one that asks for code; the
            message lists what it asked for.
    """
    path = Path(path)
    with torch.serialization.safe_globals(_NUMBERS):
        content = load_checkpoint(path)
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(
            f"{path}: expected a mapping with the entry {STATE!r}, or of name to tensor; "
            f"holds {type(content).__name__}"
        )
    inner = content.get(STATE)
    weights = inner if isinstance(inner, Mapping) else content
    foreign = [k for k, v in weights.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if foreign or not weights:
        what = f"entry {foreign[0]!r} is no named tensor" if foreign else "there are none"
        raise CheckpointError(f"{path}: not the weights of a network: {what}")
    state = strip_prefix(dict(weights), "module.")
    if weights is content:
        return Checkpoint(path, state)
    meta, optimizer = content.get(META), content.get(OPTIMIZER)
    return Checkpoint(
        path,
        state,
        dict(meta) if isinstance(meta, Mapping) else {},
        dict(optimizer) if isinstance(optimizer, Mapping) and optimizer else None,
        {k: v for k, v in content.items() if k not in (STATE, META, OPTIMIZER)},
    )


def load_network(
    source: str | Path | Checkpoint, cfg: Config | ModelSettings | None = None
) -> VATrackNet:
    """A network with the weights of a file, in eval mode.

    Args:
        source: a released file under any name, or a training checkpoint.
        cfg: the configuration, or the settings of the network; None tells the model and its
            backbone by the weights themselves.

    Raises:
        CheckpointError: the file cannot be read or does not fit; the message has a table of the
            keys that differ and the published variant that would fit.
    """
    checkpoint = source if isinstance(source, Checkpoint) else read_checkpoint(source)
    if cfg is None:
        cfg = guess_settings(checkpoint)
    network = build(cfg if isinstance(cfg, ModelSettings) else model_settings(cfg))
    load_weights(network, checkpoint)
    return network.eval()


def load_weights(network: nn.Module, checkpoint: Checkpoint) -> None:
    """Tensors into a network, strictly.

    Raises:
        CheckpointError: as `load_network`.
    """
    fits = shapes_of(checkpoint.state) == shapes_of(network.state_dict())
    shapes = {} if fits else {name: shape for name, (_, shape) in variants().items()}
    load_strict(network, checkpoint.state, source=str(checkpoint.path), variants=shapes)


def guess_settings(checkpoint: Checkpoint) -> ModelSettings:
    """The published network that the weights are of; QDTrack also stands for AmodalTrack.

    Raises:
        CheckpointError: they are of none; the nearest one is named.
    """
    shapes = shapes_of(checkpoint.state)
    counts = {name: compare_state(shapes, s).count for name, (_, s) in variants().items()}
    best = min(counts, key=lambda name: counts[name])
    if counts[best]:
        raise CheckpointError(
            f"{checkpoint.path}: the weights are of none of the published networks "
            f"({', '.join(counts)}); nearest is {best}, with {counts[best]} keys that differ. "
            "Give the configuration they were made with"
        )
    return variants()[best][0]


def variants() -> dict[str, tuple[ModelSettings, dict[str, tuple[int, ...]]]]:
    """Settings and shapes of the published networks, by names such as "vatrack_x101"."""
    found = {}
    with torch.device("meta"):
        for kind in _KINDS:
            for backbone, values in BACKBONES.items():
                settings = ModelSettings(kind=kind, **values)  # type: ignore[arg-type]
                shapes = shapes_of(VATrackNet(settings).state_dict())
                found[f"{kind}_{backbone}"] = settings, shapes
    return found


def make_meta(
    *,
    epoch: int,
    iteration: int,
    config: str = "",
    classes: Sequence[str] = CLASS_NAMES,
    seed: int | None = None,
) -> dict[str, Any]:
    """The notes of a file, under the names of the published ones.

    Args:
        epoch: finished epochs.
        iteration: finished iterations.
        config: the configuration as text.
        classes: names, in the order of labels.
        seed: of the training.
    """
    return {
        "epoch": epoch,
        "iter": iteration,
        "mmcv_version": CONTAINER_VERSION,
        "time": time.asctime(),
        "env_info": f"Python {platform.python_version()}, PyTorch {torch.__version__}",
        "seed": seed,
        "pcan_version": __version__,
        "config": config,
        "CLASSES": tuple(classes),
    }


def write_checkpoint(
    path: str | Path,
    network: nn.Module,
    meta: Mapping[str, Any],
    *,
    optimizer: Mapping[str, Any] | None = None,
    rest: Mapping[str, Any] | None = None,
) -> None:
    """Writes a file as the published ones, atomically; weights go to the CPU.

    Args:
        path: of the file.
        network: also one wrapped for several processes.
        meta: see `make_meta`.
        optimizer: its state; left out where None.
        rest: other entries, plain values and tensors.

    Raises:
        CheckpointError: the file cannot be written.
    """
    state = strip_prefix({k: v.detach().cpu() for k, v in network.state_dict().items()}, "module.")
    content: dict[str, Any] = {META: dict(meta), STATE: state, **(rest or {})}
    if optimizer is not None:
        content[OPTIMIZER] = dict(optimizer)
    save_atomic(content, path)
