"""STEm-Seg: video instance segmentation by clustering spatio-temporal pixel embeddings.

>>> import stemseg
>>> prediction = stemseg.Predictor(stemseg.load("davis.pth")).predict(frames)
>>> labels = next(prediction.id_maps())
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stemseg.inference.predictor import Predictor, VideoPrediction
    from stemseg.inference.settings import Choices
    from stemseg.model.network import STEmSeg

__version__ = "0.1.0"
__all__ = ["Choices", "Predictor", "VideoPrediction", "load"]

#: Where the public names live; they are imported when they are first used.
_HOMES = {
    "Choices": "stemseg.inference.settings",
    "Predictor": "stemseg.inference.predictor",
    "VideoPrediction": "stemseg.inference.predictor",
}


def load(path: str | Path, *, config: str | Path | None = None, device: str = "cpu") -> STEmSeg:
    """Loads a network in eval mode.

    Args:
        path: an official file or a training checkpoint.
        config: a configuration; None takes the `config.yaml` beside the file, else that of the
            published model whose keys the file has.
        device: where it is to live.

    Raises:
        CheckpointError: the file is missing, foreign or does not fit.
        ConfigError: the configuration cannot be used.
    """
    from stemseg.checkpoint import load_network
    from stemseg.config import load_config
    from stemseg.weights import config_of

    cfg = config_of(path) if config is None else load_config(config)
    return load_network(path, cfg, device=device)


def __getattr__(name: str) -> object:
    """Imports a public name."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
