"""The keys of the configuration, their types, defaults and meaning (spec section 4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from stemseg.model.coordinates import check_dims
from stemseg.model.decoders import NUM_POOLS
from stemseg.model.resnet import STAGE_BLOCKS
from vidseg_common.errors import ConfigError

Channels = tuple[int, int, int, int]


@dataclass(frozen=True)
class Input:
    """What enters the network.

    Attributes:
        IMAGE_MEAN: per channel in the order blue, green, red.
        IMAGE_STD: per channel in the same order.
        NORMALIZE_TO_UNIT_SCALE: divide by 255 before anything else.
        MIN_DIM: shorter side of the resized image in pixels.
        MAX_DIM: largest longer side; wins over `MIN_DIM`.
        BGR_INPUT: channel order of the network; false reverses it after normalising.
        NUM_FRAMES: frames of a clip: 2, 4, 8, 16, 24 or 32.
        NUM_CLASSES: classes of the semantic head, with the background.
    """

    IMAGE_MEAN: tuple[float, float, float] = (102.9801, 115.9465, 122.7717)
    IMAGE_STD: tuple[float, float, float] = (1.0, 1.0, 1.0)
    NORMALIZE_TO_UNIT_SCALE: bool = False
    MIN_DIM: int = 800
    MAX_DIM: int = 1333
    BGR_INPUT: bool = True
    NUM_FRAMES: int = 8
    NUM_CLASSES: int = 2


@dataclass(frozen=True)
class EmbeddingLosses:
    """Weights of the embedding loss (spec 7.8).

    Attributes:
        WEIGHT_REGULARIZATION: unused; original files have it.
        WEIGHT_LOVASZ: of the Lovasz hinge.
        WEIGHT_VARIANCE_SMOOTHNESS: of the smoothness of bandwidths.
        WEIGHT_SEEDINESS: of the seediness.
        WEIGHT: of all of them together.
        FREE_DIM_STDS: standard deviation of every free dimension of the mode.
    """

    WEIGHT_REGULARIZATION: float = 0.001
    WEIGHT_LOVASZ: float = 1.0
    WEIGHT_VARIANCE_SMOOTHNESS: float = 10.0
    WEIGHT_SEEDINESS: float = 1.0
    WEIGHT: float = 1.0
    FREE_DIM_STDS: tuple[float, ...] = ()


@dataclass(frozen=True)
class Losses:
    """All losses.

    Attributes:
        EMBEDDING: of the embedding.
        SEMSEG: kind of the semantic loss; there is one.
        WEIGHT_SEMSEG: of the semantic loss.
        SEMSEG_IGNORE_AWARE: leave ignored pixels out of the semantic loss. The published models
            were trained without.
    """

    EMBEDDING: EmbeddingLosses = field(default_factory=EmbeddingLosses)
    SEMSEG: Literal["CrossEntropy"] = "CrossEntropy"
    WEIGHT_SEMSEG: float = 1.0
    SEMSEG_IGNORE_AWARE: bool = False


@dataclass(frozen=True)
class Training:
    """The training schedule (spec 7.1).

    Attributes:
        MODE: data mixture: davis, youtube_vis or kitti_mots.
        LOSS_AT_FULL_RES: up-sample the maps rather than down-sample the targets.
        FREEZE_BACKBONE: train the decoders only.
        MIXED_PRECISION: autocast and gradient scaling.
        MIXED_PRECISION_OPT_LEVEL: O0 switches mixed precision off; O1 to O3 are the same here.
        BATCH_SIZE: clips per optimiser step, over all processes.
        WEIGHT_DECAY: on all parameters.
        MAX_ITERATIONS: optimiser steps.
        ACCUMULATE_GRADIENTS: several backward passes per step.
        MAX_SAMPLES_PER_GPU: clips of one backward pass.
        CLIP_GRADIENTS: unused; original files have it.
        OPTIMIZER: SGD or Adam.
        INITIAL_LR: learning rate before decay.
        LR_DECAY_TYPE: step, exponential or none.
        LR_DECAY_STEPS: iterations of the step decay.
        LR_DECAY_FACTOR: of every step.
        LR_EXP_DECAY_FACTOR: decay over `LR_EXP_DECAY_STEPS` iterations.
        LR_EXP_DECAY_START: iteration at which the exponential decay begins.
        LR_EXP_DECAY_STEPS: see `LR_EXP_DECAY_FACTOR`.
        MOMENTUM: of SGD.
        NESTEROV: of SGD.
        GRADIENT_CHECKPOINTING: compute maps again in the backward pass; saves memory.
        LOSSES: weights of the losses.
    """

    MODE: Literal["", "davis", "youtube_vis", "kitti_mots"] = ""
    LOSS_AT_FULL_RES: bool = False
    FREEZE_BACKBONE: bool = False
    MIXED_PRECISION: bool = False
    MIXED_PRECISION_OPT_LEVEL: Literal["O0", "O1", "O2", "O3"] = "O1"
    BATCH_SIZE: int = 2
    WEIGHT_DECAY: float = 0.0001
    MAX_ITERATIONS: int = 120000
    ACCUMULATE_GRADIENTS: bool = True
    MAX_SAMPLES_PER_GPU: int = 1
    CLIP_GRADIENTS: bool = False
    OPTIMIZER: Literal["SGD", "Adam"] = "SGD"
    INITIAL_LR: float = 0.001
    LR_DECAY_TYPE: Literal["step", "exponential", "none"] = "step"
    LR_DECAY_STEPS: tuple[int, ...] = (20000, 50000)
    LR_DECAY_FACTOR: float = 0.1
    LR_EXP_DECAY_FACTOR: float = 0.001
    LR_EXP_DECAY_START: int = 40000
    LR_EXP_DECAY_STEPS: int = 60000
    MOMENTUM: float = 0.9
    NESTEROV: bool = True
    GRADIENT_CHECKPOINTING: bool = False
    LOSSES: Losses = field(default_factory=Losses)


@dataclass(frozen=True)
class BackboneKind:
    """Which backbone.

    Attributes:
        PRETRAINED_WEIGHTS: file in `$STEMSEG_MODELS_DIR/pretrained` that training starts from.
        TYPE: R-101-FPN, R-50-FPN, or R-14-FPN (one block a stage, for training from nothing).
        FREEZE_AT_STAGE: number of parts without gradient, counted from the stem; negative: none.
    """

    PRETRAINED_WEIGHTS: str = "mask_rcnn_R_101_FPN_backbone.pth"
    TYPE: str = "R-101-FPN"
    FREEZE_AT_STAGE: int = 2


@dataclass(frozen=True)
class ResNets:
    """Widths of the backbone.

    Attributes:
        BACKBONE_OUT_CHANNELS: of every level of the pyramid.
        NUM_GROUPS: of the 3x3 convolutions.
        RES2_OUT_CHANNELS: of the first stage; every next one has twice as many.
        STEM_OUT_CHANNELS: of the stem.
        STRIDE_IN_1X1: the first 1x1 convolution of a block has the stride.
        WIDTH_PER_GROUP: channels per group of the first stage's 3x3 convolutions.
        NORM: frozen_bn (every published model) or gn.
    """

    BACKBONE_OUT_CHANNELS: int = 256
    NUM_GROUPS: int = 1
    RES2_OUT_CHANNELS: int = 256
    STEM_OUT_CHANNELS: int = 64
    STRIDE_IN_1X1: bool = True
    WIDTH_PER_GROUP: int = 64
    NORM: Literal["frozen_bn", "gn"] = "frozen_bn"


@dataclass(frozen=True)
class Pyramid:
    """The feature pyramid.

    Attributes:
        USE_GN: group norm after its convolutions.
        USE_RELU: ReLU after its convolutions.
    """

    USE_GN: bool = False
    USE_RELU: bool = False


@dataclass(frozen=True)
class Decoder:
    """What every decoder has.

    Attributes:
        HEAD_TYPE: kind of decoder; there is one.
        INTER_CHANNELS: of the blocks of stride 32, 16, 8 and 4.
        NORMALIZATION_LAYER: gn or none.
        GN_NUM_GROUPS: of the group norm.
        POOL_TYPE: avg or max, over time.
    """

    HEAD_TYPE: Literal["squeeze_expand_decoder"] = "squeeze_expand_decoder"
    INTER_CHANNELS: Channels = (256, 256, 128, 128)
    NORMALIZATION_LAYER: Literal["gn", "none"] = "gn"
    GN_NUM_GROUPS: int = 32
    POOL_TYPE: Literal["avg", "max"] = "avg"


@dataclass(frozen=True)
class Embeddings(Decoder):
    """The embedding decoder.

    Attributes:
        SCALE: strides, coarse to fine.
        EMBEDDING_SIZE: dimensions; must be those of the mode.
        TANH_ACTIVATION: squash the learned part.
        TIME_SCALE: unused; the checkpoint holds the value in force.
    """

    SCALE: Channels = (32, 16, 8, 4)
    EMBEDDING_SIZE: int = 3
    TANH_ACTIVATION: bool = True
    TIME_SCALE: float = 0.1


@dataclass(frozen=True)
class Semseg(Decoder):
    """The semantic decoder.

    Attributes:
        FEATURE_SCALE: strides, fine to coarse.
        FOREGROUND_CHANNEL: one more output that tells foreground from background.
    """

    FEATURE_SCALE: Channels = (4, 8, 16, 32)
    FOREGROUND_CHANNEL: bool = True


@dataclass(frozen=True)
class Seediness(Decoder):
    """The seediness decoder.

    Attributes:
        FEATURE_SCALE: strides, coarse to fine.
    """

    FEATURE_SCALE: Channels = (32, 16, 8, 4)


@dataclass(frozen=True)
class Model:
    """The network (spec section 6).

    Attributes:
        USE_SEMSEG_HEAD: classes and foreground.
        USE_SEEDINESS_HEAD: seediness from a decoder of its own.
        EMBEDDING_DIM_MODE: meaning of the embedding dimensions (spec 6.4).
        BACKBONE: which one.
        RESNETS: its widths.
        FPN: its pyramid.
        EMBEDDINGS: the embedding decoder.
        SEMSEG: the semantic decoder.
        SEEDINESS: the seediness decoder.
    """

    USE_SEMSEG_HEAD: bool = True
    USE_SEEDINESS_HEAD: bool = False
    EMBEDDING_DIM_MODE: str = "xyt"
    BACKBONE: BackboneKind = field(default_factory=BackboneKind)
    RESNETS: ResNets = field(default_factory=ResNets)
    FPN: Pyramid = field(default_factory=Pyramid)
    EMBEDDINGS: Embeddings = field(default_factory=Embeddings)
    SEMSEG: Semseg = field(default_factory=Semseg)
    SEEDINESS: Seediness = field(default_factory=Seediness)


@dataclass(frozen=True)
class Davis:
    """DAVIS.

    Attributes:
        FRAME_GAP_LOWER: smallest span of a training clip in frames.
        FRAME_GAP_UPPER: largest span.
        SINGLE_INSTANCE_DUPLICATION: unused: this loader always does.
        MAX_INFERENCE_TRACKS: tracks kept of a sequence.
        INFERENCE_FRAME_OVERLAP: frames that consecutive clips share.
        COCO_WEIGHT: share of COCO in the mixture.
        PASCAL_VOC_WEIGHT: share of Pascal VOC.
        YOUTUBE_VIS_WEIGHT: share of YouTube-VIS.
        DAVIS_WEIGHT: share of DAVIS.
    """

    FRAME_GAP_LOWER: int = 16
    FRAME_GAP_UPPER: int = 16
    SINGLE_INSTANCE_DUPLICATION: bool = False
    MAX_INFERENCE_TRACKS: int = 20
    INFERENCE_FRAME_OVERLAP: int = 6
    COCO_WEIGHT: float = 0.25
    PASCAL_VOC_WEIGHT: float = 0.1
    YOUTUBE_VIS_WEIGHT: float = 0.35
    DAVIS_WEIGHT: float = 0.3


@dataclass(frozen=True)
class YoutubeVis:
    """YouTube-VIS; see `Davis`.

    Attributes:
        FRAME_GAP_LOWER: smallest span of a training clip in frames.
        FRAME_GAP_UPPER: largest span.
        SINGLE_INSTANCE_DUPLICATION: give clips of one instance a second one.
        MAX_INFERENCE_TRACKS: tracks kept of a sequence.
        INFERENCE_FRAME_OVERLAP: frames that consecutive clips share.
        COCO_WEIGHT: share of COCO in the mixture.
        PASCAL_VOC_WEIGHT: share of Pascal VOC.
        YOUTUBE_VIS_WEIGHT: share of YouTube-VIS.
    """

    FRAME_GAP_LOWER: int = 8
    FRAME_GAP_UPPER: int = 8
    SINGLE_INSTANCE_DUPLICATION: bool = True
    MAX_INFERENCE_TRACKS: int = 10
    INFERENCE_FRAME_OVERLAP: int = 4
    COCO_WEIGHT: float = 0.3
    PASCAL_VOC_WEIGHT: float = 0.1
    YOUTUBE_VIS_WEIGHT: float = 0.6


@dataclass(frozen=True)
class KittiMots:
    """KITTI-MOTS; see `Davis`.

    Attributes:
        FRAME_GAP_LOWER: smallest span of a training clip in frames.
        FRAME_GAP_UPPER: largest span.
        TRAIN_SEQS: informative; the annotation file decides. 0050 is sequence 0002 of the MOTS
            challenge.
        VAL_SEQS: informative.
        INFERENCE_FRAME_OVERLAP: frames that consecutive clips share.
        MAX_INFERENCE_TRACKS: tracks kept of a sequence.
        MAPILLARY_WEIGHT: share of Mapillary in the mixture.
        KITTI_MOTS_WEIGHT: share of KITTI-MOTS.
    """

    FRAME_GAP_LOWER: int = 8
    FRAME_GAP_UPPER: int = 8
    TRAIN_SEQS: tuple[int | str, ...] = tuple(
        f"{i:04d}" for i in (0, 1, 3, 4, 5, 9, 11, 12, 15, 17, 19, 20, 50)
    )
    VAL_SEQS: tuple[int | str, ...] = tuple(f"{i:04d}" for i in (2, 6, 7, 8, 10, 13, 14, 16, 18))
    INFERENCE_FRAME_OVERLAP: int = 4
    MAX_INFERENCE_TRACKS: int = 1000
    MAPILLARY_WEIGHT: float = 0.0
    KITTI_MOTS_WEIGHT: float = 1.0


@dataclass(frozen=True)
class Data:
    """Data sets.

    Attributes:
        DAVIS: of DAVIS.
        YOUTUBE_VIS: of YouTube-VIS.
        KITTI_MOTS: of KITTI-MOTS.
    """

    DAVIS: Davis = field(default_factory=Davis)
    YOUTUBE_VIS: YoutubeVis = field(default_factory=YoutubeVis)
    KITTI_MOTS: KittiMots = field(default_factory=KittiMots)


@dataclass(frozen=True)
class Clustering:
    """From embeddings to instances and tracks (spec 8.1, 8.2).

    Attributes:
        MIN_SEEDINESS_PROB: smallest seediness of an instance's centre.
        PRIMARY_PROB_THRESHOLD: probability from which a pixel belongs to the instance.
        SECONDARY_PROB_THRESHOLD: the same for pixels left over.
        NEAREST_SECONDARY: give pixels left over to the nearest centre. The published results
            come from the farthest one.
        MIN_ASSOCIATION_IOU: least overlap at which clips are stitched; 0 stitches every pair
            of the assignment, as published.
    """

    MIN_SEEDINESS_PROB: float = 0.8
    PRIMARY_PROB_THRESHOLD: float = 0.5
    SECONDARY_PROB_THRESHOLD: float = 0.3
    NEAREST_SECONDARY: bool = False
    MIN_ASSOCIATION_IOU: float = 0.0


@dataclass(frozen=True)
class Config:
    """Everything; read a value as `cfg.INPUT.NUM_FRAMES`.

    Attributes:
        INPUT: what enters the network.
        TRAINING: schedule and losses.
        MODEL: the network.
        DATA: data sets.
        CLUSTERING: from embeddings to tracks.
    """

    INPUT: Input = field(default_factory=Input)
    TRAINING: Training = field(default_factory=Training)
    MODEL: Model = field(default_factory=Model)
    DATA: Data = field(default_factory=Data)
    CLUSTERING: Clustering = field(default_factory=Clustering)

    def check(self) -> None:
        """Checks values that depend on one another or on the network's parts.

        Raises:
            ConfigError: naming the key.
        """
        _one_of("INPUT.NUM_FRAMES", self.INPUT.NUM_FRAMES, NUM_POOLS)
        _one_of("MODEL.BACKBONE.TYPE", self.MODEL.BACKBONE.TYPE, STAGE_BLOCKS)
        try:
            check_dims(
                self.MODEL.EMBEDDING_DIM_MODE,
                self.MODEL.EMBEDDINGS.EMBEDDING_SIZE,
                self.TRAINING.LOSSES.EMBEDDING.FREE_DIM_STDS,
            )
        except ValueError as error:
            raise ConfigError(str(error)) from None
        for name in ("BATCH_SIZE", "MAX_ITERATIONS", "MAX_SAMPLES_PER_GPU"):
            if getattr(self.TRAINING, name) < 1:
                raise ConfigError(
                    f"TRAINING.{name} must be at least 1, got {getattr(self.TRAINING, name)}"
                )


def _one_of(key: str, value: Any, known: Iterable[Any]) -> None:
    if value not in known:
        choices = ", ".join(map(str, known))
        raise ConfigError(f"{key}: expected one of {choices}, got {value!r}")
