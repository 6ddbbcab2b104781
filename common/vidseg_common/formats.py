"""The annotation formats by name: how each is read, written and checked.

A format is a module of `vidseg_common.datasets`, imported when it is first used. Every format is
read into, and written from, the records of `datasets.annotations`, so that any pair converts.
Source: spec common section 1.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidseg_common.annotation_files import annotation_files, find_images
from vidseg_common.arguments import did_you_mean
from vidseg_common.datasets.annotations import AnnotationSet, Category, Problem
from vidseg_common.datasets.category_names import CATEGORY_NAMES, standard_categories
from vidseg_common.errors import UserError

_DATASETS = "vidseg_common.datasets"


@dataclass(frozen=True)
class Format:
    """One annotation format.

    Attributes:
        name: as it is typed.
        title: one line that says what it is.
        module: module of `vidseg_common.datasets` that knows it.
        file_name: name of the annotation file below the root, "" where the format is a folder.
        suffix: of the one file of a folder, for formats whose reader takes folders too.
        images: where images lie below the root of a data set, with "{split}" for the split.
        inner: folder of the images within that of their video, ending in "/".
        numbering: digits and first number of frame names, where the format prescribes them.
        split: the split that is written where none is asked for, "" without splits.
        is_results: predictions, which are read beside their ground truth.
        is_still: holds single images.
        options: keyword arguments of its functions that tell it from its relatives.
    """

    name: str
    title: str
    module: str
    file_name: str = ""
    suffix: str = ""
    images: str = "JPEGImages"
    inner: str = ""
    numbering: tuple[int, int] | None = None
    split: str = ""
    is_results: bool = False
    is_still: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def function(self, role: str) -> Callable[..., Any]:
        """The function of its module for "read", "write" or "validate".

        Raises:
            UserError: the format has none, such as one that is only read.
        """
        usual = f"{role}_results" if self.is_results else role
        module = importlib.import_module(f"{_DATASETS}.{self.module}")
        found = getattr(module, usual, None)
        if found is None:
            raise UserError(f"the format {self.name} has no function to {role} it")
        return found

    def can(self, role: str) -> bool:
        """Whether the format has a function for "read", "write" or "validate"."""
        module = importlib.import_module(f"{_DATASETS}.{self.module}")
        usual = f"{role}_results" if self.is_results else role
        return hasattr(module, usual)

    @property
    def takes_kind(self) -> bool:
        """Whether it has several kinds of annotations to choose from."""
        return self.name == "sailvos"

    def read(
        self, path: str | Path, *, truth: AnnotationSet | None = None, **asked: Any
    ) -> AnnotationSet:
        """Reads a data set or results; strict.

        Args:
            path: the annotation file, or the folder that holds it.
            truth: the ground truth that results belong to.
            **asked: `images`, `split`, `kind`, `all_frames`, `progress`; None counts as not asked.

        Raises:
            UserError: it cannot be read; all problems that were met are listed.
        """
        return self._call("read", self.locate(path, asked.get("split")), truth, asked)

    def write(self, annotations: AnnotationSet, out: str | Path, **asked: Any) -> list[str]:
        """Writes annotations, never images.

        Args:
            annotations: what to write.
            out: the annotation file, or the root folder of the data set.
            **asked: `split`, `kind`, `progress`; None counts as not asked.

        Returns:
            What the format could not hold.

        Raises:
            UserError: the format cannot hold it at all.
            OSError: a file cannot be written.
        """
        write = self.function("write")
        return write(annotations, Path(out), **self._arguments(write, asked)) or []

    def validate(
        self, path: str | Path, *, truth: AnnotationSet | None = None, **asked: Any
    ) -> list[Problem]:
        """Lists everything that is wrong; arguments as `read`."""
        return self._call("validate", self.locate(path, asked.get("split")), truth, asked)

    def locate(self, path: str | Path, split: str | None = None) -> Path:
        """The annotation file where a folder was named and the format is one file.

        Args:
            path: the file, or a folder around it.
            split: part of the name of the file, where there are several.

        Raises:
            UserError: the folder has no such file, or several.
        """
        path = Path(path)
        suffix = self.suffix or Path(self.file_name).suffix
        if not suffix or not path.is_dir():
            return path
        if self.file_name and (path / self.file_name).is_file():
            return path / self.file_name
        found = annotation_files(path, suffix)
        if split is not None and len(found) > 1:
            found = [file for file in found if split in file.relative_to(path).as_posix()]
        if len(found) == 1:
            return found[0]
        if self.takes_kind:
            return path  # the reader is told which kind it shall take
        names = ", ".join(str(file.relative_to(path)) for file in found[:5]) or "none"
        raise UserError(
            f"{path}: expected {self.file_name}, or a single file *{suffix}, for the format "
            f"{self.name}; found {names}; name the file"
        )

    def image_root(
        self, path: str | Path, split: str | None = None, kind: str | None = None
    ) -> Path | None:
        """Where the images that an annotation file names lie; None where the reader knows."""
        if not self.file_name and not self.suffix:
            return None
        file = self.locate(path, split)
        if self.takes_kind:
            file = importlib.import_module(f"{_DATASETS}.{self.module}").file_of(file, split, kind)
        return find_images(file) if file.is_file() and file.suffix == ".json" else None

    def _call(
        self, role: str, path: Path, truth: AnnotationSet | None, asked: Mapping[str, Any]
    ) -> Any:
        function = self.function(role)
        if not self.is_results:
            return function(path, **self._arguments(function, asked))
        if truth is not None:
            # The split, kind and frames that were asked for are those of the ground truth.
            taken = inspect.signature(function).parameters
            asked = {name: value for name, value in asked.items() if name in taken}
        return function(path, truth, **self._arguments(function, asked))

    def _arguments(self, function: Callable[..., Any], asked: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a function: what tells the format apart, and what was asked for."""
        taken = inspect.signature(function).parameters
        chosen = {name: value for name, value in self.options.items() if name in taken}
        for name, value in asked.items():
            if value is None:
                continue
            if name in taken:
                chosen[name] = value
            elif name not in ("progress", "images"):
                flag = name.replace("_", "-")
                raise UserError(f"the format {self.name} has no {flag}; leave --{flag} out")
        return chosen

    def categories(self) -> tuple[Category, ...]:
        """The categories of the benchmark, () where it has none of its own."""
        if self.name in CATEGORY_NAMES:
            return standard_categories(self.name)
        return MOTS_CATEGORIES if self.module == "mots" else ()


MOTS_CATEGORIES = (Category(1, "car"), Category(2, "pedestrian"))
"""What KITTI-MOTS and MOTSChallenge annotate."""


def _youtube_vis(name: str, title: str) -> Format:
    options = {"benchmark": name}
    return Format(name, title, "youtube_vis", "instances.json", options=options)


def _masks(name: str, title: str, form: str, **more: Any) -> Format:
    options = {"form": form}
    return Format(name, title, "mask_folder", options=options, **more)


def _mots(name: str, title: str, form: str, **more: Any) -> Format:
    return Format(name, title, "mots", options={"form": form}, **more)


def _results(name: str, title: str, module: str, file_name: str = "", **more: Any) -> Format:
    return Format(name, title, module, file_name, is_results=True, **more)


_DAVIS: Mapping[str, Any] = {"images": "JPEGImages/480p", "numbering": (5, 0), "split": "val"}

FORMATS: Mapping[str, Format] = {
    entry.name: entry
    for entry in (
        _masks("davis2016", "DAVIS 2016: one object, grey PNG", "davis2016", **_DAVIS),
        _masks("davis2017", "DAVIS 2017 semi-supervised: palette PNG", "davis2017", **_DAVIS),
        _masks("davis2019", "DAVIS 2019 unsupervised: palette PNG, 255 void", "davis2019",
               **_DAVIS),
        _masks("mask-folder", "any folder of masks, VIDEO/NAME.png", "folder"),
        Format("youtube-vos", "YouTube-VOS: palette PNG and meta.json", "youtube_vos_annotations",
               images="{split}/JPEGImages", split="train"),
        _youtube_vis("ytvis2019", "YouTube-VIS 2019 JSON"),
        _youtube_vis("ytvis2021", "YouTube-VIS 2021 JSON"),
        _youtube_vis("ovis", "OVIS JSON, with occlusion levels"),
        _mots("kitti-mots-png", "KITTI-MOTS: 16-bit PNG", "png",
              images="training/image_02", numbering=(6, 0), split="val"),
        _mots("kitti-mots-txt", "KITTI-MOTS: one text file per sequence", "txt",
              images="training/image_02", numbering=(6, 0), split="val"),
        _mots("mots-challenge", "MOTSChallenge: SEQ/gt/gt.txt and seqinfo.ini", "challenge",
              images="MOTS-{split}", inner="img1/", numbering=(6, 1), split="train"),
        Format("coco", "COCO instances JSON", "coco", "instances.json", images="images",
               is_still=True),
        Format("pascal-voc", "Pascal VOC: SegmentationObject and SegmentationClass", "pascal_voc",
               is_still=True),
        Format("mapillary", "Mapillary Vistas: instances PNG and config.json", "mapillary",
               images="{split}/images", split="training", is_still=True),
        Format("stemseg-video", "STEm-Seg JSON of videos", "stemseg_json", "annotations.json",
               options={"kind": "video"}),
        Format("stemseg-image", "STEm-Seg JSON of images", "stemseg_json", "annotations.json",
               is_still=True, options={"kind": "image"}),
        Format("sailvos", "SAIL-VOS JSON: amodal, visible or joint", "sailvos",
               suffix=".json", images="sailvos_png", inner="images/", split="valid"),
        _results("davis-results", "results of DAVIS or any mask folder", "mask_folder"),
        _results("youtube-vos-results", "results of YouTube-VOS", "youtube_vos_annotations"),
        _results("ytvis-results", "results of YouTube-VIS", "youtube_vis", "results.json"),
        _results("ovis-results", "results of OVIS", "youtube_vis", "results.json"),
        _results("kitti-mots-results", "results of KITTI-MOTS, txt or PNG", "mots"),
        _results("coco-results", "results of COCO", "coco", "results.json", is_still=True),
        _results("sailvos-results", "results of SAIL-VOS, pickle", "sailvos_results",
                 "results.pkl"),
    )
}  # fmt: skip
"""Every format by its name."""


def find_format(name: str) -> Format:
    """The format of a name.

    Raises:
        UserError: there is none; the nearest name is told.
    """
    if name not in FORMATS:
        raise UserError(
            f"unknown format {name!r}{did_you_mean(name, FORMATS)} (`vidseg formats` lists them)"
        )
    return FORMATS[name]
