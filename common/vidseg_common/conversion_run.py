"""Writes a data set in another format: categories, ids, frame names and images included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vidseg_common.conversion import (
    all_known,
    apply_category_map,
    flat_names,
    frames_as_videos,
    image_pairs,
    map_categories,
    rename_frames,
    select_categories,
    select_videos,
    with_scores,
    without_extras,
)
from vidseg_common.datasets.annotations import AnnotationSet, Category
from vidseg_common.datasets.category_maps import CATEGORY_MAPS
from vidseg_common.datasets.category_names import standard_categories
from vidseg_common.errors import UserError
from vidseg_common.formats import MOTS_CATEGORIES, Format
from vidseg_common.staging import bring_images, staged_output

_FILE_SUFFIXES = (".json", ".pkl")


@dataclass(frozen=True)
class Conversion:
    """What is wanted of a conversion.

    Attributes:
        images: "none", "link" or "copy".
        split: split to write, None for that of the format.
        kind: kind of annotations to write, for formats that have several.
        mapping: category name or number to new name, None to leave a category out.
        built_in_map: key of `CATEGORY_MAPS` instead.
        categories: names of the categories to keep, in their new order.
        videos: names of the videos to keep.
        overwrite: replace an older output.
        inputs: what is read, and must not be replaced.
        progress: shows bars on stderr.
    """

    images: str = "none"
    split: str | None = None
    kind: str | None = None
    mapping: Mapping[str, str | None] | None = None
    built_in_map: tuple[str, str] | None = None
    categories: Sequence[str] | None = None
    videos: Sequence[str] | None = None
    overwrite: bool = False
    inputs: Sequence[Path | None] = ()
    progress: bool = False


def convert(
    data: AnnotationSet, source: Format, target: Format, out: str | Path, plan: Conversion
) -> list[str]:
    """Writes a data set, and its images if wanted; all or nothing.

    Args:
        data: the data set.
        source: its format.
        target: the wanted format.
        out: file or folder; a folder gets the layout of the target.
        plan: what is wanted.

    Returns:
        What was left out or changed, and what the format could not hold.

    Raises:
        UserError: the target cannot hold it, images are missing, or the output is not empty.
        OSError: a file cannot be written.
    """
    out = Path(out)
    is_file = out.suffix in _FILE_SUFFIXES
    if plan.images != "none":
        _check_images(data, target, is_file)
    if not data.has_annotations and not target.file_name:
        raise UserError(f"the {source.name} set has no annotations to convert (a hidden split)")
    data, notes = prepare(data, source, target, plan)
    with staged_output(out, overwrite=plan.overwrite, inputs=plan.inputs) as temporary:
        file = temporary / target.file_name if target.file_name and not is_file else temporary
        file.parent.mkdir(parents=True, exist_ok=True)
        placed, renamed = _placed(data, target, plan.images != "none")
        notes += renamed
        split = plan.split or target.split or None
        notes += target.write(placed, file, split=split, kind=plan.kind, progress=plan.progress)
        if plan.images != "none":
            folder = temporary / target.images.format(split=split)
            pairs = list(image_pairs(data, placed))
            bring_images(pairs, folder, plan.images, progress=plan.progress)
    return list(dict.fromkeys(notes))


def prepare(
    data: AnnotationSet, source: Format, target: Format, plan: Conversion
) -> tuple[AnnotationSet, list[str]]:
    """Chooses videos and categories and fits ids and scores to the target.

    Returns:
        The data set to write, and what was left out.

    Raises:
        UserError: a video or category that does not exist.
    """
    notes: list[str] = []
    if plan.videos is not None:
        data = select_videos(data, plan.videos)
    if plan.built_in_map is not None:
        data, notes = apply_category_map(data, CATEGORY_MAPS[plan.built_in_map],
                                         _categories_of_map(plan.built_in_map[1]))  # fmt: skip
    elif plan.mapping is not None:
        known = target.categories()
        # Own categories are numbered anew; writers say which ones their format cannot hold.
        known = known if all_known(data, plan.mapping, known) else ()
        data, notes = map_categories(data, plan.mapping, known)
    if plan.categories is not None:
        data, dropped = select_categories(data, plan.categories)
        notes += dropped
    if source.module != target.module:
        data = without_extras(data)
    if target.is_still:
        data = frames_as_videos(data)
    return with_scores(data) if target.is_results else data, notes


def _categories_of_map(target: str) -> tuple[Category, ...]:
    """Categories of a data set by its name in `CATEGORY_MAPS`."""
    if target == "davis":
        return (Category(1, "object"),)
    if target == "kitti-mots":
        return MOTS_CATEGORIES
    return standard_categories("ytvis2021" if target.endswith("2021") else "ytvis2019")


def laid_out(data: AnnotationSet, target: Format) -> AnnotationSet:
    """The data set with its frames named as the layout of the target has them."""
    if target.is_still:
        return flat_names(data)
    return rename_frames(data, target.numbering, target.inner)


def _placed(
    data: AnnotationSet, target: Format, with_images: bool
) -> tuple[AnnotationSet, list[str]]:
    """The data set with the frame names to write, and a note where they do not fit the images."""
    if with_images:
        return laid_out(data, target), []
    # Other masks and annotations keep the names of their images, which stay where they are.
    if target.numbering is None or target.module == "mots":
        return data, []
    placed = laid_out(data, target)
    has_changed = any(
        PurePosixPath(a).stem != PurePosixPath(b).stem
        for old, new in zip(data.videos, placed.videos, strict=True)
        for a, b in zip(old.file_names, new.file_names, strict=True)
    )
    note = "frames were numbered anew; --images link or copy names the images alike"
    return placed, [note] if has_changed else []


def _check_images(data: AnnotationSet, target: Format, is_file: bool) -> None:
    if data.image_root is None:
        raise UserError("it is not known where the images are; name their folder: --image-root DIR")
    if target.is_results:
        raise UserError(f"{target.name} has no images; leave --images out")
    if is_file:
        raise UserError(
            f"--images needs a folder as output, which gets {target.file_name} and "
            f"{target.images.format(split=target.split)}"
        )
