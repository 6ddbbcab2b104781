"""Training clips made of single images: COCO, Pascal VOC, Mapillary. Source: spec 7.4."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from stemseg.data.augment import image_augmenter
from stemseg.data.clip_arrays import ClipLabels, FrameArrays, make_sample
from stemseg.data.samples import ClipSample, ClipSet
from stemseg.data.sequences import ImageFile, ImageRecord
from stemseg.inference.preprocess import InputRule
from vidseg_common.datasets.category_maps import CategoryMap
from vidseg_common.errors import DatasetError
from vidseg_common.frame_augment import FrameAugmenter
from vidseg_common.packed import PackedList


@dataclass(frozen=True)
class ImageRules:
    """How the clips of one data set differ from those of another.

    Attributes:
        name: of the data set.
        categories: what becomes of its classes.
        augmenter: what makes further frames.
        min_area: pixels below which an instance is dropped.
        max_instances: largest masks that may become instances, the others being ignored; None
            for no limit and the order of the file.
    """

    name: str
    categories: CategoryMap
    augmenter: FrameAugmenter
    min_area: int = 0
    max_instances: int | None = None


def coco_rules(categories: CategoryMap) -> ImageRules:
    """The rules of COCO."""
    return ImageRules("coco", categories, image_augmenter(rotation=12.0, blur=0.25))


def pascal_voc_rules(categories: CategoryMap) -> ImageRules:
    """The rules of Pascal VOC."""
    augmenter = image_augmenter(rotation=10.0, blur=0.25)
    return ImageRules("pascalvoc", categories, augmenter, min_area=50)


def mapillary_rules(categories: CategoryMap, max_instances: int = 30) -> ImageRules:
    """The rules of Mapillary Vistas."""
    augmenter = image_augmenter(rotation=10.0, blur=0.0)
    return ImageRules("mapillary", categories, augmenter, 30, max_instances)


def filter_images(records: Iterable[ImageRecord], rules: ImageRules) -> Iterator[ImageRecord]:
    """The images with an instance of a kept class, with their kept and ignored instances.

    Args:
        records: all images.
        rules: classes and smallest area.
    """
    for record in records:
        fates = [rules.categories.fate(category) for category in record.categories]
        chosen = [i for i, fate in enumerate(fates) if fate != "dropped"]
        if rules.min_area and chosen:
            # Areas of what is left are quicker than those of all.
            areas = _select(record, chosen).mask_areas()
            pairs = zip(chosen, areas, strict=True)
            chosen = [i for i, area in pairs if area >= rules.min_area]
        if any(fates[i] == "kept" for i in chosen):
            yield _select(record, chosen)


def limit_instances(record: ImageRecord, rules: ImageRules) -> tuple[ImageRecord, np.ndarray]:
    """Divides the masks of an image into instances and ignore region.

    With a limit, masks are sorted by area, the largest first; those beyond it are ignored.

    Returns:
        The image with its instances alone, and the ignore region, (H, W) uint8.
    """
    region = record.load_ignore_mask()
    ignore = np.zeros((record.height, record.width), np.uint8) if region is None else region
    order = list(range(len(record.categories)))
    limit = len(order)
    if rules.max_instances is not None:
        areas = record.mask_areas()
        order.sort(key=lambda i: -areas[i])
        limit = rules.max_instances
    fates = [rules.categories.fate(category) for category in record.categories]
    kept = [i for i in order[:limit] if fates[i] == "kept"]
    for mask in _select(record, sorted(set(order).difference(kept))).load_masks():
        ignore |= mask
    return _select(record, kept), ignore


def _select(record: ImageRecord, chosen: Iterable[int]) -> ImageRecord:
    indices = list(chosen)
    return replace(
        record,
        categories=tuple(record.categories[i] for i in indices),
        segmentations=tuple(record.segmentations[i] for i in indices),
    )


class ImageClips(ClipSet):
    """Images of a data set, each made into a clip by random variations of it.

    Args:
        file: images and their folder.
        rules: what is particular to the data set.
        num_frames: frames of a clip.
        pixels: size and normalisation of frames.
        category_names: names of the classes of the samples.

    Raises:
        DatasetError: no image has an instance of a kept class.
    """

    def __init__(
        self,
        file: ImageFile,
        rules: ImageRules,
        num_frames: int,
        pixels: InputRule,
        category_names: dict[int, str] | None = None,
    ) -> None:
        self.name = rules.name
        self.rules = rules
        self.num_frames = num_frames
        self.pixels = pixels
        self.image_root = file.image_root
        self.category_names = dict(category_names or {})
        self.records = PackedList(filter_images(file.records, rules))
        if not self.records:
            raise DatasetError(
                f"{rules.name}: none of the {len(file.records)} images has an instance of a class "
                "to train on"
            )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.records)

    def sample(self, index: int, rng: random.Random) -> ClipSample:
        """Makes a clip of an image: itself and variations of it, in random order."""
        record, ignore = limit_instances(self.records[index], self.rules)
        first = FrameArrays(record.load_image(self.image_root), record.load_masks(), ignore)
        if rng.random() < 0.5:
            first = first.flipped()
        others = range(self.num_frames - 1)
        frames = [first, *(first.augmented(self.rules.augmenter, rng) for _ in others)]
        rng.shuffle(frames)
        mapped = [self.rules.categories.kept[category] for category in record.categories]
        return make_sample(frames, ClipLabels(record.path, mapped), self.pixels)
