"""Training clips of annotated videos (spec 3.2, 4.3).

Letters: T frames of a clip.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from devis.data.clip_augment import ClipAugmenter
from devis.data.clip_sample import ClipSample, clip_sample
from devis.data.clip_target import clip_images, clip_target
from devis.data.clips import bounce, training_starts
from devis.data.items import ClipItem, TrainSet
from devis.data.opening import OpenSet, check_exist, load_image, require_annotations
from devis.data.resize import CHANNELS
from vidseg_common import rle
from vidseg_common.datasets.annotations import Clip, Track
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.packed import PackedList


@dataclass(frozen=True)
class ClipRules:
    """How clips are made.

    Attributes:
        num_frames: T.
        augmenter: random changes.
        each_frame: every frame may start a clip; else those with T - 1 frames after them.
        boxes_from_masks: boxes are computed from the changed masks.
        bgr: frames are given in the order blue, green, red.
    """

    num_frames: int
    augmenter: ClipAugmenter
    each_frame: bool = False
    boxes_from_masks: bool = True
    bgr: bool = False

    def item(self, sample: ClipSample, video_id: int, start: int, rng: random.Random) -> ClipItem:
        """Changes a clip and makes it ready for the network."""
        sample = self.augmenter.apply(sample, rng)
        images = clip_images(sample)
        return ClipItem(
            images=images.view(self.num_frames, CHANNELS, *images.shape[1:]),
            target=clip_target(sample, boxes_from_masks=self.boxes_from_masks),
            video_id=video_id,
            start=start,
        )


@dataclass(frozen=True)
class TrainVideo:
    """A video with its instances, without groups (crowds).

    Attributes:
        id: its number.
        name: for messages.
        size: height and width.
        files: images, below the folder of images.
        annotations: as `devis.data.clip_sample.clip_sample` takes them.
    """

    id: int
    name: str
    size: tuple[int, int]
    files: tuple[str, ...]
    annotations: tuple[Mapping[str, Any], ...]


class VideoClips(TrainSet[ClipItem]):
    """Clips that start with every frame that may start one.

    Args:
        opened: the videos with their annotations.
        rules: how clips are made.

    Raises:
        DatasetError: there are no annotations, or none has a mask, or the first frame of a video
            does not exist.
    """

    def __init__(self, opened: OpenSet, rules: ClipRules) -> None:
        require_annotations(opened)
        self.file, self.images, self.rules = opened.file, opened.images, rules
        self.category_names = opened.data.category_names()
        self.videos = PackedList(_videos(opened))
        lengths = [video.num_frames for video in opened.data.videos]
        starts = [
            (place, start)
            for place, length in enumerate(lengths)
            for start in training_starts(length, rules.num_frames, each_frame=rules.each_frame)
        ]
        self._starts = np.array(starts, np.int64)
        first = ((f"video {video.name}", video.files[0]) for video in self.videos)
        check_exist(self.file, self.images, first)

    def __len__(self) -> int:
        """Number of frames that may start a clip."""
        return len(self._starts)

    def sample(self, index: int, rng: random.Random) -> ClipItem:
        """Makes a clip."""
        place, start = (int(value) for value in self._starts[index])
        video = self.videos[place]
        indices = bounce(len(video.files), start, self.rules.num_frames)
        read = {index: self._frame(video, index) for index in set(indices)}
        try:
            sample = clip_sample([read[index] for index in indices], video.annotations, indices)
        except DatasetError as error:
            raise DatasetError(f"{self.file}: video {video.name}: {error}") from error
        return self.rules.item(sample, video.id, start, rng)

    def _frame(self, video: TrainVideo, index: int) -> np.ndarray:
        where = f"video {video.name}, frame {index}"
        image = load_image(Path(self.images / video.files[index]), video.size, where)
        return np.ascontiguousarray(image[..., ::-1]) if self.rules.bgr else image


def _videos(opened: OpenSet) -> Iterator[TrainVideo]:
    missing: list[str] = []
    num_tracks = 0
    for clip in opened.data.clips():
        num_tracks += len(clip.tracks)
        missing += [
            f"annotation {track.id}: field segmentations has no mask"
            for track in clip.tracks
            if not any(track.segmentations)
        ]
        yield _video(clip)
    if num_tracks and len(missing) == num_tracks:
        title = f"{opened.file}: no annotation has a mask, and clips are trained with masks:"
        raise DatasetError(list_problems(title, missing[:1]))


def _video(clip: Clip) -> TrainVideo:
    video = clip.video
    return TrainVideo(
        id=video.id,
        name=video.name,
        size=(video.height, video.width),
        files=video.file_names,
        annotations=tuple(_annotation(track) for track in clip.tracks if not track.is_crowd),
    )


def _annotation(track: Track) -> dict[str, Any]:
    masks = track.segmentations
    boxes = track.bboxes
    return {
        "id": track.id,
        "category_id": track.category_id,
        "segmentations": masks,
        "bboxes": [m and rle.to_bbox(m) for m in masks] if boxes is None else boxes,
    }
