"""Training samples rendered on the fly: no data set on disk is needed."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from stcn.data import transforms as T
from stcn.data.samples import (
    DEFAULT_CROP,
    Sample,
    TrainingSet,
    choose_two,
    draw_seed,
    two_object_sample,
)
from stcn.data.sampling import choose_frames
from stcn.data.video_dataset import (
    FRAME_JITTER,
    GREY_PROBABILITY,
    NUM_TRIALS,
    SEQUENCE_JITTER,
    ObjectFilter,
)
from vidseg_common.synthetic import SceneOptions, SyntheticVideo, make_scene, render


@dataclass(frozen=True)
class SyntheticOptions:
    """What is rendered.

    Attributes:
        crop_size: side of the square frames in pixels.
        num_frames: length of the video of which three frames are taken.
        num_objects: smallest and largest number of objects.
        scene: options of the scenes.
        object_filter: rule for unsuitable objects; None keeps all.
    """

    crop_size: int = DEFAULT_CROP
    num_frames: int = 40
    num_objects: tuple[int, int] = (1, 4)
    scene: SceneOptions = field(default_factory=SceneOptions)
    object_filter: ObjectFilter | None = field(default_factory=ObjectFilter)


class SyntheticTrainingSet(TrainingSet):
    """Three frames of a new synthetic video for every sample key.

    Args:
        num_items: items of one epoch; which one is asked for does not matter, the seed does.
        options: what is rendered.
    """

    def __init__(self, num_items: int, options: SyntheticOptions | None = None) -> None:
        self.num_items = num_items
        self.options = options or SyntheticOptions()

    def __len__(self) -> int:
        """Return the items of one epoch."""
        return self.num_items

    def sample(self, index: int, rng: np.random.RandomState, max_jump: int) -> Sample:
        """Return three frames of a scene drawn from ``rng``; see ``TrainingSet``."""
        for _ in range(NUM_TRIALS):
            scene_seed = draw_seed(rng)
            frame_idx = choose_frames(self.options.num_frames, max_jump, rng)
            video = self._render(scene_seed, frame_idx, rng)
            target, second = choose_two(self._labels(video.visible), rng)
            if target is not None:
                break
        frames = _augment(video.frames, draw_seed(rng), [draw_seed(rng) for _ in frame_idx])
        info = {"name": f"synthetic-{scene_seed}", "frames": [f"{i:05d}" for i in frame_idx]}
        return two_object_sample(frames, video.visible, target, second, info)

    def _render(
        self, seed: int, frame_idx: tuple[int, int, int], rng: np.random.RandomState
    ) -> SyntheticVideo:
        options = self.options
        few, many = options.num_objects
        scene = make_scene(
            seed,
            options.num_frames,
            options.crop_size,
            options.crop_size,
            int(rng.randint(few, many + 1)),
            options.scene,
        )
        return render(scene, list(frame_idx))

    def _labels(self, masks: np.ndarray) -> np.ndarray:
        labels = np.unique(masks[0])
        labels = labels[labels != 0]
        chosen = self.options.object_filter
        return labels if chosen is None else chosen.keep(labels, masks)


def _augment(frames: np.ndarray, sequence_seed: int, frame_seeds: list[int]) -> torch.Tensor:
    """Return the frames with changed colours, normalised: (3, 3, H, W) float32."""
    gen = T.generator(sequence_seed)
    jitter = SEQUENCE_JITTER.draw(gen)
    grey = T.draw_chance(GREY_PROBABILITY, gen)
    tensors = []
    for frame, seed in zip(frames, frame_seeds, strict=True):
        image = jitter.apply(Image.fromarray(frame))
        if grey:
            image = T.to_grey(image)
        image = FRAME_JITTER.draw(T.generator(seed)).apply(image)
        tensors.append(T.to_normalized_tensor(image))
    return torch.stack(tensors)
