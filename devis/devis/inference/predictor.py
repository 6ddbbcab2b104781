"""Instances of whole videos, clip by clip as frames arrive (spec 8.2, 8.3)."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from devis.config_tree import Config
from devis.data.resize import preprocess
from devis.inference.features import drop_unused, join, pick, tail, used_stages
from devis.inference.matching import Seen
from devis.inference.results import TrackResult, finish
from devis.inference.selection import select_clip
from devis.inference.tracking import ClipOutput, ClipTracker
from devis.inference.windows import Window, windows
from devis.model.detector import Detections, Features
from devis.model.segmenter import DeVIS
from vidseg_common.allocator import keep_freed_memory
from vidseg_common.errors import VideoError

Image = NDArray[np.uint8]


@dataclass
class Stopwatch:
    """Seconds that parts of the work took.

    Attributes:
        device: whose work is waited for at the end of a part.
        seconds: by part: forward and tracking.
        num_frames: of the videos that went through.
    """

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)
    num_frames: int = 0

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Adds the time of what runs inside."""
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    @property
    def total(self) -> float:
        """Seconds of all parts."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class ClipSeen:
    """A clip that went through the network and the tracker.

    Attributes:
        number: of the clip in its video, from 0.
        frames: T frame numbers; the first `len(output.scores)` are real ones.
        output: what the network says.
        slots: (K) instance slot of every prediction.
        seen: every prediction, frame by frame.
        detections: of all queries.
    """

    number: int
    frames: list[int]
    output: ClipOutput
    slots: Tensor
    seen: list[list[Seen]]
    detections: Detections


OnClip = Callable[[ClipSeen], None]


@dataclass(frozen=True)
class VideoResult:
    """What was found in a video.

    Attributes:
        size: height and width.
        num_frames: of the video.
        tracks: that remain after the thresholds, in the order in which they began.
        parts: of every track, by its number: the clips that it is made of, and the prediction
            in each.
    """

    size: tuple[int, int]
    num_frames: int
    tracks: list[TrackResult]
    parts: list[list[tuple[int, int]]]


class Predictor:
    """Finds, segments and tracks the instances of videos.

    >>> predictor = Predictor(network, load_config("devis_R_50_YT-21"))
    >>> result = predictor.run(frames)

    Memory does not depend on the number of frames, but for the run lengths of the masks.

    Args:
        network: for clips; it is used as it is and gets no gradients.
        cfg: its sections INPUT, TEST and MODEL.DEVIS count.
        device: where to run; the network has to be there.
        dtype: number format of the network; what follows it is float32.

    Attributes:
        times: what forward and tracking took.
    """

    def __init__(
        self,
        network: DeVIS,
        cfg: Config,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network, self.cfg, self.dtype = network, cfg, dtype
        self.device = device or next(network.parameters()).device
        self.num_frames = cfg.MODEL.DEVIS.NUM_FRAMES
        self.times = Stopwatch(self.device)
        self._used = used_stages(network.settings)
        if self.device.type == "cpu":
            keep_freed_memory()

    @torch.inference_mode()
    def run(self, frames: Iterable[Image], on_clip: OnClip | None = None) -> VideoResult:
        """Takes a video from its first to its last frame.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size; they are read as they are needed.
            on_clip: called for every clip, such as to draw it.

        Raises:
            VideoError: there are no frames, or they differ in size.
        """
        stream = _Frames(frames, self.cfg)
        settings = self.cfg.TEST.CLIP_TRACKING
        tracker: ClipTracker | None = None
        held: Features | None = None
        for number, window in enumerate(windows(stream, self.num_frames, settings.STRIDE)):
            tracker = tracker or ClipTracker(settings, self.num_frames, stream.size)
            with self.times("forward"), in_format(self.device, self.dtype):
                held = self._features(window, held)
                output, slots, detections = self._clip(window, held, stream.size)
            with self.times("tracking"):
                seen = tracker.step(output, window.last_start)
            if on_clip is not None:
                on_clip(ClipSeen(number, window.frames, output, slots, seen, detections))
        assert tracker is not None  # a stream without frames raises
        self.times.num_frames += stream.count
        return VideoResult(
            stream.size,
            stream.count,
            finish((track.frames for track in tracker.tracks), settings),
            [track.parts for track in tracker.tracks],
        )

    def _features(self, window: Window[Tensor], held: Features | None) -> Features:
        """Of all frames of a clip; those of frames that the clip before had are taken over."""
        images = torch.stack(window.items).to(self.device)
        new = drop_unused(self.network.def_detr.extract(images), self._used)
        if window.real_frames < self.num_frames:
            return pick(new, window.frames)
        shared = self.num_frames - window.num_new
        return new if held is None or not shared else join(tail(held, shared), new)

    def _clip(
        self, window: Window[Tensor], features: Features, size: tuple[int, int]
    ) -> tuple[ClipOutput, Tensor, Detections]:
        """Predictions of a clip and their masks."""
        test = self.cfg.TEST
        detections = self.network.def_detr.detect(features)
        kept = select_clip(
            detections.logits[-1].float(),
            detections.boxes[-1].float(),
            num_frames=self.num_frames,
            real_frames=window.real_frames,
            size=size,
            num_out=test.NUM_OUT,
            top_k=test.USE_TOP_K,
        )
        slots, mask_of = kept.distinct()
        masks = self.network.masks(detections, [slots])  # D, T, h, w
        real = masks.transpose(0, 1)[: window.real_frames].float()
        output = ClipOutput(kept.scores, kept.labels, kept.centers, kept.boxes, real, mask_of)
        return output, kept.queries, detections


def in_format(
    device: torch.device, dtype: torch.dtype
) -> contextlib.AbstractContextManager[object]:
    """Within it, networks compute in a number format."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


class _Frames:
    """Frames on their way to the network; knows their size and number when they are through.

    Args:
        frames: (H, W, 3) uint8 RGB.
        cfg: its section INPUT counts.

    Attributes:
        size: height and width, of the first frame on.
        count: frames so far.
    """

    def __init__(self, frames: Iterable[Image], cfg: Config) -> None:
        self._frames, self._limits = frames, (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)
        self.size = (0, 0)
        self.count = 0

    def __iter__(self) -> Iterator[Tensor]:
        for frame in self._frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise VideoError(
                    f"frame {self.count}: expected (height, width, 3) bytes, got "
                    f"{frame.shape} {frame.dtype}"
                )
            size = frame.shape[0], frame.shape[1]
            if self.count and size != self.size:
                raise VideoError(
                    f"frame {self.count}: is {size[1]}x{size[0]}, the ones before are "
                    f"{self.size[1]}x{self.size[0]}"
                )
            self.size = size
            self.count += 1
            yield preprocess(frame, *self._limits)
