"""YouTube-VOS 2018 / 2019 as records, and the submission file. Source: spec common section 1.3."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.datasets.records import VideoRecord, list_folders, list_images
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.files import atomic_path


@dataclass(frozen=True)
class ObjectMeta:
    """What meta.json tells of one object.

    Attributes:
        category: name of its category; "" where the file has none (test sets).
        frames: names of the 6-fps frames from its first appearance on, such as "00005".
    """

    category: str
    frames: tuple[str, ...]


Meta = dict[str, dict[int, ObjectMeta]]


def read_meta(path: str | Path) -> Meta:
    """Reads meta.json: video name to object id to category and frames.

    Raises:
        DatasetError: the file is missing or not of this form.
    """
    path = Path(path)
    try:
        videos = json.loads(path.read_text(encoding="utf-8"))["videos"]
        return {
            video: {int(i): _object_of(entry) for i, entry in content["objects"].items()}
            for video, content in videos.items()
        }
    except FileNotFoundError:
        raise DatasetError(f"meta file not found: {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path} is not a YouTube-VOS meta file ({error!r})") from error


def _object_of(entry: Mapping[str, object]) -> ObjectMeta:
    frames = entry["frames"]
    if not isinstance(frames, list):
        raise TypeError("frames is not a list")
    return ObjectMeta(str(entry.get("category", "")), tuple(str(name) for name in frames))


def categories_of(meta: Meta) -> set[str]:
    """All category names of a meta file; those of train are the "seen" ones of the benchmark."""
    return {entry.category for objects in meta.values() for entry in objects.values()}


def youtube_vos(
    root: str | Path,
    split: str = "valid",
    *,
    all_frames: bool = True,
    required_only: bool = True,
) -> list[VideoRecord]:
    """Lists the videos of a split.

    In valid and test a mask file shows only the objects that appear there for the first time;
    0 in it means "not labelled". Frames before the first mask need no result. A video without
    any mask is listed with no masks, for the caller to report.

    Args:
        root: folder with `split` (and `all_frames`).
        split: "train", "train_480p", "valid" or "test".
        all_frames: take the 30-fps frames of `all_frames/SPLIT_all_frames` where they exist.
        required_only: set `required` to the frames that a submission must have: the union of
            the frames of all objects in meta.json.

    Raises:
        DatasetError: files of the layout are missing; all of them are listed.
    """
    root = Path(root)
    dense = root / "all_frames" / f"{split}_all_frames" / "JPEGImages"
    images = dense if all_frames and dense.is_dir() else root / split / "JPEGImages"
    meta_path = root / split / "meta.json"
    meta = read_meta(meta_path) if required_only else {}
    records: list[VideoRecord] = []
    problems: list[str] = []
    annotations = root / split / "Annotations"
    with_masks = set(list_folders(annotations))
    for name in sorted(with_masks.union(list_folders(images))):
        try:
            objects = meta.get(name) if required_only else None
            if required_only and objects is None:
                if name in with_masks:
                    raise DatasetError(f"not in {meta_path}")
                objects = {}
            folder = annotations / name if name in with_masks else None
            records.append(_record(images / name, folder, objects))
        except DatasetError as error:
            problems.append(f"{name}: {error}")
    if problems:
        raise DatasetError(list_problems(f"the split {split} in {root} is incomplete:", problems))
    return records


def _record(
    images: Path, annotations: Path | None, objects: Mapping[int, ObjectMeta] | None
) -> VideoRecord:
    frames = list_images(images)
    index_of = {path.stem: i for i, path in enumerate(frames)}
    files = list_images(annotations) if annotations is not None else ()
    masks = [path for path in files if path.suffix == ".png"]
    wanted = {name for entry in (objects or {}).values() for name in entry.frames}
    unknown = sorted({path.stem for path in masks} | wanted)
    unknown = [name for name in unknown if name not in index_of]
    if unknown:
        raise DatasetError(f"no image in {images} for the frames {', '.join(unknown)}")
    return VideoRecord(
        name=images.name,
        frame_paths=frames,
        mask_paths={index_of[path.stem]: path for path in masks},
        required=None if objects is None else frozenset(index_of[name] for name in wanted),
    )


def write_submission(
    pred_dir: str | Path, zip_path: str | Path, records: Sequence[VideoRecord]
) -> Path:
    """Packs results for the server: `Annotations/VIDEO/NNNNN.png`, exactly the required frames.

    Args:
        pred_dir: results, `VIDEO/NNNNN.png`; a folder `Annotations` in it is found too.
        zip_path: the file to write; it appears only when complete.
        records: the videos of the split, with their required frames.

    Raises:
        DatasetError: required results are missing; all of them are listed.
        OSError: the file cannot be written.
    """
    pred_dir = Path(pred_dir)
    if (pred_dir / "Annotations").is_dir():
        pred_dir = pred_dir / "Annotations"
    names = [
        f"{record.name}/{record.frame_paths[i].stem}.png"
        for record in records
        for i in record.required_indices
    ]
    missing = [name for name in names if not (pred_dir / name).is_file()]
    if missing:
        header = f"{len(missing)} required result(s) missing in {pred_dir}:"
        raise DatasetError(list_problems(header, missing))
    # PNG files are compressed already, so they are only stored.
    with atomic_path(zip_path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name in names:
            archive.write(pred_dir / name, f"Annotations/{name}")
    return Path(zip_path)
