"""Parity cases of frames, candidates, their suppression, and results (see `stmask.parity`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.checkpoint import load_network
from stmask.inference.candidates import Candidates, filter_priors, select
from stmask.inference.detections import Detections
from stmask.inference.nms import Kept, across_classes, by_class
from stmask.inference.postprocess import FrameResult, postprocess
from stmask.inference.settings import InferenceSettings
from stmask.model.boxes import to_corners
from stmask.model.masks import assemble
from stmask.outputs.youtube_vis import VideoTracks
from stmask.parity_kit import Kit
from stmask.pixels import (
    pad_mask,
    place_boxes,
    resize_image,
    resize_mask,
    scale_factors,
    to_network,
)
from vidseg_common.parity_kit import Case, Comparison, exact


def run_nms(case: Case, kit: Kit) -> list[Comparison]:
    """The variants of fast NMS on given candidates."""
    x = kit.tensors(case)
    boxes = to_corners(torch.cat([x["cxcywh"][:, :2], 0.1 + 0.3 * x["cxcywh"][:, 2:]], 1))
    conf, centerness = x["conf_logits"].softmax(1), x["centerness"].tanh()
    rows = {
        "box": boxes,
        "centerness": centerness,
        "track": F.normalize(x["track"]),
        "mask_coeff": x["mask_coeff"],
    }
    proto = x["proto"].relu()

    def masks_of(kept: Tensor) -> Tensor:
        return assemble(proto, x["mask_coeff"][kept], boxes[kept])

    plain = InferenceSettings(nms_top_k=case["top_k"])
    by_miou = InferenceSettings(nms_top_k=case["top_k"], nms_as_miou=True)
    single = by_class(boxes, conf, None, plain)
    return kit.compare(
        case,
        {
            "in_conf": conf,
            "in_box": boxes,
            **_named("cross_class", across_classes(boxes, conf, centerness, plain), rows),
            **_named("per_class", by_class(boxes, conf, centerness, plain), rows),
            **_named(
                "cross_class_miou",
                across_classes(boxes, conf, centerness, by_miou, masks_of),
                rows,
            ),
            **_named("single_frame_per_class", single, {"box": boxes}),
        },
    )


def _named(prefix: str, kept: Kept, rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Outputs of one NMS: scores, classes, and what else belongs to the survivors."""
    values = {name: value[kept.rows] for name, value in rows.items()}
    values |= {"score": kept.scores, "class": kept.classes}
    return {f"{prefix}.{name}": value for name, value in values.items()}


def run_candidates(case: Case, kit: Kit) -> list[Comparison]:
    """Candidates of a network's output, before and after NMS."""
    network, _ = load_network(kit.weights(kit.manifest_of(case)))
    settings = InferenceSettings()
    with torch.inference_mode():
        raw = network.eval()(kit.tensors(case)["image"])
        found = filter_priors(raw, 0, settings)
        kept = select(raw, 0, settings)
    return kit.compare(
        case,
        {
            "candidate.box": found.boxes,
            "candidate.conf": found.conf,
            "candidate.centerness": found.centerness,
            **{f"nms.{name}": value for name, value in fields_of(kept).items()},
        },
    )


def fields_of(found: Candidates | Detections) -> dict[str, Tensor]:
    """Values of instances by their recorded names."""
    return {
        "box": found.boxes,
        "score": found.scores,
        "class": found.classes,
        "centerness": found.centerness,
        "mask_coeff": found.coeffs,
        "track": found.track,
    }


def run_json_result(case: Case, kit: Kit) -> list[Comparison]:
    """Post-processing of drawn ellipses, and the submission made of them."""
    outputs: dict[str, Any] = {}
    videos: dict[int, VideoTracks] = {}
    num_frames: dict[int, int] = {}
    for frame in case["frames"]:
        number, index = frame["video_id"], frame["frame_id"]
        result = postprocess_case(case, _drawn(frame, case["mask_hw"]))
        videos.setdefault(number, VideoTracks(number)).add(index, result)
        num_frames[number] = index + 1
        name = f"v{number}f{index}"
        if frame["ids"]:
            outputs |= {f"{name}.box": result.boxes, f"{name}.score": result.scores}
    entries = [e for number, video in videos.items() for e in video.entries(num_frames[number])]
    return [*kit.compare(case, outputs), exact("json", entries, case["expected_json"])]


def postprocess_case(case: Case, detections: Detections) -> FrameResult:
    """Post-processing with the sizes of a case, at the size of the frame."""
    pad, img, ori = (tuple(case[f"{name}_shape"][:2]) for name in ("pad", "img", "ori"))
    return postprocess(detections, pad, img, ori, InferenceSettings())


def _drawn(frame: Mapping[str, Any], mask_hw: tuple[int, int]) -> Detections:
    """Detections whose soft masks are ellipses; what post-processing ignores is empty."""
    height, width = mask_hw
    y = torch.arange(height, dtype=torch.float64)[:, None] + 0.5
    x = torch.arange(width, dtype=torch.float64)[None] + 0.5
    n = len(frame["ids"])
    masks = torch.zeros(n, height, width)
    for mask, (cx, cy, rx, ry) in zip(masks, frame["ellipses"], strict=True):
        mask[:] = torch.sigmoid(8 * (1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2))
    return Detections(
        ids=torch.tensor(frame["ids"], dtype=torch.long),
        boxes=torch.tensor(frame["boxes"]).view(n, 4),
        coeffs=torch.zeros(n, 0),
        track=torch.zeros(n, 0),
        classes=torch.tensor(frame["classes"], dtype=torch.long),
        scores=torch.tensor(frame["scores"]).view(n),
        centerness=torch.zeros(n),
        masks=masks,
        proto=torch.zeros(height, width, 0),
    )


def run_preprocess(case: Case, kit: Kit) -> list[Comparison]:
    """A frame with boxes and masks to the network's input, plain and flipped."""
    bgr = kit.inputs(case)["image"]
    return kit.compare(
        case, {**_placed("plain", bgr, case, False), **_placed("flip", bgr, case, True)}
    )


def _placed(prefix: str, bgr: np.ndarray, case: Case, is_flipped: bool) -> dict[str, Any]:
    """Everything recorded of one of the two forms."""
    (height, width), size = bgr.shape[:2], tuple(case["img_scale"])
    rgb = resize_image(np.ascontiguousarray(bgr[:, :, ::-1]), size)
    masks = [resize_mask(mask, size) for mask in _filled(case["boxes"], height, width)]
    if is_flipped:
        rgb, masks = rgb[:, ::-1], [mask[:, ::-1] for mask in masks]
    image = to_network(np.ascontiguousarray(rgb))
    boxes = np.array(case["boxes"], np.float32)
    outputs = {
        "image": image,
        "shapes": [*rgb.shape, *image.shape[1:], 3],
        "scale_factor": scale_factors((width, height), size),
        "boxes": place_boxes(boxes, (width, height), size, is_flipped=is_flipped),
        "masks": np.stack([pad_mask(mask) for mask in masks]),
    }
    return {f"{prefix}.{name}": value for name, value in outputs.items()}


def _filled(boxes: list[list[float]], height: int, width: int) -> np.ndarray:
    """(n, H, W) uint8 masks of boxes, both borders counted."""
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[int(y1) : int(y2) + 1, int(x1) : int(x2) + 1] = 1
    return masks
