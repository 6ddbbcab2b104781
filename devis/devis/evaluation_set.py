"""Data sets that are evaluated: their frames, and their ground truth where it is public."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from devis.config import Config
from devis.data.build import open_val
from devis.data.opening import OpenSet, check_exist, with_annotations
from vidseg_common.datasets.annotations import Video
from vidseg_common.errors import DatasetError, list_problems


def open_evaluation_set(cfg: Config) -> OpenSet:
    """The validation set of a configuration; images without annotations are left out (spec 3.1).

    Raises:
        DatasetError: a file is missing or wrong, there is nothing in it, or it has classes that
            the data set of that name does not have.
        ConfigError: an unknown data set.
    """
    opened = open_val(cfg)
    if cfg.DATASETS.TYPE == "coco":
        return replace(opened, data=with_annotations(opened.data))
    empty = [f"video {v.id}, file_names: no frames" for v in opened.data.videos if not v.num_frames]
    if empty:
        title = f"{opened.file}: {len(empty)} video(s) have no frames:"
        raise DatasetError(list_problems(title, empty))
    return opened


def paths_of(chosen: OpenSet, video: Video) -> list[Path]:
    """Images of a video, in order."""
    return [chosen.images / name for name in video.file_names]


def check_images(chosen: OpenSet, videos: Sequence[Video]) -> None:
    """Makes sure that frames exist before anything is computed.

    Raises:
        DatasetError: some do not; the first ones are listed.
    """
    names = ((video.name, name) for video in videos for name in video.file_names)
    check_exist(chosen.file, chosen.images, names)
