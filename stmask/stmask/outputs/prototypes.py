"""Pictures of prototypes, and of what each adds to the masks. Source: spec section 9.

Letters: P prototypes, n instances, h w size of the prototypes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from stmask.inference.detections import Detections
from vidseg_common.visualize import contact_sheet

Image = NDArray[np.uint8]

COLUMNS = 8
NUM_SHOWN = 8  # strongest prototypes of an instance
_MOST_INSTANCES = 10


def prototype_grid(found: Detections) -> Image:
    """All prototypes of a frame, each scaled to its own largest value.

    Returns:
        (H, W, 3) uint8.
    """
    proto = found.proto.cpu().numpy()
    images = [_grey(proto[..., p]) for p in range(proto.shape[2])]
    captions = [f"{p}: up to {proto[..., p].max():.2f}" for p in range(proto.shape[2])]
    return contact_sheet(images, COLUMNS, captions=captions)


def combination_grid(found: Detections) -> Image | None:
    """The mask of every instance and the prototypes that shape it most, a row each.

    A prototype is red where it adds to the mask and blue where it takes away; captions have its
    number and its coefficient after tanh. At most ten instances are shown.

    Returns:
        (H, W, 3) uint8, None without instances.
    """
    if not len(found):
        return None
    proto = found.proto.cpu().numpy()
    coeffs = found.coeffs.tanh().cpu().numpy()
    masks = found.masks.cpu().numpy()
    images: list[Image] = []
    captions: list[str] = []
    for i in range(min(len(found), _MOST_INSTANCES)):
        images.append(_grey(masks[i], 1.0))
        captions.append(f"object {int(found.ids[i])}")
        strength = np.abs(coeffs[i]) * proto.mean((0, 1))
        for p in np.argsort(-strength, kind="stable")[:NUM_SHOWN].tolist():
            images.append(_signed(coeffs[i, p] * proto[..., p]))
            captions.append(f"{p}: {coeffs[i, p]:+.2f}")
    columns = 1 + min(NUM_SHOWN, proto.shape[2])
    return contact_sheet(images, columns, captions=captions)


def _grey(values: NDArray[np.float32], largest: float | None = None) -> Image:
    top = largest or max(float(values.max()), 1e-6)
    grey = (255 * (values / top).clip(0, 1)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, 2)


def _signed(values: NDArray[np.float32]) -> Image:
    """Positive values red, negative ones blue, on black."""
    top = max(float(np.abs(values).max()), 1e-6)
    picture = np.zeros((*values.shape, 3), np.uint8)
    picture[..., 0] = 255 * (values / top).clip(0, 1)
    picture[..., 2] = 255 * (-values / top).clip(0, 1)
    return picture
