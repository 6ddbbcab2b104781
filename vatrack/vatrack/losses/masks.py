"""What a mask head ought to give for a positive box (spec 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import roi_align


def mask_targets(boxes: Tensor, objects: Tensor, masks: Tensor, size: int) -> Tensor:
    """Cuts every box out of the mask of its object.

    Args:
        boxes: (P, 4) float32 corners in pixels of the masks.
        objects: (P,) int64 row of the object.
        masks: (G, H, W), 0 or 1.
        size: height and width of a target.

    Returns:
        (P, size, size) float32, 0 or 1.
    """
    if not len(boxes):
        return boxes.new_zeros((0, size, size))
    # Only objects that have a box are made float: there may be many, and they are large.
    used, rows = objects.unique(return_inverse=True)
    rois = torch.cat([rows[:, None].to(boxes), boxes], 1)
    values = roi_align(
        masks[used][:, None].to(boxes), rois, size, 1.0, sampling_ratio=0, aligned=True
    )
    return (values[:, 0] >= 0.5).to(boxes)
