"""Numbers of inference; the defaults are the published ones (spec 3.4 and 8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class TrackerSettings:
    """When detections are the same object. Names are those of the configuration's keys.

    Attributes:
        init_score_thr: an unmatched detection needs a score above it to start a track.
        obj_score_thr: a matched one needs a score above it to continue the track.
        match_score_thr: similarity above which a detection matches.
        memo_tracklet_frames: a track that was not seen for so many frames is forgotten.
        memo_backdrop_frames: frames of which unmatched detections are remembered.
        memo_momentum: share of the new embedding in that of the track.
        nms_conf_thr: similarity above which a matched detection of low score is dropped.
        nms_backdrop_iou_thr: overlap above which a detection of low score is a duplicate.
        nms_class_iou_thr: the same for one of high score.
        with_cats: only detections of equal label match.
        match_metric: how similar two embeddings are.
    """

    init_score_thr: float = 0.01
    obj_score_thr: float = 0.01
    match_score_thr: float = 0.5
    memo_tracklet_frames: int = 32
    memo_backdrop_frames: int = 1
    memo_momentum: float = 0.8
    nms_conf_thr: float = 0.5
    nms_backdrop_iou_thr: float = 0.3
    nms_class_iou_thr: float = 0.7
    with_cats: bool = True
    match_metric: Literal["bisoftmax", "softmax", "cosine"] = "bisoftmax"

    def __post_init__(self) -> None:
        if not 0 <= self.memo_momentum <= 1:
            raise ValueError(f"memo_momentum: expected 0 to 1, got {self.memo_momentum}")
        if self.memo_tracklet_frames < 0 or self.memo_backdrop_frames < 0:
            raise ValueError("memo_tracklet_frames, memo_backdrop_frames: expected 0 or more")
        if self.match_metric not in ("bisoftmax", "softmax", "cosine"):
            raise ValueError(
                f"match_metric: expected bisoftmax, softmax or cosine, got {self.match_metric!r}"
            )


@dataclass(frozen=True)
class InferenceSettings:
    """Everything of inference that is not in the network.

    Attributes:
        img_scale: (longer, shorter) side that frames are fitted into, the aspect kept.
        size_divisor: sides of the network's input are multiples of it.
        mean: of the channels R, G, B.
        std: of the channels R, G, B.
        nms_pre: candidates of a level for proposals.
        max_num: proposals of a frame.
        score_thr: detections need a score above it.
        nms_iou_thr: overlap above which the worse of two detections of a class goes.
        max_per_img: detections of a frame.
        mask_thr_binary: a pixel with at least this probability is set.
        visible_within_amodal: visible masks are cut to amodal ones (joint models; not published).
        tracker: of the tracker.
    """

    img_scale: tuple[int, int] = (1280, 800)
    size_divisor: int = 32
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    nms_pre: int = 1000
    max_num: int = 1000
    score_thr: float = 0.01
    nms_iou_thr: float = 0.5
    max_per_img: int = 100
    mask_thr_binary: float = 0.5
    visible_within_amodal: bool = False
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
