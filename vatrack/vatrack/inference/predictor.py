"""Frame-by-frame segmentation and tracking of a video, the public interface of inference."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vatrack.inference.detect import Detections, detections, visible_boxes
from vatrack.inference.paste import paste
from vatrack.inference.preprocess import FrameGeometry, prepare
from vatrack.inference.results import FrameResult
from vatrack.inference.settings import InferenceSettings
from vatrack.inference.tracker import Tracker
from vatrack.model.deployed import DeployedNetwork, Timer, untimed
from vatrack.model.network import VATrackNet
from vidseg_common import rle
from vidseg_common.allocator import keep_freed_memory
from vidseg_common.errors import ConfigError
from vidseg_common.rle import RLE


class Predictor:
    """Finds, segments and tracks the objects of a video as its frames arrive.

    >>> predictor = Predictor(network)
    >>> for frame in frames:
    ...     result = predictor.step(frame)

    Args:
        network: any of the four models; it is not changed.
        settings: of inference; None has the published ones.
        device: where to run; None takes the network's device.
        dtype: number format of the network; what follows it is float32.
        with_detections: masks of all detections are made too, in the models with one kind.
        timer: is called with the name of every stage (prepare, backbone, proposals, boxes,
            embeddings, tracker, masks, paste) and gives the context in which it runs.

    Raises:
        ConfigError: the device cannot compute in that number format.

    Attributes:
        settings: in use.
        runner: the form of the network that is run.
        tracker: with the state of the video.
        frame_idx: of the next frame.
    """

    def __init__(
        self,
        network: VATrackNet,
        settings: InferenceSettings | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        with_detections: bool = False,
        timer: Timer = untimed,
    ) -> None:
        self.settings = settings or InferenceSettings()
        home = next(network.parameters()).device
        self.device = home if device is None else torch.device(device)
        if dtype == torch.float16 and self.device.type == "cpu":
            raise ConfigError("float16 needs a GPU; on a CPU use bfloat16 or float32")
        if network.training or self.device != home:
            network = copy.deepcopy(network).eval().to(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.runner = DeployedNetwork(network, dtype)
        self.with_detections, self.timer = with_detections, timer
        self.tracker = Tracker(self.settings.tracker)
        self.reset()

    def reset(self) -> None:
        """Forgets the video; the next step starts a new one."""
        self.tracker.reset()
        self.frame_idx = 0

    @torch.inference_mode()
    def step(self, frame: NDArray[np.uint8]) -> FrameResult:
        """Advances one frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of any size.

        Returns:
            The tracks seen in the frame, and all detections.

        Raises:
            VideoError: the array is no such frame.
        """
        with self.timer("prepare"):
            image, geometry = prepare(frame, self.settings)
            images = image[None].to(self.device)
        with self.timer("backbone"):
            levels = self.runner.extract(images)
        with self.timer("proposals"):
            limits = (self.settings.nms_pre, self.settings.max_num)
            proposals = self.runner.proposals(levels, geometry.img_hw, *limits)
        scale = torch.from_numpy(geometry.scale_factor).to(self.device)
        found, features = self._detect(levels, proposals, geometry, scale)
        rows, ids = self._track(found, features)
        shown = ids > -1
        rows, ids = rows[shown], ids[shown]
        return self._result(levels, found, rows, ids, geometry, scale)

    def stream(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[FrameResult]:
        """Segments a new video from its first frame on; see `step`."""
        self.reset()
        for frame in frames:
            yield self.step(frame)

    def _detect(
        self, levels: list[Tensor], proposals: Tensor, geometry: FrameGeometry, scale: Tensor
    ) -> tuple[Detections, Tensor]:
        """Detections, and the features of their (amodal) boxes."""
        runner, img_hw = self.runner, geometry.img_hw
        common = (img_hw, scale, runner.settings, self.settings)
        with self.timer("boxes"):
            outputs = runner.detect(runner.box_features(levels, proposals))
            boxes, labels = detections(proposals, outputs, *common)
            features = runner.box_features(levels, boxes[:, :4] * scale)
            if not runner.settings.has_two_boxes:
                return Detections(boxes, labels), features
            outputs = runner.detect_visible(features)
            return visible_boxes((boxes, labels), outputs, *common), features.flip(0)

    def _track(
        self, found: Detections, features: Tensor
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the detections that are no duplicates, and their ids."""
        frame_idx, self.frame_idx = self.frame_idx, self.frame_idx + 1
        if not len(found.labels):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        with self.timer("embeddings"):
            embeds = self.runner.embed(features).cpu().numpy()
        with self.timer("tracker"):
            boxes, labels = found.boxes.cpu().numpy(), found.labels.cpu().numpy()
            return self.tracker.match(boxes, labels, embeds, frame_idx)

    def _result(
        self,
        levels: list[Tensor],
        found: Detections,
        rows: NDArray[np.int64],
        ids: NDArray[np.int64],
        geometry: FrameGeometry,
        scale: Tensor,
    ) -> FrameResult:
        wants_all = self.with_detections and len(self.runner.mask_heads) == 1
        wanted = np.arange(len(found.labels)) if wants_all else rows
        masks = self._masks(levels, found, wanted, geometry, scale)
        det_masks = next(iter(masks.values())) if wants_all else None
        if wants_all:
            masks = {name: [every[i] for i in rows] for name, every in masks.items()}
        if self.settings.visible_within_amodal and len(masks) == 2:
            pairs = zip(masks["visible"], masks["amodal"], strict=True)
            masks["visible"] = [rle.merge(pair, intersect=True) for pair in pairs]
        boxes, labels = found.boxes.cpu().numpy(), found.labels.cpu().numpy()
        seen = None if found.visible_boxes is None else found.visible_boxes.cpu().numpy()
        return FrameResult(
            size=geometry.ori_hw,
            ids=ids,
            labels=labels[rows],
            boxes=boxes[rows],
            visible_boxes=None if seen is None else seen[rows],
            visible_masks=masks.get("visible"),
            amodal_masks=masks.get("amodal"),
            det_boxes=boxes,
            det_labels=labels,
            det_visible_boxes=seen,
            det_masks=det_masks,
        )

    def _masks(
        self,
        levels: list[Tensor],
        found: Detections,
        rows: NDArray[np.int64],
        geometry: FrameGeometry,
        scale: Tensor,
    ) -> dict[str, list[RLE]]:
        """Visible and amodal masks, those that the model has, of some detections."""
        if not len(rows):
            return {name: [] for name in self.runner.mask_heads}
        at = torch.from_numpy(rows).to(self.device)
        labels, boxes = found.labels[at], {"amodal": found.boxes[at, :4]}
        boxes["visible"] = boxes["amodal"]
        if found.visible_boxes is not None:
            boxes["visible"] = found.visible_boxes[at, :4]
        prob = {}
        with self.timer("masks"):
            features: Tensor | None = None
            for name in self.runner.mask_heads:
                if features is None or found.visible_boxes is not None:
                    features = self.runner.mask_features(levels, boxes[name] * scale)
                prob[name] = self.runner.mask_logits(name, features, labels).sigmoid_()
        with self.timer("paste"):
            threshold = self.settings.mask_thr_binary
            return {
                name: paste(
                    prob[name].cpu().numpy(), boxes[name].cpu().numpy(), geometry.ori_hw, threshold
                )
                for name in prob
            }
