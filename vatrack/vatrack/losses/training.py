"""All losses of a batch of pairs (spec 5.1, 5.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Generator, Tensor

from vatrack.losses.batch import TrainingBatch
from vatrack.losses.heads import HeadLosses, Losses, Positives
from vatrack.losses.rpn import Anchors, rpn_losses
from vatrack.losses.sampling import sample_boxes
from vatrack.losses.settings import LossSettings
from vatrack.model.anchors import valid_anchors
from vatrack.model.network import VATrackNet


def training_losses(
    network: VATrackNet, batch: TrainingBatch, settings: LossSettings, generator: Generator
) -> Losses:
    """Losses and accuracies of a batch.

    Args:
        network: in training.
        batch: on the network's device.
        settings: how boxes are chosen and losses weighted.
        generator: of the random choices, on the CPU.

    Returns:
        Scalars by the original names, but for `loss_rpn_*`, which have a value for each level.
        Names without "loss" are not part of the sum.

    Raises:
        ValueError: the batch lacks masks or boxes that this model learns from.
    """
    _check(network, batch)
    features, ref_features = network.extract(batch.images), network.extract(batch.ref_images)
    outputs = network.rpn_head(features)
    losses = _rpn_part(network, outputs, batch, settings, generator)
    limits = settings.key_proposals
    shapes = [target.img_shape for target in batch.targets]
    logits, deltas = outputs
    scored = network.rpn_head.proposals(logits, deltas, shapes, limits.nms_pre, limits.max_num)
    proposals = [rows[:, :4] for rows in scored]
    heads = HeadLosses(network, features, settings)
    losses |= _detection_part(heads, proposals, batch, generator)
    return losses | _embedding_part(heads, ref_features, proposals, batch, generator)


def total_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of what `training_losses` gave, without accuracies."""
    return torch.stack([value.sum() for name, value in losses.items() if "loss" in name]).sum()


def _check(network: VATrackNet, batch: TrainingBatch) -> None:
    needed = ["masks"]
    needed += ["amodal_masks"] if network.settings.is_joint else []
    needed += ["visible_boxes"] if network.settings.has_two_boxes else []
    for name in needed:
        if any(getattr(target, name) is None for target in batch.targets):
            raise ValueError(f"{name}: missing in the targets of a {network.settings.kind}")


def _rpn_part(
    network: VATrackNet,
    outputs: tuple[list[Tensor], list[Tensor]],
    batch: TrainingBatch,
    settings: LossSettings,
    generator: Generator,
) -> Losses:
    model, device = network.settings, batch.images.device
    sizes = [(level.shape[-2], level.shape[-1]) for level in outputs[0]]
    shapes = list(zip(sizes, model.strides, strict=True))
    valid = [
        torch.cat([valid_anchors(*shape, t.pad_shape, model.num_anchors) for shape in shapes])
        for t in batch.targets
    ]
    anchors = Anchors(
        network.rpn_head.anchors(sizes, device), [v.to(device) for v in valid], model.rpn_stds
    )
    boxes = [target.boxes for target in batch.targets]
    of_logits, of_deltas = rpn_losses(outputs, anchors, boxes, settings, generator)
    return {"loss_rpn_cls": torch.stack(of_logits), "loss_rpn_bbox": torch.stack(of_deltas)}


def _detection_part(
    heads: HeadLosses, proposals: Sequence[Tensor], batch: TrainingBatch, generator: Generator
) -> Losses:
    """Losses of box and mask heads; the two-box model samples for either kind on its own."""
    roi_head, model, settings = heads.network.roi_head, heads.network.settings, heads.settings
    weights, labels = settings.weights, [target.labels for target in batch.targets]
    boxes = [target.boxes for target in batch.targets]
    rules = (settings.box_assign, settings.box_sample, generator)
    pairs = zip(proposals, boxes, strict=True)
    samples = [sample_boxes(own, objects, *rules) for own, objects in pairs]
    positives = Positives.of(samples, labels)
    losses: Losses = {}
    if model.has_two_boxes:
        cls, box, losses["acc_amodal"] = heads.boxes(
            roi_head.amodal_bbox_head, samples, boxes, labels
        )
        losses["loss_amodal_cls"] = weights.amodal_cls * cls
        losses["loss_amodal_bbox"] = weights.amodal_bbox * box
    features = heads.mask_features(positives)
    if model.is_joint:
        amodal_masks = [_present(target.amodal_masks) for target in batch.targets]
        loss = heads.masks(features, roi_head.amodal_mask_head, positives, amodal_masks)
        losses["loss_amodal_mask"] = weights.amodal_mask * loss
    if model.has_two_boxes:
        boxes = [_present(target.visible_boxes) for target in batch.targets]
        pairs = zip(proposals, boxes, strict=True)
        samples = [sample_boxes(own, objects, *rules) for own, objects in pairs]
        positives = Positives.of(samples, labels)
        features = heads.mask_features(positives)
    masks = [_present(target.masks) for target in batch.targets]
    cls, box, losses["acc"] = heads.boxes(roi_head.bbox_head, samples, boxes, labels)
    losses["loss_cls"], losses["loss_bbox"] = weights.cls * cls, weights.bbox * box
    loss = heads.masks(features, roi_head.mask_head, positives, masks)
    return losses | {"loss_mask": weights.mask * loss}


def _embedding_part(
    heads: HeadLosses,
    ref_features: Sequence[Tensor],
    proposals: Sequence[Tensor],
    batch: TrainingBatch,
    generator: Generator,
) -> Losses:
    network, settings = heads.network, heads.settings
    limits, rules = settings.ref_proposals, (settings.embed_assign, settings.embed_sample)
    shapes = [target.img_shape for target in batch.ref_targets]
    with torch.no_grad():
        scored = network.proposals(ref_features, shapes, limits.nms_pre, limits.max_num)
    key = [
        sample_boxes(own, target.boxes, *rules, generator)
        for own, target in zip(proposals, batch.targets, strict=True)
    ]
    ref = [
        sample_boxes(own[:, :4], target.boxes, *rules, generator)
        for own, target in zip(scored, batch.ref_targets, strict=True)
    ]
    matches = [target.match for target in batch.targets]
    main, auxiliary = heads.embeddings(ref_features, (key, ref), matches, generator)
    weights = settings.weights
    return {"loss_track": weights.track * main, "loss_track_aux": weights.track_aux * auxiliary}


def _present(values: Tensor | None) -> Tensor:
    """What `_check` has found to be there."""
    assert values is not None
    return values
