"""The data sets that a configuration names, for training and for validation (spec 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devis.config import Config, num_classes
from devis.data.catalog import JOINT, find
from devis.data.clip_augment import ClipAugmenter, Distortion
from devis.data.image_augment import ImageAugmenter
from devis.data.image_clips import ImageClips, Joined, map_of
from devis.data.images import TrainImages, ValImages
from devis.data.items import ClipItem, ImageItem, SampleKey, TrainSet, to_target
from devis.data.opening import OpenSet, open_set
from devis.data.video_clips import ClipRules, VideoClips
from vidseg_common.errors import ConfigError

__all__ = [
    "ClipItem",
    "ImageItem",
    "SampleKey",
    "ValImages",
    "ValVideo",
    "to_target",
    "train_dataset",
    "val_images",
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


def train_dataset(
    cfg: Config, *, progress: bool = False
) -> TrainSet[ClipItem] | TrainSet[ImageItem]:
    """The training set of a configuration.

    Args:
        cfg: the configuration.
        progress: show a bar on stderr while annotations are read.

    Raises:
        ConfigError: an unknown data set, one with other classes than the validation set, or one
            that images cannot be added to.
        DatasetError: a file is missing or wrong; the message names it.
    """
    sets = cfg.DATASETS
    _check_classes(cfg)
    categories = map_of(sets.TRAIN_DATASET) if _is_joint(cfg) else None
    opened = _open(cfg, sets.TRAIN_DATASET, "DATASETS.TRAIN_DATASET", progress=progress)
    if sets.TYPE == "coco":
        augmenter = ImageAugmenter(cfg.INPUT.SCALE_FACTOR_TRAIN)
        return TrainImages(opened, augmenter, with_masks=cfg.MODEL.MASK_ON)
    videos = VideoClips(opened, clip_rules(cfg))
    if categories is None:
        return videos
    images = open_set("coco", "COCO", JOINT, Path(sets.DATA_PATH), progress=progress)
    return Joined([ImageClips(images, clip_rules(cfg), categories), videos])


def _is_joint(cfg: Config) -> bool:
    return cfg.DATASETS.TYPE == "vis" and cfg.DATASETS.DEVIS.COCO_JOINT_TRAINING


def _check_classes(cfg: Config) -> None:
    """The class head is as wide as the validation set needs (spec 3)."""
    sets = cfg.DATASETS
    train = find(sets.TYPE, sets.TRAIN_DATASET, "DATASETS.TRAIN_DATASET").num_classes
    val = num_classes(cfg)
    if train != val:
        raise ConfigError(
            f"DATASETS.TRAIN_DATASET {sets.TRAIN_DATASET} has {train} classes, "
            f"DATASETS.VAL_DATASET {sets.VAL_DATASET} has {val}; expected sets of the same classes"
        )


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


def val_images(cfg: Config) -> ValImages:
    """The validation images at test size, with their instances where these are public.

    Raises:
        ConfigError: an unknown data set.
        DatasetError: a file is missing or wrong; the message names it.
    """
    sizes = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    return ValImages(open_val(cfg), *sizes, with_masks=cfg.MODEL.MASK_ON)


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
