"""Segments a video of any length with bounded memory. Source: spec section 8.

Frames go through the backbone once, in order. A clip is decoded as soon as its last frame is
there. Foreground is the mean over all clips that have a frame, so a clip is clustered when no
later clip can have any of its frames; then its label maps go to disk and all else is dropped.

Letters: B frames, C channels or classes, E embedding dimensions, F free ones, T frames of a clip,
h and w a map at stride 4.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from stemseg.inference.chain import Chainer, ClipMaps, enlarge
from stemseg.inference.classes import ClassGatherer, ClassKind, class_gatherer
from stemseg.inference.clips import Clip, ClipSchedule
from stemseg.inference.cluster import ClusterRule
from stemseg.inference.labels import LabelStore, TrackStatistics
from stemseg.inference.networks import ClipNetwork
from stemseg.inference.preprocess import FrameGeometry, InputRule, prepare
from stemseg.model.network import HeadOutputs
from vidseg_common.errors import VideoError

MAP_STRIDE = 4


@dataclass(frozen=True)
class EngineSettings:
    """How a video is segmented.

    Attributes:
        clip_length: frames that the decoders see together.
        overlap: frames that neighbouring clips share.
        input: see `InputRule`.
        cluster: see `ClusterRule`.
        seediness_thresh: mean seediness above which a pixel is foreground, where there is no
            semantic head.
        full_scale: cluster at the size of the network's input in place of stride 4.
        classes: how classes of tracks are found, "scores" (YouTube-VIS), "votes" (KITTI-MOTS) or
            "none".
        foreground_channel: whether the last semantic channel is the foreground.
        frame_batch: frames that go through the backbone together.
        clip_batch: clips that go through the decoders together.
    """

    clip_length: int
    overlap: int
    input: InputRule
    cluster: ClusterRule
    seediness_thresh: float = 0.25
    full_scale: bool = False
    classes: ClassKind = "none"
    foreground_channel: bool = True
    frame_batch: int = 1
    clip_batch: int = 1


@dataclass
class Stopwatch:
    """Seconds of the two timed stages; reading frames and writing results do not count."""

    model: float = 0.0
    clustering: float = 0.0
    frames: int = 0

    def add(self, other: Stopwatch) -> None:
        """Adds the times of another video."""
        self.model += other.model
        self.clustering += other.clustering
        self.frames += other.frames

    def lines(self) -> list[str]:
        """The three speeds that the original prints."""
        parts = {
            "model inference": self.model,
            "clustering and post-processing": self.clustering,
            "overall": self.model + self.clustering,
        }
        return [
            f"speed of {name}: {self.frames / seconds if seconds else 0.0:.2f} frames per second"
            for name, seconds in parts.items()
        ]


@dataclass
class VideoTracks:
    """The tracks of a video.

    Attributes:
        geometry: sizes of its frames.
        labels: label map of every frame, at stride 4 or as large as the padded input.
        statistics: of all labels.
        classes: classes of labels, None where the network has no classes.
        clips: the clips that were decoded.
        times: how long it took.
    """

    geometry: FrameGeometry
    labels: LabelStore = field(default_factory=LabelStore)
    statistics: TrackStatistics = field(default_factory=TrackStatistics)
    classes: ClassGatherer | None = None
    clips: list[Clip] = field(default_factory=list)
    times: Stopwatch = field(default_factory=Stopwatch)

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return len(self.labels)


class ClipListener(Protocol):
    """Sees what the stitching stage receives."""

    def __call__(self, maps: ClipMaps, foreground: dict[int, Tensor]) -> None:
        """Takes a clip's maps and the (H, W) foreground of its frames."""
        ...


class Engine:
    """Runs a network over videos.

    Args:
        network: on `device`.
        settings: see `EngineSettings`.
        device: of the network.
        clustering_device: of everything after it; None is the same.
        listener: called before every clip is clustered.
    """

    def __init__(
        self,
        network: ClipNetwork,
        settings: EngineSettings,
        *,
        device: torch.device | str = "cpu",
        clustering_device: torch.device | str | None = None,
        listener: ClipListener | None = None,
    ) -> None:
        self.network = network
        self.settings = settings
        self.device = torch.device(device)
        self.clustering_device = torch.device(clustering_device or device)
        self.listener = listener

    @torch.inference_mode()
    def run(self, frames: Iterable[np.ndarray]) -> VideoTracks:
        """Segments one video.

        Args:
            frames: (H, W, 3) uint8 RGB, all of one size.

        Raises:
            VideoError: there is no frame, or one has another form or size.
        """
        return _Run(self).finish(frames)


@dataclass
class _FrameSums:
    """Sums over the clips of a frame: (C, h, w) logits and (1, h, w) seediness."""

    logits: Tensor | None = None
    num_logits: int = 0
    seediness: Tensor | None = None
    num_seediness: int = 0

    def add_logits(self, logits: Tensor) -> None:
        self.logits = logits.clone() if self.logits is None else self.logits.add_(logits)
        self.num_logits += 1

    def add_seediness(self, x: Tensor) -> None:
        self.seediness = x.clone() if self.seediness is None else self.seediness.add_(x)
        self.num_seediness += 1


class _Run:
    """The state of one video on its way through the engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.settings = engine.settings
        settings = self.settings
        self.schedule = ClipSchedule(settings.clip_length, settings.overlap)
        scale = MAP_STRIDE if settings.full_scale else 1
        self.chainer = Chainer(settings.cluster, scale=scale)
        self.scale = scale
        self.tracks: VideoTracks | None = None
        self.times = Stopwatch()
        self.features: dict[int, Any] = {}
        self.ready: list[Clip] = []
        self.decoded: list[ClipMaps] = []
        self.sums: dict[int, _FrameSums] = {}
        self.num_encoded = 0

    def finish(self, frames: Iterable[np.ndarray]) -> VideoTracks:
        waiting: list[Tensor] = []
        for image in frames:
            waiting.append(self._prepare(image))
            if len(waiting) == self.settings.frame_batch:
                self._advance(waiting)
                waiting = []
        self._advance(waiting)
        if self.tracks is None:
            raise VideoError("the video has no frames")
        self.ready += self.schedule.finish()
        self._decode_ready(at_least=1)
        self._chain_until(self.num_encoded)
        self.times.frames = self.num_encoded
        self.tracks.times = self.times
        return self.tracks

    def _prepare(self, image: np.ndarray) -> Tensor:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise VideoError(f"a frame is RGB uint8 (H, W, 3), not {image.dtype} {image.shape}")
        with self._timed("model"):
            # The network's mean and deviation are in the order blue, green, red.
            x, geometry = prepare(image[..., ::-1], self.settings.input, self.engine.device)
        if self.tracks is None:
            self.tracks = VideoTracks(geometry, classes=class_gatherer(self.settings.classes))
        elif geometry.image != self.tracks.geometry.image:
            height, width = self.tracks.geometry.image
            raise VideoError(
                f"frame {self.num_encoded} is {image.shape[1]}x{image.shape[0]}, "
                f"the frames before are {width}x{height}; all frames must have one size"
            )
        return x

    def _advance(self, images: list[Tensor]) -> None:
        """Encodes frames and does everything that they make possible."""
        if not images:
            return
        with self._timed("model"):
            encoded = self.engine.network.encode_frames(torch.stack(images))
        for features in encoded:
            self.features[self.num_encoded] = features
            self.num_encoded += 1
            self.ready += self.schedule.add_frame()
        self._decode_ready(at_least=self.settings.clip_batch)
        oldest = self._oldest_needed()
        self.features = {t: x for t, x in self.features.items() if t >= oldest}
        self._chain_until(oldest)

    def _oldest_needed(self) -> int:
        """First frame that a clip not decoded yet may have."""
        waiting = [clip.frames[0] for clip in self.ready]
        return min([self.schedule.oldest_needed, *waiting])

    def _decode_ready(self, *, at_least: int) -> None:
        """Decodes the clips that wait, together, once they are enough."""
        size = self.settings.clip_batch
        while len(self.ready) >= at_least:
            clips, self.ready = self.ready[:size], self.ready[size:]
            with self._timed("model"):
                self._decode(clips)

    def _decode(self, clips: list[Clip]) -> None:
        outputs = self.engine.network.decode_clips(
            [[self.features[t] for t in clip.frames] for clip in clips]
        )
        for i, clip in enumerate(clips):
            logits = None if outputs.semseg_logits is None else outputs.semseg_logits[i]
            maps = (outputs.embeddings[i], outputs.raw_bandwidths[i], outputs.seediness[i])
            self._collect(clip, HeadOutputs(*maps, logits))

    def _collect(self, clip: Clip, outputs: HeadOutputs) -> None:
        """Keeps what a clip's clustering needs, every frame as it occurs last."""
        device = self.engine.clustering_device
        last = clip.last_positions
        at = torch.tensor(list(last.values()), device=outputs.embeddings.device)
        maps = ClipMaps(
            tuple(last),
            outputs.embeddings[:, at].float().to(device),
            outputs.raw_bandwidths[:, at].float().exp().mul_(10).to(device),
            outputs.seediness[:, at].float().to(device),
        )
        self.decoded.append(maps)
        assert self.tracks is not None
        self.tracks.clips.append(clip)
        for i, t in enumerate(maps.frames):
            sums = self.sums.setdefault(t, _FrameSums())
            if outputs.semseg_logits is None:
                sums.add_seediness(maps.seediness[:, i])
        if outputs.semseg_logits is not None:
            # A repeated frame counts as often as it occurs.
            for position, t in enumerate(clip.frames):
                self.sums[t].add_logits(outputs.semseg_logits[:, position].float().to(device))

    def _chain_until(self, oldest: int) -> None:
        """Clusters the clips that have no frame from `oldest` on."""
        while self.decoded and self.decoded[0].frames[-1] < oldest:
            maps = self.decoded.pop(0)
            with self._timed("clustering"):
                foreground = {t: self._foreground(self.sums[t]) for t in maps.frames}
            if self.engine.listener is not None:
                self.engine.listener(maps, foreground)
            with self._timed("clustering"):
                chained = self.chainer.add(maps, foreground)
                for t in chained.new_frames:
                    self._store(t, chained.label_map(t))
            following = self.decoded[0].frames[0] if self.decoded else maps.frames[-1] + 1
            kept = min(following, maps.frames[-1] + 1)
            self.sums = {t: x for t, x in self.sums.items() if t >= kept}

    def _foreground(self, sums: _FrameSums) -> Tensor:
        """(H, W) bool at the scale of clustering."""
        if sums.logits is None:
            assert sums.seediness is not None
            mean = self._at_scale(sums.seediness / sums.num_seediness)
            return mean[0] > self.settings.seediness_thresh
        logits = sums.logits / sums.num_logits
        if logits.shape[0] == 2:
            return self._at_scale(logits).softmax(dim=0)[1] > 0.5
        return self._at_scale(logits[-1:])[0].sigmoid() > 0.5

    def _at_scale(self, maps: Tensor) -> Tensor:
        return maps if self.scale == 1 else enlarge(maps, self.scale)

    def _store(self, frame: int, labels: Tensor) -> None:
        assert self.tracks is not None
        sums = self.sums[frame]
        if self.tracks.classes is not None and sums.logits is not None:
            classes = sums.logits[:-1] if self.settings.foreground_channel else sums.logits
            self.tracks.classes.add(labels, classes / sums.num_logits)
        on_cpu = labels.cpu().numpy()
        self.tracks.labels.append(on_cpu)
        self.tracks.statistics.add(frame, on_cpu)

    @contextmanager
    def _timed(self, stage: Literal["model", "clustering"]) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            if self.engine.device.type == "cuda":
                torch.cuda.synchronize(self.engine.device)
            setattr(self.times, stage, getattr(self.times, stage) + time.perf_counter() - started)
