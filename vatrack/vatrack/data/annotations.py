"""Annotated frames of a data set: who is where in each, fetched frame by frame (spec 4.4).

What a frame needs waits on disk; only names, sizes and groups stay in memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vatrack.data.settings import MIN_SIDE, DatasetSettings
from vidseg_common import rle
from vidseg_common.datasets.annotations import Category, Video
from vidseg_common.datasets.json_stream import iter_items
from vidseg_common.datasets.sailvos_file import SailvosFile, scan
from vidseg_common.datasets.sailvos_kinds import Kind, field_faults, kind_of
from vidseg_common.datasets.spool import Spool
from vidseg_common.errors import DatasetError, MaskError, list_problems

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FrameObjects:
    """The objects of one frame, G of them, at the size of the file.

    Attributes:
        boxes: (G, 4) corners; amodal ones where masks are joint.
        visible_boxes: (G, 4) corners, where two boxes are wanted.
        labels: (G,) from 0.
        instances: (G,) numbers of the objects, the same over a video.
        masks: run lengths; visible ones where masks are joint.
        amodal_masks: run lengths, where masks are joint.
    """

    boxes: Floats
    visible_boxes: Floats | None
    labels: NDArray[np.int64]
    instances: NDArray[np.int64]
    masks: list[rle.RLE]
    amodal_masks: list[rle.RLE] | None


class AnnotatedFrames:
    """The frames of an annotation file, in the order of its videos and of their frames.

    Args:
        settings: file and kind of the data set.
        progress: show a bar on stderr.

    Attributes:
        settings: as given.
        videos: in the order of the file.
        image_ids: of every frame.
        places: (N, 2) video and frame of every frame.
        keys: numbers of the frames that are samples.

    Raises:
        DatasetError: everything that is wrong in the file.
    """

    def __init__(self, settings: DatasetSettings, *, progress: bool = False) -> None:
        self.settings = settings
        file, self._labels = _scan(settings, progress)
        self.videos: list[Video] = file.videos
        self._spool = Spool()
        self.image_ids: list[int] = []
        places: list[tuple[int, int]] = []
        keys: list[int] = []
        self._starts: list[int] = []
        for position, video in enumerate(file.videos):
            rows = self._rows_of(file, position)
            self._starts.append(len(places))
            stated = video.extra.get("images") or [{}] * video.num_frames
            for frame in range(video.num_frames):
                self._spool.append(rows.get(frame, []))
                if self._is_key(video, frame, rows.get(frame, [])):
                    keys.append(len(places))
                self.image_ids.append(int(stated[frame].get("id", len(places))))
                places.append((position, frame))
        self.places = np.array(places, np.int64).reshape(-1, 2)
        self.keys = np.array(keys, np.int64)

    def __len__(self) -> int:
        """Number of frames, of all videos."""
        return len(self.places)

    @property
    def groups(self) -> NDArray[np.int64]:
        """Of every sample: 1 for a wide frame, else 0; a batch is of one group."""
        wide = np.array([video.width > video.height for video in self.videos], np.int64)
        return wide[self.places[self.keys, 0]] if len(self.keys) else np.zeros(0, np.int64)

    def video_of(self, index: int) -> Video:
        """The video of a frame."""
        return self.videos[self.places[index, 0]]

    def file_name(self, index: int) -> str:
        """Name of a frame in the annotation file."""
        return self.video_of(index).file_names[self.places[index, 1]]

    def references(self, index: int, scope: int) -> NDArray[np.int64]:
        """Frames of the same video, at most `scope` away; the frame itself where it is alone."""
        position, frame = self.places[index]
        start, length = self._starts[position], self.videos[position].num_frames
        near = np.arange(max(frame - scope, 0), min(frame + scope + 1, length))
        others = near[near != frame]
        return start + (others if len(others) else np.array([frame]))

    def objects(self, index: int) -> FrameObjects:
        """The usable objects of a frame; crowds are left out."""
        settings, video = self.settings, self.video_of(index)
        rows = [row for row in self._spool[index] if _is_usable(row, video, settings)]
        joint = settings.masks == "joint"
        size = [video.height, video.width]
        visible = [rle.RLE(size=size, counts=row["visible_mask"]) for row in rows]
        amodal = [rle.RLE(size=size, counts=row["amodal_mask"]) for row in rows]
        return FrameObjects(
            boxes=_corners([row[_main_box(settings)] for row in rows]),
            visible_boxes=(
                _corners([row["bbox_visible"] for row in rows]) if settings.two_boxes else None
            ),
            labels=np.array([row["label"] for row in rows], np.int64),
            instances=np.array([row["instance_id"] for row in rows], np.int64),
            masks=amodal if settings.masks == "amodal" else visible,
            amodal_masks=amodal if joint else None,
        )

    def _is_key(self, video: Video, frame: int, rows: list[dict[str, Any]]) -> bool:
        if frame % self.settings.interval:
            return False
        if not self.settings.drop_empty:
            return True
        return bool(rows) and min(video.height, video.width) >= MIN_SIDE

    def _rows_of(self, file: SailvosFile, position: int) -> dict[int, list[dict[str, Any]]]:
        """Annotations of the classes, by frame."""
        rows: dict[int, list[dict[str, Any]]] = defaultdict(list)
        video = file.videos[position]
        for frame, plain in file.annotations(position):
            label = self._labels.get(plain["category_id"])
            if label is not None:
                rows[frame].append(_row(plain, label, video, self.settings.ann_file))
        return rows


def labels_of(categories: list[Category], settings: DatasetSettings) -> dict[int, int]:
    """Category id to label; categories that are none of the classes are left out.

    Raises:
        DatasetError: ids outside 1..C, or a file without any of the classes.
    """
    count = len(settings.classes)
    outside = [f"{c.id} ({c.name})" for c in categories if not 1 <= c.id <= count]
    if outside:
        raise DatasetError(
            f"{settings.ann_file}: categories: id {', '.join(outside)} outside 1..{count}; "
            "the step that makes the kinds numbers categories from 1"
        )
    labels = {
        c.id: settings.classes.index(c.name) for c in categories if c.name in settings.classes
    }
    if categories and not labels:
        raise DatasetError(
            f"{settings.ann_file}: categories: none of {', '.join(c.name for c in categories)} is "
            f"one of the classes {', '.join(settings.classes)}"
        )
    return labels


def _scan(settings: DatasetSettings, progress: bool) -> tuple[SailvosFile, dict[int, int]]:
    """The file, and category id to label."""
    file = scan(settings.ann_file, progress=progress)
    wanted = kind_of(settings.masks, ("both" if settings.two_boxes else None))
    if _has_annotations(settings.ann_file) and file.kind.name != wanted.name:
        raise DatasetError(wrong_kind(settings.ann_file, file.kind, wanted))
    # Before the rest: ids that are off by one make every annotation a fault.
    labels = labels_of(file.categories, settings)
    if file.problems:
        header = f"{settings.ann_file} cannot be used:"
        raise DatasetError(list_problems(header, map(str, file.problems)))
    return file, labels


def _has_annotations(path: Path) -> bool:
    return next(iter(iter_items(path, ["annotations"])), None) is not None


def wrong_kind(path: Path, found: Kind, wanted: Kind) -> str:
    """Says what the first annotation lacks for the kind that the network needs."""
    _, first = next(iter(iter_items(path, ["annotations"])))
    faults = [
        f"annotation {first.get('id')}: {name}: {what}"
        for name, what in field_faults(first, wanted)
    ]
    header = f"{path}: holds {found} annotations, the network needs {wanted}:"
    return list_problems(header, faults or ["the fields of the masks are those of another kind"])


def _row(plain: Mapping[str, Any], label: int, video: Video, path: Path) -> dict[str, Any]:
    """What a frame keeps of an annotation."""
    row: dict[str, Any] = {"label": label, "is_crowd": bool(plain.get("iscrowd"))}
    row["is_ignored"] = bool(plain.get("ignore"))
    for name in ("bbox_amodal", "bbox_visible", "area_amodal", "area_visible", "instance_id"):
        row[name] = plain[name]
    for name in ("visible_mask", "amodal_mask"):
        mask = plain[name]
        where = f"{path}: annotation {plain['id']}: {name}"
        if mask["size"] != [video.height, video.width]:
            size = f"{video.height}x{video.width}"
            raise DatasetError(f"{where}: size {mask['size']}, its video has {size}")
        try:
            runs = rle.counts_of(mask)
        except MaskError as error:
            raise DatasetError(f"{where}: {error}") from None
        counts = mask["counts"]
        row[name] = counts if isinstance(counts, str) else rle.counts_to_string(runs)
    return row


def _main_box(settings: DatasetSettings) -> str:
    return "bbox_visible" if settings.masks == "visible" else "bbox_amodal"


def _is_usable(row: Mapping[str, Any], video: Video, settings: DatasetSettings) -> bool:
    """Whether an annotation is an object to find (spec 4.4)."""
    if row["is_ignored"] or row["is_crowd"]:
        return False
    area = row["area_amodal" if settings.masks == "amodal" else "area_visible"]
    names = {_main_box(settings), *(["bbox_visible"] if settings.two_boxes else [])}
    return area > 0 and all(_is_inside(row[name], video) for name in names)


def _is_inside(box: list[float], video: Video) -> bool:
    x, y, w, h = box
    across = min(x + w, video.width) - max(x, 0)
    down = min(y + h, video.height) - max(y, 0)
    return w >= 1 and h >= 1 and across > 0 and down > 0


def _corners(boxes: list[list[float]]) -> Floats:
    """x, y, w, h to corners."""
    array = np.array(boxes, np.float64).reshape(-1, 4)
    array[:, 2:] += array[:, :2]
    return array.astype(np.float32)


def matches(first: FrameObjects, second: FrameObjects) -> NDArray[np.int64]:
    """Row of every object of a frame in another one, -1 where it is not there."""
    rows = {int(number): row for row, number in enumerate(second.instances)}
    return np.array([rows.get(int(number), -1) for number in first.instances], np.int64)
