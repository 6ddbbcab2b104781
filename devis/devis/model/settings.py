"""Sizes and switches of the three model families, as their modules need them (spec 2 and 5).

The configuration becomes these settings in `devis.config`; modules never see a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["deformable_detr", "mask_head", "devis"]
#: A feature of the mask head: its level and where it is taken from.
FeatureSource = tuple[str, str]


@dataclass(frozen=True)
class TemporalSettings:
    """What DeVIS has beyond the image model (spec 5.5).

    Attributes:
        num_frames: T of a clip.
        embedding: "learned": a vector per frame is added to the sine encoding; "sine": the
            encoding itself covers frame, row and column.
        connected: frames attend to one another; False is the ablation without connections.
        connect_all: the encoder samples every other frame; else those within `window`.
        window: number of other frames that the encoder samples then, an even number.
        instance_aware: temporal samples of a decoder query lie around the box that the same
            instance has in the other frame; else around its own box.
        enc_points: points per head, level and other frame in the encoder.
        dec_points: the same in the decoder.
        conv_head_3d: masks of an instance go through a 3-D convolution head (ablations).
    """

    num_frames: int = 6
    embedding: Literal["learned", "sine"] = "learned"
    connected: bool = True
    connect_all: bool = True
    window: int = 4
    instance_aware: bool = True
    enc_points: int = 4
    dec_points: int = 4
    conv_head_3d: bool = False


@dataclass(frozen=True)
class ModelSettings:
    """Everything that decides modules, names and shapes. The defaults are Deformable DETR, R50.

    Attributes:
        family: the detector alone (keys without prefix), with masks, or for clips.
        num_classes: C outputs of a class layer.
        backbone: resnet50, resnet101, swin_{t,s,b,l}_p4w7 or swin_l_p4w12.
        dilation: the last ResNet stage is dilated instead of strided.
        num_queries: of all frames of a clip together, or of an image.
        hidden_dim: D.
        dim_feedforward: width of the feed-forward layers.
        dropout: of the transformer.
        num_levels: L; 4: /8 /16 /32 /64, 3: /8 /16 /32, 1: /32 only.
        refine_boxes: every decoder layer refines the boxes of the one before; six own heads.
        box_gradient: gradient flows through the refined boxes from layer to layer.
        refine_points: layers refine the reference point only; excludes `refine_boxes`.
        enc_layers: of the encoder.
        dec_layers: of the decoder.
        num_heads: of the attention.
        enc_points: points per head and level in the encoder.
        dec_points: the same in the decoder.
        modulated: the mask head's convolutions are modulated deformable ones.
        attention_levels: levels with attention maps ("/32", "/16", "/8"), coarsest first.
        mask_features: level and source of the mask head's four features, coarsest first.
        mask_layers: decoder layers, beside the last, whose masks are trained.
        temporal: of the family "devis"; None for images.
    """

    family: Family = "deformable_detr"
    num_classes: int = 91
    backbone: str = "resnet50"
    dilation: bool = False
    num_queries: int = 300
    hidden_dim: int = 256
    dim_feedforward: int = 1024
    dropout: float = 0.1
    num_levels: int = 4
    refine_boxes: bool = True
    box_gradient: bool = False
    refine_points: bool = False
    enc_layers: int = 6
    dec_layers: int = 6
    num_heads: int = 8
    enc_points: int = 4
    dec_points: int = 4
    modulated: bool = True
    attention_levels: tuple[str, ...] = ("/32", "/16", "/8")
    mask_features: tuple[FeatureSource, ...] = (
        ("/32", "encoded"),
        ("/16", "encoded"),
        ("/8", "encoded"),
        ("/4", "backbone"),
    )
    mask_layers: tuple[int, ...] = (2,)
    temporal: TemporalSettings | None = None

    def __post_init__(self) -> None:
        """Refuses what no network can be built from.

        Raises:
            ValueError: names the setting.
        """
        if self.num_levels not in (1, 3, 4):
            raise ValueError(f"num_levels is {self.num_levels}; there are 1, 3 or 4")
        if self.refine_boxes and self.refine_points:
            raise ValueError("refine_boxes and refine_points exclude each other")
        if (self.family == "devis") != (self.temporal is not None):
            raise ValueError("temporal settings belong to the family devis, and to no other")
        if self.temporal and self.num_queries % self.temporal.num_frames:
            frames = self.temporal.num_frames
            raise ValueError(f"num_queries {self.num_queries} is no multiple of {frames} frames")

        t = self.temporal
        if t and t.connected and not t.connect_all and not _window_fits(t):
            raise ValueError(
                f"window is {t.window}; it must be even, and 2 to num_frames ({t.num_frames})"
            )

    @property
    def queries_per_frame(self) -> int:
        """Q, the instance slots of a frame."""
        return self.num_queries // (self.temporal.num_frames if self.temporal else 1)

    @property
    def level_names(self) -> tuple[str, ...]:
        """Names of the levels that the transformer sees, finest first."""
        return {1: ("/32",), 3: ("/8", "/16", "/32"), 4: ("/8", "/16", "/32", "/64")}[
            self.num_levels
        ]


def _window_fits(temporal: TemporalSettings) -> bool:
    """Whether a neighbour that falls outside of the clip has its mirror inside, for every frame."""
    return temporal.window % 2 == 0 and 2 <= temporal.window <= temporal.num_frames
