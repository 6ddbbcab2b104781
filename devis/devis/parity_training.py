"""Recorded cases with losses: masks of images, and whole training steps (see `devis.parity`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from devis.config import loss_settings
from devis.inference.selection import paste_masks
from devis.losses import Target, num_entries, total_loss
from devis.matched import forward_matched
from devis.model.segmenter import DeVIS, MaskHeadModel
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
    targets = _targets(kit.tensors(case))
    settings = replace(loss_settings(cfg), mask_layers=())
    images, padding = images_of(case, kit)
    matched = forward_matched(network, images, padding, targets, settings)
    detections = matched.segmentation.detections
    of_matched = matched.segmentation.masks[settings.dec_layers - 1]
    losses = matched.losses(targets, max(num_entries(targets), 1), settings)

    found, queries = predictions(case, cfg, detections)
    masks = network.masks(detections, list(queries)).view(*queries.shape, *of_matched.shape[-2:])
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
    return compare_recorded(kit, case, found | {"masks_of_matched": of_matched})


def run_train(case: Case, kit: Kit) -> list[Comparison]:
    """Forward and backward of a training step, on two padded images or on a clip."""
    cfg, network = network_of(case, kit)
    inputs, settings = kit.tensors(case), loss_settings(cfg)
    is_clip = isinstance(network, DeVIS)
    images, padding = (inputs["clip"], None) if is_clip else images_of(case, kit)
    targets = _targets(inputs)
    matched = forward_matched(network.train(), images, padding, targets, settings)
    losses = matched.losses(targets, max(num_entries(targets), 1), settings)
    total = total_loss(losses, settings)
    total.backward()
    last = settings.dec_layers - 1
    masks = matched.segmentation.masks[last]
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
        "exact_match_prediction": matched.matches[last][0].prediction,
        "pred_masks": masks.flatten(0, 1) if is_clip else masks,
    }
    return compare_recorded(kit, case, found)


run_train_devis = run_train_mask_head = run_train
