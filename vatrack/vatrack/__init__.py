"""VATrack: amodal video instance segmentation by QDTrack, AmodalTrack and two VATracks.

>>> import vatrack
>>> predictor = vatrack.Predictor(vatrack.load("QDbasedVATrack.pth"))
>>> result = predictor.step(frame)
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vatrack.inference.predictor import Predictor
    from vatrack.inference.results import FrameResult
    from vatrack.model.network import VATrackNet

__version__ = "0.1.0"
__all__ = ["FrameResult", "Predictor", "load"]

#: Where the public names live; they are imported when they are first used.
_HOMES = {
    "FrameResult": "vatrack.inference.results",
    "Predictor": "vatrack.inference.predictor",
}


def load(path: str | Path, *, config: str | None = None, device: str = "cpu") -> VATrackNet:
    """Loads a network in eval mode.

    Args:
        path: a released file or a training checkpoint.
        config: file or name of the configuration; None takes that of the released file, else the
            published network that the weights fit.
        device: where it is to live.

    Raises:
        CheckpointError: the file is missing, foreign or does not fit.
        ConfigError: there is no such configuration.
    """
    from vatrack.config import load_config
    from vatrack.weights import open_model

    cfg = None if config is None else load_config(config)
    return open_model(path, cfg).network.eval().to(device)


def __getattr__(name: str) -> object:
    """Imports a public name."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
