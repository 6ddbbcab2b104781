"""Average precision of tracks on YouTube-VIS and OVIS, equal to the official tools.

D detections, G ground truths, T frames. Source: spec common sections 5.1 to 5.4.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.errors import DatasetError
from vidseg_common.metrics.ap_result import APLine, APResult, VideoMatches, combine
from vidseg_common.metrics.average_precision import (
    ALL,
    Group,
    Protocol,
    Range,
    match,
    top_order,
)
from vidseg_common.metrics.clip_pairs import ClipPair, left_out, map_pairs
from vidseg_common.metrics.track_iou import TrackMasks, decode_tracks, mean_area, track_iou

__all__ = ["OVIS", "YTVIS", "evaluate", "iou_matrix", "occlusion_score", "summary_lines"]

Benchmark = Literal["ytvis", "ovis"]

_AREAS = (
    ALL,
    Range("small", 0.0, 128.0**2),
    Range("medium", 128.0**2, 256.0**2),
    Range("large", 256.0**2, 1e10),
)
_OCCLUSIONS = (
    Range("all", 0.0, 1.0),
    Range("light", 0.0, 0.25),
    Range("medium", 0.25, 0.5),
    Range("heavy", 0.5, 1.0),
)
_MOST_TRACKS = 128  # predictions whose decoded masks are held before they are compared
_OCCLUSION_SCORES = {"no_occlusion": 0.0, "slight_occlusion": 0.25, "severe_occlusion": 0.75}

YTVIS = Protocol(areas=_AREAS)
"""Thresholds, ranges and limits of YouTube-VIS."""

OVIS = Protocol(areas=_AREAS, levels=_OCCLUSIONS)
"""Those of OVIS."""


def summary_lines(protocol: Protocol) -> tuple[APLine, ...]:
    """The 12 numbers of YouTube-VIS, or the 18 of a protocol with occlusion levels."""
    limits, areas = protocol.max_dets, [area.name for area in protocol.areas[1:]]
    levels = [level.name for level in protocol.levels[1:]]
    most = limits[-1]
    return (
        APLine("AP", "AP", max_dets=most),
        APLine("AP50", "AP", 0.5, max_dets=most),
        APLine("AP75", "AP", 0.75, max_dets=most),
        *(APLine(f"AP{area[0]}", "AP", area=area, max_dets=most) for area in areas),
        *(APLine(f"AP_{level}", "AP", level=level, max_dets=most) for level in levels),
        *(APLine(f"AR{limit}", "AR", max_dets=limit) for limit in limits),
        *(APLine(f"AR{area[0]}", "AR", area=area, max_dets=most) for area in areas),
        *(APLine(f"AR_{level}", "AR", level=level, max_dets=most) for level in levels),
    )


def evaluate(
    truth: AnnotationSet,
    predictions: AnnotationSet,
    *,
    benchmark: Benchmark = "ytvis",
    workers: int = 1,
    progress: bool = False,
) -> APResult:
    """Scores predicted tracks.

    Args:
        truth: the ground truth. Areas are those of the file, where it states them.
        predictions: tracks with scores. Equal scores stay in the order of the file; classes that
            the ground truth lacks are left out with a warning.
        benchmark: "ovis" adds the three levels of occlusion.
        workers: number of processes.
        progress: show a bar on stderr.

    Raises:
        DatasetError: there is no ground truth, the predictions do not fit it, or masks are
            malformed; all problems are listed.
    """
    protocol = OVIS if benchmark == "ovis" else YTVIS
    known = frozenset(truth.category_names())
    outcomes = map_pairs(
        partial(_match_video, protocol=protocol, known=known),
        truth,
        predictions,
        workers=workers,
        progress=progress,
    )
    notes: Counter[str] = sum((noted for _, noted in outcomes), Counter())
    return combine(
        benchmark,
        protocol,
        summary_lines(protocol),
        truth.categories,
        [video for video, _ in outcomes],
        [f"{note} ({count})" for note, count in sorted(notes.items())],
    )


def iou_matrix(pair: ClipPair, category_id: int, limit: int | None = None) -> NDArray[np.float64]:
    """Exact IoU of the tracks of one class, (D, G).

    Args:
        pair: a video.
        category_id: the class; its detections are in descending order of score.
        limit: the most detections, None for all.
    """
    dets, gts = _tracks_of(pair, category_id, limit)
    return track_iou(
        _decode(dets, pair.truth, "prediction"), _decode(gts, pair.truth, "annotation")
    )


def occlusion_score(levels: Sequence[str | None]) -> float:
    """Occlusion of a track: the mean over the half of its visible frames with the highest.

    Args:
        levels: one per frame, None where the object is not visible.

    Raises:
        DatasetError: a level that OVIS does not have.
    """
    unknown = sorted({level for level in levels if level is not None} - _OCCLUSION_SCORES.keys())
    if unknown:
        names = ", ".join(_OCCLUSION_SCORES)
        raise DatasetError(f"occlusion {unknown[0]!r:.40}, expected one of {names}")
    scores = sorted(_OCCLUSION_SCORES[level] for level in levels if level is not None)
    highest = scores[len(scores) - math.ceil(len(scores) / 2) :]
    return float(np.mean(highest)) if highest else 0.0


def _match_video(
    pair: ClipPair, *, protocol: Protocol, known: Collection[int]
) -> tuple[VideoMatches, Counter[str]]:
    """Matches one video; also counts what was left out or assumed."""
    of_truth = {track.category_id for track in pair.truth.tracks}
    if not of_truth <= set(known):
        missing = sorted(of_truth - set(known))
        raise DatasetError(f"annotations of category {missing[0]}, which the data set lacks")
    of_predictions = {track.category_id for track in pair.predictions}
    categories = sorted(of_truth | (of_predictions & set(known)))
    groups = {
        category: match(group, protocol) for category, group in _groups(pair, categories, protocol)
    }
    notes = left_out(pair.predictions, known)
    if len(protocol.levels) > 1:
        without = sum(track.occlusion is None for track in pair.truth.tracks)
        notes += Counter({"annotations without occlusion levels, taken as not occluded": without})
    video = pair.truth.video
    return VideoMatches(video.id, video.name, groups), notes


def _groups(
    pair: ClipPair, categories: Sequence[int], protocol: Protocol
) -> Iterator[tuple[int, Group]]:
    """The groups of some classes, of which as many are decoded together as fit."""
    held: list[tuple[int, list[Track], list[Track]]] = []
    for position, category in enumerate(categories):
        held.append((category, *_tracks_of(pair, category, protocol.max_dets[-1])))
        if position == len(categories) - 1 or sum(len(d) for _, d, _ in held) > _MOST_TRACKS:
            yield from _decoded_groups(pair.truth, held, protocol)
            held = []


def _decoded_groups(
    clip: Clip, parts: Sequence[tuple[int, list[Track], list[Track]]], protocol: Protocol
) -> Iterator[tuple[int, Group]]:
    det_masks = _decode([track for _, dets, _ in parts for track in dets], clip, "prediction")
    gt_masks = _decode([track for _, _, gts in parts for track in gts], clip, "annotation")
    d = g = 0
    for category, dets, gts in parts:
        d, g = d + len(dets), g + len(gts)
        found = det_masks.select(np.arange(d - len(dets), d))
        wanted = gt_masks.select(np.arange(g - len(gts), g))
        yield category, _group(dets, gts, found, wanted, protocol)


def _group(
    dets: Sequence[Track],
    gts: Sequence[Track],
    det_masks: TrackMasks,
    gt_masks: TrackMasks,
    protocol: Protocol,
) -> Group:
    has_levels = len(protocol.levels) > 1
    return Group(
        scores=np.array([track.score for track in dets], np.float64),
        areas=mean_area(det_masks.areas),
        gt_areas=_gt_areas(gts, gt_masks),
        gt_crowd=np.array([track.is_crowd for track in gts], bool),
        iou=track_iou(det_masks, gt_masks, at_least=min(protocol.thresholds)),
        gt_levels=np.array([_level(track) for track in gts]) if has_levels else None,
    )


def _tracks_of(
    pair: ClipPair, category: int, limit: int | None = None
) -> tuple[list[Track], list[Track]]:
    """Detections of a class, best first, and its ground truth."""
    dets = [track for track in pair.predictions if track.category_id == category]
    order = top_order([track.score or 0.0 for track in dets], limit or len(dets))
    gts = [track for track in pair.truth.tracks if track.category_id == category]
    return [dets[index] for index in order], gts


def _decode(tracks: Sequence[Track], clip: Clip, kind: str) -> TrackMasks:
    return decode_tracks(
        [track.segmentations for track in tracks],
        clip.video.num_frames,
        clip.video.height,
        clip.video.width,
        names=[f"{kind} {track.id}" for track in tracks],
    )


def _gt_areas(tracks: Sequence[Track], masks: TrackMasks) -> NDArray[np.float64]:
    """Mean of the areas that the file states, else of those of the masks; frames with 0 apart."""
    areas = mean_area(masks.areas)
    for index, track in enumerate(tracks):
        if track.areas is not None:
            areas[index] = np.mean([area for area in track.areas if area] or [0.0])
    return areas


def _level(track: Track) -> float:
    return 0.0 if track.occlusion is None else occlusion_score(track.occlusion)
