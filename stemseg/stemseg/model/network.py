"""The whole network: one 2D backbone, several 3D decoders (spec section 6).

Letters: N clips, T frames, H and W size of the padded image, h and w of a feature map, E embedding
dimensions, F free dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from stemseg.model.coordinates import check_dims
from stemseg.model.decoders import (
    EmbeddingDecoder,
    SeedinessDecoder,
    SemsegDecoder,
    Trunk,
    TrunkSizes,
)
from stemseg.model.fpn import Backbone
from stemseg.model.resnet import ResNet


class HeadOutputs(NamedTuple):
    """Maps at stride 4 of the padded input.

    Attributes:
        embeddings: (N, E, T, h, w).
        raw_bandwidths: (N, E - F, T, h, w); bandwidths are 10 * exp of it.
        seediness: (N, 1, T, h, w) in [0, 1].
        semseg_logits: (N, classes (+ 1), T, h, w), background first, foreground last; or None.
    """

    embeddings: Tensor
    raw_bandwidths: Tensor
    seediness: Tensor
    semseg_logits: Tensor | None


class FreeDims(nn.Module):
    """Holds the constant bandwidths of the free dimensions, which released files carry.

    Args:
        stds: standard deviation of every free dimension.
    """

    free_dim_bandwidths: Tensor

    def __init__(self, stds: Sequence[float]) -> None:
        super().__init__()
        bandwidths = torch.tensor([[1.0 / std**2 for std in stds]])  # 1, F
        # Without free dimensions the files have no such key.
        self.register_buffer("free_dim_bandwidths", bandwidths, persistent=bool(stds))


def trunk_sizes(cfg: Any, head: str) -> TrunkSizes:
    """Sizes of a decoder as the configuration has them.

    Args:
        cfg: the whole configuration.
        head: EMBEDDINGS, SEEDINESS or SEMSEG.

    Raises:
        ValueError: a type of decoder or an order of scales that does not exist.
    """
    section = getattr(cfg.MODEL, head)
    if section.HEAD_TYPE != "squeeze_expand_decoder":
        raise ValueError(
            f"MODEL.{head}.HEAD_TYPE: expected squeeze_expand_decoder, got {section.HEAD_TYPE!r}"
        )
    key = "SCALE" if head == "EMBEDDINGS" else "FEATURE_SCALE"
    scales = [4, 8, 16, 32] if head == "SEMSEG" else [32, 16, 8, 4]
    if list(getattr(section, key)) != scales:
        raise ValueError(
            f"MODEL.{head}.{key}: expected {scales}, got {list(getattr(section, key))}"
        )
    return TrunkSizes(
        num_frames=cfg.INPUT.NUM_FRAMES,
        in_channels=cfg.MODEL.RESNETS.BACKBONE_OUT_CHANNELS,
        inter_channels=tuple(section.INTER_CHANNELS),
        norm=section.NORMALIZATION_LAYER,
        num_groups=section.GN_NUM_GROUPS,
        pool=section.POOL_TYPE,
    )


class STEmSeg(nn.Module):
    """Backbone and decoders. The order of the modules is the order of keys of released files.

    Args:
        cfg: the whole configuration (`stemseg.config`).

    Raises:
        ValueError: a value that has no network; the message names its key.
    """

    def __init__(self, cfg: Any) -> None:
        super().__init__()
        check_dims(
            cfg.MODEL.EMBEDDING_DIM_MODE,
            cfg.MODEL.EMBEDDINGS.EMBEDDING_SIZE,
            cfg.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS,
        )
        self.cfg = cfg
        model = cfg.MODEL
        self.backbone = Backbone(model)
        self.embedding_head = EmbeddingDecoder(
            trunk_sizes(cfg, "EMBEDDINGS"),
            model.EMBEDDING_DIM_MODE,
            tanh=model.EMBEDDINGS.TANH_ACTIVATION,
            with_seediness=not model.USE_SEEDINESS_HEAD,
        )
        self.embedding_loss_criterion = FreeDims(cfg.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS)
        self.semseg_head = (
            SemsegDecoder(
                trunk_sizes(cfg, "SEMSEG"),
                cfg.INPUT.NUM_CLASSES,
                foreground_channel=model.SEMSEG.FOREGROUND_CHANNEL,
            )
            if model.USE_SEMSEG_HEAD
            else None
        )
        self.seediness_head = (
            SeedinessDecoder(trunk_sizes(cfg, "SEEDINESS")) if model.USE_SEEDINESS_HEAD else None
        )
        if cfg.TRAINING.FREEZE_BACKBONE:
            # Without gradients there is no update and no weight decay either (spec 7.1).
            self.backbone.requires_grad_(False)
        self.set_gradient_checkpointing(cfg.TRAINING.GRADIENT_CHECKPOINTING)

    @property
    def free_dim_bandwidths(self) -> Tensor:
        """(1, F) bandwidths of the free dimensions, 1 / std²."""
        return self.embedding_loss_criterion.free_dim_bandwidths

    def set_gradient_checkpointing(self, enabled: bool) -> None:
        """Whether training computes stages and blocks again in place of keeping their maps."""
        for module in self.modules():
            if isinstance(module, (ResNet, Trunk)):
                module.gradient_checkpointing = enabled

    def encode(self, frames: Tensor) -> list[Tensor]:
        """Clips (N, T, 3, H, W) to P2..P5, each (N, C, T, h, w), finest first."""
        N, T = frames.shape[:2]
        maps = self.backbone(frames.flatten(0, 1))  # N*T, C, h, w
        return [x.unflatten(0, (N, T)).transpose(1, 2) for x in maps]  # N, C, T, h, w

    def decode(self, features: Sequence[Tensor]) -> HeadOutputs:
        """P2..P5 of clips, each (N, C, T, h, w), finest first, to the maps of all heads."""
        embeddings, raw_bandwidths, seediness = self.embedding_head(features)
        if self.seediness_head is not None:
            seediness = self.seediness_head(features)
        logits = None if self.semseg_head is None else self.semseg_head(features)
        return HeadOutputs(embeddings, raw_bandwidths, seediness, logits)

    def forward(self, frames: Tensor) -> HeadOutputs:
        """Clips (N, T, 3, H, W), H and W multiples of 32, to the maps of all heads.

        Raises:
            ValueError: sizes that do not fit.
        """
        if frames.dim() != 5 or frames.shape[-1] % 32 or frames.shape[-2] % 32:
            raise ValueError(
                "expected frames (N, T, 3, H, W) with H and W multiples of 32, "
                f"got {tuple(frames.shape)}"
            )
        return self.decode(self.encode(frames))
