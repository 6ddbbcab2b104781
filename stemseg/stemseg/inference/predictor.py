"""Segments and tracks the objects of one's own videos, the public interface of inference.

Letters: H, W rows and columns of a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from stemseg.inference.engine import Engine, Stopwatch, VideoTracks
from stemseg.inference.networks import Precision, deploy
from stemseg.inference.settings import Choices, engine_settings, max_tracks_of
from stemseg.model.network import STEmSeg
from stemseg.outputs.davis import masks_of_frame, rank_maps
from vidseg_common.masks import MAX_ID


@dataclass(frozen=True)
class TrackInfo:
    """One object of a video.

    Attributes:
        id: its value in the masks, from 1; the longest-lived object is 1.
        first_frame: where it appears.
        last_frame: where it is seen last.
        score: its pixels relative to the largest kept object, 0..1.
        category_id: its class, None where the network has none.
    """

    id: int
    first_frame: int
    last_frame: int
    score: float
    category_id: int | None


class VideoPrediction:
    """The objects of a video; masks are made when they are asked for.

    Args:
        tracks: all tracks of the video.
        max_tracks: how many objects are kept, at most 255.

    Attributes:
        objects: the kept objects.
        num_dropped: tracks beyond the limit.
    """

    def __init__(self, tracks: VideoTracks, max_tracks: int) -> None:
        self._tracks = tracks
        self._kept = tracks.statistics.by_lifetime(max_tracks)
        self.num_dropped = len(tracks.statistics.tracks) - len(self._kept)
        statistics = tracks.statistics.of_label
        pixels = [statistics[label].num_pixels for label in self._kept]
        self.objects = [
            TrackInfo(
                id=number,
                first_frame=statistics[label].first,
                last_frame=statistics[label].last,
                score=count / max(pixels),
                category_id=tracks.classes.category_of(label, count) if tracks.classes else None,
            )
            for number, (label, count) in enumerate(zip(self._kept, pixels, strict=True), start=1)
        ]

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return self._tracks.num_frames

    @property
    def times(self) -> Stopwatch:
        """Time that the network and the clustering took."""
        return self._tracks.times

    def id_maps(self) -> Iterator[NDArray[np.uint8]]:
        """(H, W) map of ids of every frame, 0 for background; the later id wins overlaps."""
        return rank_maps(self._tracks, self._kept)

    def masks(self, frame: int) -> dict[int, NDArray[np.bool_]]:
        """(H, W) masks of the objects seen in a frame, by id; they may overlap."""
        return masks_of_frame(self._tracks, self._kept, frame)


class Predictor:
    """Finds, segments and tracks the objects of videos.

    Args:
        network: in eval mode, on `device`; it carries its configuration and is not changed.
        choices: see `Choices`.
        device: of the network.
        clustering_device: of everything after it; None is the same.
        precision: number format of the network; all after it is in fp32.

    Raises:
        ConfigError: choices that do not fit the network.
    """

    def __init__(
        self,
        network: STEmSeg,
        choices: Choices | None = None,
        *,
        device: torch.device | str = "cpu",
        clustering_device: torch.device | str | None = None,
        precision: Precision = "fp32",
    ) -> None:
        choices = choices or Choices()
        self.max_tracks = max_tracks_of(network.cfg, choices, most=MAX_ID)
        self.engine = Engine(
            deploy(network, precision),
            engine_settings(network.cfg, choices),
            device=device,
            clustering_device=clustering_device,
        )

    def predict(self, frames: Iterable[np.ndarray]) -> VideoPrediction:
        """Segments a video.

        Args:
            frames: (H, W, 3) uint8 RGB in order, all of one size; read once, never kept.

        Raises:
            VideoError: no frame, or one of another form or size.
        """
        return VideoPrediction(self.engine.run(frames), self.max_tracks)
