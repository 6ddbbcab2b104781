"""Recorded cases with losses: masks of images, and whole training steps (see `devis.parity`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from devis.assignment import match_clip, match_images
from devis.config import loss_settings
from devis.inference.selection import paste_masks
from devis.losses import (
    LayerOutput,
    LossSettings,
    Match,
    Target,
    all_losses,
    num_entries,
    total_loss,
)
from devis.model.segmenter import DeVIS, MaskHeadModel, Segmentation, Segmenter
from devis.parity_kit import Kit
from devis.parity_networks import (
    Outputs,
    compare_recorded,
    images_of,
    instance_masks,
    network_of,
    on_the_way,
    predictions,
)
from vidseg_common.parity_kit import Case, Comparison

Matches = dict[int, list[Match]]


def _targets(inputs: dict[str, Tensor]) -> list[Target]:
    """The targets of every image, or of the clip."""
    count = sum(name.endswith("_labels") for name in inputs)
    return [
        Target(
            inputs[f"target{i}_labels"],
            inputs[f"target{i}_boxes"],
            inputs[f"target{i}_masks"],
            inputs.get(f"target{i}_valid"),
        )
        for i in range(count)
    ]


def _losses(
    segmentation: Segmentation, matches: Matches, targets: list[Target], settings: LossSettings
) -> dict[str, Tensor]:
    """Every term by its name."""
    detections = segmentation.detections
    outputs = {
        layer: LayerOutput(
            detections.logits[layer],
            detections.boxes[layer],
            segmentation.masks[layer].flatten(0, 1) if layer in segmentation.masks else None,
        )
        for layer in settings.layers
    }
    return all_losses(outputs, matches, targets, max(num_entries(targets), 1), settings)


def _loss_outputs(losses: dict[str, Tensor]) -> Outputs:
    """Losses by recorded names: the vector of the sorted names, and its logarithm."""
    values = torch.stack([losses[name].detach() for name in sorted(losses)])
    names = ",".join(sorted(losses))
    return {"text_loss_names": names, "losses": values, "log10_losses": (values + 1e-6).log10()}


@torch.no_grad()
def run_net_mask_head(case: Case, kit: Kit) -> list[Comparison]:
    """Two padded images through the Mask-Head: validation losses, predictions, masks."""
    cfg, network = network_of(case, kit)
    assert isinstance(network, MaskHeadModel)
    images, padding = images_of(case, kit)
    targets = _targets(kit.tensors(case))
    settings = replace(loss_settings(cfg), mask_layers=())
    detections, last = network.def_detr(images, padding), settings.dec_layers - 1
    pairs = zip(detections.logits, detections.boxes, strict=True)
    matches = {i: match_images(*both, targets, settings) for i, both in enumerate(pairs)}
    matched = network.masks(detections, [match.prediction for match in matches[last]])
    losses = _losses(Segmentation(detections, {last: matched}), matches, targets, settings)

    found, queries = predictions(case, cfg, detections)
    masks = network.masks(detections, list(queries)).view(*queries.shape, *matched.shape[-2:])
    padded = (int(images.shape[-2]), int(images.shape[-1]))
    sizes = case["config"]["sizes_hw"], case["config"]["original_sizes"]
    pasted = paste_masks(masks, padded, *sizes)
    hidden = detections.decoded.hidden[-1]
    chosen = torch.stack([h[q] for h, q in zip(hidden, queries, strict=True)])
    found |= {
        f"attention_map{i}": x for i, x in enumerate(network.attention_maps(detections, chosen))
    }
    found |= {f"mask_final{i}": x for i, x in enumerate(pasted)}
    found |= on_the_way(detections) | instance_masks(masks) | _loss_outputs(losses)
    return compare_recorded(kit, case, found | {"masks_of_matched": matched})


def run_train_mask_head(case: Case, kit: Kit) -> list[Comparison]:
    """Forward and backward of a training step on two padded images."""
    cfg, network = network_of(case, kit)
    targets, settings = _targets(kit.tensors(case)), loss_settings(cfg)
    matches: Matches = {}

    def choose(layer: int, logits: Tensor, boxes: Tensor) -> list[Tensor]:
        matches[layer] = match_images(logits, boxes, targets, settings)
        return [match.prediction for match in matches[layer]]

    assert isinstance(network, MaskHeadModel)
    segmentation = network.train()(*images_of(case, kit), choose)
    for layer in set(settings.layers) - set(matches):
        choose(layer, segmentation.detections.logits[layer], segmentation.detections.boxes[layer])
    return _training_step(case, kit, network, segmentation, matches, targets, settings)


def run_train_devis(case: Case, kit: Kit) -> list[Comparison]:
    """Forward and backward of a training step on a clip."""
    cfg, network = network_of(case, kit)
    inputs, settings = kit.tensors(case), loss_settings(cfg)
    (target,), num_frames = _targets(inputs), len(inputs["clip"])
    matches: Matches = {}

    def choose(layer: int, logits: Tensor, boxes: Tensor) -> list[Tensor]:
        matches[layer] = [match_clip(logits[0], boxes[0], target, num_frames, settings)]
        return [matches[layer][0].prediction[::num_frames]]  # in frame 0 queries are the slots

    assert isinstance(network, DeVIS)
    segmentation = network.train()(inputs["clip"], None, choose)
    for layer in set(settings.layers) - set(matches):
        choose(layer, segmentation.detections.logits[layer], segmentation.detections.boxes[layer])
    return _training_step(case, kit, network, segmentation, matches, [target], settings)


def _training_step(
    case: Case,
    kit: Kit,
    network: Segmenter,
    segmentation: Segmentation,
    matches: Matches,
    targets: list[Target],
    settings: LossSettings,
) -> list[Comparison]:
    """The recorded numbers of a step, from its forward pass on."""
    losses = _losses(segmentation, matches, targets, settings)
    total = total_loss(losses, settings)
    total.backward()
    last = settings.dec_layers - 1
    masks = segmentation.masks[last]
    grads: dict[str, Any] = {
        name: parameter.grad
        for name, parameter in network.named_parameters()
        if parameter.grad is not None
    }
    norms = {name: grad.norm() for name, grad in grads.items()}
    norms["total"] = torch.stack(list(norms.values())).norm()
    vector = torch.stack([norms[name] for name in sorted(norms)])
    found = _loss_outputs(losses | {"total": total})
    found |= {f"grad:{name}": grad for name, grad in grads.items()}
    found |= {
        "log10_grad_norms": (vector + 1e-12).log10(),
        "text_grad_norm_names": "\n".join(sorted(norms)),
        "exact_match_prediction": matches[last][0].prediction,
        "pred_masks": masks.flatten(0, 1) if isinstance(network, DeVIS) else masks,
    }
    return compare_recorded(kit, case, found)
