"""The keys of the configuration, their types, defaults and meaning (spec section 2).

Names are those of the original YAML files. The section DEVIS stands inside three others, each
time with its own keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Names = tuple[str, ...]


@dataclass(frozen=True)
class Transformer:
    """Size of the transformer.

    Attributes:
        ENCODER_LAYERS: number of encoder layers.
        DECODER_LAYERS: number of decoder layers.
        N_HEADS: heads of every attention.
        ENC_N_POINTS: points per head and level in the encoder, current frame.
        DEC_N_POINTS: the same in the decoder.
    """

    ENCODER_LAYERS: int = 6
    DECODER_LAYERS: int = 6
    N_HEADS: int = 8
    ENC_N_POINTS: int = 4
    DEC_N_POINTS: int = 4


@dataclass(frozen=True)
class MaskHeadDevis:
    """What the mask head has for clips only.

    Attributes:
        CONV_HEAD_3D: a 3-D convolution head ends the mask head (ablations).
    """

    CONV_HEAD_3D: bool = False


@dataclass(frozen=True)
class MaskHead:
    """The mask head (spec 5.7).

    Attributes:
        USE_MDC: modulated deformable convolutions; else plain 3x3.
        UPSAMPLING_RESOLUTIONS: levels with attention maps, coarsest first.
        USED_FEATURES: level and source of the four features, coarsest first; sources are
            encoded, compressed_backbone and backbone.
        DEVIS: for clips.
    """

    USE_MDC: bool = True
    UPSAMPLING_RESOLUTIONS: Names = ("/32", "/16", "/8")
    USED_FEATURES: tuple[
        tuple[
            Literal["/4", "/8", "/16", "/32"], Literal["encoded", "compressed_backbone", "backbone"]
        ],
        ...,
    ] = (("/32", "encoded"), ("/16", "encoded"), ("/8", "encoded"), ("/4", "backbone"))
    DEVIS: MaskHeadDevis = field(default_factory=MaskHeadDevis)


@dataclass(frozen=True)
class DeformableAttention:
    """Attention between the frames of a clip (spec 5.5).

    Attributes:
        DISABLE_TEMPORAL_CONNECTIONS: ablation: frames do not see one another.
        ENC_CONNECT_ALL_FRAMES: the encoder samples every other frame.
        ENC_TEMPORAL_WINDOW: else those within this window, an even number of frames.
        INSTANCE_AWARE_ATTENTION: the decoder samples around the instance's box in the other frame.
        ENC_N_POINTS_TEMPORAL_FRAME: points per head, level and other frame in the encoder.
        DEC_N_POINTS_TEMPORAL_FRAME: the same in the decoder.
    """

    DISABLE_TEMPORAL_CONNECTIONS: bool = False
    ENC_CONNECT_ALL_FRAMES: bool = True
    ENC_TEMPORAL_WINDOW: int = 4
    INSTANCE_AWARE_ATTENTION: bool = True
    ENC_N_POINTS_TEMPORAL_FRAME: int = 4
    DEC_N_POINTS_TEMPORAL_FRAME: int = 4


@dataclass(frozen=True)
class Devis:
    """Clips.

    Attributes:
        NUM_FRAMES: T, the same in training and test.
        TEMPORAL_EMBEDDING: learned: a vector per frame; sine: a fixed encoding.
        DEFORMABLE_ATTENTION: between frames.
    """

    NUM_FRAMES: int = 6
    TEMPORAL_EMBEDDING: Literal["learned", "sine"] = "learned"
    DEFORMABLE_ATTENTION: DeformableAttention = field(default_factory=DeformableAttention)


@dataclass(frozen=True)
class Loss:
    """Weights of the losses (spec 6.3).

    Attributes:
        AUX_LOSS: a loss on every decoder layer; false needs an empty `MASK_AUX_LOSS`.
        AUX_LOSS_WEIGHTING: later layers weigh more: 1/30 to 5/30, and 1/2 for the last.
        FOCAL_LOSS: must be true.
        MASK_AUX_LOSS: decoder layers, beside the last, with a mask loss.
        SEGM_MASK_COEF: of the focal loss of masks.
        SEGM_DICE_COEF: of the dice loss of masks.
        BBX_L1_COEF: of the box coordinates.
        BBX_GIOU_COEF: of the generalised overlap of boxes.
        CLASS_COEF: of the focal loss of classes.
        FOCAL_ALPHA: weight of positives in the focal loss of classes.
        EOS: unused with the focal loss; original files have it.
    """

    AUX_LOSS: bool = True
    AUX_LOSS_WEIGHTING: bool = False
    FOCAL_LOSS: bool = True
    MASK_AUX_LOSS: tuple[int, ...] = (2,)
    SEGM_MASK_COEF: float = 1.0
    SEGM_DICE_COEF: float = 1.0
    BBX_L1_COEF: float = 5.0
    BBX_GIOU_COEF: float = 2.0
    CLASS_COEF: float = 2.0
    FOCAL_ALPHA: float = 0.25
    EOS: float = 0.1


@dataclass(frozen=True)
class Matcher:
    """Costs of the matching (spec 6.1).

    Attributes:
        CLASS_COST: of the class.
        BBX_L1_COST: of the box coordinates.
        BBX_GIOU_COST: of the generalised overlap.
        USE_SUM_L1_DISTANCE: clips: sum over the four coordinates rather than their mean.
    """

    CLASS_COST: float = 2.0
    BBX_L1_COST: float = 5.0
    BBX_GIOU_COST: float = 2.0
    USE_SUM_L1_DISTANCE: bool = False


@dataclass(frozen=True)
class Model:
    """The network and its losses.

    Attributes:
        WEIGHTS: file to start from or to evaluate.
        SHIFT_CLASS_NEURON: official Deformable DETR files: move the class rows by one (spec 9).
        BACKBONE: resnet50, resnet101, swin_{t,s,b,l}_p4w7 or swin_l_p4w12; swin_n_p4w7, which the
            original lacks, is a small one that starts from random weights.
        BACKBONE_DILATION: dilate the last ResNet stage instead of striding.
        NUM_QUERIES: of an image, or of all frames of a clip together.
        HIDDEN_DIM: D.
        DIM_FEEDFORWARD: width of the feed-forward layers.
        DROPOUT: of the transformer.
        NUM_FEATURE_LEVELS: 4: /8 to /64; 3: /8 to /32; 1: /32.
        WITH_BBX_REFINE: every decoder layer refines the boxes of the one before.
        BBX_GRADIENT_PROP: gradient flows through the refined boxes.
        WITH_REF_POINT_REFINE: refine points only; excludes `WITH_BBX_REFINE`.
        MASK_ON: with the mask head.
        TRANSFORMER: its size.
        MASK_HEAD: masks.
        DEVIS: clips.
        LOSS: weights of losses.
        MATCHER: costs of the matching.
    """

    WEIGHTS: str = ""
    SHIFT_CLASS_NEURON: bool = False
    BACKBONE: Literal[
        "resnet50", "resnet101", "swin_t_p4w7", "swin_s_p4w7", "swin_b_p4w7", "swin_l_p4w7",
        "swin_l_p4w12", "swin_n_p4w7",
    ] = "resnet50"  # fmt: skip
    BACKBONE_DILATION: bool = False
    NUM_QUERIES: int = 300
    HIDDEN_DIM: int = 256
    DIM_FEEDFORWARD: int = 1024
    DROPOUT: float = 0.1
    NUM_FEATURE_LEVELS: Literal[1, 3, 4] = 4
    WITH_BBX_REFINE: bool = True
    BBX_GRADIENT_PROP: bool = False
    WITH_REF_POINT_REFINE: bool = False
    MASK_ON: bool = False
    TRANSFORMER: Transformer = field(default_factory=Transformer)
    MASK_HEAD: MaskHead = field(default_factory=MaskHead)
    DEVIS: Devis = field(default_factory=Devis)
    LOSS: Loss = field(default_factory=Loss)
    MATCHER: Matcher = field(default_factory=Matcher)


@dataclass(frozen=True)
class DatasetsDevis:
    """Training data for clips.

    Attributes:
        COCO_JOINT_TRAINING: add clips made of COCO images.
    """

    COCO_JOINT_TRAINING: bool = False


@dataclass(frozen=True)
class Datasets:
    """Data sets (spec section 3).

    Attributes:
        TYPE: coco for images, vis for videos.
        DATA_PATH: the folder of all data sets.
        TRAIN_DATASET: name of the training set.
        VAL_DATASET: name of the validation set.
        DEVIS: for clips.
    """

    TYPE: Literal["coco", "vis"] = "coco"
    DATA_PATH: str = "data"
    TRAIN_DATASET: str = "train"
    VAL_DATASET: str = "val"
    DEVIS: DatasetsDevis = field(default_factory=DatasetsDevis)


@dataclass(frozen=True)
class InputDevis:
    """Frames of clips.

    Attributes:
        MULTI_SCALE_TRAIN: sizes of training clips vary (spec 4.3).
        SAMPLE_EACH_FRAME: every frame may start a training clip.
        CREATE_BBX_FROM_MASK: boxes are computed from the transformed masks.
        BGR_TRAIN: train on frames in the order blue, green, red, as the released models were
            (spec 3.2). Not a key of the original.
    """

    MULTI_SCALE_TRAIN: bool = True
    SAMPLE_EACH_FRAME: bool = False
    CREATE_BBX_FROM_MASK: bool = True
    BGR_TRAIN: bool = False


@dataclass(frozen=True)
class Input:
    """Sizes of what enters the network.

    Attributes:
        SCALE_FACTOR_TRAIN: multiplies all training sizes.
        MIN_SIZE_TEST: shorter side in pixels.
        MAX_SIZE_TEST: largest longer side; wins over `MIN_SIZE_TEST`.
        DEVIS: for clips.
    """

    SCALE_FACTOR_TRAIN: float = 1.0
    MIN_SIZE_TEST: int = 800
    MAX_SIZE_TEST: int = 1333
    DEVIS: InputDevis = field(default_factory=InputDevis)


@dataclass(frozen=True)
class SolverDevis:
    """Start and learning rates of what only clips have.

    Attributes:
        LR_TEMPORAL_LINEAR_PROJ_NAMES: substrings of parameter names of that group.
        LR_TEMPORAL_LINEAR_PROJ_MULT: of `BASE_LR` for that group.
        FINETUNE_QUERY_EMBEDDINGS: take over query embeddings of the COCO model (spec 9).
        FINETUNE_TEMPORAL_MODULES: start temporal layers from their spatial twins.
        FINETUNE_CLASS_LOGITS: take over the rows of matching COCO classes.
    """

    LR_TEMPORAL_LINEAR_PROJ_NAMES: Names = ("temporal_sampling_offsets",)
    LR_TEMPORAL_LINEAR_PROJ_MULT: float = 0.1
    FINETUNE_QUERY_EMBEDDINGS: bool = False
    FINETUNE_TEMPORAL_MODULES: bool = True
    FINETUNE_CLASS_LOGITS: bool = False


@dataclass(frozen=True)
class Solver:
    """Optimiser and schedule (spec section 7).

    Attributes:
        BASE_LR: learning rate.
        FROZEN_PARAMS: substrings of the names of parameters that do not train.
        BACKBONE_NAMES: substrings of the backbone's parameter names.
        LR_BACKBONE: learning rate of that group; 0 freezes a ResNet.
        LR_LINEAR_PROJ_NAMES: substrings of the names of the projections to points.
        LR_LINEAR_PROJ_MULT: of `BASE_LR` for that group.
        LR_MASK_HEAD_NAMES: substrings of the mask head's names.
        LR_MASK_HEAD_MULT: of `BASE_LR` for that group.
        DEVIS: for clips.
        EPOCHS: number of epochs.
        STEPS: epochs after which the learning rates are multiplied by `GAMMA`.
        GAMMA: see `STEPS`.
        BATCH_SIZE: images or clips of one process.
        WEIGHT_DECAY: on all parameters.
        RESUME_OPTIMIZER: go on with the optimiser, schedule and epoch of `MODEL.WEIGHTS`.
        CHECKPOINT_INTERVAL: epochs between kept checkpoints; 0 keeps the last only.
        GRAD_CLIP_MAX_NORM: largest norm of the gradient; 0 or less switches clipping off.
    """

    BASE_LR: float = 0.0002
    FROZEN_PARAMS: Names = ()
    BACKBONE_NAMES: Names = ("backbone.0",)
    LR_BACKBONE: float = 0.00002
    LR_LINEAR_PROJ_NAMES: Names = (
        "self_attn.sampling_offsets",
        "cross_attn.sampling_offsets",
        "reference_points",
    )
    LR_LINEAR_PROJ_MULT: float = 0.1
    LR_MASK_HEAD_NAMES: Names = ("bbox_attention", "mask_head")
    LR_MASK_HEAD_MULT: float = 1.0
    DEVIS: SolverDevis = field(default_factory=SolverDevis)
    EPOCHS: int = 50
    STEPS: tuple[int, ...] = (40,)
    GAMMA: float = 0.1
    BATCH_SIZE: int = 2
    WEIGHT_DECAY: float = 0.0001
    RESUME_OPTIMIZER: bool = False
    CHECKPOINT_INTERVAL: int = 1
    GRAD_CLIP_MAX_NORM: float = 0.1


@dataclass(frozen=True)
class ClipTracking:
    """Stitching overlapping clips (spec 8.3).

    Attributes:
        STRIDE: new frames per clip; T - STRIDE overlap.
        PER_CLASS_MATCHING: match within a class only.
        USE_BINARY_MASK_IOU: overlap of binary masks rather than of probabilities.
        USE_FRAME_AVERAGE_IOU: mean over frames rather than of the whole volume.
        FINAL_CLASS_POLICY: most_common or score_weighting.
        FINAL_SCORE_POLICY: mean or median.
        CLASS_COST: weight of equal classes.
        MASK_COST: weight of the overlap of masks.
        SCORE_COST: weight of the difference of scores.
        CENTER_COST: weight of the distance of box centres.
        MIN_FRAME_SCORE: frames below are dropped from a track.
        MIN_TRACK_SCORE: tracks must score more.
        MIN_DETECTIONS: frames that a track must have.
    """

    STRIDE: int = 4
    PER_CLASS_MATCHING: bool = False
    USE_BINARY_MASK_IOU: bool = False
    USE_FRAME_AVERAGE_IOU: bool = False
    FINAL_CLASS_POLICY: Literal["most_common", "score_weighting"] = "most_common"
    FINAL_SCORE_POLICY: Literal["mean", "median"] = "mean"
    CLASS_COST: float = 1.0
    MASK_COST: float = 1.0
    SCORE_COST: float = 1.0
    CENTER_COST: float = 0.0
    MIN_FRAME_SCORE: float = 0.001
    MIN_TRACK_SCORE: float = 0.002
    MIN_DETECTIONS: int = 1


@dataclass(frozen=True)
class Viz:
    """Pictures of results (spec 8.5).

    Attributes:
        OUT_VIZ_PATH: folder of the pictures; empty draws none.
        SAVE_CLIP_VIZ: draw every clip on its own too.
        SAVE_MERGED_TRACKS: all tracks on one picture.
        VIDEO_NAMES: names of the videos to draw, separated by commas; empty draws all.
    """

    OUT_VIZ_PATH: str = ""
    SAVE_CLIP_VIZ: bool = False
    SAVE_MERGED_TRACKS: bool = False
    VIDEO_NAMES: str = ""

    def wants(self, video: str) -> bool:
        """Whether the video of a name is among those to draw."""
        names = [name.strip() for name in self.VIDEO_NAMES.split(",") if name.strip()]
        return not names or video in names


@dataclass(frozen=True)
class Test:
    """Evaluation (spec section 8).

    Attributes:
        EVAL_PERIOD: epochs between evaluations during training; 0 evaluates never.
        START_EVAL_EPOCH: first epoch that is evaluated.
        SAVE_PATH: folder of results inside `OUTPUT_DIR`.
        NUM_OUT: predictions kept per image or clip.
        USE_TOP_K: best pairs of query and class; false: the best class of every query.
        CLIP_TRACKING: stitching of clips.
        INPUT_FOLDER: evaluate several checkpoints of this folder.
        EPOCHS_TO_EVAL: which of them.
        VIZ: pictures.
    """

    EVAL_PERIOD: int = 1
    START_EVAL_EPOCH: int = 1
    SAVE_PATH: str = "eval_results"
    NUM_OUT: int = 100
    USE_TOP_K: bool = True
    CLIP_TRACKING: ClipTracking = field(default_factory=ClipTracking)
    INPUT_FOLDER: str = ""
    EPOCHS_TO_EVAL: tuple[int, ...] = (6, 7, 8, 9, 10)
    VIZ: Viz = field(default_factory=Viz)


@dataclass(frozen=True)
class Config:
    """The whole configuration.

    Attributes:
        MODEL: network and losses.
        DATASETS: data sets.
        INPUT: sizes.
        SOLVER: optimiser and schedule.
        START_EPOCH: the first epoch's number.
        TEST: evaluation.
        NUM_WORKERS: processes that load samples.
        OUTPUT_DIR: folder of everything that is written.
        VISDOM_AND_LOG_INTERVAL: iterations between lines of the log.
        VISDOM_ON: draw curves on a Visdom server, if there is one.
        RESUME_VIS: go on in the windows of a resumed checkpoint.
        VISDOM_PORT: of that server.
        VISDOM_SERVER: of that server.
        SEED: of all random choices; the rank is added.
        DEVICE: unused; the flag counts. Original files have it.
    """

    MODEL: Model = field(default_factory=Model)
    DATASETS: Datasets = field(default_factory=Datasets)
    INPUT: Input = field(default_factory=Input)
    SOLVER: Solver = field(default_factory=Solver)
    START_EPOCH: int = 1
    TEST: Test = field(default_factory=Test)
    NUM_WORKERS: int = 4
    OUTPUT_DIR: str = "./output"
    VISDOM_AND_LOG_INTERVAL: int = 100
    VISDOM_ON: bool = True
    RESUME_VIS: bool = False
    VISDOM_PORT: int = 8090
    VISDOM_SERVER: str = "http://localhost"
    SEED: int = 42
    DEVICE: str = "cuda"
