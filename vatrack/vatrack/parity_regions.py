"""Parity cases of suppression, features of regions, and masks (see `vatrack.parity`)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vatrack.inference.paste import encode_region, paste, soft_region
from vatrack.model import ModelSettings
from vatrack.model.nms import batched_nms, multiclass_nms
from vatrack.model.roi import roi_features, roi_levels
from vatrack.model.rpn import NMS_THRESHOLD
from vatrack.ops.roi_gather import gather_regions
from vatrack.parity_kit import Kit
from vatrack.parity_network import compare_both
from vidseg_common import rle
from vidseg_common.parity_kit import Case, Comparison
from vidseg_common.rle import RLE


def run_nms(case: Case, kit: Kit) -> list[Comparison]:
    """Suppression by groups and by classes, with the thresholds of both box heads."""
    inputs = kit.tensors(case)
    dets, keep = batched_nms(inputs["boxes"], inputs["scores"], inputs["ids"], NMS_THRESHOLD)
    outputs = {"batched_dets": dets, "batched_keep": keep}
    for name, limits in NMS_LIMITS.items():
        found = multiclass_nms(inputs["multi_boxes"], inputs["multi_scores"], *limits)
        outputs[f"{name}_dets"], outputs[f"{name}_labels"] = found
    return kit.compare(case, outputs)


#: Score and IoU thresholds and most results, by the names of the records.
NMS_LIMITS = {"amodal": (0.01, 0.5, 100), "visible": (0.01, 0.999, 100), "top": (0.01, 0.5, 20)}


def run_roi_align(case: Case, kit: Kit) -> list[Comparison]:
    """Features of regions of one map, and their gradient."""
    inputs, scale = kit.tensors(case), float(case["config"]["scale"])
    # One level of that scale stands for all.
    stride = round(1 / scale)
    settings = ModelSettings(strides=(stride,) * 5)
    outputs: dict[str, Tensor] = {}
    deployed: dict[str, Tensor] = {}
    for size in (7, 14):
        feature = inputs["feat"].clone().requires_grad_()
        rois = inputs["rois"]
        y = roi_features([feature] * 4, rois, size, settings)
        (gradient,) = torch.autograd.grad((y * inputs[f"grad_out{size}"]).sum(), feature)
        outputs |= {f"y{size}": y, f"grad_feat{size}": gradient}
        deployed[f"y{size}"] = _gathered(inputs["feat"], rois, size, scale)
    return compare_both(case, kit, outputs, deployed)


def _gathered(feature: Tensor, rois: Tensor, size: int, scale: float) -> Tensor:
    """`gather_regions` image by image, (n, C, S, S)."""
    out = feature.new_zeros((len(rois), size * size, feature.shape[1]))
    for i, image in enumerate(feature):
        rows = torch.nonzero(rois[:, 0] == i)[:, 0]
        part = out[rows]
        gather_regions(image, rois[rows, 1:], size, scale, part)
        out[rows] = part
    return out.transpose(1, 2).unflatten(2, (size, size))


def run_roi_extract(case: Case, kit: Kit) -> list[Comparison]:
    """Levels of regions, and features from all of them."""
    inputs = kit.tensors(case)
    levels = [inputs[f"feat{i}"] for i in range(4)]
    level_of = roi_levels(inputs["rois"])
    outputs = {"level": level_of, "feats": roi_features(levels, inputs["rois"], 7, ModelSettings())}
    gathered = torch.zeros_like(outputs["feats"])
    for i, level in enumerate(levels):
        rows = torch.nonzero(level_of == i)[:, 0]
        gathered[rows] = _gathered(level, inputs["rois"][rows], 7, 0.25 / 2**i)
    return compare_both(case, kit, outputs, {"feats": gathered})


def run_paste(case: Case, kit: Kit) -> list[Comparison]:
    """Masks at the size of the frame: probabilities, and the run lengths made of them."""
    inputs = kit.inputs(case)
    prob = torch.from_numpy(inputs["mask_logits"]).sigmoid().numpy()
    boxes, (height, width) = inputs["boxes"], case["config"]["hw"]
    soft = np.zeros((len(prob), height, width), np.float32)
    for whole, mask, box in zip(soft, prob, boxes, strict=True):
        values, left, top = soft_region(mask, box, (height, width))
        whole[top : top + values.shape[1], left : left + values.shape[0]] = values.T
    masks = np.stack([rle.decode(mask) for mask in paste(prob, boxes, (height, width))])
    outputs = {"soft": soft, "binary_packed": masks, "area": masks.sum((1, 2))}
    return kit.compare(case, outputs)


def run_rle(case: Case, kit: Kit) -> list[Comparison]:
    """Run lengths of whole frames, and of regions of them put back in their place."""
    masks = kit.inputs(case)["masks"].astype(bool)
    size = (masks.shape[1], masks.shape[2])
    whole, regions = ([encode(mask, size) for mask in masks] for encode in (_of_whole, _of_region))
    return compare_both(case, kit, _recorded(whole), _recorded(regions))


def _of_whole(mask: np.ndarray, _size_hw: tuple[int, int]) -> RLE:
    return rle.encode(mask)


def _of_region(mask: np.ndarray, size_hw: tuple[int, int]) -> RLE:
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return encode_region(mask[:0, :0], 0, 0, size_hw)
    top, left = int(rows.min()), int(columns.min())
    part = mask[top : rows.max() + 1, left : columns.max() + 1]
    return encode_region(part.T, left, top, size_hw)


def _recorded(masks: list[RLE]) -> dict[str, np.ndarray]:
    """Strings as codes of their characters, and sizes."""
    found = {}
    for i, mask in enumerate(masks):
        found[f"counts{i}"] = np.frombuffer(mask["counts"].encode("ascii"), np.uint8)
        found[f"size{i}"] = np.array(mask["size"])
    return found
