"""Parity cases of losses, targets, learning rates and training steps (see `stemseg.parity`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from stemseg.checkpoint import load_network
from stemseg.config import Config, merge
from stemseg.data.collate import Batch, ClipTargets
from stemseg.losses import (
    EmbeddingLoss,
    MapTargets,
    STEmSegLoss,
    foreground_loss,
    lovasz_hinge,
    semantic_loss,
    total_loss,
)
from stemseg.model.network import HeadOutputs, STEmSeg
from stemseg.parity_kit import Arrays, Case, Comparison, Kit
from stemseg.parity_network import variant_config
from stemseg.schedules import build_optimiser, build_scheduler
from stemseg.targets import class_map, make_targets, rescale_masks
from stemseg.training_step import clip_losses

#: Recorded images are this times their normal draw.
IMAGE_SPREAD = 40.0


def run_loss_embedding(case: Case, kit: Kit) -> list[Comparison]:
    """The embedding loss on given maps, with its gradient."""
    inputs, config = kit.inputs(case), case["config"]
    x = _embedding_maps(inputs["z"]).requires_grad_()
    size = config["embedding_size"]
    heads = HeadOutputs(x[:, :size], x[:, size:-1], x[:, -1:], None)
    targets = []
    for n in range(len(x)):
        masks, ignore = (torch.from_numpy(inputs[f"{name}{n}"]) for name in ("masks", "ignore"))
        targets.append(MapTargets(masks, ignore, torch.zeros_like(ignore, dtype=torch.int64)))
    loss = EmbeddingLoss(
        tuple(config["FREE_DIM_STDS"]),
        config["WEIGHT_LOVASZ"],
        config["WEIGHT_VARIANCE_SMOOTHNESS"],
        config["WEIGHT_SEEDINESS"],
        config["WEIGHT"],
    )
    outputs = loss(heads, targets)
    outputs["loss"] = outputs.pop("embedding_loss")
    outputs["loss"].backward()
    return kit.compare(case, {**outputs, "grad": x.grad})


def _embedding_maps(z: np.ndarray) -> Tensor:
    """Predictions by the rule of the cases: draws over a grid, the last channel in (0, 1)."""
    height, width = z.shape[-2:]
    x = 0.3 * z
    x[:, 0] += np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x[:, 1] += np.linspace(-1, 1, width, dtype=np.float32)
    maps = torch.from_numpy(x)
    maps[:, -1] = torch.from_numpy(z[:, -1]).sigmoid()
    return maps


def run_loss_lovasz(case: Case, kit: Kit) -> list[Comparison]:
    """The Lovasz hinge with mixed labels, with one kind only, and on one pixel."""
    inputs = kit.inputs(case)
    scores, drawn = 1.5 * inputs["logits"], torch.from_numpy(inputs["u"]) > 0.7
    every = {
        "mixed": (scores, drawn),
        "all_fg": (scores, torch.ones_like(drawn)),
        "all_bg": (scores, torch.zeros_like(drawn)),
        "one": (scores[:1], torch.ones_like(drawn[:1])),
    }
    outputs: dict[str, Any] = {}
    for name, (values, labels) in every.items():
        logits = torch.from_numpy(values).requires_grad_()
        outputs[name] = lovasz_hinge(logits, labels)
        outputs[f"grad.{name}"] = torch.autograd.grad(outputs[name], logits)[0]
    return kit.compare(case, outputs)


def run_loss_semseg_foreground(case: Case, kit: Kit) -> list[Comparison]:
    """Semantic and foreground loss, and the semantic loss that heeds the ignore mask."""
    inputs, weight = kit.inputs(case), case["config"]["WEIGHT_SEMSEG"]
    x = torch.from_numpy(2 * inputs["logits"]).requires_grad_()  # N, T, C, h, w
    logits = x.transpose(1, 2)  # N, C, T, h, w
    classes, ignore = torch.from_numpy(inputs["gt"]), torch.from_numpy(inputs["u"]) > 0.8
    semseg = semantic_loss(logits[:, :-1], classes, None, weight)
    foreground = foreground_loss(logits[:, -1], classes, ignore)
    outputs = {
        "semseg": semseg,
        "foreground": foreground,
        "semseg_ignore_aware": semantic_loss(logits[:, :-1], classes, ignore, weight),
        "grad.semseg": torch.autograd.grad(semseg, x, retain_graph=True)[0],
        "grad.foreground": torch.autograd.grad(foreground, x)[0],
    }
    return kit.compare(case, outputs)


def run_targets_rescale(case: Case, kit: Kit) -> list[Comparison]:
    """Targets at a quarter of the resolution, and classes where instances overlap."""
    masks = torch.from_numpy(kit.inputs(case)["masks"])
    ids = torch.tensor(case["config"]["category_ids"])
    resized = rescale_masks(masks)
    overlapping = masks.clone()
    overlapping[1] |= masks[0]
    outputs = {
        "resized": resized,
        "semseg": class_map(resized, ids),
        "semseg_overlap": class_map(overlapping, ids),
    }
    return kit.compare(case, outputs)


def run_lr_schedules(case: Case, kit: Kit) -> list[Comparison]:
    """The learning rate in force at every step of every schedule."""
    outputs = {}
    for name, section in case["config"].items():
        steps = case["outputs"][name]["shape"][0]
        training = merge(Config(), {"TRAINING": section}).TRAINING
        optimiser = build_optimiser([torch.nn.Parameter(torch.zeros(1))], training)
        scheduler = build_scheduler(optimiser, training)
        rates = []
        for _ in range(steps):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
        outputs[name] = np.asarray(rates)
    return kit.compare(case, outputs)


def _network(case: Case, kit: Kit) -> tuple[STEmSeg, Config]:
    cfg = variant_config(case["manifest"], case["config"])
    return load_network(kit.weights(case["manifest"]), cfg).train(), cfg


def _batch(images: np.ndarray, inputs: Arrays, clips: range) -> Batch:
    targets = [
        ClipTargets(
            *(torch.from_numpy(inputs[f"{n}{i}"]) for n in ("masks", "ignore", "category_ids"))
        )
        for i in clips
    ]
    height, width = images.shape[-2:]
    return Batch(
        torch.from_numpy(np.float32(IMAGE_SPREAD) * images),
        tuple(targets),
        ((height, width),) * len(targets),
        tuple(str(i) for i in clips),
    )


def run_train(case: Case, kit: Kit) -> list[Comparison]:
    """Forward pass in training mode: targets, every loss, maps and gradients."""
    network, cfg = _network(case, kit)
    inputs = kit.inputs(case)
    images = inputs["images"]
    batch = _batch(images, inputs, range(len(images)))
    seen: dict[str, Any] = {}
    network.register_forward_hook(lambda _module, _inputs, heads: seen.update(heads=heads))
    losses = clip_losses(network, STEmSegLoss(cfg), batch, cfg)
    total = total_loss(losses)
    total.backward()
    parameters = dict(network.named_parameters())
    got: dict[str, Any] = {"total": total, **_map_outputs(seen["heads"]), **_target_outputs(batch)}
    for name, value in losses.items():
        got |= {f"optimization_losses.{name}": value, f"others.{name}": value}
    for name in case["outputs"]:
        if name.startswith("grad."):
            got[name] = parameters[name.removeprefix("grad.")].grad
    # Of what can be recorded, a case records a part; what it records we must have.
    return kit.compare(case, {name: got[name] for name in case["outputs"] if name in got})


def _map_outputs(heads: HeadOutputs) -> dict[str, Tensor]:
    """Maps in the recorded form: embedding, bandwidth and seediness as one; time before classes."""
    joint = torch.cat([heads.embeddings, heads.raw_bandwidths, heads.seediness], 1)
    outputs = {"out.embeddings": joint}
    if heads.semseg_logits is not None:
        outputs["out.semseg_masks"] = heads.semseg_logits.transpose(1, 2)
    return outputs


def _target_outputs(batch: Batch) -> dict[str, Tensor]:
    targets = make_targets(
        [t.masks for t in batch.targets],
        [t.ignore_masks for t in batch.targets],
        [t.category_ids for t in batch.targets],
    )
    outputs = {}
    for n, target in enumerate(targets):
        outputs[f"resized_masks{n}"] = target.masks
        outputs[f"resized_ignore{n}"] = target.ignore
        outputs[f"semseg_target{n}"] = target.classes
    return outputs


def run_train_step(case: Case, kit: Kit) -> list[Comparison]:
    """Steps of the optimiser with accumulated gradients: losses, changes, learning rate."""
    network, cfg = _network(case, kit)
    training, inputs = cfg.TRAINING, kit.inputs(case)
    interval = training.BATCH_SIZE // training.MAX_SAMPLES_PER_GPU
    optimiser = build_optimiser(network.parameters(), training)
    scheduler = build_scheduler(optimiser, training)
    initial = {name: value.detach().clone() for name, value in network.named_parameters()}
    loss, rates = STEmSegLoss(cfg), []
    outputs: dict[str, Any] = {}
    for step in range(len(inputs["images"]) // interval):
        optimiser.zero_grad(set_to_none=True)
        for sub in range(interval):
            n = step * interval + sub
            batch = _batch(inputs["images"][n], inputs, range(n, n + 1))
            part = total_loss(clip_losses(network, loss, batch, cfg)) / interval
            part.backward()
            outputs[f"loss.step{step}.sub{sub}"] = part
        optimiser.step()
        scheduler.step()
        rates.append(optimiser.param_groups[0]["lr"])
        prefix = f"delta.step{step}."
        for name, value in network.named_parameters():
            if prefix + name in case["outputs"]:
                outputs[prefix + name] = (value.detach() - initial[name]) * 1000
    outputs["lr_after_step"] = np.asarray(rates)
    return kit.compare(case, outputs)
