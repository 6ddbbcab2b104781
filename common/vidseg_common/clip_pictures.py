"""Pictures of annotated clips: one frame of ground truth or results over its image, or over grey.

Letters: H rows, W columns, T frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from vidseg_common import rle
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.rle import RLE
from vidseg_common.video_images import read_image
from vidseg_common.visualize import Rgb, color_for_id, overlay

_GREY = 96
_BOX_WIDTH_PER_PIXEL = 1 / 200


def track_masks(track: Track, *, amodal: bool = False) -> list[RLE | None]:
    """Masks of a track, the whole ones where asked for and known."""
    return track.amodal if amodal and track.amodal is not None else track.segmentations


def shown_tracks(clip: Clip, min_score: float) -> list[Track]:
    """Tracks to draw: ground truth, and predictions with a score of `min_score` or more."""
    return [t for t in clip.tracks if t.score is None or t.score >= min_score]


def draw_frame(
    data: AnnotationSet,
    clip: Clip,
    frame_idx: int,
    *,
    colors: Mapping[int, int] | None = None,
    min_score: float = 0.0,
    alpha: float = 0.5,
    labels: bool = False,
    amodal: bool = False,
    image: Rgb | None = None,
) -> Rgb:
    """Paints the objects of one frame over its image; over grey where there is none.

    Better scores are painted over worse ones, later tracks over earlier ones.

    Args:
        data: where the images are.
        clip: the annotations.
        frame_idx: the frame.
        colors: track id to the number that decides its colour; default: its place in the clip.
        min_score: predictions with a lower score are left out.
        alpha: how much of the object's colour covers the frame, 0 to 1.
        labels: write the number of the colour into each object.
        amodal: draw whole masks where they are known.
        image: (H, W, 3) uint8 to paint on, instead of reading it.

    Returns:
        (H, W, 3) uint8.
    """
    chosen = colors or {track.id: i for i, track in enumerate(clip.tracks, start=1)}
    canvas = np.zeros((clip.video.height, clip.video.width), np.int32)
    boxes: list[tuple[int, list[float]]] = []
    tracks = sorted(shown_tracks(clip, min_score), key=lambda t: t.score or 0.0)
    for track in tracks:
        mask = track_masks(track, amodal=amodal)[frame_idx]
        box = track.bboxes[frame_idx] if track.bboxes is not None else None
        if mask is not None and not track.extra.get("box_only"):
            canvas[rle.decode(mask)] = chosen[track.id]
        elif box is not None:
            boxes.append((chosen[track.id], box))
    base = background_of(data, clip, frame_idx) if image is None else image
    painted = overlay(base, canvas, alpha=alpha, labels=labels)
    for number, box in boxes:
        _draw_box(painted, number, box)
    return painted


def background_of(data: AnnotationSet, clip: Clip, frame_idx: int) -> Rgb:
    """The image of a frame, or grey of its size where there is none or it has another size."""
    height, width = clip.video.height, clip.video.width
    path = data.image_path(clip.video, frame_idx)
    if path is not None and path.is_file():
        image = read_image(path)
        if image.shape[:2] == (height, width):
            return image
    return np.full((height, width, 3), _GREY, np.uint8)


def _draw_box(image: Rgb, number: int, box: Sequence[float]) -> None:
    x, y, width, height = (round(value) for value in box)
    line = max(1, round(min(image.shape[:2]) * _BOX_WIDTH_PER_PIXEL))
    cv2.rectangle(image, (x, y), (x + width, y + height), color_for_id(number), line)


def matching_colors(truth: Clip, predictions: Clip, min_score: float) -> dict[int, int]:
    """Gives predicted tracks the colour numbers of the ground-truth tracks they cover best.

    Args:
        truth: ground truth; its tracks have the numbers 1, 2, ... in order.
        predictions: results on the same video.
        min_score: predictions with a lower score get no partner.

    Returns:
        Id of every predicted track to its number; tracks without partner count on.
    """
    candidates = shown_tracks(predictions, min_score)
    overlaps = _overlaps(truth, candidates)
    rows, columns = linear_sum_assignment(-overlaps)
    partners = {
        int(d): int(g) + 1 for g, d in zip(rows, columns, strict=True) if overlaps[g, d] > 0
    }
    colors: dict[int, int] = {}
    for position, track in enumerate(candidates):
        colors[track.id] = partners.get(position, len(truth.tracks) + 1 + position)
    for track in predictions.tracks:
        colors.setdefault(track.id, len(truth.tracks) + 1)
    return colors


def _overlaps(truth: Clip, candidates: Sequence[Track]) -> NDArray[np.float64]:
    """(G, D) sum over the frames of the IoU of every pair of tracks."""
    total = np.zeros((len(truth.tracks), len(candidates)))
    for t in range(truth.video.num_frames):
        total += _frame_ious(truth.tracks, candidates, t)
    return total


def _frame_ious(
    truth: Sequence[Track], candidates: Sequence[Track], frame_idx: int
) -> NDArray[np.float64]:
    """(G, D) IoU of the masks of one frame, 0 where either is not visible."""
    ious = np.zeros((len(truth), len(candidates)))
    g = [i for i, track in enumerate(truth) if track.is_visible(frame_idx)]
    d = [i for i, track in enumerate(candidates) if track.is_visible(frame_idx)]
    if g and d:
        ious[np.ix_(g, d)] = rle.iou(
            [truth[i].segmentations[frame_idx] or {} for i in g],
            [candidates[i].segmentations[frame_idx] or {} for i in d],
        )
    return ious


def frame_qualities(truth: Clip, predictions: Clip, min_score: float) -> list[float]:
    """How well each frame is segmented: IoU of the best one-to-one assignment, 0..1.

    The sum of the IoUs is divided by the larger of the numbers of masks, so that what is missed
    and what is too much both count. A frame without any mask has 1. This only chooses frames to
    look at; it is no metric of any benchmark.
    """
    candidates = shown_tracks(predictions, min_score)
    qualities = []
    for t in range(truth.video.num_frames):
        ious = _frame_ious(truth.tracks, candidates, t)
        wanted = sum(track.is_visible(t) for track in truth.tracks)
        given = sum(track.is_visible(t) for track in candidates)
        rows, columns = linear_sum_assignment(-ious)
        most = max(wanted, given)
        qualities.append(float(ious[rows, columns].sum()) / most if most else 1.0)
    return qualities
