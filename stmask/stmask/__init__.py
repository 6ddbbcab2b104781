"""STMask: one-stage online video instance segmentation.

>>> import stmask
>>> predictor = stmask.Predictor(stmask.load("STMask_plus_resnet50.pth"))
>>> result = predictor.step(frame)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stmask.inference.postprocess import FrameResult
    from stmask.inference.predictor import Predictor
    from stmask.model.network import STMask

__version__ = "0.1.0"
__all__ = ["FrameResult", "Predictor", "load"]

#: Where the public names live; they are imported when they are first used.
_HOMES = {
    "FrameResult": "stmask.inference.postprocess",
    "Predictor": "stmask.inference.predictor",
}


def load(path: str | Path, *, config: str | None = None, device: str = "cpu") -> STMask:
    """Loads a network in eval mode.

    Args:
        path: an official file or a training checkpoint.
        config: name of a configuration; None takes the variant that the file's shapes tell.
        device: where it is to live.

    Raises:
        CheckpointError: the file is missing, foreign or does not fit.
        ConfigError: there is no such configuration.
    """
    from stmask.checkpoint import load_network
    from stmask.config import get_config

    cfg = None if config is None else get_config(config)
    network, _ = load_network(path, cfg)
    return network.eval().to(device)


def __getattr__(name: str) -> object:
    """Imports a public name."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
