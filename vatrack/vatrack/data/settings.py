"""What the data sets of a configuration are; the defaults are the published values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vidseg_common.datasets.sailvos import CLASS_NAMES

#: Smallest side of an image that is trained on.
MIN_SIDE = 32


@dataclass(frozen=True)
class PipelineSettings:
    """From the pixels of a file to those of the network (spec 4.6).

    Attributes:
        img_scale: (longer, shorter) side that images are fitted into, the aspect kept.
        flip_ratio: probability of a mirrored pair.
        mean: of the channels R, G, B.
        std: of the channels R, G, B.
        size_divisor: sides of the network's input are multiples of it.
    """

    img_scale: tuple[int, int] = (1280, 800)
    flip_ratio: float = 0.0
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    size_divisor: int = 32

    def __post_init__(self) -> None:
        if len(self.img_scale) != 2 or min(self.img_scale) < 1:
            raise ValueError(f"img_scale: expected two sides, got {self.img_scale}")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ValueError("mean, std: expected three numbers each, those of std above 0")
        if not 0 <= self.flip_ratio <= 1:
            raise ValueError(f"flip_ratio: expected 0 to 1, got {self.flip_ratio}")


@dataclass(frozen=True)
class DatasetSettings:
    """One data set.

    Attributes:
        ann_file: the annotation file.
        img_prefix: folder of the frames, `<video>/images/<frame>`.
        masks: which masks its objects have.
        two_boxes: amodal and visible boxes are both wanted.
        classes: names, in the order of labels.
        interval: every so many frames of a video is a key frame.
        scope: the reference is at most so many frames away.
        drop_empty: leave out images without objects of the classes, and small ones.
        pipeline: from pixels to the network.
    """

    ann_file: Path
    img_prefix: Path
    masks: Literal["visible", "amodal", "joint"] = "joint"
    two_boxes: bool = False
    classes: tuple[str, ...] = CLASS_NAMES
    interval: int = 1
    scope: int = 3
    drop_empty: bool = False
    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
