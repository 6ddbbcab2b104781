"""Frame-by-frame segmentation and tracking of a video, the public interface of inference."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from stmask.inference.candidates import select
from stmask.inference.detections import Detections
from stmask.inference.networks import deploy
from stmask.inference.plain_tracker import PlainTracker
from stmask.inference.postprocess import FrameResult, postprocess
from stmask.inference.preprocess import prepare
from stmask.inference.settings import InferenceSettings, settings_of
from stmask.inference.tracker import Tracker
from stmask.model.deployed import Timer, untimed
from stmask.model.network import STMask
from vidseg_common.allocator import keep_freed_memory


class Predictor:
    """Finds, segments and tracks the objects of a video as its frames arrive.

    >>> predictor = Predictor(load("STMask_plus_resnet50.pth"))
    >>> for frame in frames:
    ...     result = predictor.step(frame)

    Args:
        network: from `stmask.load`; it is not changed.
        cfg: a configuration, with which results have the size of the frames; `InferenceSettings`
            are taken as they are; None has the settings of the released models.
        device: where to run; None takes the network's device.
        dtype: number format of the network; what follows it is float32.
        timer: is called with the name of every stage (Load Data, Network Extra, Detect, Track,
            Postprocess) and gives the context in which it runs.

    Raises:
        ConfigError: the device cannot compute in that number format.

    Attributes:
        settings: in use.
        network: as it was given, on the device.
        runner: the form of it that is run; see `deploy`.
        detections: what the last step found, before post-processing; None at the start.
    """

    def __init__(
        self,
        network: STMask,
        cfg: Any = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        *,
        timer: Timer = untimed,
    ) -> None:
        if cfg is None:
            cfg = InferenceSettings(temporal_fusion_module=network.settings.temporal_fusion)
        is_final = isinstance(cfg, InferenceSettings)
        self.settings = cfg if is_final else settings_of(cfg, preserve_aspect_ratio=True)
        home = next(network.parameters()).device
        self.device = home if device is None else torch.device(device)
        if network.training or self.device != home:
            network = copy.deepcopy(network).eval().to(self.device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.network = network
        self.runner = deploy(network, dtype, timer=timer)
        self.timer = timer
        self.tracker: Tracker | PlainTracker
        if self.settings.temporal_fusion_module:
            self.tracker = Tracker(self.runner, self.settings)
        else:
            self.tracker = PlainTracker(self.settings)
        self.reset()

    def reset(self) -> None:
        """Forgets the video; the next step starts a new one."""
        self.tracker.reset()
        self.detections: Detections | None = None

    @torch.inference_mode()
    def step(self, frame: np.ndarray) -> FrameResult:
        """Advances one frame.

        Args:
            frame: (H, W, 3) uint8 RGB, of any size.

        Returns:
            The instances seen or expected in the frame, at its size.

        Raises:
            VideoError: the array is no such frame.
        """
        with self.timer("Load Data"):
            image, geometry = prepare(frame, self.settings.image_size, self.settings.size_divisor)
            images = image[None].to(self.device)
        with self.timer("Network Extra"):
            raw = self.runner(images)
        with self.timer("Detect"):
            candidates = select(raw, 0, self.settings)
        with self.timer("Track"):
            self.detections = self.tracker.step(candidates)
        with self.timer("Postprocess"):
            shown = self.detections if self.settings.crop_masks else self.detections.uncropped()
            return postprocess(
                shown, geometry.pad_hw, geometry.img_hw, geometry.ori_hw, self.settings
            )

    def stream(self, frames: Iterable[np.ndarray]) -> Iterator[FrameResult]:
        """Segments a new video from its first frame on; see `step`."""
        self.reset()
        for frame in frames:
            yield self.step(frame)
