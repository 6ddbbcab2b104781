"""Writes synthetic videos in the layout of any data set: images in their place, annotations too.

The same videos hold the same objects in every layout. Videos are taken one by one: the images of
one are written and its encoded masks set aside on disk, from where the writers of the formats
fetch them. Sources: spec common 1, vatrack 4, stemseg 2-3, devis 3.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vidseg_common.arguments import did_you_mean
from vidseg_common.background import write_image
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Track, Video
from vidseg_common.datasets.spool import Spool
from vidseg_common.errors import ConfigError, DatasetError
from vidseg_common.synthetic_annotations import CATEGORIES, clip_of
from vidseg_common.synthetic_render import SyntheticVideo
from vidseg_common.synthetic_writers import write_davis, write_youtube_vos

_MACHINES = ("vehicle", "cycle", "blob", "cluster", "bush")
MOTS_CLASSES: Mapping[int, int] = {c.id: 1 if c.name in _MACHINES else 2 for c in CATEGORIES}
"""KITTI-MOTS has cars (1) and pedestrians (2): things become cars, creatures pedestrians."""

_SAILVOS_NAMES = {
    "blob": "bag",
    "cluster": "box",
    "quadruped": "dog",
    "vehicle": "car",
    "cycle": "motorcycle",
    "bush": "potted plant",
}
SAILVOS_CLASSES: Mapping[int, int] = {
    c.id: sailvos.CLASS_NAMES.index(_SAILVOS_NAMES.get(c.name, c.name)) + 1 for c in CATEGORIES
}
"""The class of SAIL-VOS that each of ours comes nearest to."""

_MOTS_IDS = 1000
Split = str


@dataclass(frozen=True)
class WrittenSet:
    """What was written.

    Attributes:
        names: the videos, in order.
        warnings: what the format could not hold.
    """

    names: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def without_hidden_parts(clip: Clip) -> Clip:
    """The clip as most formats hold it: visible masks alone."""
    tracks = [replace(t, amodal=None, occlusion=None, occlude_rates=None) for t in clip.tracks]
    return replace(clip, tracks=tracks)


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files.

    Attributes:
        splits: names of its splits by "train" and "val"; the first is the default.
        images: folder of the images below the root, with "{split}".
        frame: name of a frame below that folder, from the name of the video and the positions
            of the frame in its video and in the data set, both from 0.
        write: writes the annotations below the root.
        name: name of a video from that of the scene and its number.
        prepare: changes clips into what the format holds.
        categories: classes of the annotations.
    """

    splits: Mapping[str, str]
    images: str
    frame: Callable[[str, int, int], str]
    write: Callable[[AnnotationSet, Path, Split], list[str]]
    name: Callable[[str, int], str] = lambda scene, _: scene
    prepare: Callable[[Clip], Clip] = without_hidden_parts
    categories: tuple[Category, ...] = CATEGORIES


def _with_levels(clip: Clip) -> Clip:
    """The clip as OVIS holds it: visible masks and occlusion levels."""
    return replace(
        clip, tracks=[replace(track, amodal=None, occlude_rates=None) for track in clip.tracks]
    )


def _with_rates(clip: Clip) -> Clip:
    """The clip as SAIL-VOS holds it: its classes, visible and whole masks and hidden shares."""
    tracks = [
        replace(track, occlusion=None, category_id=SAILVOS_CLASSES[track.category_id])
        for track in clip.tracks
    ]
    return replace(clip, tracks=tracks)


def _with_mots_classes(clip: Clip) -> Clip:
    """The clip as KITTI-MOTS holds it: two classes, ids with the class in front."""
    classes = [MOTS_CLASSES[track.category_id] for track in clip.tracks]
    plain = without_hidden_parts(clip)
    tracks = [
        replace(track, id=_MOTS_IDS * number + track.id, category_id=number)
        for track, number in zip(plain.tracks, classes, strict=True)
    ]
    return replace(plain, tracks=tracks)


def _module(name: str) -> Any:
    return importlib.import_module(f"vidseg_common.datasets.{name}")


def _write_ytvis(data: AnnotationSet, root: Path, split: Split) -> list[str]:
    return _module("youtube_vis").write(data, root / split / "instances.json")


def _write_ovis(data: AnnotationSet, root: Path, split: Split) -> list[str]:
    return _module("youtube_vis").write(data, root / f"annotations_{split}.json")


def _write_kitti(data: AnnotationSet, root: Path, split: Split) -> list[str]:
    write = _module("mots").write
    return [w for form in ("png", "txt") for w in write(data, root, split=split, form=form)]


def _write_sailvos(data: AnnotationSet, root: Path, split: Split) -> list[str]:
    kinds = [("amodal", None), ("visible", None), ("joint", "amdl"), ("joint", "both")]
    notes = []
    for kind, bbox in kinds:
        notes += sailvos.write(data, root / "sailvos_cut_json", split=split, kind=kind, bbox=bbox)
    return notes


def _write_coco(data: AnnotationSet, root: Path, split: Split) -> list[str]:
    return _module("coco").write(data, root / "annotations" / f"instances_{split}2017.json")


def _write_stemseg(data: AnnotationSet, root: Path, split: Split) -> list[str]:
    """As videos of YouTube-VIS (below the root) and of DAVIS, and as images of COCO."""
    write, folder = _module("stemseg_json").write, root / "annotations"
    short = "val" if split == "valid" else split
    prefix = f"{split}/JPEGImages"
    notes = write(data, folder / f"youtube_vis_{short}.json", ids="number", image_prefix=prefix)
    notes += write(data, folder / f"davis_{short}.json", ids="name")
    return notes + write(data, folder / "coco.json", kind="image")


_TRAIN_VALID = {"train": "train", "val": "valid"}
_TRAIN_VAL = {"train": "train", "val": "val"}

LAYOUTS: Mapping[str, Layout] = {
    "ytvis": Layout(
        _TRAIN_VALID,
        "{split}/JPEGImages",
        lambda name, t, _: f"{name}/{t:05d}.jpg",
        _write_ytvis,
    ),
    "ovis": Layout(
        _TRAIN_VALID,
        "{split}",
        lambda name, t, _: f"{name}/img_{t + 1:07d}.jpg",
        _write_ovis,
        prepare=_with_levels,
    ),
    "kitti-mots": Layout(
        _TRAIN_VAL,
        "training/image_02",
        lambda name, t, _: f"{name}/{t:06d}.png",
        _write_kitti,
        name=lambda _, number: f"{number:04d}",
        prepare=_with_mots_classes,
        categories=(Category(1, "car"), Category(2, "pedestrian")),
    ),
    "sailvos": Layout(
        _TRAIN_VALID,
        "sailvos_cut_png",
        lambda name, t, _: f"{name}/images/{t:06d}.png",
        _write_sailvos,
        prepare=_with_rates,
        categories=tuple(Category(n, name) for n, name in enumerate(sailvos.CLASS_NAMES, 1)),
    ),
    "coco": Layout(
        _TRAIN_VAL,
        "{split}2017",
        lambda _, __, position: f"{position + 1:012d}.jpg",
        _write_coco,
    ),
    "stemseg": Layout(
        _TRAIN_VALID,
        "{split}/JPEGImages",
        lambda name, t, _: f"{name}/{t:05d}.jpg",
        _write_stemseg,
    ),
}
"""Layouts whose annotations are written from the hub records."""

LAYOUT_NAMES: tuple[str, ...] = ("davis", "davis2016", "youtube-vos", *LAYOUTS)
"""Every layout that `write_layout` knows."""


def write_layout(
    layout: str, videos: Iterable[SyntheticVideo], root: str | Path, *, split: str | None = None
) -> WrittenSet:
    """Writes videos as a data set.

    Args:
        layout: one of `LAYOUT_NAMES`.
        videos: what to write, one held at a time; names must differ.
        root: root folder of the data set.
        split: "train" or "val" ("valid" is the same); test splits for "davis" and
            "youtube-vos". By default "train", for those two "val".

    Raises:
        ConfigError: there is no such layout or split.
        DatasetError: two videos have one name, or there is none.
        OSError: a file cannot be written.
    """
    root = Path(root)
    if layout == "youtube-vos":
        names = write_youtube_vos(videos, root, "valid" if split in (None, "val") else str(split))
        return WrittenSet(tuple(names))
    if layout in ("davis", "davis2016"):
        year = 2016 if layout == "davis2016" else 2017
        return WrittenSet(tuple(write_davis(videos, root, year=year, split=split or "val")))
    if layout not in LAYOUTS:
        hint = did_you_mean(layout, LAYOUT_NAMES)
        raise ConfigError(f"no layout {layout!r}{hint}; known: {', '.join(LAYOUT_NAMES)}")
    return _write(LAYOUTS[layout], videos, root, split)


def _write(
    layout: Layout, videos: Iterable[SyntheticVideo], root: Path, split: str | None
) -> WrittenSet:
    wanted = "val" if split == "valid" else split or "train"
    if wanted not in layout.splits:
        raise ConfigError(f"this layout has the splits {', '.join(layout.splits)}, not {split!r}")
    name = layout.splits[wanted]
    image_root = root / layout.images.format(split=name)
    spool, records = Spool(), list[Video]()
    for clip in _clips(layout, videos, image_root):
        spool.append(asdict(clip))
        records.append(clip.video)
    if not records:
        raise DatasetError("there is no video to write")
    data = AnnotationSet(
        records, layout.categories, lambda i: _restore(spool[i]), image_root=image_root
    )
    warnings = layout.write(data, root, name)
    return WrittenSet(tuple(video.name for video in records), tuple(warnings))


def _clips(layout: Layout, videos: Iterable[SyntheticVideo], image_root: Path) -> Iterator[Clip]:
    """Writes the images of every video and yields its annotations."""
    seen: set[str] = set()
    position = 0
    for number, video in enumerate(videos):
        if video.name in seen:
            raise DatasetError(f"two videos are called {video.name}")
        seen.add(video.name)
        name = layout.name(video.name, number)
        frames = range(len(video.frames))
        file_names = [layout.frame(name, t, position + t) for t in frames]
        position += len(file_names)
        _write_images(image_root, file_names, video)
        yield layout.prepare(clip_of(video, number + 1, file_names, name=name))


def _write_images(folder: Path, names: Sequence[str], video: SyntheticVideo) -> None:
    for name, frame in zip(names, video.frames, strict=True):
        write_image(folder / name, frame)


def _restore(record: Mapping[str, Any]) -> Clip:
    """The clip that `asdict` took apart."""
    video = dict(record["video"])
    video["file_names"] = tuple(video["file_names"])
    return Clip(Video(**video), [Track(**track) for track in record["tracks"]])
