"""Sizes and switches of a network, as its modules need them (spec 1.1 and 3).

The configuration becomes these settings in `stmask.config`; a file of weights, from its shapes, in
`stmask.checkpoint`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Kernels (height, width) of the prediction layers: one per shape of anchor (FCA).
FCA_KERNELS = ((3, 3), (3, 5), (5, 3))


@dataclass(frozen=True)
class NetworkSettings:
    """Everything that decides modules, names and shapes. The defaults are STMask_plus_resnet50.

    Attributes:
        backbone: kind of the backbone.
        blocks: number of blocks of every stage.
        stem_width: channels of the first convolution; stage S has 4 * 2**S times as many.
        dcn_interval: in stages `dcn_stages` block 0 and every block whose index is a multiple of
            this have a deformable 3x3 convolution; 0: none has.
        dcn_stages: stages with deformable blocks.
        num_classes: outputs of a class layer, background (0) included.
        num_prototypes: P; mask coefficients per prior.
        embed_dim: length of a track embedding.
        kernels: (height, width) of the prediction layers.
        scales_per_anchor: anchors per kernel; their sizes are 2**(s / scales_per_anchor).
        conf_depth: 3x3 layers in the tower before the class layers.
        bbox_depth: the same for boxes and centerness.
        mask_depth: the same for mask coefficients.
        track_depth: the same for embeddings.
        fcb: how features are calibrated to predicted boxes: "ali" computes offsets from the box,
            "ada" predicts them; None: not at all.
        calibrate_class: class layers are calibrated (every released model with `fcb`).
        calibrate_track: embedding layers are.
        calibrate_mask: mask coefficient layers are.
        direct_calibration: the deformable convolution has the outputs itself and no ordinary
            convolution follows, as in the first public revision.
        share_head: one prediction head for all levels; else each level has its own.
        num_downsample: levels made from P5 by strided layers (P6, P7).
        conv_downsample: they are convolutions; else every second value is taken.
        relu_pred: ReLU after the 3x3 layers of the pyramid.
        relu_downsample: ReLU after its strided layers.
        fpn_channels: channels of the pyramid, of the prototypes' layers and of the head.
        temporal_fusion: the network has a TemporalNet.
        patch_size: odd side of the correlation's window.
        correlation_level: index of the level for temporal features; 1 is P4.
        temporal_channels: of the three convolutions of TemporalNet.
        semantic: the network has the 1x1 semantic layer on P3, for its loss only.
        maskiou_channels: strided convolutions of the network that rates masks, for its loss only.
    """

    backbone: Literal["resnet", "darknet53"] = "resnet"
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    stem_width: int = 64
    dcn_interval: int = 2
    dcn_stages: tuple[int, ...] = (1, 2, 3)
    num_classes: int = 41
    num_prototypes: int = 32
    embed_dim: int = 128
    kernels: tuple[tuple[int, int], ...] = FCA_KERNELS
    scales_per_anchor: int = 1
    conf_depth: int = 2
    bbox_depth: int = 2
    mask_depth: int = 2
    track_depth: int = 2
    fcb: Literal["ali", "ada"] | None = None
    calibrate_class: bool = False
    calibrate_track: bool = False
    calibrate_mask: bool = False
    direct_calibration: bool = False
    share_head: bool = True
    num_downsample: int = 2
    conv_downsample: bool = True
    relu_pred: bool = True
    relu_downsample: bool = False
    fpn_channels: int = 256
    temporal_fusion: bool = True
    patch_size: int = 11
    correlation_level: int = 1
    temporal_channels: tuple[int, int, int] = (512, 512, 1024)
    semantic: bool = False
    maskiou_channels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.patch_size < 1 or self.patch_size % 2 == 0:
            raise ValueError(f"correlation_patch_size: expected an odd size, got {self.patch_size}")
        if not 0 <= self.correlation_level < self.num_levels:
            raise ValueError(
                f"correlation_selected_layer: expected 0 to {self.num_levels - 1}, "
                f"got {self.correlation_level}"
            )
        if self.fcb is None and (
            self.calibrate_class or self.calibrate_track or self.calibrate_mask
        ):
            raise ValueError("fcb: calibrated branches need a mode, ali or ada")

    @property
    def num_levels(self) -> int:
        """Of the pyramid: three lateral ones and the downsampled ones."""
        return 3 + self.num_downsample

    @property
    def num_anchors(self) -> int:
        """Anchors per position: kernels times scales."""
        return len(self.kernels) * self.scales_per_anchor

    @property
    def anchor_scales(self) -> tuple[float, ...]:
        """Sizes of a kernel's anchors relative to the first: 1, sqrt 2 for two scales."""
        return tuple(2 ** (s / self.scales_per_anchor) for s in range(self.scales_per_anchor))

    @property
    def temporal_in_channels(self) -> int:
        """Channels of the temporal features: correlation and two feature maps."""
        return self.patch_size**2 + 2 * self.fpn_channels

    def is_deformable(self, stage: int, block: int) -> bool:
        """Whether a block of a stage has a deformable convolution; both counted from 0."""
        if self.dcn_interval == 0 or stage not in self.dcn_stages:
            return False
        return block % self.dcn_interval == 0
