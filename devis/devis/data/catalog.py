"""Data sets by name: where their files lie and how many classes they have (spec section 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from vidseg_common.arguments import did_you_mean
from vidseg_common.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes:
        images: folder of images or of video folders, below the folder of all data sets.
        annotations: its JSON file, below the same folder.
        num_classes: width of the class head.
        categories: name of the list of its classes, see
            `vidseg_common.datasets.category_names.standard_categories`; "" for none.
        whole: JSON file of a larger set, which serves where the own one is missing.
        left_out: ids of the videos of the larger set that are not in this one.
    """

    images: str
    annotations: str
    num_classes: int
    categories: str = ""
    whole: str = ""
    left_out: tuple[int, ...] = ()


COCO_CLASSES, YOUTUBE_CLASSES, OVIS_CLASSES = 91, 40, 25


def _youtube(folder: str, part: str, file: str, categories: str = "") -> Entry:
    images, annotations = f"{folder}/{part}/JPEGImages", f"{folder}/{part}/{file}"
    return Entry(images, annotations, YOUTUBE_CLASSES, categories)


def _ovis(part: str) -> Entry:
    return Entry(f"OVIS/{part}", f"OVIS/annotations_{part}.json", OVIS_CLASSES, "ovis")


def _coco(part: str) -> Entry:
    return Entry(f"COCO/{part}", f"COCO/annotations/instances_{part}.json", COCO_CLASSES)


Kind = Literal["coco", "vis"]
CATALOG: dict[Kind, dict[str, Entry]] = {
    "coco": {"train": _coco("train2017"), "val": _coco("val2017")},
    "vis": {
        "yt_vis_train_19": _youtube("Youtube_VIS-2019", "train", "train.json", "ytvis2019"),
        "yt_vis_val_19": _youtube("Youtube_VIS-2019", "valid", "valid.json", "ytvis2019"),
        "yt_vis_train_21": _youtube("Youtube_VIS-2021", "train", "instances.json", "ytvis2021"),
        # Without the two most crowded videos, to fit into memory.
        "yt_vis_train_21_wo_2975_2359": replace(
            _youtube("Youtube_VIS-2021", "train", "instances_wo_2975_2359.json", "ytvis2021"),
            whole="Youtube_VIS-2021/train/instances.json",
            left_out=(2975, 2359),
        ),
        "yt_vis_val_21": _youtube("Youtube_VIS-2021", "valid", "instances.json", "ytvis2021"),
        "yt_vis_val_long": _youtube("Youtube_VIS-long", "valid", "instances.json"),
        "ovis_train": _ovis("train"),
        "ovis_val": _ovis("valid"),
        "mini_train": _youtube("Youtube_VIS", "train", "mini_train.json"),
        "mini_val": _youtube("Youtube_VIS", "valid", "mini_valid.json"),
    },
}

#: COCO images for training on images and videos together: those of the published models, and the
#: ones they were chosen from, which serve where the own list is missing.
JOINT = replace(
    _coco("train2017"),
    annotations="COCO/annotations/coco_keepfor_ytvis19.json",
    whole="COCO/annotations/instances_train2017.json",
)


def find(kind: Kind, name: str, key: str) -> Entry:
    """The data set of a name.

    Args:
        kind: of images or of videos.
        name: of the data set.
        key: of the configuration that names it, for messages.

    Raises:
        ConfigError: there is none of that kind; the message names the nearest.
    """
    if name not in CATALOG[kind]:
        known = CATALOG[kind]
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"{key}: unknown data set {name!r} of type {kind}{hint}")
    return CATALOG[kind][name]
