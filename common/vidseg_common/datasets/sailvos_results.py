"""Results of the amodal tracking models: a pickled dictionary of lists over all frames.

Frames follow the data set: videos in file order, frames in order of time. A track of the hub has
visible masks and their boxes, amodal masks, and in `extra`: `frame_scores`, `frame_categories`
(the class of each frame) and `bboxes_amodal`. Files of either mask kind alone and of both
("joint") are read. Source: spec vatrack section 3.5.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Problem, Track, Video
from vidseg_common.datasets.safe_pickle import load_pickle
from vidseg_common.datasets.sailvos_per_video import (
    Masks,
    box_of,
    kind_of_results,
    masks_of,
)
from vidseg_common.errors import DatasetError, MaskError, UserError, list_problems
from vidseg_common.files import atomic_path

__all__ = ["read_results", "validate_results", "write_results"]

Frame = dict[Masks, dict[int, Mapping[str, Any]]]
"""Tracks of one frame by kind of mask, then by id."""


def read_results(
    path: str | Path, truth: AnnotationSet | None, *, masks: Masks = "visible"
) -> AnnotationSet:
    """Reads a results file, own or upstream's.

    Args:
        path: the .pkl file.
        truth: the data set it belongs to; it tells where videos begin.
        masks: what the masks of a file with one kind are; the file does not say.

    Raises:
        DatasetError: damaged, or not of the data set; all problems are listed.
        UserError: no data set given.
    """
    if truth is None:
        raise UserError(
            "SAIL-VOS results name no videos: the annotation file is needed as well (--gt)"
        )
    path = Path(path)
    results = load_pickle(path)
    problems = list(_problems(path, results, truth))
    if problems:
        raise DatasetError(list_problems("results that cannot be used:", map(str, problems)))
    frames = _frames_of(results, masks)
    starts = np.cumsum([0, *(video.num_frames for video in truth.videos)])
    categories = [category.id for category in truth.categories]

    def load(position: int) -> Clip:
        video = truth.videos[position]
        part = frames[starts[position] : starts[position + 1]]
        return Clip(video, _tracks(video, part, categories))

    has_both = bool(frames) and len(frames[0]) == 2
    info = {"masks": "joint" if has_both else masks}
    return AnnotationSet(truth.videos, truth.categories, load, truth.image_root, info=info)


def validate_results(path: str | Path, truth: AnnotationSet | None = None) -> list[Problem]:
    """Lists everything that is wrong in a results file.

    Args:
        path: the .pkl file.
        truth: the data set it belongs to; None leaves out what needs it.
    """
    path = Path(path)
    try:
        results = load_pickle(path)
    except DatasetError as error:
        return [Problem.of_file(path, error)]
    return list(_problems(path, results, truth))


def _problems(path: Path, results: Any, truth: AnnotationSet | None) -> Iterator[Problem]:
    if not isinstance(results, dict) or not isinstance(results.get("track_result"), list):
        yield Problem(path, "", "track_result", "expected a dictionary with a list over frames")
        return
    entries = results["track_result"]
    places: list[tuple[str, Video | None]]
    if truth is None:
        places = [(f"frame {i}", None) for i in range(len(entries))]
    else:
        places = [
            (f"video {video.id}, frame {frame}", video)
            for video in truth.videos
            for frame in range(video.num_frames)
        ]
        if len(places) != len(entries):
            message = f"{len(entries)} frames, the data set has {len(places)}"
            yield Problem(path, "", "track_result", message)
            return
    num_classes = None if truth is None else len(truth.categories)
    joint = {_is_joint(entry) for entry in entries}
    if len(joint) > 1:
        yield Problem(path, "", "track_result", "some frames have both kinds of masks, some one")
        return
    for entry, (where, video) in zip(entries, places, strict=True):
        for part in entry if _is_joint(entry) else [entry]:
            yield from _frame_problems(path, where, part, video, num_classes)
        if _is_joint(entry):
            yield from _pair_problems(path, where, entry)


def _is_joint(entry: object) -> bool:
    return isinstance(entry, (list, tuple)) and len(entry) == 2


def _frame_problems(
    path: Path, where: str, tracks: object, video: Video | None, num_classes: int | None
) -> Iterator[Problem]:
    if not isinstance(tracks, dict):
        yield Problem(path, where, "track_result", "expected a dictionary of tracks by id")
        return
    for i, track in tracks.items():
        place = f"{where}, track {i}"
        if not isinstance(track, dict):
            yield Problem(path, place, "", "expected a dictionary of bbox, label and segm")
            continue
        try:
            box = np.asarray(track.get("bbox"), np.float64)
        except (TypeError, ValueError):
            box = np.zeros(0)
        if box.shape != (5,) or not np.isfinite(box).all():
            yield Problem(path, place, "bbox", "expected the numbers x1, y1, x2, y2, score")
        label = track.get("label")
        if not isinstance(label, (int, np.integer)) or not 0 <= label < (num_classes or label + 1):
            message = f"expected a class index from 0, below {num_classes}, found {label!r}"
            yield Problem(path, place, "label", message)
        try:
            size = _mask(track.get("segm"))["size"]
        except MaskError as error:
            yield Problem(path, place, "segm", str(error))
            continue
        if video is not None and size != [video.height, video.width]:
            message = f"size {size}, the video has {[video.height, video.width]}"
            yield Problem(path, place, "segm", message)


def _pair_problems(path: Path, where: str, entry: Sequence[Any]) -> Iterator[Problem]:
    amodal, visible = entry
    if not isinstance(amodal, dict) or not isinstance(visible, dict):
        return
    if amodal.keys() != visible.keys():
        yield Problem(path, where, "track_result", "amodal and visible tracks have other ids")
    for i in amodal.keys() & visible.keys():
        pair = [t.get("label") if isinstance(t, dict) else None for t in (amodal[i], visible[i])]
        if pair[0] != pair[1]:
            message = f"{pair[0]} for the amodal mask, {pair[1]} for the visible one"
            yield Problem(path, f"{where}, track {i}", "label", message)


def _mask(value: Any) -> rle.RLE:
    """A checked mask with string counts, of an RLE or of a (H, W) array.

    Raises:
        MaskError: it is neither.
    """
    if isinstance(value, np.ndarray):
        return rle.encode(value)
    if not isinstance(value, Mapping):
        raise MaskError(f"expected an RLE, found {type(value).__name__}")
    runs, counts = rle.counts_of(value), value["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("ascii")
    text = counts if isinstance(counts, str) else rle.counts_to_string(runs)
    return {"size": [int(side) for side in value["size"]], "counts": text}


def _frames_of(results: Mapping[str, Any], masks: Masks) -> list[Frame]:
    frames: list[Frame] = []
    for entry in results["track_result"]:
        pair = {"amodal": entry[0], "visible": entry[1]} if _is_joint(entry) else {masks: entry}
        by_id = {kind: {int(i): t for i, t in tracks.items()} for kind, tracks in pair.items()}
        frames.append(by_id)  # type: ignore[arg-type]
    return frames


def _tracks(video: Video, frames: Sequence[Frame], categories: Sequence[int]) -> list[Track]:
    """Tracks of a video in order of their first appearance."""
    tracks: dict[int, Track] = {}
    for f, frame in enumerate(frames):
        # With both kinds the amodal entry comes first: its score is the track's.
        for kind, entries in sorted(frame.items()):
            for i, entry in entries.items():
                if i not in tracks:
                    tracks[i] = _empty_track(i, video.num_frames, set(frame))
                _fill(tracks[i], f, kind, entry, categories)
    for track in tracks.values():
        scores = [score for score in track.extra["frame_scores"] if score is not None]
        track.score = float(np.mean(scores))
        track.category_id = _category_of(track.extra["frame_categories"])
    return list(tracks.values())


def _category_of(of_frames: Sequence[int | None]) -> int:
    """The most frequent class; among equals the one that came first."""
    found = [category for category in of_frames if category is not None]
    return max(found, key=found.count)


def _empty_track(i: int, length: int, kinds: set[Masks]) -> Track:
    extra: dict[str, Any] = {
        "frame_scores": [None] * length,
        "frame_categories": [None] * length,
    }
    if "amodal" in kinds:
        extra["bboxes_amodal"] = [None] * length
    return Track(
        id=i,
        category_id=0,
        segmentations=[None] * length,
        bboxes=[None] * length if "visible" in kinds else None,
        amodal=[None] * length if "amodal" in kinds else None,
        extra=extra,
    )


def _fill(
    track: Track, frame: int, kind: Masks, entry: Mapping[str, Any], categories: Sequence[int]
) -> None:
    x1, y1, x2, y2, score = (float(value) for value in entry["bbox"])
    box = [x1, y1, x2 - x1, y2 - y1]
    if kind == "amodal":
        assert track.amodal is not None
        track.amodal[frame] = _mask(entry["segm"])
        track.extra["bboxes_amodal"][frame] = box
    else:
        assert track.bboxes is not None
        track.segmentations[frame] = _mask(entry["segm"])
        track.bboxes[frame] = box
    if track.extra["frame_scores"][frame] is None:
        track.extra["frame_scores"][frame] = score
        track.extra["frame_categories"][frame] = categories[int(entry["label"])]


def write_results(annotations: AnnotationSet, out: str | Path) -> list[str]:
    """Writes a results file, with both kinds of masks where any track has amodal ones.

    `bbox_result` and, with one kind of masks, `segm_result` hold the tracks by class.

    Args:
        annotations: predictions; every track needs a score.
        out: the .pkl file.

    Returns:
        What the format cannot hold, in words: nothing.

    Raises:
        UserError: a track without score, or with a class that is not listed.
    """
    labels = {category.id: label for label, category in enumerate(annotations.categories)}
    kinds = _kinds_of(annotations)
    frames: list[list[dict[int, dict[str, Any]]]] = []
    for clip in annotations.clips():
        unknown = sorted({track.category_id for track in clip.tracks} - labels.keys())
        if unknown:
            raise UserError(f"video {clip.video.id}: tracks of unlisted categories {unknown}")
        for f in range(clip.video.num_frames):
            present = [track for track in clip.tracks if _is_present(track, f)]
            frames.append(
                [{t.id: _entry(clip.video, t, f, kind, labels) for t in present} for kind in kinds]
            )
    with atomic_path(out) as temporary, temporary.open("wb") as handle:
        pickle.dump(_results_of(frames, len(labels)), handle, protocol=4)
    return []


def _kinds_of(annotations: AnnotationSet) -> list[Masks]:
    kind = kind_of_results(annotations)
    return ["amodal", "visible"] if kind == "joint" else [kind]


def _is_present(track: Track, frame: int) -> bool:
    amodal = track.amodal is not None and track.amodal[frame] is not None
    return amodal or track.segmentations[frame] is not None


def _entry(
    video: Video, track: Track, frame: int, kind: Masks, labels: Mapping[int, int]
) -> dict[str, Any]:
    mask = masks_of(track, kind)[frame] or rle.encode(np.zeros((video.height, video.width), bool))
    box = box_of(track, frame, kind) or rle.to_bbox(mask)
    scores = track.extra.get("frame_scores")
    score = scores[frame] if scores else track.score
    if score is None:
        raise UserError(f"video {video.id}, track {track.id}: no score in frame {frame}")
    categories = track.extra.get("frame_categories")
    category = categories[frame] if categories else track.category_id
    x, y, w, h = box
    return {
        "bbox": np.array([x, y, x + w, y + h, score], np.float32),
        "label": labels[category],
        "segm": {"size": list(mask["size"]), "counts": mask["counts"].encode("ascii")},
    }


def _results_of(frames: list[list[dict[int, dict[str, Any]]]], num_classes: int) -> dict[str, Any]:
    if frames and len(frames[0]) == 2:
        nothing: list[list[Any]] = [[] for _ in range(num_classes)]
        return {
            "bbox_result": [_boxes_by_class(amodal, num_classes) for amodal, _ in frames],
            "segm_result": [[nothing, nothing] for _ in frames],
            "track_result": frames,
            "segm_result_a": [nothing for _ in frames],
            "segm_result_v": [nothing for _ in frames],
            "track_result_a": [amodal for amodal, _ in frames],
            "track_result_v": [visible for _, visible in frames],
        }
    return {
        "bbox_result": [_boxes_by_class(tracks, num_classes) for (tracks,) in frames],
        "segm_result": [
            [
                [entry["segm"] for entry in tracks.values() if entry["label"] == label]
                for label in range(num_classes)
            ]
            for (tracks,) in frames
        ],
        "track_result": [tracks for (tracks,) in frames],
    }


def _boxes_by_class(
    tracks: Mapping[int, Mapping[str, Any]], num_classes: int
) -> list[NDArray[np.float32]]:
    return [
        np.array([e["bbox"] for e in tracks.values() if e["label"] == label], np.float32).reshape(
            -1, 5
        )
        for label in range(num_classes)
    ]
