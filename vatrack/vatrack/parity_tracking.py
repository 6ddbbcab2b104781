"""Parity cases of the tracker and of whole videos (see `vatrack.parity`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vatrack.inference.predictor import Predictor
from vatrack.inference.preprocess import prepare
from vatrack.inference.results import FrameResult
from vatrack.inference.settings import InferenceSettings, TrackerSettings
from vatrack.inference.tracker import Tracker
from vatrack.parity_kit import Kit
from vatrack.parity_network import network_of
from vidseg_common import rle
from vidseg_common.parity_kit import Case, Comparison

#: Visible boxes of the cases of the tracker are the amodal ones and this, in all five numbers.
VISIBLE_OFFSET = 0.5
#: Detections of the first frame of which logits and embeddings are recorded.
NUM_LOGITS, NUM_EMBEDS = 6, 8
#: How the records name the kinds of masks and boxes.
SUFFIX = {"amodal": "_a", "visible": "_v"}


def run_tracker(case: Case, kit: Kit) -> list[Comparison]:
    """Ids of given detections, and what is remembered."""
    config, inputs = case["config"], kit.inputs(case)
    tracker = Tracker(TrackerSettings(**config["override"]))
    outputs: dict[str, Any] = {}
    for t in range(config["frames"]):
        boxes, labels = inputs[f"boxes_t{t}"], inputs[f"labels_t{t}"]
        rows, ids = tracker.match(boxes, labels, inputs[f"embeds_t{t}"], t)
        state = tracker.state
        assert state.tracks is not None
        found = {
            "ids": ids,
            "kept_rows": rows,
            "out_boxes": boxes[rows],
            "out_boxes_v": boxes[rows] + np.float32(VISIBLE_OFFSET),
            "out_labels": labels[rows],
            "memo_ids": state.tracks.ids,
            "backdrops": np.array([sum(len(part.labels) for part in state.backdrops)]),
            "num_tracklets": np.array([state.num_tracklets]),
        }
        outputs |= {f"{name}_t{t}": value for name, value in found.items()}
    tracks = tracker.state.tracks
    assert tracks is not None
    outputs |= {
        "final_embeds": tracks.embeds,
        "final_velocity": tracks.velocities,
        "final_last_frame": tracks.last_frames,
        "final_acc_frame": tracks.counts,
    }
    return kit.compare(case, outputs)


def run_e2e(case: Case, kit: Kit) -> list[Comparison]:
    """A video from frames to tracks, as it runs in inference."""
    config = case["config"]
    settings = InferenceSettings(
        img_scale=tuple(config["img_scale"]),
        nms_pre=config["nms_pre"],
        max_num=config["max_num"],
        score_thr=config["score_thr"],
        max_per_img=config["max_per_img"],
    )
    predictor = Predictor(network_of(case, kit), settings)
    frames = np.ascontiguousarray(kit.inputs(case)["frames"][..., ::-1])
    outputs: dict[str, Any] = {}
    for t, frame in enumerate(frames):
        result = predictor.step(frame)
        if t == 0:
            outputs |= _first_frame(predictor, frame, result)
        found = _tracks(result, config["masks"])
        counts = np.bincount(result.det_labels, minlength=predictor.runner.settings.num_classes)
        found |= {
            "dets": result.det_boxes,
            "det_labels": result.det_labels,
            "dets_v": result.det_visible_boxes,
            "bbox_result_counts": counts,
        }
        outputs |= {f"{name}_t{t}": value for name, value in found.items()}
    return kit.compare(case, outputs)


@torch.no_grad()
def _first_frame(
    predictor: Predictor, frame: NDArray[np.uint8], result: FrameResult
) -> Mapping[str, Any]:
    """What is computed on the way to the tracks of the first frame."""
    runner, settings = predictor.runner, predictor.settings
    image, geometry = prepare(frame, settings)
    levels = runner.extract(image[None])
    limits = (settings.nms_pre, settings.max_num)
    proposals = runner.proposals(levels, geometry.img_hw, *limits)
    scale, boxes = torch.from_numpy(geometry.scale_factor), torch.from_numpy(result.det_boxes)
    labels = torch.from_numpy(result.det_labels)
    regions = boxes[:, :4] * scale
    embeds = runner.embed(runner.box_features(levels, regions))
    outputs: dict[str, Any] = {
        "input_t0": image[None],
        "img_shape": np.array([*geometry.img_hw, 3]),
        "pad_shape": np.array([*geometry.pad_hw, 3]),
        "scale_factor": geometry.scale_factor,
        "p4_t0": levels[2],
        "num_proposals_t0": np.array([len(proposals)]),
        "proposals_t0": proposals,
        "embeds_t0": embeds[:NUM_EMBEDS],
    }
    for name in runner.mask_heads:
        own = regions
        if name == "visible" and result.det_visible_boxes is not None:
            own = torch.from_numpy(result.det_visible_boxes)[:, :4] * scale
        features = runner.mask_features(levels, own)
        logits = runner.mask_logits(name, features, labels)
        outputs[f"mask_logits{SUFFIX[name]}_t0"] = logits[:NUM_LOGITS]
    return outputs


def _tracks(result: FrameResult, num_masks: int) -> dict[str, Any]:
    """Tracks of a frame for each kind of mask, by recorded names."""
    visible_boxes = result.boxes if result.visible_boxes is None else result.visible_boxes
    kinds = {
        "amodal": (result.amodal_masks, result.boxes),
        "visible": (result.visible_masks, visible_boxes),
    }
    found: dict[str, Any] = {}
    for name, (masks, boxes) in kinds.items():
        if masks is None:
            continue
        first = [rle.decode(mask) for mask in masks[:num_masks]]
        values = {
            "ids": result.ids,
            "boxes": boxes,
            "labels": result.labels,
            "areas": np.array([rle.area(mask) for mask in masks]),
            "masks": np.stack(first) if first else np.zeros((0, *result.size), bool),
        }
        found |= {f"track_{key}{SUFFIX[name]}": value for key, value in values.items()}
    return found
