"""From the network's output to the detections of one frame. Source: spec section 6.

Letters: N priors, n detections, P prototypes, E embedding, h w size of the prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from stmask.inference.nms import Kept, across_classes, by_class, greedy
from stmask.inference.settings import InferenceSettings, settings_of
from stmask.model.boxes import decode
from stmask.model.masks import assemble

#: Pixels of the padded image per pixel of the prototypes.
PROTO_STRIDE = 4


@dataclass(frozen=True)
class Instances:
    """What was found in one frame.

    Attributes:
        boxes: (n, 4) corners in units of the padded image.
        coeffs: (n, P) mask coefficients before the tanh of mask assembly.
        track: (n, E) embeddings of length one.
        classes: (n,) from 1.
        scores: (n,).
        centerness: (n,).
        proto: (h, w, P) prototypes of the frame.
    """

    boxes: Tensor
    coeffs: Tensor
    track: Tensor
    classes: Tensor
    scores: Tensor
    centerness: Tensor
    proto: Tensor

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Candidates(Instances):
    """Instances before tracking, best score first, and the frame's features.

    Attributes:
        fpn_feat: (1, 256, h4, w4) pyramid level for the correlation.
        t2s_feat: (1, 256, h4, w4) temporal feature of the same level.
    """

    fpn_feat: Tensor
    t2s_feat: Tensor


class Filtered(NamedTuple):
    """Priors that are sure enough to be no background.

    Attributes:
        rows: (n,) numbers of the priors.
        boxes: (n, 4) decoded corners.
        conf: (n, C) probabilities.
        centerness: (n,).
    """

    rows: Tensor
    boxes: Tensor
    conf: Tensor
    centerness: Tensor


def filter_priors(raw: Any, index: int, settings: InferenceSettings) -> Filtered:
    """Priors of image `index` whose best foreground probability exceeds the threshold."""
    conf = raw.conf_logits[index].float().softmax(1)  # N, C
    rows = (conf[:, 1:].amax(1) > settings.nms_conf_thresh).nonzero()[:, 0]
    loc = raw.loc[index][rows].float()
    boxes = decode(loc, raw.priors[rows], yolo=settings.use_yolo_regressors)
    return Filtered(rows, boxes, conf[rows], raw.centerness[index][rows].float())


def select(raw: Any, index: int, cfg: Any) -> Candidates:
    """The detections of one image of a batch.

    Embeddings and mask coefficients are read at the surviving priors only.

    Args:
        raw: `RawOutputs` of the network.
        index: of the image in the batch.
        cfg: configuration or `InferenceSettings`.
    """
    settings = settings_of(cfg)
    found = filter_priors(raw, index, settings)
    proto = raw.proto[index].float()

    def masks_of(rows: Tensor) -> Tensor:
        coeffs = raw.mask_coeff[index][found.rows[rows]].float()
        return assemble(proto, coeffs, found.boxes[rows])

    kept = _suppress(found, proto, settings, masks_of)
    rows = found.rows[kept.rows]
    coeffs = raw.mask_coeff[index][rows].float()
    return Candidates(
        boxes=found.boxes[kept.rows],
        # Without temporal fusion the released code squashes coefficients here and once more when
        # masks are assembled.
        coeffs=coeffs if settings.temporal_fusion_module else coeffs.tanh(),
        track=raw.track[index][rows].float(),
        classes=kept.classes,
        scores=kept.scores,
        centerness=found.centerness[kept.rows],
        proto=proto,
        fpn_feat=raw.fpn_feat[index : index + 1],
        t2s_feat=raw.t2s_feat[index : index + 1],
    )


def _suppress(found: Filtered, proto: Tensor, settings: InferenceSettings, masks_of: Any) -> Kept:
    """The NMS that the settings name."""
    if not settings.temporal_fusion_module and not settings.fast_nms:
        size = (PROTO_STRIDE * proto.shape[0], PROTO_STRIDE * proto.shape[1])
        return greedy(found.boxes, found.conf, size, settings)
    if settings.cross_class_nms:
        return across_classes(found.boxes, found.conf, found.centerness, settings, masks_of)
    centerness = found.centerness if settings.temporal_fusion_module else None
    return by_class(found.boxes, found.conf, centerness, settings)
