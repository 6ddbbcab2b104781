"""What inference takes from a configuration. Source: spec section 2."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from stmask.pixels import IMAGE_SIZE, SIZE_DIVISOR


@dataclass(frozen=True)
class InferenceSettings:
    """Numbers and switches of everything after the network; the defaults are the released ones.

    Names are those of the configuration's keys where there is one.

    Attributes:
        image_size: (width, height) to which frames are stretched.
        size_divisor: sides of the network's input are multiples of it.
        use_yolo_regressors: boxes are coded in the alternative way.
        nms_conf_thresh: candidates need a foreground probability above this.
        nms_thresh: overlap above which the lower-scored of two candidates goes.
        nms_top_k: candidates that NMS looks at (of each class, where it works by class).
        nms_as_miou: overlap is the mean of the IoU of boxes and that of masks.
        max_num_detections: best detections kept by NMS by class.
        cross_class_nms: suppress across classes (the "mAP" column of the published tables); False
            suppresses within each class ("mAP*").
        fast_nms: False takes the classical greedy NMS; acts without temporal fusion only.
        eval_conf_thresh: results need a score above this.
        match_coeff: weights of score, mask IoU, box IoU and equal class in the match.
        remove_false_inst: without temporal fusion, second detections of an object are left out.
        temporal_fusion_module: the memory is moved to the current frame by the network.
        preserve_aspect_ratio: results have the size of the frame, not of the stretched frame.
        eval_mask_branch: False gives boxes without masks.
        crop_masks: masks of results end at their boxes; those of the memory always do.
        max_memory: entries of the memory beyond which the one that was lost for longest is
            forgotten; only such as are no longer shown go. None never forgets within a video, as
            the published rule has it; time and memory per frame then grow with the video.
    """

    image_size: tuple[int, int] = IMAGE_SIZE
    size_divisor: int = SIZE_DIVISOR
    use_yolo_regressors: bool = False
    nms_conf_thresh: float = 0.05
    nms_thresh: float = 0.5
    nms_top_k: int = 200
    nms_as_miou: bool = False
    max_num_detections: int = 100
    cross_class_nms: bool = True
    fast_nms: bool = True
    eval_conf_thresh: float = 0.05
    match_coeff: tuple[float, float, float, float] = (0.0, 1.0, 2.0, 0.0)
    remove_false_inst: bool = True
    temporal_fusion_module: bool = True
    preserve_aspect_ratio: bool = True
    eval_mask_branch: bool = True
    crop_masks: bool = True
    max_memory: int | None = 1000

    def __post_init__(self) -> None:
        if self.max_memory is not None and self.max_memory < 1:
            raise ValueError(f"max_memory must be at least 1 or None, got {self.max_memory}")
        # A configuration holds a list.
        object.__setattr__(self, "match_coeff", tuple(self.match_coeff))
        if len(self.match_coeff) != 4:
            raise ValueError(f"match_coeff: expected four weights, got {self.match_coeff}")


def settings_of(cfg: Any, **changes: Any) -> InferenceSettings:
    """The settings that a configuration holds; those it does not name have their defaults.

    Args:
        cfg: a configuration, or settings already, which are only changed.
        changes: fields to set in any case.
    """
    if isinstance(cfg, InferenceSettings):
        return replace(cfg, **changes)
    names = [field.name for field in fields(InferenceSettings)]
    values = {name: getattr(cfg, name) for name in names if hasattr(cfg, name)}
    dataset = getattr(cfg, "valid_dataset", None)
    if dataset is not None:
        width, height = dataset.img_scale[0]
        values |= {"image_size": (width, height), "size_divisor": dataset.size_divisor}
    return InferenceSettings(**values | changes)
