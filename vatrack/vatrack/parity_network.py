"""Parity cases of the network and its parts (see `vatrack.parity`).

Every output of the network is compared twice: as it is trained, and as it runs in inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from vatrack.checkpoint import load_network
from vatrack.inference.detect import detections
from vatrack.inference.settings import InferenceSettings
from vatrack.model import ModelSettings, VATrackNet
from vatrack.model import boxes as box_math
from vatrack.model.anchors import base_anchors, level_anchors, valid_anchors
from vatrack.model.deployed import DeployedNetwork
from vatrack.parity_kit import Kit
from vidseg_common.parity_kit import Case, Comparison, make_input

CPU = torch.device("cpu")
#: What cases do not say: the image of box deltas, and most detections of the heads.
CODER_SHAPE, MAX_DETECTIONS = (120, 200), 15


def network_of(case: Case, kit: Kit) -> VATrackNet:
    """The network of a case, its weights read from a file like the released one."""
    return load_network(kit.released_file(case["variant"])).eval()


def compare_both(
    case: Case, kit: Kit, plain: Mapping[str, Any], deployed: Mapping[str, Any]
) -> list[Comparison]:
    """Outputs of the network, and those that differ in the form that runs in inference."""
    fast = kit.compare(case, {**plain, **deployed})
    return [
        *kit.compare(case, plain),
        *(replace(c, name=f"deployed {c.name}") for c in fast if c.name in deployed),
    ]


@torch.no_grad()
def run_backbone(case: Case, kit: Kit) -> list[Comparison]:
    """C2 to C5 and P2 to P6 of images."""
    network = network_of(case, kit)
    images = torch.from_numpy(make_input(case["config"]["input"]))
    deployed = DeployedNetwork(network)

    def named(maps: list[Tensor], levels: list[Tensor]) -> dict[str, Tensor]:
        found = {f"c{i}": x for i, x in enumerate(maps, 2)}
        return found | {f"p{i}": x for i, x in enumerate(levels, 2)}

    maps, fast_maps = network.backbone(images), deployed.backbone(images)
    plain = named(maps, network.neck(maps))
    return compare_both(case, kit, plain, named(fast_maps, deployed.neck(fast_maps)))


@torch.no_grad()
def run_rpn(case: Case, kit: Kit) -> list[Comparison]:
    """Outputs of the proposal network, and proposals with the published limits and others."""
    config, network = case["config"], network_of(case, kit)
    levels = kit.features(config["seed"], config["hw"])
    shape = config["img_shape"]
    deployed = DeployedNetwork(network)
    found: list[dict[str, Any]] = []
    for logits, deltas in (network.rpn_head(levels), deployed.rpn(levels)):
        outputs: dict[str, Any] = {f"cls{i}": x for i, x in enumerate(logits)}
        outputs |= {f"reg{i}": x for i, x in enumerate(deltas)}
        head = network.rpn_head
        every = head.proposals(logits, deltas, [shape], 1000, 1000)[0]
        limits = (config["nms_pre"], config["max_num"])
        outputs["num_test"] = torch.tensor([len(every)])
        outputs["proposals_test"] = every[: config["keep"]]
        outputs["proposals_small"] = head.proposals(logits, deltas, [shape], *limits)[0]
        found.append(outputs)
    return compare_both(case, kit, *found)


def run_anchors(case: Case, kit: Kit) -> list[Comparison]:
    """Anchors of every level, and which of them lie in the padded image."""
    settings, outputs = ModelSettings(), {}
    pad_shape = case["config"]["pad_shape"]
    for i, (height, width) in enumerate(case["config"]["sizes"]):
        stride = settings.strides[i]
        size = (height, width)
        outputs[f"base_level{i}"] = base_anchors(stride, settings)
        outputs[f"grid_level{i}"] = level_anchors(size, stride, settings, CPU)
        valid = valid_anchors(size, stride, pad_shape, settings.num_anchors)
        outputs[f"valid_level{i}"] = valid.to(torch.uint8)
    return kit.compare(case, outputs)


def run_coder(case: Case, kit: Kit) -> list[Comparison]:
    """Deltas of boxes and boxes of deltas, for anchors and for regions."""
    inputs, settings = kit.tensors(case), ModelSettings()
    outputs = {}
    for name, stds in (("rpn", settings.rpn_stds), ("rcnn", settings.rcnn_stds)):
        boxes = inputs[f"{name}_boxes"]
        outputs[f"{name}_encode"] = box_math.encode(boxes, inputs[f"{name}_gt"], stds)
        shape = case["config"].get("img_shape", CODER_SHAPE)
        outputs[f"{name}_decode"] = box_math.decode(boxes, inputs[f"{name}_deltas"], stds, shape)
    return kit.compare(case, outputs)


@torch.no_grad()
def run_heads(case: Case, kit: Kit) -> list[Comparison]:
    """The heads on fixed regions, and the detections they give."""
    config, network = case["config"], network_of(case, kit)
    levels = kit.features(config["seed"], config["hw"])
    rois = kit.tensors(case)["rois"]
    plain = _plain_heads(network, levels, rois, config["masks"])
    deployed = _deployed_heads(DeployedNetwork(network), levels, rois, config["masks"])
    for outputs in (plain, deployed):
        detector = "amodal_" if network.settings.has_two_boxes else ""
        dets, labels = detections(
            rois[:, 1:],
            (outputs[f"{detector}cls_score"], outputs[f"{detector}bbox_pred"]),
            config["img_shape"],
            torch.tensor(config["scale_factor"]),
            network.settings,
            InferenceSettings(max_per_img=MAX_DETECTIONS),
        )
        outputs |= {"dets": dets, "det_labels": labels}
    return compare_both(case, kit, plain, deployed)


def _plain_heads(
    network: VATrackNet, levels: list[Tensor], rois: Tensor, num_masks: int
) -> dict[str, Tensor]:
    heads = network.roi_head
    features = network.box_features(levels, rois)
    mask_features = network.mask_features(levels, rois[:num_masks])
    outputs = {"bbox_feats": features, "mask_feats": mask_features}
    outputs["cls_score"], outputs["bbox_pred"] = heads.bbox_head(features)
    outputs["mask_pred"] = heads.mask_head(mask_features)
    outputs["embeds"] = heads.track_head(features)
    if network.settings.is_joint:
        outputs["amodal_mask_pred"] = heads.amodal_mask_head(mask_features)
    if network.settings.has_two_boxes:
        scores, deltas = heads.amodal_bbox_head(features)
        outputs |= {"amodal_cls_score": scores, "amodal_bbox_pred": deltas}
    return outputs


def _deployed_heads(
    runner: DeployedNetwork, levels: list[Tensor], rois: Tensor, num_masks: int
) -> dict[str, Tensor]:
    def as_map(features: Tensor) -> Tensor:
        side = round(features.shape[1] ** 0.5)
        return features.transpose(1, 2).unflatten(2, (side, side))

    def masks(which: str) -> Tensor:
        every = range(runner.settings.num_classes)
        labels = [torch.full((num_masks,), label) for label in every]
        return torch.stack([runner.mask_logits(which, mask_features, x) for x in labels], 1)

    features = runner.box_features(levels, rois[:, 1:])
    mask_features = runner.mask_features(levels, rois[:num_masks, 1:])
    outputs = {"bbox_feats": as_map(features), "mask_feats": as_map(mask_features)}
    scores, deltas = runner.detect(features)
    if runner.settings.has_two_boxes:
        outputs |= {"amodal_cls_score": scores, "amodal_bbox_pred": deltas}
        scores, deltas = runner.detect_visible(features)
    outputs |= {"cls_score": scores, "bbox_pred": deltas, "embeds": runner.embed(features)}
    outputs["mask_pred"] = masks("visible")
    if runner.settings.is_joint:
        outputs["amodal_mask_pred"] = masks("amodal")
    return outputs
