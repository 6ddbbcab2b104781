"""Images and masks to tensors and back (spec sections 4.7 and 5.5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalise(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """RGB uint8 (H, W, 3) to a normalised float32 tensor (3, H, W) on the device."""
    pixels = torch.from_numpy(np.ascontiguousarray(image)).to(device)
    x = pixels.permute(2, 0, 1).float().div_(255)
    mean = torch.tensor(MEAN, device=device)[:, None, None]
    std = torch.tensor(STD, device=device)[:, None, None]
    return x.sub_(mean).div_(std)


def inner_size(size: tuple[int, int], short_side: int | None) -> tuple[int, int]:
    """Size (H, W) at which a frame is processed; None keeps the frame's own size."""
    if short_side is None or min(size) == short_side:
        return size
    height, width = size
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def resize_frame(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resize of (3, H, W) WITHOUT anti-aliasing: published numbers depend on it."""
    if tuple(frame.shape[-2:]) == size:
        return frame
    return F.interpolate(frame[None], size, mode="bicubic", align_corners=False)[0]


def one_hot(mask: np.ndarray, object_ids: Sequence[int], device: torch.device | str) -> Tensor:
    """Index map (H, W) to float32 (K, H, W), one plane per id."""
    labels = torch.from_numpy(np.ascontiguousarray(mask).astype(np.int64)).to(device)
    ids = torch.tensor(list(object_ids), device=device)
    return (labels[None] == ids[:, None, None]).float()


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest resize of (K, H, W): source index floor(dst * scale)."""
    if tuple(masks.shape[-2:]) == size:
        return masks
    return F.interpolate(masks[None], size, mode="nearest")[0]


def resize_prob(prob: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of probabilities (K + 1, H, W) to the output size."""
    if tuple(prob.shape[-2:]) == size:
        return prob
    return F.interpolate(prob[None], size, mode="bilinear", align_corners=False)[0]


def to_index_map(prob: Tensor, object_ids: Sequence[int]) -> np.ndarray:
    """Argmax of (K + 1, H, W), background first, mapped to ids; ties go to the lowest index.

    Returns:
        (H, W), uint8 when all ids fit, else int32.
    """
    dtype = np.uint8 if max(object_ids, default=0) <= 255 else np.int32
    lookup = np.array([0, *object_ids], dtype=dtype)
    if len(object_ids) == 1:
        # Argmax of two is one comparison; a general argmax on a CPU is ten times slower.
        index = (prob[1] > prob[0]).to(torch.uint8)
    else:
        index = prob.argmax(0).to(torch.uint8 if len(object_ids) < 256 else torch.int32)
    return lookup[index.cpu().numpy()]
