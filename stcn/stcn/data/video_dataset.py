"""Training samples from annotated videos: stages 1 to 3 (method specification section 6.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stcn.data import transforms as T
from stcn.data.images import read_image, read_palette_mask
from stcn.data.samples import (
    DEFAULT_CROP,
    Sample,
    TrainingSet,
    choose_two,
    draw_seed,
    two_object_sample,
)
from stcn.data.sampling import SAMPLE_FRAMES, choose_frames
from vidseg_common.datasets.records import VideoRecord
from vidseg_common.errors import DatasetError

#: Attempts to find frames with an object before a sample of background is returned.
NUM_TRIALS = 5
#: Probability of a mirrored sample and of one without colours.
FLIP_PROBABILITY = 0.5
GREY_PROBABILITY = 0.05

#: Share of the frame's area that a crop covers, in general and in BL30K.
CROP_SCALE = (0.36, 1.0)
BL30K_SCALE = (0.25, 1.0)
CROP_RATIO = (3.0 / 4.0, 4.0 / 3.0)
SEQUENCE_JITTER = T.ColorJitter(0.1, 0.03, 0.03, 0.0)
FRAME_AFFINE = T.RandomAffine(degrees=15.0, shear=10.0)
FRAME_JITTER = T.ColorJitter(0.01, 0.01, 0.01, 0.0)


@dataclass(frozen=True)
class ObjectFilter:
    """Which labels of a sample are worth training on, by area in pixels of a 384 x 384 crop.

    A label stays when it is large in the first frame, or visible there and small everywhere:
    one that is small at first and large later was mostly hidden.
    """

    large: int = 900
    visible: int = 100
    small_later: int = 400

    def keep(self, labels: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """Return the labels to keep.

        Args:
            labels: (N,) labels of the first frame.
            masks: (3, H, W) label maps.
        """
        per_pixel = DEFAULT_CROP**2 / masks[0].size
        kept = []
        for label in labels:
            first, *later = (np.count_nonzero(mask == label) * per_pixel for mask in masks)
            if first > self.large or (first > self.visible and max(later) < self.small_later):
                kept.append(label)
        return np.asarray(kept, dtype=labels.dtype)


@dataclass(frozen=True)
class VideoSetOptions:
    """How samples are cut from the videos of one data set.

    Attributes:
        crop_size: side of the square samples in pixels.
        crop_scale: share of the frame's area that a crop covers.
        frame_step: distance of neighbouring annotated frames in frames of the video; the largest
            jump of the curriculum is divided by it (YouTube-VOS: 5).
        object_filter: rule for unsuitable objects; None keeps all.
    """

    crop_size: int = DEFAULT_CROP
    crop_scale: tuple[float, float] = CROP_SCALE
    frame_step: int = 1
    object_filter: ObjectFilter | None = None


@dataclass(frozen=True)
class _SequenceDraws:
    """What the three frames of a sample share; drawn from one seed in this order."""

    flip: bool
    box: T.CropBox
    jitter: T.JitterParams
    grey: bool


def _draw_sequence(size: tuple[int, int], scale: tuple[float, float], seed: int) -> _SequenceDraws:
    gen = T.generator(seed)
    flip = T.draw_chance(FLIP_PROBABILITY, gen)
    box = T.draw_resized_crop(size, scale, CROP_RATIO, gen)
    return _SequenceDraws(
        flip, box, SEQUENCE_JITTER.draw(gen), T.draw_chance(GREY_PROBABILITY, gen)
    )


class VideoTrainingSet(TrainingSet):
    """Three frames of a video with one or two of its objects.

    Args:
        records: videos; only their annotated frames are used, and videos with fewer than three
            of them are left out.
        options: crop and object choice.

    Raises:
        DatasetError: no video is long enough.
    """

    def __init__(
        self, records: Sequence[VideoRecord], options: VideoSetOptions | None = None
    ) -> None:
        self.options = options or VideoSetOptions()
        self.records = [r for r in records if len(r.mask_paths) >= SAMPLE_FRAMES]
        if not self.records:
            raise DatasetError(
                f"none of the {len(records)} videos has {SAMPLE_FRAMES} annotated frames"
            )

    def __len__(self) -> int:
        """Return the number of videos."""
        return len(self.records)

    def sample(self, index: int, rng: np.random.RandomState, max_jump: int) -> Sample:
        """Return a sample of video ``index``; see ``TrainingSet``."""
        record = self.records[index]
        annotated = sorted(record.mask_paths)
        jump = max(max_jump // self.options.frame_step, 1)
        target, second = None, None
        for _ in range(NUM_TRIALS):
            frame_idx = [annotated[i] for i in choose_frames(len(annotated), jump, rng)]
            sequence_seed = draw_seed(rng)
            frame_seeds = [draw_seed(rng) for _ in frame_idx]
            masks = self._masks(record, frame_idx, sequence_seed, frame_seeds)
            target, second = choose_two(self._labels(masks), rng)
            if target is not None:
                break
        frames = self._frames(record, frame_idx, sequence_seed, frame_seeds)
        names = [record.frame_paths[i].stem for i in frame_idx]
        info = {"name": record.name, "frames": names}
        return two_object_sample(frames, masks, target, second, info)

    def _labels(self, masks: np.ndarray) -> np.ndarray:
        labels = np.unique(masks[0])
        labels = labels[labels != 0]
        chosen = self.options.object_filter
        return labels if chosen is None else chosen.keep(labels, masks)

    def _masks(
        self,
        record: VideoRecord,
        frame_idx: Sequence[int],
        sequence_seed: int,
        frame_seeds: Sequence[int],
    ) -> np.ndarray:
        """Return the distorted label maps, (3, H, W) uint8."""
        masks = []
        for i, seed in zip(frame_idx, frame_seeds, strict=True):
            mask = read_palette_mask(record.mask_paths[i])
            draws = _draw_sequence(mask.size, self.options.crop_scale, sequence_seed)
            if draws.flip:
                mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            mask = draws.box.resized(mask, self.options.crop_size, T.NEAREST)
            mask = FRAME_AFFINE.draw(T.generator(seed)).apply(mask, T.NEAREST, 0)
            masks.append(np.asarray(mask, dtype=np.uint8))
        return np.stack(masks)

    def _frames(
        self,
        record: VideoRecord,
        frame_idx: Sequence[int],
        sequence_seed: int,
        frame_seeds: Sequence[int],
    ) -> torch.Tensor:
        """Return the distorted, normalised frames, (3, 3, H, W) float32."""
        frames = []
        for i, seed in zip(frame_idx, frame_seeds, strict=True):
            image = read_image(record.frame_paths[i])
            _check_same_size(image, record.mask_paths[i])
            draws = _draw_sequence(image.size, self.options.crop_scale, sequence_seed)
            if draws.flip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            image = draws.box.resized(image, self.options.crop_size, T.BICUBIC)
            image = draws.jitter.apply(image)
            if draws.grey:
                image = T.to_grey(image)
            gen = T.generator(seed)
            image = FRAME_AFFINE.draw(gen).apply(image, T.BICUBIC, T.IMAGE_FILL)
            image = FRAME_JITTER.draw(gen).apply(image)
            frames.append(T.to_normalized_tensor(image))
        return torch.stack(frames)


def _check_same_size(image: Image.Image, mask_path: Path) -> None:
    with Image.open(mask_path) as mask:
        if mask.size != image.size:
            raise DatasetError(
                f"{mask_path}: the mask is {mask.size[0]} x {mask.size[1]} pixels, "
                f"its frame {image.size[0]} x {image.size[1]}"
            )
