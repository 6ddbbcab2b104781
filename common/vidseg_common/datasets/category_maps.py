"""How STEm-Seg and DeVIS fold the classes of image data sets into those of their video data sets.

A class id that is in no table of a map is dropped. Sources: spec stemseg section 3.3, spec devis
section 3.4; checked by the parity case `dataset_image_filters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Fate = Literal["kept", "ignored", "dropped"]


@dataclass(frozen=True)
class CategoryMap:
    """What becomes of each class of a source data set.

    Attributes:
        kept: source class id to target class id.
        ignored: source class ids whose masks become ignore region.
    """

    kept: Mapping[int, int]
    ignored: frozenset[int] = frozenset()

    def fate(self, category_id: int) -> Fate:
        """Tells whether instances of a class are kept, ignored or dropped."""
        if category_id in self.kept:
            return "kept"
        return "ignored" if category_id in self.ignored else "dropped"


def _agnostic(*category_ids: int) -> CategoryMap:
    """DAVIS has one class of number 1."""
    return CategoryMap(dict.fromkeys(sorted(category_ids), 1))


COCO_TO_YOUTUBE_VIS = CategoryMap(
    {
        1: 1,
        2: 21,  # a bicycle becomes a motorbike
        3: 6,
        4: 21,
        5: 28,
        7: 17,
        8: 29,
        9: 34,
        17: 14,
        18: 8,
        19: 18,
        21: 15,
        22: 32,
        23: 20,
        24: 30,
        25: 22,
        36: 33,
        41: 5,
        42: 27,
        43: 40,
    }
)
"""COCO to YouTube-VIS 2019, for STEm-Seg and for DeVIS."""

COCO_TO_DAVIS = _agnostic(*COCO_TO_YOUTUBE_VIS.kept, 6, 16, 20, 27, 34, 35, 37, 38, 39)

COCO_TO_YOUTUBE_VIS_2021 = CategoryMap(
    {
        1: 26,
        2: 23,
        3: 5,
        4: 23,
        5: 1,
        7: 36,
        8: 37,
        9: 4,
        16: 3,
        17: 6,
        18: 9,
        19: 19,
        21: 7,
        22: 12,
        23: 2,
        24: 40,
        25: 18,
        36: 31,
        41: 29,
        42: 33,
        43: 34,
        74: 24,
    }
)
"""COCO to YouTube-VIS 2021, for DeVIS."""

PASCAL_VOC_TO_YOUTUBE_VIS = CategoryMap(
    {1: 28, 4: 34, 7: 6, 8: 14, 10: 15, 12: 8, 13: 18, 14: 21, 15: 1, 19: 17}
)

PASCAL_VOC_TO_DAVIS = _agnostic(*PASCAL_VOC_TO_YOUTUBE_VIS.kept, 2, 3, 6, 17)

MAPILLARY_TO_KITTI_MOTS = CategoryMap(
    kept={20: 2, 56: 1},
    ignored=frozenset({21, 22, 23, 53, 55, 57, 58, 59, 60, 61, 62, 63}),
)
"""Persons and cars are kept; riders and other vehicles are ignore regions."""

CATEGORY_MAPS: Mapping[tuple[str, str], CategoryMap] = {
    ("coco", "youtube-vis"): COCO_TO_YOUTUBE_VIS,
    ("coco", "davis"): COCO_TO_DAVIS,
    ("coco", "youtube-vis-2021"): COCO_TO_YOUTUBE_VIS_2021,
    ("pascal-voc", "youtube-vis"): PASCAL_VOC_TO_YOUTUBE_VIS,
    ("pascal-voc", "davis"): PASCAL_VOC_TO_DAVIS,
    ("mapillary", "kitti-mots"): MAPILLARY_TO_KITTI_MOTS,
}
"""Every map by the names of its source and its target."""
