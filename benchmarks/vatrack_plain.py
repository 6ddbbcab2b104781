"""The straightforward form of VATrack's inference, the baseline of `bench_vatrack.py`.

Order of operations of the published implementation (specification sections 3 and 10): norms apart,
all boxes of all classes decoded and suppressed, visible boxes by one call of the head for each
detection, masks of all detections with the logits of all classes, a whole picture for each mask,
and run lengths from the picture. Suppression and RoIAlign are those of torchvision. The tracker
works on tensors, one detection and one track at a time, and remembers masks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import nms

from vatrack.inference.preprocess import prepare
from vatrack.inference.results import FrameResult
from vatrack.inference.settings import InferenceSettings, TrackerSettings
from vatrack.model.boxes import decode, pairwise_iou
from vatrack.model.deployed import Timer, untimed
from vatrack.model.heads import BoxHead, MaskHead
from vatrack.model.network import VATrackNet
from vatrack.model.roi import to_rois
from vidseg_common import rle
from vidseg_common.rle import RLE


def plain_paste(
    prob: Tensor, boxes: Tensor, size_hw: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    """Masks (n, H, W) of probabilities (n, S, S), each sampled over the whole frame."""
    height, width = size_hw
    y, x = torch.arange(height) + 0.5, torch.arange(width) + 0.5
    masks = []
    for mask, box in zip(prob, boxes, strict=True):
        across = (x - box[0]) / (box[2] - box[0]) * 2 - 1
        down = (y - box[1]) / (box[3] - box[1]) * 2 - 1
        grid = torch.stack(torch.meshgrid(down, across, indexing="ij")[::-1], -1)
        values = F.grid_sample(mask[None, None], grid[None], align_corners=False)
        masks.append(values[0, 0] >= threshold)
    return torch.stack(masks).numpy() if masks else np.zeros((0, height, width), np.bool_)


@dataclass
class PlainDetections:
    """Detections in pixels of the frame, and the network's outputs for them."""

    boxes: Tensor
    labels: Tensor
    visible_boxes: Tensor


@dataclass
class PlainRows:
    """Detections or tracks: boxes (n, 5), labels (n,), embeddings (n, E), masks (n, 1 or 2, S, S).

    Velocities are not kept: nothing reads them.
    """

    boxes: Tensor
    labels: Tensor
    embeds: Tensor
    masks: Tensor

    def take(self, which: Tensor) -> PlainRows:
        """Some of them."""
        return PlainRows(*(value[which] for value in vars(self).values()))


class PlainTracker:
    """The same ids as `Tracker`, with every track a dictionary entry."""

    def __init__(self, settings: TrackerSettings) -> None:
        self.settings = settings
        self.num_tracklets = 0
        self.tracks: dict[int, tuple[PlainRows, int]] = {}
        self.backdrops: list[PlainRows] = []

    def match(self, found: PlainRows, frame_idx: int) -> tuple[Tensor, Tensor]:
        """Positions of the detections that are no duplicates, and their ids."""
        settings = self.settings
        order = found.boxes[:, 4].sort(descending=True, stable=True).indices
        rows = found.take(order)
        overlap = pairwise_iou(rows.boxes, rows.boxes)
        keep = torch.ones(len(order), dtype=torch.bool)
        for i in range(1, len(order)):
            is_weak = rows.boxes[i, 4] < settings.obj_score_thr
            limit = settings.nms_backdrop_iou_thr if is_weak else settings.nms_class_iou_thr
            if (overlap[i, :i] > limit).any():
                keep[i] = False
        rows, order = rows.take(keep), order[keep]
        ids = self._matched(rows)
        is_new = (ids == -1) & (rows.boxes[:, 4] > settings.init_score_thr)
        ids[is_new] = torch.arange(self.num_tracklets, self.num_tracklets + int(is_new.sum()))
        self.num_tracklets += int(is_new.sum())
        self._remember(rows, ids, frame_idx)
        return order, ids

    def _matched(self, rows: PlainRows) -> Tensor:
        settings, ids = self.settings, torch.full((len(rows.labels),), -1)
        if not self.tracks or not len(ids):
            return ids
        memory = [entry for entry, _ in self.tracks.values()] + self.backdrops
        # The original joins all that is remembered, masks too.
        labels, embeds, _ = (
            torch.cat([getattr(entry, name) for entry in memory])
            for name in ("labels", "embeds", "masks")
        )
        numbers = torch.full((len(labels),), -1)
        numbers[: len(self.tracks)] = torch.tensor(list(self.tracks))
        products = rows.embeds @ embeds.t()
        similar = (products.softmax(1) + products.softmax(0)) / 2
        similar *= rows.labels[:, None] == labels
        for i in range(len(ids)):
            confidence, j = similar[i].max(0)
            if confidence <= settings.match_score_thr or numbers[j] < 0:
                continue
            if rows.boxes[i, 4] > settings.obj_score_thr:
                ids[i] = numbers[j]
                similar[:i, j] = 0
                similar[i + 1 :, j] = 0
            elif confidence > settings.nms_conf_thr:
                ids[i] = -2
        return ids

    def _remember(self, rows: PlainRows, ids: Tensor, frame_idx: int) -> None:
        settings = self.settings
        for i, number in enumerate(ids.tolist()):
            if number < 0:
                continue
            row = rows.take(torch.tensor([i]))
            if number in self.tracks:
                old, momentum = self.tracks[number][0].embeds, settings.memo_momentum
                row.embeds = (1 - momentum) * old + momentum * row.embeds
            self.tracks[number] = row, frame_idx
        free = torch.nonzero(ids == -1)[:, 0].tolist()
        overlap = pairwise_iou(rows.boxes, rows.boxes)
        limit = settings.nms_backdrop_iou_thr
        free = [i for i in free if not (overlap[i, :i] > limit).any()]
        self.backdrops.insert(0, rows.take(torch.tensor(free, dtype=torch.long)))
        del self.backdrops[settings.memo_backdrop_frames :]
        limit = settings.memo_tracklet_frames
        self.tracks = {k: v for k, v in self.tracks.items() if frame_idx - v[1] < limit}


class PlainPredictor:
    """The same results as `Predictor`.

    Args:
        network: in eval mode.
        settings: of inference.
        timer: is called with the names of the stages.
    """

    def __init__(
        self, network: VATrackNet, settings: InferenceSettings, *, timer: Timer = untimed
    ) -> None:
        self.network, self.settings, self.timer = network, settings, timer
        self.reset()

    def reset(self) -> None:
        """Forgets the video."""
        self.tracker = PlainTracker(self.settings.tracker)
        self.frame_idx = 0

    @torch.inference_mode()
    def step(self, frame: NDArray[np.uint8]) -> FrameResult:
        """Advances one frame."""
        network, settings = self.network, self.settings
        with self.timer("prepare"):
            image, geometry = prepare(frame, settings)
        with self.timer("backbone"):
            levels = network.extract(image[None])
        with self.timer("proposals"):
            limits = (settings.nms_pre, settings.max_num)
            proposals = network.proposals(levels, [geometry.img_hw], *limits)[0]
        scale = torch.from_numpy(geometry.scale_factor)
        with self.timer("boxes"):
            found = self._detect(levels, proposals, geometry.img_hw, scale)
        with self.timer("embeddings"):
            rois = to_rois([found.boxes[:, :4] * scale])
            embeds = network.roi_head.track_head(network.box_features(levels, rois))
        with self.timer("masks"):
            prob = self._masks(levels, found, scale)
        with self.timer("tracker"):
            logits = torch.stack(list(prob.values()), 1)
            found_rows = PlainRows(found.boxes, found.labels, embeds, logits)
            order, numbers = self.tracker.match(found_rows, self.frame_idx)
            rows, ids = order.numpy(), numbers.numpy()
        self.frame_idx += 1
        rows, ids = rows[ids > -1], ids[ids > -1]
        boxes, labels = found.boxes.numpy(), found.labels.numpy()
        with self.timer("paste"):
            masks = self._paste(found, prob, rows, geometry.ori_hw)
        two = network.settings.has_two_boxes
        visible = found.visible_boxes.numpy()
        return FrameResult(
            size=geometry.ori_hw,
            ids=ids,
            labels=labels[rows],
            boxes=boxes[rows],
            visible_boxes=visible[rows] if two else None,
            visible_masks=masks.get("visible"),
            amodal_masks=masks.get("amodal"),
            det_boxes=boxes,
            det_labels=labels,
            det_visible_boxes=visible if two else None,
        )

    def _detect(
        self, levels: list[Tensor], proposals: Tensor, img_hw: tuple[int, int], scale: Tensor
    ) -> PlainDetections:
        settings, heads = self.settings, self.network.roi_head
        found = self._boxes(levels, proposals[:, :4], heads.detector, img_hw, scale)
        limits = (settings.score_thr, settings.nms_iou_thr, settings.max_per_img)
        boxes, labels = _suppress(*found, *limits)
        if not self.network.settings.has_two_boxes:
            return PlainDetections(boxes, labels, boxes)
        visible = []
        for box in boxes:
            region = box[None, :4] * scale
            own = self._boxes(levels, region, heads.bbox_head, img_hw, scale)
            chosen, _ = _suppress(*own, settings.score_thr, 0.999, settings.max_per_img)
            best = chosen[0, :4] if len(chosen) else box[:4]
            visible.insert(0, torch.cat([best, box[4:]]))
        seen = torch.stack(visible) if visible else boxes
        return PlainDetections(boxes.flip(0), labels.flip(0), seen)

    def _boxes(
        self,
        levels: list[Tensor],
        regions: Tensor,
        head: BoxHead,
        img_hw: tuple[int, int],
        scale: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Boxes (n, K*4) of all classes in pixels of the frame, and scores (n, K+1)."""
        logits, deltas = head(self.network.box_features(levels, to_rois([regions])))
        decoded = decode(regions, deltas, self.network.settings.rcnn_stds, img_hw)
        return (decoded.view(len(decoded), -1, 4) / scale).flatten(1), logits.softmax(-1)

    def _masks(
        self, levels: list[Tensor], found: PlainDetections, scale: Tensor
    ) -> dict[str, Tensor]:
        """Probabilities (n, S, S) of the masks of all detections."""
        heads, kind = self.network.roi_head, self.network.settings.kind
        wanted: dict[str, tuple[MaskHead, Tensor]] = {}
        if self.network.settings.is_joint:
            wanted["amodal"] = heads.amodal_mask_head, found.boxes
            wanted["visible"] = heads.mask_head, found.visible_boxes
        else:
            name = "amodal" if kind == "amodaltrack" else "visible"
            wanted[name] = heads.mask_head, found.boxes
        every = torch.arange(len(found.labels))
        prob = {}
        for name, (head, boxes) in wanted.items():
            features = self.network.mask_features(levels, to_rois([boxes[:, :4] * scale]))
            prob[name] = head(features)[every, found.labels].sigmoid()
        return prob

    def _paste(
        self,
        found: PlainDetections,
        prob: dict[str, Tensor],
        rows: NDArray[np.int64],
        size_hw: tuple[int, int],
    ) -> dict[str, list[RLE]]:
        masks = {}
        for name, values in prob.items():
            boxes = found.visible_boxes if name == "visible" else found.boxes
            # The models with one kind of mask paste every detection for their result file.
            if not self.network.settings.is_joint:
                plain_paste(values, boxes, size_hw, self.settings.mask_thr_binary)
            pictures = plain_paste(
                values[rows], boxes[rows], size_hw, self.settings.mask_thr_binary
            )
            masks[name] = [rle.encode(picture) for picture in pictures]
        return masks


def _suppress(
    boxes: Tensor, scores: Tensor, score_thr: float, threshold: float, max_num: int
) -> tuple[Tensor, Tensor]:
    """Boxes (m, 5) and labels (m,): all classes at once, moved apart."""
    num_classes = scores.shape[1] - 1
    flat, each = scores[:, :-1].reshape(-1), boxes.view(-1, 4)
    labels = torch.arange(num_classes).repeat(len(boxes))
    keep = flat > score_thr
    each, flat, labels = each[keep], flat[keep], labels[keep]
    if not len(each):
        return boxes.new_zeros((0, 5)), labels
    order = nms(each + (labels * (each.max() + 1))[:, None], flat, threshold)[:max_num]
    return torch.cat([each[order], flat[order, None]], 1), labels[order]
