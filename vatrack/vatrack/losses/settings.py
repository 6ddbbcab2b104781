"""What the losses depend on besides network and batch; the defaults are the published values."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Weights of the 24 classes and of the background (spec 5.1).
CLASS_WEIGHTS = (
    *(0.1, 0.8, 12.5, 7.0, 15.5, 16.0, 9.5, 20.8, 0.9, 0.9, 3.5, 0.8, 1.5),
    *(17.8, 1.9, 3.4, 104.0, 4.4, 1.8, 1.4, 0.35, 0.8, 1.3, 3.3, 1.0),
)


@dataclass(frozen=True)
class AssignSettings:
    """When a box stands for an object (`MaxIoUAssigner`).

    Attributes:
        positive: smallest IoU of a positive.
        negative: IoU below which a box is a negative; between the two it is ignored.
        min_positive: smallest best IoU of an object that takes its best boxes all the same.
        low_quality: whether objects take their best boxes whatever their IoU.
    """

    positive: float = 0.5
    negative: float = 0.5
    min_positive: float = 0.5
    low_quality: bool = False


@dataclass(frozen=True)
class SampleSettings:
    """How many boxes of an image the losses see.

    Attributes:
        num: positives and negatives together.
        positive_fraction: largest share of positives.
        max_negatives: largest number of negatives per positive; -1: no limit.
        add_objects: put the objects' own boxes before the others.
        balanced: positives balanced over objects, negatives over IoU; otherwise both at random.
        num_bins: with `balanced`, ranges of IoU.
        floor_iou: with `balanced`, boxes up to this IoU with all objects only fill up; -1: none do.
    """

    num: int = 512
    positive_fraction: float = 0.25
    max_negatives: float = -1
    add_objects: bool = True
    balanced: bool = False
    num_bins: int = 3
    floor_iou: float = 0.0


@dataclass(frozen=True)
class ProposalSettings:
    """Proposals that a training makes of an image.

    Attributes:
        nms_pre: of a level, before the suppression.
        max_num: after it.
    """

    nms_pre: int = 2000
    max_num: int = 1000


@dataclass(frozen=True)
class HeadWeights:
    """Factors of the losses of the heads (1.0 published, but for the embedding)."""

    rpn_cls: float = 1.0
    rpn_bbox: float = 1.0
    cls: float = 1.0
    bbox: float = 1.0
    mask: float = 1.0
    amodal_cls: float = 1.0
    amodal_bbox: float = 1.0
    amodal_mask: float = 1.0
    track: float = 0.25
    track_aux: float = 1.0


@dataclass(frozen=True)
class TrackSettings:
    """The auxiliary loss of cosine similarities (`L2Loss`).

    Attributes:
        max_negatives: pairs of different objects that count per pair of the same one; -1: all.
        positive_margin: taken off the similarity of the same object.
        negative_margin: taken off the similarity of different objects.
        hard_mining: the costliest pairs of different objects count, otherwise some at random.
    """

    max_negatives: float = 3
    positive_margin: float = 0.0
    negative_margin: float = 0.3
    hard_mining: bool = True


@dataclass(frozen=True)
class LossSettings:
    """Everything that the losses are made with (spec 5.1, 5.2, 8).

    Attributes:
        class_weights: of the foreground classes and, last, the background; None: all 1.
        amodal_class_weights: of the amodal box head of the two-box model.
        weights: factors of the losses.
        track: of the auxiliary embedding loss.
        rpn_beta: where smooth L1 of the RPN goes over into L1.
        box_beta: that of the box heads.
        mask_size: height and width of mask targets.
        rpn_assign, rpn_sample: of anchors.
        box_assign, box_sample: of proposals, for box and mask heads.
        embed_assign, embed_sample: of proposals, for the embedding head.
        key_proposals, ref_proposals: of the two frames of a pair.
    """

    class_weights: tuple[float, ...] | None = CLASS_WEIGHTS
    amodal_class_weights: tuple[float, ...] | None = CLASS_WEIGHTS
    weights: HeadWeights = field(default_factory=HeadWeights)
    track: TrackSettings = field(default_factory=TrackSettings)
    rpn_beta: float = 1 / 9
    box_beta: float = 1.0
    mask_size: int = 28
    rpn_assign: AssignSettings = AssignSettings(0.7, 0.3, 0.3, low_quality=True)
    rpn_sample: SampleSettings = SampleSettings(256, 0.5, add_objects=False)
    box_assign: AssignSettings = AssignSettings()
    box_sample: SampleSettings = SampleSettings()
    embed_assign: AssignSettings = AssignSettings(0.7, 0.3, 0.5)
    embed_sample: SampleSettings = SampleSettings(256, 0.5, max_negatives=3, balanced=True)
    key_proposals: ProposalSettings = ProposalSettings()
    ref_proposals: ProposalSettings = ProposalSettings(1000, 1000)
