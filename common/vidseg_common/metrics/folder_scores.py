"""J&F of folders of masks in the form that all metrics share: numbers, rows and tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vidseg_common.datasets.davis_layout import DAVIS_ANNOTATIONS, davis_layout
from vidseg_common.datasets.records import list_folders, other_videos_notes, unknown_folders
from vidseg_common.datasets.youtube_vos import categories_of, read_meta
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.metrics.folder_jf import evaluate_folders
from vidseg_common.metrics.youtube_vos import evaluate_youtube_vos

_FLOATS = ("J&F", "J", "F")
_DAVIS_FORMS = {"davis": "davis2017", "davis-unsupervised": "davis2019", "davis2016": "davis2016"}
_DAVIS_FOLDERS = ("ImageSets", "JPEGImages", "Annotations")
_RESOLUTION = "480p"


@dataclass(frozen=True)
class FolderScores:
    """J&F in the form of every metric.

    Attributes:
        numbers: the headline numbers, in order.
        objects: one row per object with "video", "object", "J&F", "J" and "F".
        text: the table of the official tool.
        content: everything at full precision.
        warnings: what a reader of the numbers should know.
    """

    numbers: Mapping[str, float]
    objects: Sequence[Mapping[str, Any]]
    text: str
    content: dict[str, Any]
    warnings: tuple[str, ...] = field(default=())

    def per_class(self) -> list[dict[str, Any]]:
        """Means over the objects of each category, where categories are known."""
        return _grouped([row for row in self.objects if "class" in row], "class")

    def per_video(self) -> list[dict[str, Any]]:
        """Means over the objects of each video."""
        return _grouped(self.objects, "video")

    def to_json(self) -> dict[str, Any]:
        """Everything at full precision."""
        return self.content

    def table(self) -> str:
        """The table of the official tool."""
        return self.text


def _grouped(rows: Sequence[Mapping[str, Any]], key: str) -> list[dict[str, Any]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[key], []).append(row)
    return [
        {
            key: name,
            **{column: float(np.mean([row[column] for row in group])) for column in _FLOATS},
            "objects": len(group),
        }
        for name, group in groups.items()
    ]


def _object(video: str, object_id: int, j: float, f: float, **more: Any) -> dict[str, Any]:
    return {"video": video, "object": object_id, "J&F": (j + f) / 2, "J": j, "F": f, **more}


def evaluate(
    metric: str,
    truth: str | Path,
    predictions: str | Path,
    *,
    split: str | None = None,
    resolution: str | None = None,
    videos: Sequence[str] | None = None,
    void: int | None = None,
    all_frames: bool = False,
    seen: str | Path | None = None,
    workers: int = 1,
    progress: bool = False,
) -> FolderScores:
    """Scores folders of masks.

    Args:
        metric: "davis", "davis-unsupervised", "davis2016", "folder" or "youtube-vos".
        truth: root of the data set, or a folder VIDEO/*.png of masks (not for youtube-vos).
        predictions: results, VIDEO/*.png; a folder Annotations in it is found too.
        split: name of the split; by default "val" or the only one there is, and every sequence
            where there are no lists; for youtube-vos "train".
        resolution: folder of the annotations of DAVIS; default "480p", or the only one.
        videos: only these videos.
        void: value of the annotations that means no label ("folder").
        all_frames: score the first frame (and the last, "folder") too.
        seen: meta.json of the training set, whose categories are the seen ones; default: all
            are seen.
        workers: number of processes.
        progress: shows a progress bar on stderr.

    Raises:
        DatasetError: missing or unusable files; all are listed.
    """
    truth, results = Path(truth), Path(predictions)
    if (results / "Annotations").is_dir():
        results = results / "Annotations"
    common = {"workers": workers, "progress": progress}
    if metric == "youtube-vos":
        return _youtube_vos(truth, results, split or "train", videos, seen, all_frames, common)
    if metric == "folder":
        places = (truth / "Annotations" / (resolution or _RESOLUTION), truth / "Annotations")
        masks = next((place for place in places if place.is_dir()), truth)
        frames = None if videos is None else {name: _stems(masks / name) for name in videos}
        found = evaluate_folders(masks, results, void=void, frames=frames,
                                 skip_first_and_last=not all_frames, **common)  # type: ignore[arg-type]  # fmt: skip
        rows = [_object(r.sequence, r.object_id, r.j, r.f) for r in found.rows]
        notes = [f"no results for, and not scored: {name}" for name in found.skipped]
        notes += _others(results, list_folders(masks), videos)
        if rows and not any(row["J"] for row in rows):
            notes.append("no object has a pixel in common with the prediction of its id; values of "
                         "both sides are compared as they are (davis2016 merges them)")  # fmt: skip
        content = found.to_json()
        return FolderScores(content["global"], rows, found.csv(), content, tuple(notes))
    return _davis(metric, truth, results, split, resolution, videos, common)


def _davis(
    metric: str,
    truth: Path,
    results: Path,
    split: str | None,
    resolution: str | None,
    videos: Sequence[str] | None,
    common: Mapping[str, Any],
) -> FolderScores:
    is_unsupervised = metric == "davis-unsupervised"
    masks, names = _davis_sequences(truth, _DAVIS_FORMS[metric], split, resolution)
    found = evaluate_davis(
        masks,
        results,
        names if videos is None else list(videos),
        task="unsupervised" if is_unsupervised else "semi-supervised",
        binary=metric == "davis2016",
        **common,
    )
    rows = [_object(r.sequence, r.object_id, r.j.mean, r.f.mean) for r in found.rows]
    notes = (*found.warnings, *_others(results, names, videos))
    table = found.table(split or "val")
    return FolderScores(found.global_scores, rows, table, found.to_json(), notes)


def _davis_sequences(
    truth: Path, form: str, split: str | None, resolution: str | None
) -> tuple[Path, list[str]]:
    """The folder of annotations, and the sequences of the split: all where there are no lists."""
    folder = truth / DAVIS_ANNOTATIONS[form]
    if not folder.is_dir() and any((truth / name).is_dir() for name in _DAVIS_FOLDERS):
        raise DatasetError(f"folder of annotations not found: {folder}")
    if not folder.is_dir():
        return truth, list_folders(truth)
    if resolution is not None and not (folder / resolution).is_dir():
        raise DatasetError(f"folder of annotations not found: {folder / resolution}")
    layout = davis_layout(truth, form, split, resolution or _RESOLUTION)
    return layout.masks, list(layout.names)


def _youtube_vos(
    truth: Path,
    results: Path,
    split: str,
    videos: Collection[str] | None,
    seen: str | Path | None,
    all_frames: bool,
    common: Mapping[str, Any],
) -> FolderScores:
    root = truth / split if (truth / split).is_dir() else truth
    if not (root / "meta.json").is_file():
        raise DatasetError(
            f"no meta.json in {truth / split} or {truth}: name the split with --split; it needs "
            "the masks of all frames, as train has them"
        )
    meta = read_meta(root / "meta.json")
    categories = categories_of(meta) if seen is None else categories_of(read_meta(seen))
    if videos is not None:
        unknown = sorted(set(videos) - set(meta))
        if unknown:
            raise DatasetError(f"not in {root / 'meta.json'}: {', '.join(unknown)}")
        meta = {name: meta[name] for name in videos}
    found = evaluate_youtube_vos(
        root / "Annotations",
        meta,
        results,
        seen_categories=categories,
        include_first=all_frames,
        **common,
    )
    rows = [
        _object(r.video, r.object_id, r.j, r.f, **{"class": r.category, "seen": r.seen})
        for r in found.rows
    ]
    notes = _others(results, meta, videos)
    if seen is None:
        notes.append("all categories count as seen; name the meta.json of the training set with "
                     "--seen")  # fmt: skip
    return FolderScores(found.global_scores, rows, found.table(), found.to_json(), tuple(notes))


def _others(results: Path, known: Iterable[str], videos: Collection[str] | None) -> list[str]:
    """Notes on results of other videos; none where the user chose the videos to score."""
    return [] if videos is not None else other_videos_notes(unknown_folders(results, known))


def _stems(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("*.png")]
