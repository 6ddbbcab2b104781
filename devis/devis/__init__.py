"""DeVIS: Deformable DETR, the Deformable Mask-Head, and video instance segmentation of clips.

>>> import devis
>>> predictor = devis.Predictor(*devis.load("r50_devis_yt-21.pth"))
>>> result = predictor.run(frames)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devis.inference.images import ImagePredictor
    from devis.inference.predictor import Predictor, VideoResult
    from devis.weights import Model

__version__ = "0.1.0"
__all__ = ["ImagePredictor", "Predictor", "VideoResult", "load"]

#: Where the public names live; they are imported when they are first used.
_HOMES = {
    "ImagePredictor": "devis.inference.images",
    "Predictor": "devis.inference.predictor",
    "VideoResult": "devis.inference.predictor",
}


def load(path: str | Path, *, config: str | Path | None = None, device: str = "cpu") -> Model:
    """Loads a network in eval mode, and its configuration.

    Args:
        path: a released file or a training checkpoint.
        config: file or name of the configuration; None takes that of the file.
        device: where the network is to live.

    Raises:
        CheckpointError: the file is missing, foreign or does not fit.
        ConfigError: there is no such configuration.
    """
    from devis.weights import open_model

    model = open_model(path, config)
    return model._replace(network=model.network.to(device))


def __getattr__(name: str) -> object:
    """Imports a public name."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
