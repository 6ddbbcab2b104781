"""Where data sets lie, by the environment variables of the original. Source: spec 2."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from vidseg_common.errors import ConfigError, DatasetError, list_problems

ANNOTATIONS = "STEMSEG_JSON_ANNOTATIONS_DIR"
MODELS = "STEMSEG_MODELS_DIR"

#: What each variable has to name.
VARIABLES = {
    ANNOTATIONS: "the folder of the annotation files",
    MODELS: "the folder that holds pretrained/ and gets checkpoints/",
    "DAVIS_BASE_DIR": "JPEGImages/480p of DAVIS",
    "YOUTUBE_VIS_BASE_DIR": "the folder that holds train and valid of YouTube-VIS",
    "KITTIMOTS_BASE_DIR": "the folder of KITTI-MOTS with one folder per sequence",
    "COCO_TRAIN_IMAGES_DIR": "train2017 of COCO",
    "PASCAL_VOC_IMAGES_DIR": "JPEGImages of Pascal VOC",
    "MAPILLARY_IMAGES_DIR": "the down-sampled images of Mapillary Vistas",
}

#: Command-line names of the video sets: start of their annotation files, variable of the images.
VIDEO_SETS = {
    "davis": ("davis", "DAVIS_BASE_DIR"),
    "ytvis": ("youtube_vis", "YOUTUBE_VIS_BASE_DIR"),
    "kittimots": ("kittimots", "KITTIMOTS_BASE_DIR"),
}
#: The same of the image sets: annotation file, variable.
IMAGE_SETS = {
    "coco": ("coco.json", "COCO_TRAIN_IMAGES_DIR"),
    "pascalvoc": ("pascal_voc.json", "PASCAL_VOC_IMAGES_DIR"),
    "mapillary": ("mapillary.json", "MAPILLARY_IMAGES_DIR"),
}
#: Folders that may hold the frames of a split of YouTube-VIS, the first that exists being used.
_YOUTUBE_VIS_FOLDERS = {"train": ("train",), "val": ("valid", "val")}
_MOST_PROBLEMS = 10


def folder_of(variable: str, needed_for: str = "") -> Path:
    """The folder that an environment variable names.

    Args:
        variable: its name.
        needed_for: what is looked for there, for the message.

    Raises:
        ConfigError: the variable is not set, or empty.
        DatasetError: there is no such folder.
    """
    value = os.environ.get(variable, "")
    if not value.strip():
        purpose = f"; needed for {needed_for}" if needed_for else ""
        raise ConfigError(
            f"the environment variable {variable} is not set; it has to name "
            f"{VARIABLES[variable]}{purpose}"
        )
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"{variable}={value}: no such folder; expected {VARIABLES[variable]}")
    return folder


def annotation_file(name: str) -> Path:
    """An annotation file by its name, such as "davis_train.json".

    Raises:
        ConfigError: the variable of the folder is not set.
        DatasetError: there is no such file.
    """
    path = folder_of(ANNOTATIONS, name) / name
    if not path.is_file():
        raise DatasetError(f"{path}: no such annotation file (folder of {ANNOTATIONS})")
    return path


def video_set_files(dataset: str, split: str) -> tuple[Path, tuple[Path, ...]]:
    """Annotation file of a video set, and folders that its image paths may be relative to.

    Args:
        dataset: "davis", "ytvis" or "kittimots".
        split: "train" or "val".

    Raises:
        ConfigError: a variable is not set.
        DatasetError: the file or a folder is missing.
    """
    stem, variable = VIDEO_SETS[dataset]
    annotations, root = annotation_file(f"{stem}_{split}.json"), folder_of(variable)
    if dataset != "ytvis":
        return annotations, (root,)
    names = _YOUTUBE_VIS_FOLDERS[split]
    folders = [root / name for name in names if (root / name).is_dir()]
    if not folders:
        raise DatasetError(f"{variable}={root}: has no folder {' or '.join(names)}")
    # Annotation files exist with paths from the split, from its JPEGImages and from above it.
    return annotations, (folders[0], folders[0] / "JPEGImages", root)


def image_set_files(dataset: str) -> tuple[Path, Path]:
    """Annotation file and image folder of "coco", "pascalvoc" or "mapillary".

    Raises:
        ConfigError: a variable is not set.
        DatasetError: the file or the folder is missing.
    """
    name, variable = IMAGE_SETS[dataset]
    return annotation_file(name), folder_of(variable)


def check_images(file: Path, root: Path, variable: str, images: Iterable[tuple[str, str]]) -> None:
    """Refuses an annotation file whose images do not exist.

    Args:
        file: the annotation file.
        root: folder that paths are relative to.
        variable: where the folder comes from.
        images: sequence or other place in the file, and the path.

    Raises:
        DatasetError: images are missing; the first ones are listed.
    """
    looked_for = list(images)
    missing = [(where, name) for where, name in looked_for if not (root / name).is_file()]
    if not missing:
        return
    shown = [f"{where}: no image {root / name}" for where, name in missing[:_MOST_PROBLEMS]]
    if len(missing) > len(shown):
        shown.append(f"and {len(missing) - len(shown)} more")
    raise DatasetError(
        list_problems(
            f"{file}: {len(missing)} of {len(looked_for)} images looked for do not exist; paths "
            f"are relative to {root} (from {variable}):",
            shown,
        )
    )
