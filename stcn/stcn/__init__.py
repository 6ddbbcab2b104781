"""STCN: space-time correspondence network for semi-supervised video object segmentation.

>>> import stcn
>>> predictor = stcn.Predictor(stcn.load("demo"), size=288)
>>> labels = predictor.step(frame, mask).mask
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stcn.inference.engine import MemoryPolicy
from stcn.inference.predictor import Prediction, Predictor

if TYPE_CHECKING:
    from stcn.model.network import STCN

__version__ = "0.1.0"
__all__ = ["MemoryPolicy", "Prediction", "Predictor", "load"]


def load(name: str | Path | None = None, *, device: str = "cpu") -> STCN:
    """Loads a network in eval mode.

    Args:
        name: a weights file, "official", "demo", or None for the best at hand.
        device: where it is to live.

    Raises:
        CheckpointError: the file is missing, foreign or does not fit.
    """
    from stcn.checkpoint import load_network
    from stcn.weights import find_weights

    return load_network(find_weights(name).path, device=device)
