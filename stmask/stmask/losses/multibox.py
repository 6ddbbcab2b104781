"""All losses of a batch of clips (spec 10.2). Letters as in `stmask.losses.targets`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from stmask.losses.classification import focal_loss, hard_negative_loss
from stmask.losses.mask_terms import (
    MaskPredictions,
    crop_boxes,
    mask_losses,
    prototype_loss,
    semantic_loss,
)
from stmask.losses.matching import Matches, match_frames
from stmask.losses.regression import diou_losses, smooth_l1_losses
from stmask.losses.settings import LossSettings
from stmask.losses.shift import (
    ClipPredictions,
    Moves,
    find_regions,
    find_shifted,
    shift_losses,
)
from stmask.losses.targets import FrameTargets, Positives, find_positives
from stmask.losses.tracking import diversity_loss, track_loss
from stmask.model.boxes import decode, to_corners

#: The terms in the order in which they are printed.
ORDER = (*("B", "BIoU", "C", "M", "T", "center", "B_shift", "M_shift", "P", "D", "S", "I", "MIoU"),)


class MultiBoxLoss:
    """All losses of a configuration.

    Args:
        cfg: a configuration or anything with its attributes (see `LossSettings`), or the settings.

    Raises:
        ValueError: a value of the configuration that does not exist or does not fit.
    """

    def __init__(self, cfg: Any) -> None:
        is_read = isinstance(cfg, LossSettings)
        self.settings = cfg if is_read else LossSettings.from_config(cfg)

    def __call__(
        self,
        raw: Any,
        targets: Sequence[FrameTargets],
        network: Any,
        *,
        temporal: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The losses of a batch; what is minimised is their sum, `total_loss`.

        Everything is computed in float32, whatever the precision of the outputs. A batch without
        any object gives losses that still reach the outputs.

        Args:
            raw: the network's outputs for B = 2K frames, those of a clip next to each other.
            targets: B frames.
            network: the network, whose TemporalNet is trained here.
            temporal: (K, channels, h4, w4) temporal features, where they are known already.

        Returns:
            Scalars in the order of `ORDER`.

        Raises:
            ValueError: an odd number of frames, or targets of another number.
        """
        if len(targets) != len(raw.loc) or len(targets) % 2:
            raise ValueError(
                f"a batch has two frames per clip, got {len(raw.loc)} frames and "
                f"{len(targets)} targets"
            )
        # TemporalNet may compute in lower precision; the losses never do.
        with torch.autocast(raw.loc.device.type, enabled=False):
            found = self.match(raw, targets)
            positives = find_positives(found, targets)
            terms = self._frame_terms(raw, found, positives, targets, network)
        if self.settings.temporal_fusion_module:
            temporal = temporal_features(raw, network) if temporal is None else temporal
            terms |= self._shift_terms(raw, temporal, positives, targets, network)
        return {name: terms[name] for name in ORDER if name in terms}

    def match(self, raw: Any, targets: Sequence[FrameTargets]) -> Matches:
        """What every prior stands for, (B, N) each."""
        if self.settings.use_prediction_matching:
            boxes = decode(
                raw.loc.detach().float(), raw.priors, yolo=self.settings.use_yolo_regressors
            )
        else:
            boxes = to_corners(raw.priors)
        return match_frames(targets, boxes, raw.conf_logits.detach(), self.settings)

    def _decode(self, raw: Any, positives: Positives) -> Tensor:
        """(M, 4) predicted corners of the positives."""
        loc, priors = positives.of(raw.loc).float(), raw.priors[positives.prior]
        return decode(loc, priors, yolo=self.settings.use_yolo_regressors)

    def _frame_terms(
        self,
        raw: Any,
        found: Matches,
        positives: Positives,
        targets: Sequence[FrameTargets],
        network: Any,
    ) -> dict[str, Tensor]:
        """The terms that look at frames, or at embeddings of all of them."""
        settings, num_frames = self.settings, len(targets)
        decoded = self._decode(raw, positives)
        terms: dict[str, Tensor] = {}
        if settings.train_boxes:
            terms |= self._box_terms(raw, decoded, positives, num_frames)
        if settings.train_class:
            rule = focal_loss if settings.use_sigmoid_focal_loss else hard_negative_loss
            terms["C"] = rule(raw.conf_logits.float(), found.classes, settings)
        if settings.train_masks:
            terms |= self._mask_terms(raw, decoded, positives, targets, network)
        if settings.train_track:
            terms["T"] = track_loss(positives.of(raw.track).float(), positives, settings)
        if settings.use_semantic_segmentation_loss:
            terms["S"] = semantic_loss(raw.semantic.float(), targets, settings)
        return terms

    def _shift_terms(
        self,
        raw: Any,
        temporal: Tensor,
        positives: Positives,
        targets: Sequence[FrameTargets],
        network: Any,
    ) -> dict[str, Tensor]:
        coefficients = positives.of(raw.mask_coeff).float()
        decoded = self._decode(raw, positives)
        predictions = ClipPredictions(decoded, coefficients, raw.proto.float(), temporal.float())
        shifted = find_shifted(positives, targets)
        loc, change = network.TemporalNet(find_regions(predictions, shifted))
        with torch.autocast(raw.loc.device.type, enabled=False):
            moves = Moves(loc.float(), change.float())
            return shift_losses(moves, predictions, shifted, positives, targets, self.settings)

    def _box_terms(
        self, raw: Any, decoded: Tensor, positives: Positives, num_frames: int
    ) -> dict[str, Tensor]:
        if self.settings.use_boxiou_loss:
            centerness = positives.of(raw.centerness).float()
            return diou_losses(decoded, centerness, positives, num_frames, self.settings)
        loc, priors = positives.of(raw.loc).float(), raw.priors[positives.prior]
        return smooth_l1_losses(loc, priors, positives, num_frames, self.settings)

    def _mask_terms(
        self,
        raw: Any,
        decoded: Tensor,
        positives: Positives,
        targets: Sequence[FrameTargets],
        network: Any,
    ) -> dict[str, Tensor]:
        settings = self.settings
        boxes = crop_boxes(decoded, positives, settings)
        coefficients = positives.of(raw.mask_coeff).float()
        predictions = MaskPredictions(raw.proto.float(), coefficients, boxes)
        rater = network.maskiou_net if settings.use_maskiou else None
        terms = mask_losses(predictions, positives, targets, settings, rater)
        if settings.mask_proto_loss is not None:
            terms["P"] = prototype_loss(raw.proto.float(), settings)
        if settings.mask_proto_coeff_diversity_loss:
            terms["D"] = diversity_loss(coefficients, positives, len(targets), settings)
        return terms


def temporal_features(raw: Any, network: Any) -> Tensor:
    """(K, channels, h4, w4) temporal features of the clips of a batch."""
    features, sources = raw.fpn_feat, raw.t2s_feat
    made: Tensor = network.temporal_features(
        features[0::2], features[1::2], sources[0::2], sources[1::2]
    )
    return made


def total_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """The plain sum of all terms."""
    return torch.stack(list(losses.values())).sum()
