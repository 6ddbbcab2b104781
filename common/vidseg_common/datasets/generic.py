"""Any data set of folders: images and masks side by side, one sub-folder per video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vidseg_common.datasets.records import VideoRecord, list_folders, list_images
from vidseg_common.errors import DatasetError, list_problems


def generic_folder(root: str | Path) -> list[VideoRecord]:
    """Lists videos to segment: `JPEGImages/VIDEO/*` and `Annotations/VIDEO/STEM.png`.

    Annotations may belong to any frame; frames before the first one are not required. They are
    matched to images by name without suffix. A video without any is listed with no masks and no
    required frames, for the caller to report.

    Args:
        root: folder with JPEGImages and Annotations.

    Raises:
        DatasetError: a folder is missing, or videos lack images; all are listed.
    """
    root = Path(root)
    images_root, masks_root = root / "JPEGImages", root / "Annotations"
    with_masks = set(list_folders(masks_root))
    records: list[VideoRecord] = []
    problems: list[str] = []
    for name in list_folders(images_root):
        try:
            masks = masks_root / name if name in with_masks else None
            record = _record(name, images_root / name, masks)
        except DatasetError as error:
            problems.append(f"{name}: {error}")
            continue
        first = min(record.mask_paths, default=record.num_frames)
        required = frozenset(range(first, record.num_frames)) if first else None
        records.append(VideoRecord(record.name, record.frame_paths, record.mask_paths, required))
    _raise_all(root, records, problems)
    return records


def image_mask_tree(
    images_root: str | Path, masks_root: str | Path, names: Sequence[str] | None = None
) -> list[VideoRecord]:
    """Lists videos to train on: only frames that have a mask are kept.

    Args:
        images_root: `VIDEO/*` images.
        masks_root: `VIDEO/STEM.png` masks.
        names: only these videos, by default all that both folders have.

    Raises:
        DatasetError: folders are missing, or a named video has no annotated frame.
    """
    images_root, masks_root = Path(images_root), Path(masks_root)
    if names is None:
        with_masks = set(list_folders(masks_root))
        names = [name for name in list_folders(images_root) if name in with_masks]
    records: list[VideoRecord] = []
    problems: list[str] = []
    for name in names:
        try:
            full = _record(name, images_root / name, masks_root / name)
            if not full.mask_paths:
                raise DatasetError(
                    f"no annotation in {masks_root / name} has the name of an image in "
                    f"{images_root / name}"
                )
        except DatasetError as error:
            problems.append(f"{name}: {error}")
            continue
        kept = sorted(full.mask_paths)
        frames = tuple(full.frame_paths[i] for i in kept)
        masks = {position: full.mask_paths[i] for position, i in enumerate(kept)}
        records.append(VideoRecord(name, frames, masks))
    _raise_all(images_root, records, problems)
    return records


def _record(name: str, images: Path, masks: Path | None) -> VideoRecord:
    frames = list_images(images)
    if not frames:
        raise DatasetError(f"no images in {images}")
    stems = [path.stem for path in frames]
    doubled = sorted(stem for stem, count in Counter(stems).items() if count > 1)
    if doubled:
        raise DatasetError(f"several images in {images} have the name {', '.join(doubled)}")
    files = list_images(masks) if masks is not None else ()
    by_stem = {path.stem: path for path in files if path.suffix.lower() == ".png"}
    found = {i: by_stem[stem] for i, stem in enumerate(stems) if stem in by_stem}
    return VideoRecord(name, frames, found)


def _raise_all(root: Path, records: Sequence[VideoRecord], problems: Sequence[str]) -> None:
    if problems:
        raise DatasetError(list_problems(f"the data set in {root} is incomplete:", problems))
    if not records:
        raise DatasetError(f"no video in {root}: expected one sub-folder of images per video")
