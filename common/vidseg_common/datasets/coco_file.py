"""What the readers of COCO files gather while they walk through one."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vidseg_common.datasets.annotations import AnnotationSet, Category, Clip, Problem, Video
from vidseg_common.datasets.coco_rows import CocoRows
from vidseg_common.errors import DatasetError, list_problems

NO_CATEGORY = -(1 << 62)


@dataclass
class CocoFile:
    """The content of one file.

    Attributes:
        path: the file.
        thorough: also collect remarks, which takes longer.
        is_results: predictions, which have scores.
        images: image id to its entry, in the order of the file.
        categories: in the order of the file.
        rows: the objects that can be used.
        met_ids: ids of all objects, usable or not.
        met_category_ids: class of each, `NO_CATEGORY` where it is no number.
        info: what the file says about itself.
        has_annotations: False where the file only lists images.
        problems: what makes the file unusable.
        remarks: what is doubtful.
    """

    path: Path
    thorough: bool = False
    is_results: bool = False
    images: dict[int, dict[str, Any]] = field(default_factory=dict)
    categories: dict[int, Category] = field(default_factory=dict)
    rows: CocoRows = field(default_factory=CocoRows)
    met_ids: array[int] = field(default_factory=lambda: array("q"))
    met_category_ids: array[int] = field(default_factory=lambda: array("q"))
    info: dict[str, Any] = field(default_factory=dict)
    has_annotations: bool = False
    problems: list[Problem] = field(default_factory=list)
    remarks: list[Problem] = field(default_factory=list)

    def note(self, where: str, name: str, message: str) -> None:
        """Adds a problem."""
        self.problems.append(Problem(self.path, where, name, message))

    def remark(self, where: str, name: str, message: str) -> None:
        """Adds a remark."""
        self.remarks.append(Problem(self.path, where, name, message))

    def raise_problems(self) -> None:
        """Refuses a file that cannot be used.

        Raises:
            DatasetError: there are problems; all are listed.
        """
        if self.problems:
            header = f"{self.path} cannot be used:"
            raise DatasetError(list_problems(header, map(str, self.problems)))

    def annotation_set(
        self, videos: Sequence[Video], categories: Sequence[Category], image_root: Path | None
    ) -> AnnotationSet:
        """The objects as a data set.

        Args:
            videos: the images; their ids are those of the file.
            categories: the classes.
            image_root: folder of the images.
        """
        labelled = None if self.has_annotations else frozenset[int]()

        def load(position: int) -> Clip:
            video = videos[position]
            tracks = self.rows.tracks(video.id, video.height, video.width)
            return Clip(video, tracks, labelled=labelled)

        return AnnotationSet(videos, categories, load, image_root, self.has_annotations, self.info)
