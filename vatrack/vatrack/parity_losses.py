"""Parity cases of assignment, sampling and losses (see `vatrack.parity`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor, nn

from vatrack.checkpoint import load_network
from vatrack.losses.assignment import assign
from vatrack.losses.batch import FrameTargets, TrainingBatch
from vatrack.losses.boxes import BoxTargets, box_losses
from vatrack.losses.embeddings import (
    auxiliary_loss,
    make_pairs,
    mean_over_images,
    pair_targets,
    track_loss,
)
from vatrack.losses.masks import mask_targets
from vatrack.losses.rpn import Anchors, rpn_losses
from vatrack.losses.sampling import Sample, sample_boxes
from vatrack.losses.settings import LossSettings, ProposalSettings
from vatrack.losses.terms import accuracy, mask_loss
from vatrack.losses.training import total_loss, training_losses
from vatrack.model.anchors import level_anchors, valid_anchors
from vatrack.model.settings import ModelSettings
from vatrack.parity_kit import Kit
from vatrack.pixels import to_network
from vidseg_common.parity_kit import Case, Comparison

#: So many boxes that samplers take all there are: no random choice is compared.
ALL = 100_000
_CPU = torch.device("cpu")


def without_choice(settings: LossSettings) -> LossSettings:
    """Settings whose samplers take everything."""
    return replace(
        settings,
        rpn_sample=replace(settings.rpn_sample, num=ALL),
        box_sample=replace(settings.box_sample, num=ALL),
        embed_sample=replace(settings.embed_sample, num=ALL, max_negatives=-1),
    )


def run_assign(case: Case, kit: Kit) -> list[Comparison]:
    """Assignment and sampling of the three users, and assignment without objects."""
    given, settings = kit.tensors(case), without_choice(LossSettings())
    boxes, objects, labels = given["boxes"], given["gt"], given["labels"]
    outputs: dict[str, Any] = {}
    users = {
        "rpn": (settings.rpn_assign, settings.rpn_sample),
        "rcnn": (settings.box_assign, settings.box_sample),
        "embed": (settings.embed_assign, settings.embed_sample),
    }
    for name, (assigning, sampling) in users.items():
        found = assign(boxes, objects, assigning)
        sample = sample_boxes(boxes, objects, assigning, sampling, Generator())
        own = sample.positives < (len(objects) if sampling.add_objects else 0)
        is_object = found.objects >= 0
        outputs |= {
            f"{name}_gt_inds": found.objects + 1,
            f"{name}_max_overlaps": found.max_overlaps,
            f"{name}_labels": torch.where(is_object, labels[found.objects.clamp(min=0)], -1),
            f"{name}_pos_inds": sample.positives,
            f"{name}_neg_inds": sample.negatives,
            f"{name}_pos_assigned": sample.objects,
            f"{name}_pos_is_gt": own.to(torch.uint8),
        }
    outputs["empty_gt_inds"] = assign(boxes, objects[:0], settings.box_assign).objects + 1
    return kit.compare(case, outputs)


def run_loss_rcnn(case: Case, kit: Kit) -> list[Comparison]:
    """Losses of a box head with gradients, also without positives."""
    given, settings = kit.tensors(case), LossSettings()
    logits, deltas = given["cls_score"].requires_grad_(), given["bbox_pred"].requires_grad_()
    weights = torch.tensor(settings.class_weights)
    rows = (given["bbox_weights"].sum(1) > 0).nonzero()[:, 0]
    targets = BoxTargets(given["labels"], rows, given["bbox_targets"][rows])
    losses = box_losses(logits, deltas, targets, weights, settings.box_beta)
    (losses[0] + losses[1]).backward()
    background = torch.full_like(targets.labels, logits.shape[1] - 1)
    nothing = BoxTargets(background, rows[:0], targets.deltas[:0])
    without = box_losses(logits, deltas, nothing, weights, settings.box_beta)
    outputs = {
        "loss_cls": losses[0],
        "loss_bbox": losses[1],
        "acc": accuracy(logits, targets.labels),
        "grad_cls_score": logits.grad,
        "grad_bbox_pred": deltas.grad,
        "nopos_loss_cls": without[0],
        "nopos_loss_bbox": without[1],
    }
    return kit.compare(case, outputs)


def run_loss_mask(case: Case, kit: Kit) -> list[Comparison]:
    """Loss of a mask head, which visible and amodal masks share."""
    given = kit.tensors(case)
    logits, labels = given["mask_pred"].requires_grad_(), given["labels"]
    loss = mask_loss(logits, given["targets"], labels)
    loss.backward()
    outputs: dict[str, Any] = {}
    for name in ("loss_mask", "loss_amodal_mask"):
        outputs |= {name: loss, f"grad_{name}": logits.grad}
    outputs["empty_loss_mask"] = mask_loss(logits[:0], given["targets"][:0], labels[:0])
    return kit.compare(case, outputs)


def run_mask_target(case: Case, kit: Kit) -> list[Comparison]:
    """Masks cut out by boxes."""
    given = kit.tensors(case)
    size = LossSettings().mask_size
    targets = mask_targets(given["boxes"], given["gt_inds"].long(), given["masks"], size)
    return kit.compare(case, {"targets": targets})


def run_loss_rpn(case: Case, kit: Kit) -> list[Comparison]:
    """Losses of every level with gradients."""
    given, sizes, model = kit.tensors(case), case["config"]["sizes"], ModelSettings()
    levels = range(len(sizes))
    logits = [given[f"cls{i}"].requires_grad_() for i in levels]
    deltas = [given[f"reg{i}"].requires_grad_() for i in levels]
    images = range(len(case["config"]["g"]))
    losses = rpn_losses(
        (logits, deltas),
        _anchors(sizes, case["config"]["hw"], len(images), model),
        [given[f"gt{i}"] for i in images],
        without_choice(LossSettings()),
        Generator(),
    )
    torch.stack([*losses[0], *losses[1]]).sum().backward()
    outputs: dict[str, Any] = {
        "loss_rpn_cls": torch.stack(losses[0]),
        "loss_rpn_bbox": torch.stack(losses[1]),
    }
    outputs |= {f"grad_cls{i}": logits[i].grad for i in levels}
    outputs |= {f"grad_reg{i}": deltas[i].grad for i in levels}
    return kit.compare(case, outputs)


def _anchors(
    sizes: list[list[int]], image_hw: list[int], num_images: int, model: ModelSettings
) -> Anchors:
    """Anchors of the case; every image is padded to a multiple of 32."""
    padded = [-(-side // 32) * 32 for side in image_hw]
    shapes = [
        ((size[0], size[1]), stride) for size, stride in zip(sizes, model.strides, strict=True)
    ]
    valid = [valid_anchors(hw, stride, padded, model.num_anchors) for hw, stride in shapes]
    levels = [level_anchors(hw, stride, model, _CPU) for hw, stride in shapes]
    return Anchors(levels, [torch.cat(valid)] * num_images, model.rpn_stds)


def run_loss_track(case: Case, kit: Kit) -> list[Comparison]:
    """Similarities, targets and both losses of the embeddings with gradients."""
    given, settings = kit.tensors(case), LossSettings()
    key, ref = given["key_embeds"].requires_grad_(), given["ref_embeds"].requires_grad_()
    parts = zip(
        key.split(given["num_key"].tolist()), ref.split(given["num_ref"].tolist()), strict=True
    )
    outputs: dict[str, Any] = {}
    main, auxiliary = [], []
    for i, (key_part, ref_part) in enumerate(parts):
        targets = pair_targets(
            _sample(given[f"key_assigned{i}"], len(key_part)),
            _sample(given[f"ref_assigned{i}"], len(ref_part)),
            given[f"match_indices{i}"],
        )
        pairs = make_pairs(key_part, ref_part, targets)
        main.append(track_loss(pairs))
        auxiliary.append(auxiliary_loss(pairs, settings.track, Generator()))
        outputs |= {
            f"dists{i}": pairs.products,
            f"cos{i}": pairs.cosines,
            f"targets{i}": targets.int(),
            f"weights{i}": pairs.weights,
        }
    losses = {
        "track": settings.weights.track * mean_over_images(main),
        "aux": settings.weights.track_aux * mean_over_images(auxiliary),
    }
    outputs |= {"loss_track": losses["track"], "loss_track_aux": losses["aux"]}
    for name, loss in losses.items():
        grads = torch.autograd.grad(loss, [key, ref], retain_graph=True)
        outputs |= {f"grad_key_{name}": grads[0], f"grad_ref_{name}": grads[1]}
    return kit.compare(case, outputs)


def _sample(objects: Tensor, num: int) -> Sample:
    """A sample of which only the number of boxes and the objects of the positives matter."""
    rows = torch.arange(num)
    return Sample(rows[: len(objects)], rows[len(objects) :], objects, torch.zeros(num, 4))


def run_train(case: Case, kit: Kit) -> list[Comparison]:
    """Every loss of a batch of two pairs, and norms and values of gradients."""
    config, given = case["config"], kit.tensors(case)
    network = load_network(kit.released_file(case["variant"])).train()
    means = _running_means(network)
    limits = ProposalSettings(config["nms_pre"], config["max_num"])
    settings = replace(without_choice(LossSettings()), key_proposals=limits, ref_proposals=limits)
    losses = training_losses(network, _batch(case, given, network.settings), settings, Generator())
    total = total_loss(losses)
    total.backward()
    parameters = dict(network.named_parameters())
    trained = [p for p in parameters.values() if p.requires_grad]
    # In float64: the norm of 13 million numbers would be off by a part in a thousand otherwise.
    norms = [torch.zeros(()) if p.grad is None else p.grad.double().norm() for p in trained]
    outputs: dict[str, Any] = dict(losses)
    outputs |= {
        "total": total,
        "grad_norms": torch.stack(norms),
        "num_trainable": [len(trained), len(parameters) - len(trained)],
        "running_mean_unchanged": [int(torch.equal(means, _running_means(network)))],
    }
    names = [name for name in config["grads"] if name in parameters]
    outputs |= {f"grad:{name}": parameters[name].grad for name in names}
    return kit.compare(case, outputs)


def _running_means(network: nn.Module) -> Tensor:
    buffers = network.named_buffers()
    return torch.cat([v.flatten().clone() for name, v in buffers if name.endswith("running_mean")])


def _batch(case: Case, given: dict[str, Tensor], model: ModelSettings) -> TrainingBatch:
    """The pairs of a case, normalised and padded; boxes of references serve as both kinds."""
    height, width = case["config"]["hw"]
    images, targets, references = [], [], []
    for i in range(len(case["config"]["g"])):
        # BGR to RGB
        frames = given[f"frames{i}"].flip(-1).numpy()
        images.append([torch.from_numpy(to_network(np.ascontiguousarray(f))) for f in frames])
        padded = images[0][0].shape[1:]
        shapes = ((height, width), (padded[0], padded[1]))
        masks = {k: _unpack(given[f"mask_{k}{i}"], padded[1]) for k in ("a", "v")}
        target = FrameTargets(
            given[f"gt_a{i}"], given[f"labels{i}"], given[f"match{i}"], *shapes, masks=masks["v"]
        )
        if model.is_joint:
            target = replace(target, amodal_masks=masks["a"])
        if model.has_two_boxes:
            target = replace(target, visible_boxes=given[f"gt_v{i}"])
        targets.append(target)
        boxes, labels = given[f"ref_gt{i}"].float(), given[f"ref_labels{i}"]
        references.append(FrameTargets(boxes, labels, torch.full_like(labels, -1), *shapes))
    key, ref = (torch.stack(list(frames)) for frames in zip(*images, strict=True))
    return TrainingBatch(key, tuple(targets), ref, tuple(references))


def _unpack(packed: Tensor, width: int) -> Tensor:
    """Masks (G, H, W) uint8 that were packed along the width."""
    return torch.from_numpy(np.unpackbits(packed.numpy(), axis=-1, count=width))
