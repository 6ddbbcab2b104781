"""The data sets that a configuration names, for training and for validation (spec 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devis.config import Config
from devis.data.catalog import find
from devis.data.clip_augment import ClipAugmenter, Distortion
from devis.data.items import ClipItem, ImageItem, SampleKey, TrainSet, to_target
from devis.data.opening import OpenSet, open_set
from devis.data.video_clips import ClipRules, VideoClips

__all__ = [
    "ClipItem",
    "ImageItem",
    "SampleKey",
    "ValVideo",
    "to_target",
    "train_dataset",
    "val_videos",
]


@dataclass(frozen=True)
class ValVideo:
    """A video to segment.

    Attributes:
        id: its number.
        name: the folder of its first image.
        height: rows of every frame.
        width: columns of every frame.
        files: its images in order.
    """

    id: int
    name: str
    height: int
    width: int
    files: tuple[Path, ...]


def train_dataset(cfg: Config, *, progress: bool = False) -> TrainSet[ClipItem]:
    """The training set of a configuration.

    Args:
        cfg: the configuration.
        progress: show a bar on stderr while annotations are read.

    Raises:
        ConfigError: an unknown data set.
        DatasetError: a file is missing or wrong; the message names it.
    """
    opened = _open(cfg, cfg.DATASETS.TRAIN_DATASET, "DATASETS.TRAIN_DATASET", progress=progress)
    videos = VideoClips(opened, clip_rules(cfg))
    videos.check_exist()
    return videos


def clip_rules(cfg: Config) -> ClipRules:
    """How training clips are made."""
    given = cfg.INPUT.DEVIS
    return ClipRules(
        num_frames=cfg.MODEL.DEVIS.NUM_FRAMES,
        augmenter=ClipAugmenter(
            given.MULTI_SCALE_TRAIN, cfg.INPUT.SCALE_FACTOR_TRAIN, Distortion(given.BGR_TRAIN)
        ),
        each_frame=given.SAMPLE_EACH_FRAME,
        boxes_from_masks=given.CREATE_BBX_FROM_MASK,
        bgr=given.BGR_TRAIN,
    )


def val_videos(cfg: Config) -> list[ValVideo]:
    """The validation videos in the order of the file.

    Raises:
        ConfigError: an unknown data set.
        DatasetError: a file is missing or wrong; the message names it.
    """
    opened = open_val(cfg)
    return [
        ValVideo(
            video.id,
            video.name,
            video.height,
            video.width,
            tuple(opened.images / name for name in video.file_names),
        )
        for video in opened.data.videos
    ]


def open_val(cfg: Config) -> OpenSet:
    """The validation set; annotations of videos are read when they are asked for.

    Raises:
        ConfigError: an unknown data set.
        DatasetError: a file is missing or wrong; the message names it.
    """
    name = cfg.DATASETS.VAL_DATASET
    return _open(cfg, name, "DATASETS.VAL_DATASET", at_once=False)


def _open(
    cfg: Config, name: str, key: str, *, at_once: bool = True, progress: bool = False
) -> OpenSet:
    sets = cfg.DATASETS
    entry, root = find(sets.TYPE, name, key), Path(sets.DATA_PATH)
    return open_set(sets.TYPE, name, entry, root, at_once=at_once, progress=progress)
