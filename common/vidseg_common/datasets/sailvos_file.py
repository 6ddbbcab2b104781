"""One pass over a SAIL-VOS annotation file: what is in it, where, and what is wrong with it.

Annotations go to a spool on disk; only their numbers stay in memory. Source: spec vatrack
section 4.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import Category, Problem, Video
from vidseg_common.datasets.json_stream import iter_entries
from vidseg_common.datasets.sailvos_kinds import AMODAL, Kind, detect_kind, field_faults, to_plain
from vidseg_common.datasets.spool import Spool

__all__ = ["SailvosFile", "scan"]

_LISTS = ("categories", "videos", "images", "annotations")
_OTHERS = ("info", "licenses", "models")
_IMAGE_FIELDS = {"id": int, "video_id": int, "file_name": str, "frame_id": int}
_VIDEO_FIELDS = {"id": int, "name": str, "width": int, "height": int}


@dataclass
class SailvosFile:
    """What one pass over an annotation file found.

    Attributes:
        path: the file.
        kind: its kind, given or told from its first annotation.
        videos: in the order of the file.
        categories: in the order of the file.
        info: the other keys of the file, and `sailvos_kind`.
        has_annotations: whether the file has a list of annotations at all.
        problems: all that is wrong, except within masks.
    """

    path: Path
    kind: Kind = AMODAL
    videos: list[Video] = field(default_factory=list)
    categories: list[Category] = field(default_factory=list)
    info: dict[str, Any] = field(default_factory=dict)
    has_annotations: bool = False
    problems: list[Problem] = field(default_factory=list)
    _spool: Spool = field(default_factory=Spool)
    _rows: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def annotations(self, position: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields (frame, plain annotation) of a video in the order of the file."""
        return ((frame, self._spool[row]) for row, frame in self._rows.get(position, ()))


def scan(path: str | Path, kind: Kind | None = None, *, progress: bool = False) -> SailvosFile:
    """Goes through a file once.

    Args:
        path: the JSON file.
        kind: its kind, None to tell by the first sound annotation.
        progress: show a bar on stderr.

    Raises:
        DatasetError: the file is missing or no JSON object.
    """
    return _Scan(Path(path), kind).run(progress)


_MOST_PENDING = 100
"""Annotations with faults that are held back before the kind is taken from them."""


class _Scan:
    def __init__(self, path: Path, kind: Kind | None) -> None:
        self.file = SailvosFile(path, kind or AMODAL)
        self._is_asked = kind is not None
        self._is_settled = False
        self._pending: list[Any] = []
        self._unsound_ids: set[int] = set()
        self._raw: dict[str, list[Any]] = {name: [] for name in _LISTS}
        self._num_annotations = 0

    def run(self, progress: bool) -> SailvosFile:
        others: dict[str, Any] = {}
        wanted = [*_LISTS, *_OTHERS]
        for key, index, value in iter_entries(self.file.path, wanted, progress=progress):
            if key == "annotations":
                self.file.has_annotations = value is not None
            if key in _OTHERS and index is None:
                others[key] = value
            elif key in _OTHERS:
                others.setdefault(key, []).append(value)
            elif index is None and value:
                self._note("", key, "expected a list")
            elif index is not None and key == "annotations":
                self._take_annotation(value)
            elif index is not None:
                self._raw[key].append(value)
        self._settle_kind()
        self.file.info = {**others, "sailvos_kind": str(self.file.kind)}
        self._resolve_categories()
        self._resolve_annotations(self._resolve_images(self._resolve_videos()))
        return self.file

    def _note(self, where: str, name: str, message: str) -> None:
        self.file.problems.append(Problem(self.file.path, where, name, message))

    def _take_annotation(self, item: Any) -> None:
        """Holds annotations back until one without faults tells the kind of the file."""
        if self._is_settled:
            self._keep(item)
            return
        self._pending.append(item)
        if _tells_kind(item) or len(self._pending) == _MOST_PENDING:
            self._settle_kind()

    def _keep(self, item: Any) -> None:
        """Sets aside a sound annotation; an unsound one is only noted."""
        position = self._num_annotations
        self._num_annotations += 1
        if not isinstance(item, dict):
            self._note(f"annotations[{position}]", "", "expected an object")
            return
        faults = list(field_faults(item, self.file.kind))
        where = f"annotation {item['id']}" if "id" in item else f"annotations[{position}]"
        for name, message in faults:
            self._note(where, name, message)
        if faults and isinstance(item.get("id"), int):
            self._unsound_ids.add(item["id"])
        if not faults:
            row = self.file._spool.append(to_plain(item, self.file.kind))
            names = ("id", "video_id", "image_id", "category_id", "instance_id")
            self._raw["annotations"].append(
                (row, *(item[name] for name in names), item.get("iscrowd", 0))
            )

    def _settle_kind(self) -> None:
        """Tells the kind by the last annotation, also where clearly another one was asked for."""
        if self._is_settled:
            return
        self._is_settled = True
        entries = [item for item in self._pending if isinstance(item, dict)]
        if entries:
            annotation, asked = entries[-1], self.file.kind
            found = detect_kind(annotation)
            if not self._is_asked:
                self.file.kind = found
            elif any(field_faults(annotation, asked)) and _tells_kind(annotation):
                self._note("", "", f"the annotations are of the kind {found}, not {asked}")
                self.file.kind = found
        for item in self._pending:
            self._keep(item)
        self._pending.clear()

    def _sound(self, name: str, fields: Mapping[str, type]) -> Iterator[dict[str, Any]]:
        """Yields the items of a list that have all fields and an id of their own."""
        seen: set[int] = set()
        for position, item in enumerate(self._raw[name]):
            where = f"{name}[{position}]"
            if not isinstance(item, dict):
                self._note(where, "", "expected an object")
                continue
            wrong = [
                (key, wanted)
                for key, wanted in fields.items()
                if not isinstance(item.get(key), wanted) or isinstance(item[key], bool)
            ]
            for key, wanted in wrong:
                what = "a whole number" if wanted is int else "a text"
                self._note(where, key, f"expected {what}, found {item.get(key)!r:.60}")
            if wrong:
                continue
            if item["id"] in seen:
                self._note(where, "id", f"{item['id']} occurs twice")
                continue
            seen.add(item["id"])
            yield item

    def _resolve_categories(self) -> None:
        for item in self._sound("categories", {"id": int, "name": str}):
            group = str(item.get("supercategory", ""))
            self.file.categories.append(Category(item["id"], item["name"], group))

    def _resolve_videos(self) -> list[dict[str, Any]]:
        videos = []
        for item in self._sound("videos", _VIDEO_FIELDS):
            if min(item["width"], item["height"]) < 1:
                self._note(f"video {item['id']}", "width, height", "expected 1 or more")
            videos.append(item)
        return videos

    def _resolve_images(self, videos: list[dict[str, Any]]) -> dict[int, tuple[int, int]]:
        """Builds the videos; returns position of the video and frame of every image id."""
        images: dict[int, list[dict[str, Any]]] = {video["id"]: [] for video in videos}
        for image in self._sound("images", _IMAGE_FIELDS):
            if image["video_id"] in images:
                images[image["video_id"]].append(image)
            else:
                self._note(f"image {image['id']}", "video_id", f"no video {image['video_id']}")
        place: dict[int, tuple[int, int]] = {}
        for position, video in enumerate(videos):
            frames = sorted(images[video["id"]], key=lambda image: image["frame_id"])
            self._check_frames(video, frames)
            self.file.videos.append(_video_of(video, frames))
            place |= {image["id"]: (position, frame) for frame, image in enumerate(frames)}
        return place

    def _check_frames(self, video: dict[str, Any], frames: list[dict[str, Any]]) -> None:
        where = f"video {video['id']}"
        if [image["frame_id"] for image in frames] != list(range(len(frames))):
            found = [image["frame_id"] for image in frames]
            self._note(where, "frame_id", f"expected 0..{len(frames) - 1}, found {found}"[:200])
        if video.get("num_frames", len(frames)) != len(frames):
            self._note(where, "num_frames", f"{video['num_frames']}, but {len(frames)} images")
        size = (video["width"], video["height"])
        for image in frames:
            if (image.get("width", size[0]), image.get("height", size[1])) != size:
                self._note(
                    f"image {image['id']}",
                    "width, height",
                    f"{image.get('width')}x{image.get('height')}, its video {size[0]}x{size[1]}",
                )

    def _resolve_annotations(self, place: Mapping[int, tuple[int, int]]) -> None:
        known = {category.id for category in self.file.categories}
        ids = set(self._unsound_ids)
        instances: set[tuple[int, int]] = set()
        traits: dict[tuple[int, int], tuple[int, int]] = {}
        for row, i, video_id, image_id, category_id, instance_id, is_crowd in self._raw.pop(
            "annotations"
        ):
            where = f"annotation {i}"
            if i in ids:
                self._note(where, "id", "occurs twice")
            elif image_id not in place:
                self._note(where, "image_id", f"no image {image_id}")
            elif self.file.videos[place[image_id][0]].id != video_id:
                real = self.file.videos[place[image_id][0]].id
                self._note(where, "video_id", f"{video_id}, but image {image_id} is of {real}")
            elif category_id not in known:
                self._note(where, "category_id", f"no category {category_id}")
            elif (image_id, instance_id) in instances:
                self._note(where, "instance_id", f"{instance_id} twice in image {image_id}")
            elif traits.setdefault(key := (video_id, instance_id), (category_id, is_crowd)) != (
                category_id,
                is_crowd,
            ):
                message = f"instance {instance_id} had {traits[key]} before"
                self._note(where, "category_id, iscrowd", message)
            else:
                position, frame = place[image_id]
                self.file._rows[position].append((row, frame))
            ids.add(i)
            instances.add((image_id, instance_id))


def _tells_kind(item: Any) -> bool:
    """Whether an annotation has no faults in the kind that it looks like."""
    return isinstance(item, dict) and not any(field_faults(item, detect_kind(item)))


def _video_of(video: Mapping[str, Any], frames: list[dict[str, Any]]) -> Video:
    extra = {
        key: value for key, value in video.items() if key not in (*_VIDEO_FIELDS, "num_frames")
    }
    left = ("video_id", "file_name", "frame_id", "width", "height")
    images = [{k: v for k, v in image.items() if k not in left} for image in frames]
    return Video(
        id=video["id"],
        name=video["name"],
        height=video["height"],
        width=video["width"],
        file_names=tuple(image["file_name"] for image in frames),
        extra={**extra, "images": images},
    )
