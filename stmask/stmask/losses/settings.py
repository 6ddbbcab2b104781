"""What the losses need of a configuration (spec 2, 10.1, 10.2); names are the configuration's."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True)
class LossSettings:
    """Thresholds, switches and weights. The defaults are those of every released model.

    Attributes:
        positive_iou_threshold: overlap from which a prior stands for an object.
        negative_iou_threshold: overlap below which it is background; between them it is ignored.
        use_prediction_matching: overlaps are those of the predicted boxes, not of the priors.
        use_yolo_regressors: the alternative coding of boxes.
        ohem_negpos_ratio: hard negatives per positive.
        ohem_use_most_confident: negatives are hard by their largest foreground probability.
        conf_weight_order: which sample a weight of the classification loss goes to: "reference"
            as the released models were trained, "aligned" to the one it was computed for.
        use_sigmoid_focal_loss: classification by focal loss instead of hard negatives.
        focal_loss_alpha: weight of a class against the others.
        focal_loss_gamma: how much easy samples lose weight.
        use_boxiou_loss: boxes by 1 - DIoU, with centerness; else smooth L1 without it.
        train_boxes: box losses (and centerness) count.
        train_class: the classification loss counts.
        train_masks: mask losses count.
        train_track: the track loss counts.
        train_centerness: the centerness loss counts.
        mask_proto_crop: masks are compared within their boxes.
        mask_proto_crop_with_pred_box: those boxes are the predicted ones, enlarged.
        use_maskiou_loss: adds 1 - IoU of the binary masks to the total; it has no gradient.
        mask_proto_coeff_diversity_loss: mask coefficients of different objects are to differ.
        use_semantic_segmentation_loss: the semantic maps of P3 are trained.
        mask_proto_loss: keeps prototypes small ("l1") or apart ("disj").
        use_maskiou: the network that rates masks is trained.
        temporal_fusion_module: the shift from frame to frame is trained.
        maskshift_loss: so is the shift of mask coefficients.
        conf_alpha: weight of C.
        bbox_alpha: weight of B.
        bboxiou_alpha: weight of BIoU.
        mask_alpha: weight of M.
        maskiou_alpha: weight of MIoU and I.
        track_alpha: weight of T.
        center_alpha: weight of center.
        boxshift_alpha: weight of B_shift.
        maskshift_alpha: weight of M_shift.
        mask_proto_coeff_diversity_alpha: weight of D.
        semantic_segmentation_alpha: weight of S.

    Raises:
        ValueError: a value that does not exist or does not fit.
    """

    positive_iou_threshold: float = 0.5
    negative_iou_threshold: float = 0.4
    use_prediction_matching: bool = False
    use_yolo_regressors: bool = False
    ohem_negpos_ratio: float = 3
    ohem_use_most_confident: bool = False
    conf_weight_order: Literal["reference", "aligned"] = "reference"
    use_sigmoid_focal_loss: bool = False
    focal_loss_alpha: float = 0.25
    focal_loss_gamma: float = 2.0
    use_boxiou_loss: bool = True
    train_boxes: bool = True
    train_class: bool = True
    train_masks: bool = True
    train_track: bool = True
    train_centerness: bool = True
    mask_proto_crop: bool = True
    mask_proto_crop_with_pred_box: bool = True
    use_maskiou_loss: bool = False
    mask_proto_coeff_diversity_loss: bool = False
    use_semantic_segmentation_loss: bool = False
    mask_proto_loss: Literal["l1", "disj"] | None = None
    use_maskiou: bool = False
    temporal_fusion_module: bool = True
    maskshift_loss: bool = True
    conf_alpha: float = 6.125
    bbox_alpha: float = 1.5
    bboxiou_alpha: float = 5.0
    mask_alpha: float = 6.125
    maskiou_alpha: float = 5.0
    track_alpha: float = 5.0
    center_alpha: float = 20.0
    boxshift_alpha: float = 5.0
    maskshift_alpha: float = 6.125
    mask_proto_coeff_diversity_alpha: float = 5.0
    semantic_segmentation_alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.conf_weight_order not in ("reference", "aligned"):
            raise ValueError(
                f"conf_weight_order: expected reference or aligned, got {self.conf_weight_order!r}"
            )
        if self.mask_proto_loss not in (None, "l1", "disj"):
            raise ValueError(
                f"mask_proto_loss: expected none, l1 or disj, got {self.mask_proto_loss!r}"
            )
        if not 0 <= self.negative_iou_threshold <= self.positive_iou_threshold <= 1:
            raise ValueError(
                "negative_iou_threshold, positive_iou_threshold: expected two numbers in 0..1 in "
                f"that order, got {self.negative_iou_threshold}, {self.positive_iou_threshold}"
            )

    @classmethod
    def from_config(cls, cfg: Any) -> LossSettings:
        """The settings of a configuration; keys that it lacks keep their defaults.

        Raises:
            ValueError: a value that does not exist or does not fit.
        """
        if getattr(cfg, "use_change_matching", False):
            raise ValueError(
                "use_change_matching: only matching by overlap is there (no model uses the other)"
            )
        given = {f.name: getattr(cfg, f.name) for f in fields(cls) if hasattr(cfg, f.name)}
        return cls(**given)
