"""Objects of a COCO file in columns: COCO train 2017 has 860 000 of them on 118 000 images."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vidseg_common.datasets.annotations import Track
from vidseg_common.datasets.image_frames import BOX_ONLY

_ABSENT = math.nan


@dataclass(frozen=True)
class CocoObject:
    """One annotation or result.

    Attributes:
        id: number in the file; results count from 1.
        image_id: its image.
        category_id: its class.
        counts: run lengths of its mask, None where the file has only a box.
        bbox: [x, y, w, h] as the file states it.
        area: as the file states it.
        is_crowd: marks a group of objects.
        score: confidence of a result.
        extra: fields that no other attribute holds.
    """

    id: int
    image_id: int
    category_id: int
    counts: str | None
    bbox: Sequence[float] | None = None
    area: float | None = None
    is_crowd: bool = False
    score: float | None = None
    extra: dict[str, Any] | None = None


class CocoRows:
    """A list of objects that only grows, found by image."""

    def __init__(self) -> None:
        self._ids = array("q")
        self._category_ids = array("q")
        self._by_image: dict[int, array[int]] = {}
        self._boxes = array("d")
        self._areas = array("d")
        self._scores = array("d")
        self._crowds = bytearray()
        self._counts: list[str | None] = []
        self._extra: dict[int, dict[str, Any]] = {}

    def append(self, item: CocoObject) -> None:
        """Adds an object behind the others of its image."""
        row = len(self._ids)
        self._ids.append(item.id)
        self._category_ids.append(item.category_id)
        self._by_image.setdefault(item.image_id, array("q")).append(row)
        self._boxes.extend(item.bbox or (_ABSENT,) * 4)
        self._areas.append(_ABSENT if item.area is None else item.area)
        self._scores.append(_ABSENT if item.score is None else item.score)
        self._crowds.append(item.is_crowd)
        self._counts.append(item.counts)
        if item.extra:
            self._extra[row] = item.extra

    def tracks(self, image_id: int, height: int, width: int) -> list[Track]:
        """Objects of an image in the order of the file.

        Args:
            image_id: the image.
            height: its rows.
            width: its columns.
        """
        return [self._track(row, height, width) for row in self._by_image.get(image_id, ())]

    def _track(self, row: int, height: int, width: int) -> Track:
        counts = self._counts[row]
        box = self._boxes[4 * row : 4 * row + 4].tolist()
        area, score = _present(self._areas[row]), _present(self._scores[row])
        extra = dict(self._extra.get(row, {}))
        if counts is None:
            extra[BOX_ONLY] = True
        return Track(
            id=self._ids[row],
            category_id=self._category_ids[row],
            segmentations=[None if counts is None else {"size": [height, width], "counts": counts}],
            score=score,
            is_crowd=bool(self._crowds[row]),
            areas=None if area is None else [area],
            bboxes=None if math.isnan(box[0]) else [box],
            extra=extra,
        )


def _present(value: float) -> float | None:
    return None if math.isnan(value) else value
