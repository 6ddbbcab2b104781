"""Recorded cases of the matching and the losses, with their gradients."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from devis.assignment import match_clip, match_images
from devis.config import load_config, loss_settings
from devis.losses import (
    LayerOutput,
    LossSettings,
    Match,
    Target,
    all_losses,
    num_entries,
    total_loss,
)
from devis.losses.costs import clip_cost, image_cost
from devis.losses.terms import dice, mask_focal
from devis.parity_kit import Kit
from vidseg_common.parity_kit import Case, Comparison

Tensors = Mapping[str, Tensor]
#: Added before the logarithm that gives small losses the same weight.
SMALL = 1e-6
#: Masks that the recorded focal and dice losses are divided by.
NUM_MASKS = 3.0


def run_matcher_clip(case: Case, kit: Kit) -> list[Comparison]:
    """Costs of the slots, and the matched pairs; a case without costs has no instances."""
    config, inputs = case["config"], kit.tensors(case)
    settings = LossSettings(
        class_cost=config["class_cost"],
        l1_cost=config["l1_cost"],
        giou_cost=config["giou_cost"],
        sum_l1=config.get("use_l1_distance_sum", False),
    )
    target, frames = target_of(inputs, "target"), config["frames"]
    logits, boxes = inputs["pred_logits"][0], inputs["box_logits"][0].sigmoid()
    outputs: dict[str, Any] = {}
    if "cost" in case["outputs"]:
        outputs["cost"] = clip_cost(logits, boxes, target, frames, settings)
    else:
        target = Target(target.labels[:0], target.boxes[:0], inputs["target_masks"][:0])
    match = match_clip(logits, boxes, target, frames, settings)
    outputs |= {
        "exact_index_prediction": match.prediction,
        "exact_index_target": match.target,
        "exact_valid": match.valid.long(),
    }
    return kit.compare(case, outputs)


def run_criterion_clip(case: Case, kit: Kit) -> list[Comparison]:
    """Losses of a clip and their gradients."""
    inputs, settings = _with_gradients(kit, case), _settings(case)
    target, frames = target_of(inputs, "target"), case["config"]["frames"]
    layers = _layers(inputs, settings)
    matches = {
        number: [match_clip(layer.logits[0], layer.boxes[0], target, frames, settings)]
        for number, layer in layers.items()
    }
    losses = all_losses(layers, matches, [target], max(num_entries([target]), 1), settings)
    return kit.compare(case, _outputs(case, inputs, losses, settings))


def run_criterion_image(case: Case, kit: Kit) -> list[Comparison]:
    """Losses of two images and their gradients; costs and pairs of the last layer."""
    inputs, settings = _with_gradients(kit, case), _settings(case)
    targets = [target_of(inputs, f"target{index}") for index in range(2)]
    layers = _layers(inputs, settings)
    matches = {
        number: match_images(layer.logits, layer.boxes, targets, settings)
        for number, layer in layers.items()
    }
    losses = all_losses(layers, matches, targets, max(num_entries(targets), 1), settings)
    last = settings.dec_layers - 1
    outputs = _outputs(case, inputs, losses, settings) | _pairs(matches[last])
    for index, target in enumerate(targets):
        one = layers[last].logits[index], layers[last].boxes[index]
        outputs[f"cost_level{last}_image{index}"] = image_cost(*one, target, settings)
    return kit.compare(case, outputs)


def run_focal_and_dice(case: Case, kit: Kit) -> list[Comparison]:
    """Both losses of masks and their gradients."""
    inputs = kit.tensors(case)
    logits, target = inputs["x"].requires_grad_(), inputs["t"]
    losses = [mask_focal(logits, target, NUM_MASKS), dice(logits, target, NUM_MASKS)]
    gradients = [torch.autograd.grad(loss, logits)[0] for loss in losses]
    outputs = {
        "focal_dice": torch.stack(losses),
        "grad_focal": gradients[0],
        "grad_dice": gradients[1],
    }
    return kit.compare(case, outputs)


def target_of(inputs: Tensors, prefix: str) -> Target:
    """The target whose parts are named `prefix`_labels, _boxes, _masks and maybe _valid."""
    labels, boxes, masks = (inputs[f"{prefix}_{part}"] for part in ("labels", "boxes", "masks"))
    return Target(labels, boxes, masks, inputs.get(f"{prefix}_valid"))


def loss_outputs(losses: Mapping[str, Tensor], settings: LossSettings) -> dict[str, Any]:
    """Names and values of all losses and the total, as they are recorded."""
    table = dict(losses) | {"total": total_loss(dict(losses), settings)}
    names = sorted(table)
    values = torch.stack([table[name].detach() for name in names])
    return {
        "text_loss_names": ",".join(names),
        "losses": values,
        "log10_losses": (values + SMALL).log10(),
    }


def _settings(case: Case) -> LossSettings:
    return loss_settings(load_config(case["config"]["yaml"]))


def _with_gradients(kit: Kit, case: Case) -> dict[str, Tensor]:
    """Inputs; the gradient of those that a rule makes is asked for."""
    made = {name for name, spec in case["inputs"].items() if spec != "npz"}
    return {k: v.requires_grad_() if k in made else v for k, v in kit.tensors(case).items()}


def _layers(inputs: Tensors, settings: LossSettings) -> dict[int, LayerOutput]:
    layers = {}
    for layer in settings.layers:
        masks = inputs.get(f"masks{layer}")
        if masks is not None and masks.ndim == 4:
            masks = masks[:, 0]
        boxes = inputs[f"box_logits{layer}"].sigmoid()
        layers[layer] = LayerOutput(inputs[f"logits{layer}"], boxes, masks)
    return layers


def _outputs(
    case: Case, inputs: Tensors, losses: dict[str, Tensor], settings: LossSettings
) -> dict[str, Any]:
    total_loss(losses, settings).backward()
    names = [name for name in case["outputs"] if name.startswith("grad_")]
    gradients = {name: inputs[name.removeprefix("grad_")].grad for name in names}
    weights = {"text_weight_dict": json.dumps(settings.weights())}
    return loss_outputs(losses, settings) | weights | gradients


def _pairs(matches: Sequence[Match]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for index, match in enumerate(matches):
        found[f"exact_image{index}_prediction"] = match.prediction
        found[f"exact_image{index}_target"] = match.target
    return found
