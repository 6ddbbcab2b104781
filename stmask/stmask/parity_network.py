"""Parity cases of the network, its parts and its operators (see `stmask.parity`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from stmask.checkpoint import load_network
from stmask.model import boxes as box_math
from stmask.model.calibration import CalibratedLayer
from stmask.model.dcn import DeformableConv
from stmask.model.deployed import DeployedNetwork
from stmask.model.head import PredictionHead
from stmask.model.masks import assemble, mask_iou
from stmask.model.network import STMask
from stmask.model.priors import prior_boxes
from stmask.model.settings import FCA_KERNELS, NetworkSettings
from stmask.model.temporal import normalized_correlation, roi_features
from stmask.ops.correlation import correlate
from stmask.parity_kit import Kit, fill_by_name
from vidseg_common.parity_kit import Case, Comparison

LEVEL_NAMES = ("P3", "P4", "P5", "P6", "P7")
CPU = torch.device("cpu")


def _network(case: Case, kit: Kit) -> STMask:
    network, _ = load_network(kit.weights(kit.manifest_of(case)))
    return network.eval()


def _compare_recorded(kit: Kit, case: Case, outputs: Mapping[str, Any]) -> list[Comparison]:
    """Of the outputs that a kind of case can have, those that this one has."""
    recorded = kit.recorded(case)
    return kit.compare(case, {k: v for k, v in outputs.items() if k in recorded})


@torch.no_grad()
def run_net_forward(case: Case, kit: Kit) -> list[Comparison]:
    """The network on one image: raw predictions, and the maps on the way where recorded."""
    network, image = _network(case, kit), kit.tensors(case)["image"]
    maps = network.backbone(image)
    levels = network.fpn(maps[-3:])
    outputs = _raw_outputs(network, image)
    outputs |= {f"backbone.C{i}": x for i, x in enumerate(maps, 2)}
    outputs |= {f"fpn.{name}": x for name, x in zip(LEVEL_NAMES, levels, strict=True)}
    for name in case.get("fcb_levels", ()):
        level = levels[LEVEL_NAMES.index(name)]
        outputs |= _calibrations(network.prediction_layers[0], level, name)
    fast = _compare_recorded(kit, case, outputs | _raw_outputs(DeployedNetwork(network), image))
    return [
        *_compare_recorded(kit, case, outputs),
        *(replace(item, name=f"deployed {item.name}") for item in fast),
    ]


def _raw_outputs(network: STMask | DeployedNetwork, image: Tensor) -> dict[str, Any]:
    """What the forward pass gives, by recorded names."""
    raw = network(image)
    every = torch.arange(raw.loc.shape[1])
    return {
        "loc": raw.loc,
        "conf_logits": raw.conf_logits,
        "conf_softmax_max_fg": raw.conf_logits.softmax(-1)[..., 1:].amax(-1),
        "mask_coeff": torch.stack([raw.mask_coeff[b][every] for b in range(len(image))]),
        "track": torch.stack([raw.track[b][every] for b in range(len(image))]),
        "centerness": raw.centerness[..., None],
        "priors": raw.priors[None],
        "proto": raw.proto,
        "T2S_feat.P4": raw.t2s_feat,
    }


def _calibrations(head: nn.Module, level: Tensor, name: str) -> dict[str, Tensor]:
    """Offsets and deformed features of the class layers on one level."""
    assert isinstance(head, PredictionHead)
    feature = head.upfeature(level).relu()
    tower, boxes = head.conf_extra(feature), head.bbox_extra(feature)
    found = {}
    for k, (layer, bbox) in enumerate(zip(head.conf_layer, head.bbox_layer, strict=True)):
        assert isinstance(layer, CalibratedLayer)
        offset = layer.offsets(bbox(boxes))
        found[f"fcb_offset.k{k}.{name}"] = offset
        found[f"fcb_adapted.k{k}.{name}"] = layer.adapt(tower, offset)
    return found


@torch.no_grad()
def run_head(case: Case, kit: Kit) -> list[Comparison]:
    """The head on one map."""
    network, x = _network(case, kit), kit.tensors(case)["feature"]
    out = network.prediction_layers[0](x)
    outputs = {
        "loc": out.loc,
        "conf": out.conf_logits,
        "mask_coeff": out.mask_coeff,
        "track": out.track,
        "centerness": out.centerness[..., None],
        "T2S_feat": out.feature,
        "priors": prior_boxes([(x.shape[-2], x.shape[-1])], network.settings, CPU)[None],
    }
    return kit.compare(case, outputs)


def run_priors(case: Case, kit: Kit) -> list[Comparison]:
    """Priors of every level, and of all of them in one call."""
    sizes = [(height, width) for height, width in case["levels"]]
    settings = NetworkSettings()
    every = prior_boxes(sizes, settings, CPU).split([3 * h * w for h, w in sizes])
    return kit.compare(
        case, {name: level[None] for name, level in zip(LEVEL_NAMES, every, strict=False)}
    )


def run_boxes(case: Case, kit: Kit) -> list[Comparison]:
    """Codecs, overlaps and pixels."""
    inputs = kit.tensors(case)
    loc, priors = inputs["loc"], inputs["priors"]
    decoded, corners = box_math.decode(loc, priors), box_math.to_corners(priors)
    outputs = {
        "decode": decoded,
        "encode(decode)": box_math.encode(decoded, priors),
        "decode_yolo": box_math.decode(loc, priors, yolo=True),
        "point_form": corners,
        "center_size": box_math.to_centre(decoded),
        "jaccard": box_math.jaccard(decoded[:20], corners[:30]),
        "DIoU_term": box_math.centre_distance(decoded[:20, None], corners[None, :30]),
        "loss_DIoU": box_math.diou(decoded[:30], corners[:30]),
        "sanitize_hw": box_math.sanitize(decoded, (24, 40), 0),
    }
    return kit.compare(case, outputs)


def run_mask_assembly(case: Case, kit: Kit) -> list[Comparison]:
    """Masks from prototypes, cropped and not, and their overlaps."""
    inputs, boxes = kit.tensors(case), torch.tensor(case["boxes"])
    proto = inputs["proto"].relu()
    masks = assemble(proto, inputs["coeff"], boxes)
    whole = assemble(proto, inputs["coeff"], None)
    window = box_math.crop_window(boxes, (proto.shape[0], proto.shape[1]))
    outputs = {
        "mask": masks,
        "mask_nocrop": whole,
        "crop_window": window.permute(1, 2, 0).float(),
        "mask_iou": mask_iou(masks > 0.5, masks > 0.5),
    }
    return kit.compare(case, outputs)


def _gradients(
    total: Tensor, module: nn.Module | None, leaves: Mapping[str, Tensor]
) -> dict[str, Tensor | None]:
    """Gradients of a sum with respect to parameters and inputs, as `grad.NAME`."""
    total.backward()
    every = {**(dict(module.named_parameters()) if module else {}), **leaves}
    return {f"grad.{name}": leaf.grad for name, leaf in every.items()}


def run_op_dcnv2(case: Case, kit: Kit) -> list[Comparison]:
    """The deformable convolution layer."""
    inputs = kit.tensors(case)
    layer = DeformableConv(case["cin"], case["cout"], case["stride"], case["dilation"])
    fill_by_name(layer, case["prefix"], case["gains"])
    x = inputs["x"].requires_grad_()
    offset, mask = layer.sampling(x)
    out = layer(x)
    gradients = _gradients((out * inputs["cotangent"]).sum(), layer, {"x": x})
    return kit.compare(case, {"out": out, "offset": offset, "mask": mask, **gradients})


def run_op_correlation(case: Case, kit: Kit) -> list[Comparison]:
    """The correlation, raw and normalised."""
    inputs = kit.tensors(case)
    x1, x2 = inputs["x1"].requires_grad_(), inputs["x2"].requires_grad_()
    window = (case["patch_size"], case["dilation_patch"])
    normalized = normalized_correlation(x1, x2, *window)
    gradients = _gradients((normalized * inputs["cotangent"]).sum(), None, {"x1": x1, "x2": x2})
    return kit.compare(
        case, {"raw": correlate(x1, x2, *window), "correlate": normalized, **gradients}
    )


def run_op_roi_align(case: Case, kit: Kit) -> list[Comparison]:
    """ROI features of boxes."""
    inputs, boxes = kit.tensors(case), torch.tensor(case["boxes"])
    features = inputs["features"].requires_grad_()
    size = (features.shape[-2], features.shape[-1])
    out = roi_features(features, boxes)
    gradients = _gradients((out * inputs["cotangent"]).sum(), None, {"features": features})
    return kit.compare(
        case, {"out": out, "boxes_px": box_math.sanitize(boxes, size, 0), **gradients}
    )


def run_op_feature_align(case: Case, kit: Kit) -> list[Comparison]:
    """Calibrated layers of both modes and every kernel."""
    outputs: dict[str, Any] = {}
    for mode in ("ali", "ada"):
        settings = NetworkSettings(fcb=mode, calibrate_class=True)
        for kernel in FCA_KERNELS:
            name = f"{mode}.{kernel[0]}x{kernel[1]}."
            layer = CalibratedLayer(case["cin"], case["cout"], kernel, settings)
            fill_by_name(layer, name, case["gains"])
            inputs = kit.tensors(case)
            x = inputs["x"].requires_grad_()
            out = layer(x, inputs["loc"])
            found = _gradients((out * inputs["cotangent"]).sum(), layer, {"x": x})
            found |= {"out": out, "offset": layer.offsets(inputs["loc"])}
            outputs |= {name + key: value for key, value in found.items()}
    return kit.compare(case, outputs)
