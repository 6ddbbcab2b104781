"""From the raw SAIL-VOS annotations to files with videos, instances and the kinds of masks.

Three steps, each from a JSON file to a JSON file: `sailvos2coco` numbers videos and instances,
`sailvos2coco_cut` (module `sailvos_cut`) splits videos at abrupt changes of scene, `json_script`
makes a kind. Annotations stream through or wait on disk. Source: spec vatrack section 4.3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vidseg_common.datasets.json_stream import iter_items
from vidseg_common.datasets.sailvos_kinds import AMODAL, Kind, from_plain, kind_of, to_plain
from vidseg_common.datasets.sailvos_per_video import MAX_OCCLUDE_RATE
from vidseg_common.datasets.sailvos_writer import dump_lists
from vidseg_common.datasets.spool import Spool
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.files import atomic_path

__all__ = ["RawFile", "convert_folder", "json_script", "number_instances", "sailvos2coco"]

FILE_NAMES = ("train.json", "valid.json")
FRAME_SIZE = (1280, 800)  # width, height of every SAIL-VOS frame
_LISTS = ("categories", "models", "videos", "images")
_COPIED = (
    *("id", "image_id", "category_id", "obj_id", "model_id", "bbox", "bbox_visible"),
    *("segmentation", "visible_mask", "invisible_mask", "area", "area_visible", "iscrowd"),
    *("occlu_depth", "occlude_rate"),
)


class RawFile:
    """The lists of an annotation file, with the annotations on disk in groups by image.

    Args:
        path: the JSON file.
        fields: what every annotation must have.
        progress: show a bar on stderr.

    Raises:
        DatasetError: fields are missing, or annotations of images that are not listed.
    """

    def __init__(self, path: str | Path, fields: Iterable[str], *, progress: bool = False) -> None:
        self.path = Path(path)
        self.lists: dict[str, list[Any]] = {name: [] for name in _LISTS}
        self._spool = Spool()
        self._rows: dict[int, list[int]] = defaultdict(list)
        self._problems: list[str] = []
        self._read(frozenset(fields), progress)

    def _read(self, fields: frozenset[str], progress: bool) -> None:
        for key, item in iter_items(self.path, [*_LISTS, "annotations"], progress=progress):
            if key == "annotations":
                if self._has(item, fields, "annotation"):
                    self._rows[item["image_id"]].append(self._spool.append(item))
            else:
                self.lists[key].append(item)
        for image in self.lists["images"]:
            self._has(image, {"id", "file_name", "frame_id", "width", "height"}, "image")
        for category in self.lists["categories"]:
            self._has(category, {"id", "name"}, "category")
        if not self._problems:
            unknown = self._rows.keys() - {image["id"] for image in self.lists["images"]}
            self._problems += [f"annotations of unlisted image {i!r}" for i in sorted(unknown)]
        if self._problems:
            raise DatasetError(list_problems(f"{self.path} cannot be converted:", self._problems))

    def _has(self, item: Any, fields: Iterable[str], what: str) -> bool:
        missing = sorted(set(fields) - set(item if isinstance(item, dict) else ()))
        if missing:
            name = item.get("id", "?") if isinstance(item, dict) else f"{item!r:.40}"
            self._problems.append(f"{what} {name}: missing {', '.join(missing)}")
        return not missing

    def of_image(self, image_id: int) -> Iterator[dict[str, Any]]:
        """Yields the annotations of an image in the order of the file."""
        return (self._spool[row] for row in self._rows.get(image_id, ()))


def number_instances(
    raw: RawFile, groups: Iterable[tuple[int, Iterable[int]]], key: str
) -> Iterator[dict[str, Any]]:
    """Yields annotations group by group with new `video_id` and `instance_id`.

    A new number is given at the first appearance of an object in its group; numbers count on
    over the groups, from 1.

    Args:
        raw: the annotations.
        groups: number of each new video, and the ids of its images.
        key: the field that tells objects apart within a group.
    """
    count = 0
    for video_id, image_ids in groups:
        numbers: dict[Any, int] = {}
        for image_id in sorted(image_ids):
            for annotation in raw.of_image(image_id):
                if annotation[key] not in numbers:
                    count += 1
                    numbers[annotation[key]] = count
                number = numbers[annotation[key]]
                yield {**annotation, "video_id": video_id, "instance_id": number}


def sailvos2coco(source: str | Path, out: str | Path, *, progress: bool = False) -> list[str]:
    """Converts raw SAIL-VOS annotations: numbers videos, links images, numbers instances.

    Args:
        source: raw `train.json` or `valid.json`.
        out: the JSON file to write.
        progress: show a bar on stderr.

    Returns:
        What was left out, in words.

    Raises:
        DatasetError: the source has faults; all are listed.
    """
    raw = RawFile(source, _COPIED, progress=progress)
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for image in raw.lists["images"]:
        images[image["file_name"].split("/")[0]].append(image)
    videos = _numbered_videos(raw)
    groups = [(video["id"], [i["id"] for i in images[video["name"]]]) for video in videos]
    width, height = FRAME_SIZE
    content: dict[str, Any] = {
        "categories": raw.lists["categories"],
        "models": raw.lists["models"],
        "videos": [{**video, "width": width, "height": height} for video in videos],
        "images": [
            {**_picked(image, ("id", "file_name", "frame_id", "width", "height")), "video_id": v}
            for (v, _), video in zip(groups, videos, strict=True)
            for image in images[video["name"]]
        ],
        "annotations": (
            _picked(annotation, (*_COPIED, "video_id", "instance_id"))
            for annotation in number_instances(raw, groups, "obj_id")
        ),
    }
    _dump(out, content)
    left = sorted(images.keys() - {video["name"] for video in videos})
    return [f"{len(images[name])} images belong to no video: {name}/" for name in left]


def _numbered_videos(raw: RawFile) -> list[dict[str, Any]]:
    videos = []
    for number, video in enumerate(raw.lists["videos"], 1):
        if not isinstance(video, dict) or "vid_name" not in video:
            raise DatasetError(f"{raw.path}: videos[{number - 1}]: missing vid_name")
        counts = {key: video[key] for key in ("num_frames", "num_objs") if key in video}
        videos.append({"id": number, "name": video["vid_name"], **counts})
    return videos


def json_script(
    source: str | Path,
    out: str | Path,
    *,
    kind: str,
    bbox: str | None = None,
    max_rate: float = MAX_OCCLUDE_RATE,
    progress: bool = False,
) -> list[str]:
    """Makes an annotation file of a kind, with categories numbered from 1 and `.png` frames.

    Args:
        source: what `sailvos2coco` or `sailvos2coco_cut` wrote.
        out: the JSON file to write.
        kind: "amodal", "visible" or "joint".
        bbox: "amdl", "visb" or "both" for "joint".
        max_rate: annotations of which a larger share is hidden are left out.
        progress: show a bar on stderr.

    Returns:
        What was left out, in words: nothing.

    Raises:
        DatasetError: the source has faults; the first is named.
        UserError: there is no such kind.
    """
    wanted = kind_of(kind, bbox)
    lists: dict[str, list[Any]] = {name: [] for name in _LISTS}
    for key, item in iter_items(source, list(_LISTS), progress=progress):
        lists[key].append(item)
    numbers = {category["id"]: n for n, category in enumerate(lists["categories"], 1)}
    content: dict[str, Any] = {
        "categories": [_renumbered(c, "id", numbers) for c in lists["categories"]],
        "models": [_renumbered(m, "category_id", numbers) for m in lists["models"]],
        "videos": lists["videos"],
        "images": [
            {**image, "file_name": image["file_name"].replace(".bmp", ".png")}
            for image in lists["images"]
        ],
        "annotations": (
            _of_kind(item, wanted, numbers, Path(source))
            for _, item in iter_items(source, ["annotations"], progress=progress)
            if item["occlude_rate"] <= max_rate
        ),
    }
    _dump(out, content)
    return []


def _renumbered(item: dict[str, Any], key: str, numbers: Mapping[int, int]) -> dict[str, Any]:
    return {**item, key: numbers.get(item[key], item[key])}


def _of_kind(
    annotation: dict[str, Any], kind: Kind, numbers: Mapping[int, int], path: Path
) -> dict[str, Any]:
    number = numbers.get(annotation["category_id"])
    if number is None:
        raise DatasetError(
            f"{path}: annotation {annotation.get('id')}: category_id "
            f"{annotation['category_id']} is none of {sorted(numbers)}"
        )
    plain = to_plain({**annotation, "category_id": number}, AMODAL)
    if kind.name == "joint":
        plain.pop("invisible_mask", None)
    try:
        return from_plain(plain, kind)
    except KeyError as error:
        raise DatasetError(f"{path}: annotation {annotation.get('id')}: no {error}") from None


def convert_folder(
    convert: Callable[[Path, Path], list[str]], source: str | Path, out: str | Path
) -> list[str]:
    """Applies a step to `train.json` and `valid.json` of a folder; the file names stay.

    Args:
        convert: takes the source and the output file, returns warnings.
        source: folder with both files.
        out: folder that gets both files.

    Returns:
        The warnings, with the file they are about.

    Raises:
        DatasetError: a file is missing, or whatever the step raises.
    """
    source, out = Path(source), Path(out)
    missing = [str(source / name) for name in FILE_NAMES if not (source / name).is_file()]
    if missing:
        raise DatasetError(list_problems("files not found:", missing))
    return [
        f"{name}: {warning}"
        for name in FILE_NAMES
        for warning in convert(source / name, out / name)
    ]


def _picked(item: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: item[name] for name in names}


def _dump(out: str | Path, content: Mapping[str, Any]) -> None:
    # Files without models have none afterwards.
    kept = {key: value for key, value in content.items() if key != "models" or value}
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
        dump_lists(handle, kept.items())
