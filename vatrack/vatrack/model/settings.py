"""Sizes and switches of a network, as its modules need them (spec 1, 2 and 8).

The configuration becomes these settings in `vatrack.config`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["qdtrack", "amodaltrack", "vatrack", "vatrack2bbox"]

KINDS: tuple[Kind, ...] = ("qdtrack", "amodaltrack", "vatrack", "vatrack2bbox")


@dataclass(frozen=True)
class ModelSettings:
    """Everything that decides modules, names and shapes. The defaults are QDTrack on ResNet-50.

    Attributes:
        kind: which of the four models. QDTrack and AmodalTrack are the same network; the one mask
            it predicts is visible in the first and amodal in the second.
        blocks: number of blocks of every stage.
        groups: of the 3x3 convolutions of the backbone; 64 for ResNeXt-101 64x4d.
        base_width: channels of a group for 64 planes; 4 for ResNeXt-101 64x4d, 64 with 1 group.
        stem_channels: of the first convolution; stage S has 2**S times as many planes.
        frozen_stages: the stem and this many stages do not train; -1: everything trains.
        norm_eval: norms of the backbone keep their running statistics in training.
        num_classes: C, foreground classes; background is class index C.
        fpn_channels: of the pyramid and of convolutions in the heads.
        fc_channels: of the hidden fully connected layers.
        mask_convs: 3x3 convolutions of a mask head.
        track_convs: 3x3 convolutions of the embedding head.
        norm_groups: of the norms of the embedding head.
        embed_dim: E, length of an embedding.
        box_roi_size: side of the RoI features of boxes and embeddings.
        mask_roi_size: side of those of masks; logits have twice as many.
        finest_scale: RoIs of sides below twice this are taken from the finest map.
        anchor_scale: side of an anchor in strides.
        anchor_ratios: height / width of the anchors of a position.
        strides: of the five levels of the pyramid.
        rpn_stds: of the deltas of anchors.
        rcnn_stds: of the deltas of RoIs.
    """

    kind: Kind = "qdtrack"
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    groups: int = 1
    base_width: int = 64
    stem_channels: int = 64
    frozen_stages: int = 1
    norm_eval: bool = True
    num_classes: int = 24
    fpn_channels: int = 256
    fc_channels: int = 1024
    mask_convs: int = 4
    track_convs: int = 4
    norm_groups: int = 32
    embed_dim: int = 256
    box_roi_size: int = 7
    mask_roi_size: int = 14
    finest_scale: int = 56
    anchor_scale: float = 8.0
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    strides: tuple[int, ...] = (4, 8, 16, 32, 64)
    rpn_stds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    rcnn_stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {self.kind!r}")
        if len(self.blocks) != 4:
            raise ValueError(f"blocks: expected 4 stages, got {len(self.blocks)}")
        if len(self.strides) != 5:
            raise ValueError(f"strides: expected 5 levels, got {len(self.strides)}")

    @property
    def is_joint(self) -> bool:
        """Whether visible and amodal masks are both predicted."""
        return self.kind in ("vatrack", "vatrack2bbox")

    @property
    def has_two_boxes(self) -> bool:
        """Whether visible boxes are predicted besides the amodal ones."""
        return self.kind == "vatrack2bbox"

    @property
    def num_anchors(self) -> int:
        """Anchors per position."""
        return len(self.anchor_ratios)

    def width_of(self, stage: int) -> int:
        """Channels of the 3x3 convolutions of a stage, counted from 0."""
        planes = self.stem_channels << stage
        return planes * self.base_width // 64 * self.groups


#: Values that differ between the published backbones.
BACKBONES: dict[str, dict[str, object]] = {
    "r50": {"blocks": (3, 4, 6, 3), "groups": 1, "base_width": 64},
    "x101": {"blocks": (3, 4, 23, 3), "groups": 64, "base_width": 4},
}
