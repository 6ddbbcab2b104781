"""Multi-scale and flip testing: probability volumes of several options, merged (spec 4.8)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def quantise(prob: np.ndarray) -> np.ndarray:
    """Probabilities to uint8 by floor(255 p), the form in which options are stored."""
    return np.floor(prob * np.float32(255)).astype(np.uint8)


def merge_volumes(volumes: Sequence[np.ndarray], object_ids: Sequence[int]) -> np.ndarray:
    """Label maps from the summed probabilities of several options.

    Args:
        volumes: uint8 (T, K + 1, H, W) each, background first.
        object_ids: original ids of channels 1..K.

    Returns:
        (T, H, W) uint8; ties go to the lowest channel.

    Raises:
        ValueError: the options differ in shape.
    """
    shapes = {volume.shape for volume in volumes}
    if len(shapes) != 1:
        raise ValueError(f"options differ in shape: {sorted(shapes)}")
    total = np.zeros(volumes[0].shape, dtype=np.float32)
    for volume in volumes:
        total += volume
    lookup = np.array([0, *object_ids], dtype=np.uint8)
    return lookup[total.argmax(1)]
