"""J and F over seen and unseen categories, for local scores on data with full annotations.

The server of YouTube-VOS keeps its code to itself; what is not published is assumed here (spec
common section 4.9), so never report these numbers as server numbers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.datasets.youtube_vos import Meta, ObjectMeta
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.object_frames import FrameResult, FrameTask, raise_all, score_videos

_Listed = dict[str, dict[int, list[str]]]  # video -> object id -> names of its scored frames


@dataclass(frozen=True)
class YouTubeVOSRow:
    """Mean J and F of one object.

    Attributes:
        video: name of the video.
        object_id: id of the object.
        category: its category.
        seen: whether the category is one of training.
        j: mean J over its evaluated frames.
        f: mean F over its evaluated frames.
        num_frames: number of evaluated frames.
        frames: names of the evaluated frames.
        j_frames: J of each of them.
        f_frames: F of each of them.
    """

    video: str
    object_id: int
    category: str
    seen: bool
    j: float
    f: float
    num_frames: int
    frames: tuple[str, ...] = ()
    j_frames: tuple[float, ...] = ()
    f_frames: tuple[float, ...] = ()


@dataclass(frozen=True)
class YouTubeVOSResult:
    """The score of a set of videos.

    Attributes:
        rows: one per object, in order of video and id.
    """

    rows: tuple[YouTubeVOSRow, ...]

    def _mean(self, measure: str, seen: bool) -> float:
        values = [getattr(row, measure) for row in self.rows if row.seen == seen]
        return float(np.mean(values)) if values else math.nan

    @property
    def j_seen(self) -> float:
        """Mean J over objects of seen categories; NaN without such objects."""
        return self._mean("j", True)

    @property
    def j_unseen(self) -> float:
        """Mean J over objects of unseen categories; NaN without such objects."""
        return self._mean("j", False)

    @property
    def f_seen(self) -> float:
        """Mean F over objects of seen categories; NaN without such objects."""
        return self._mean("f", True)

    @property
    def f_unseen(self) -> float:
        """Mean F over objects of unseen categories; NaN without such objects."""
        return self._mean("f", False)

    @property
    def overall(self) -> float:
        """Mean of the four numbers; of two where all objects are seen, or none is."""
        four = (self.j_seen, self.f_seen, self.j_unseen, self.f_unseen)
        return float(np.mean([value for value in four if not math.isnan(value)]))

    @property
    def global_scores(self) -> dict[str, float]:
        """The five numbers that papers report."""
        return {
            "overall": self.overall,
            "J_seen": self.j_seen,
            "F_seen": self.f_seen,
            "J_unseen": self.j_unseen,
            "F_unseen": self.f_unseen,
        }

    @property
    def numbers(self) -> dict[str, float]:
        """The headline, in order; the same as `global_scores`."""
        return self.global_scores

    def per_class(self) -> list[dict[str, Any]]:
        """One row per category: name, whether it is seen, and the means over its objects."""
        return [
            {"category": name, "seen": rows[0].seen, **_means(rows)}
            for name, rows in sorted(self._grouped("category").items())
        ]

    def per_video(self) -> list[dict[str, Any]]:
        """One row per video: its name and the means over its objects."""
        return [{"video": name, **_means(rows)} for name, rows in self._grouped("video").items()]

    def _grouped(self, field: str) -> dict[str, list[YouTubeVOSRow]]:
        groups: dict[str, list[YouTubeVOSRow]] = {}
        for row in self.rows:
            groups.setdefault(getattr(row, field), []).append(row)
        return groups

    def table(self) -> str:
        """The five numbers as text, times 100 with one decimal; "-" where there is none."""
        cells = [
            (name, "-" if math.isnan(value) else f"{100 * value:.1f}")
            for name, value in self.global_scores.items()
        ]
        widths = [max(len(name), len(value)) for name, value in cells]
        lines = zip(*cells, strict=True)
        return "".join(
            "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + "\n"
            for line in lines
        )

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision, ready for JSON; null where a group is empty."""
        scores = {k: None if math.isnan(v) else v for k, v in self.global_scores.items()}
        return {
            "metric": "youtube_vos",
            "global": scores,
            "objects": [asdict(row) for row in self.rows],
        }


def _means(rows: Collection[YouTubeVOSRow]) -> dict[str, float]:
    j, f = (float(np.mean([getattr(row, letter) for row in rows])) for letter in ("j", "f"))
    return {"J&F": (j + f) / 2, "J": j, "F": f}


def evaluate_youtube_vos(
    gt_annotations: str | Path,
    meta: Meta,
    results_root: str | Path,
    *,
    seen_categories: Collection[str],
    workers: int = 1,
    progress: bool = True,
    include_first: bool = False,
) -> YouTubeVOSResult:
    """Scores results on videos whose annotations are complete, such as a part of train.

    An object is scored in the frames that the meta file lists for it, without the first, whose
    mask was given. An object with a single listed frame is left out. Ids of the prediction that
    are no objects of the video are background.

    Args:
        gt_annotations: annotations, `VIDEO/NNNNN.png`.
        meta: the videos and objects to score, as `read_meta` gives it.
        results_root: predictions of the same names.
        seen_categories: names of the categories of training (`categories_of` its meta file).
        workers: number of processes.
        progress: shows a progress bar on stderr.
        include_first: score the first frame of every object too.

    Raises:
        DatasetError: missing or unusable files; one error lists all problems.
    """
    gt_annotations, results_root = Path(gt_annotations), Path(results_root)
    listed = _scored_frames(meta, 0 if include_first else 1)
    videos = {
        video: _tasks(gt_annotations / video, results_root / video, frames_of)
        for video, frames_of in listed.items()
    }
    absent = [(v, t.gt) for v, tasks in videos.items() for t in tasks if not t.gt.is_file()]
    raise_all([f"{video}: missing annotation {path}" for video, path in absent])
    scores = score_videos(videos, workers=workers, progress=progress)
    results = {
        video: {task.gt.stem: frame for task, frame in zip(tasks, scores[video], strict=True)}
        for video, tasks in videos.items()
    }
    rows = [
        _row(video, i, meta[video][i], meta[video][i].category in seen_categories, results[video])
        for video, frames_of in listed.items()
        for i, frames in frames_of.items()
        if frames
    ]
    if not rows:
        raise DatasetError("no object of the meta file has a frame to evaluate")
    return YouTubeVOSResult(tuple(rows))


def _scored_frames(meta: Meta, skip: int) -> _Listed:
    return {
        video: {i: sorted(entry.frames)[skip:] for i, entry in sorted(objects.items())}
        for video, objects in meta.items()
    }


def _tasks(gt: Path, results: Path, frames_of: Mapping[int, list[str]]) -> list[FrameTask]:
    """Every frame in which an object of the video is scored, with just those objects."""
    names = sorted({name for frames in frames_of.values() for name in frames})
    return [
        FrameTask(
            gt / f"{name}.png",
            results / f"{name}.png",
            ids=tuple(i for i, frames in frames_of.items() if name in frames),
        )
        for name in names
    ]


def _row(
    video: str, object_id: int, entry: ObjectMeta, seen: bool, frames: Mapping[str, FrameResult]
) -> YouTubeVOSRow:
    scored = {name: f.scores[object_id] for name, f in frames.items() if object_id in f.scores}
    values = np.array(list(scored.values()))
    j, f = values.mean(axis=0)
    return YouTubeVOSRow(
        video,
        object_id,
        entry.category,
        seen,
        float(j),
        float(f),
        num_frames=len(values),
        frames=tuple(scored),
        j_frames=tuple(values[:, 0].tolist()),
        f_frames=tuple(values[:, 1].tolist()),
    )
