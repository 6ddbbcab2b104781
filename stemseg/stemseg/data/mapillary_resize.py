"""A smaller copy of Mapillary Vistas with its annotation file. Source: spec 2, 3.2.

The copy holds `resized/images` (the folder that MAPILLARY_IMAGES_DIR names), `resized/instances`,
`mapillary.json` and `sizes.txt`. What is there already is not made again, so that an
interrupted run goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from vidseg_common.background import write_image
from vidseg_common.datasets import mapillary, stemseg_json
from vidseg_common.datasets.annotations import Clip
from vidseg_common.datasets.image_frames import image_size
from vidseg_common.datasets.mots_files import read_id_map, write_id_map
from vidseg_common.datasets.records import list_images
from vidseg_common.errors import DatasetError
from vidseg_common.files import write_text

#: Longer side of most images of the published training.
LONGER_SIDE = 1000
SPLITS = ("training", "validation")
RESIZED = "resized"
_CONFIGS = ("config.json", "config_v1.2.json")
_CHUNK = 8  # images that a worker process is handed at once

Size = tuple[int, int]


@dataclass(frozen=True)
class _Job:
    """One image: its files, those to write, and (width, height) wanted."""

    image: Path
    instances: Path
    target: Path
    target_instances: Path
    size: Size


def limited_size(width: int, height: int, longer_side: int) -> Size:
    """(width, height) after scaling the longer side to at most `longer_side` pixels."""
    scale = min(1.0, longer_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def read_size_list(path: Path) -> dict[str, Size]:
    """Sizes by file name, from lines `NAME WIDTH HEIGHT`.

    Raises:
        DatasetError: the file is missing, or a line is of another form.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: no such list of sizes")
    sizes: dict[str, Size] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not all(word.isdecimal() and int(word) for word in words[1:]):
            raise DatasetError(f"{path}, line {number}: expected NAME WIDTH HEIGHT, not {line!r}")
        sizes[words[0]] = (int(words[1]), int(words[2]))
    return sizes


def resize_vistas(
    source: Path,
    target: Path,
    *,
    longer_side: int = LONGER_SIDE,
    sizes: Mapping[str, Size] | None = None,
    splits: Sequence[str] = SPLITS,
    num_workers: int = 8,
) -> int:
    """Writes the smaller copy, all splits together.

    Args:
        source: folder of Vistas, with its splits.
        target: folder to write.
        longer_side: largest longer side in pixels.
        sizes: (width, height) by file name instead, for every image.
        splits: folders of `source`.
        num_workers: processes; 0 works in the calling one.

    Returns:
        Number of images.

    Raises:
        DatasetError: files are missing or damaged, or an image has no size.
        OSError: a file cannot be written.
    """
    images = [image for split in splits for image in _images(source / split)]
    wanted = _wanted_sizes(images, longer_side, sizes)
    jobs = [_job(image, target, size) for image, size in zip(images, wanted, strict=True)]
    _run(_resize, jobs, num_workers)
    for name in _CONFIGS:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    lines = [f"{job.target.name} {job.size[0]} {job.size[1]}\n" for job in jobs]
    write_text(target / "sizes.txt", "".join(lines))
    _write_annotations(target)
    return len(jobs)


def _images(split: Path) -> list[Path]:
    found = list_images(split / "images") if (split / "images").is_dir() else []
    if not found:
        raise DatasetError(f"{split / 'images'}: no images; expected a copy of Mapillary Vistas")
    return list(found)


def _wanted_sizes(
    images: Sequence[Path], longer_side: int, sizes: Mapping[str, Size] | None
) -> list[Size]:
    if sizes is not None:
        missing = [image.name for image in images if image.name not in sizes]
        if missing:
            raise DatasetError(
                f"the list of sizes lacks {len(missing)} of {len(images)} images, "
                f"among them {missing[0]}"
            )
        return [sizes[image.name] for image in images]
    return [limited_size(*image_size(image)[::-1], longer_side) for image in images]


def _job(image: Path, target: Path, size: Size) -> _Job:
    split, name = image.parent.parent, f"{image.stem}.png"
    # Version 2.0 brings the annotations of 1.2 in a folder of their own.
    folder = split / "v1.2" / "instances"
    folder = folder if folder.is_dir() else split / "instances"
    return _Job(
        image,
        folder / name,
        target / RESIZED / "images" / f"{image.stem}.jpg",
        target / RESIZED / "instances" / name,
        size,
    )


def _run(function: Callable[[_Job], None], jobs: Sequence[_Job], num_workers: int) -> None:
    if num_workers == 0:
        for job in tqdm(jobs, disable=None, leave=False):
            function(job)
        return
    with ProcessPoolExecutor(num_workers) as pool:
        done: Iterable[None] = pool.map(function, jobs, chunksize=_CHUNK)
        for _ in tqdm(done, total=len(jobs), disable=None, leave=False):
            pass


def _resize(job: _Job) -> None:
    """Resizes an image and its map of instances, unless copies of that size are there."""
    if all(_has_size(path, job.size) for path in (job.target, job.target_instances)):
        return
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    data = np.fromfile(job.image, dtype=np.uint8)
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise DatasetError(f"{job.image}: cannot be read as an image")
    labels = read_id_map(job.instances)
    if labels.shape != image.shape[:2]:
        raise DatasetError(f"{job.instances}: is not of the size of {job.image}")
    for path in (job.target, job.target_instances):
        path.parent.mkdir(parents=True, exist_ok=True)
    small = cv2.resize(image, job.size, interpolation=cv2.INTER_LINEAR)
    write_image(job.target, np.ascontiguousarray(small[..., ::-1]))
    small = cv2.resize(labels.astype(np.uint16), job.size, interpolation=cv2.INTER_NEAREST)
    write_id_map(job.target_instances, small.astype(np.int32))


def _has_size(path: Path, size: Size) -> bool:
    return path.is_file() and image_size(path) == size[::-1]


def _write_annotations(target: Path) -> None:
    """Writes mapillary.json; regions that are not divided into objects are left out."""
    data = mapillary.read(target, split=RESIZED)
    load = data.load

    def load_objects(position: int) -> Clip:
        clip = load(position)
        return replace(clip, tracks=[t for t in clip.tracks if not t.extra.get("stuff")])

    objects = replace(data, load=load_objects)
    stemseg_json.write(objects, target / "mapillary.json", kind="image", progress=True)
