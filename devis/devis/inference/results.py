"""Finished tracks: frames and tracks with low scores are dropped, a class is chosen (spec 8.3)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from devis.config_tree import ClipTracking
from devis.inference.matching import Seen
from vidseg_common.rle import RLE


@dataclass(frozen=True)
class TrackResult:
    """One instance of a video.

    Attributes:
        number: among all tracks of the video, those that were dropped included; from 0.
        score: of the whole track.
        label: its class, from 1.
        frames: what was seen of it in every frame, None where it was not (surely enough).
    """

    number: int
    score: float
    label: int
    frames: list[Seen | None]

    def segmentations(self) -> list[RLE | None]:
        """Run lengths of its mask in every frame."""
        return [seen and seen.mask[0].encoded[seen.mask[1]] for seen in self.frames]

    def entry(self, video_id: int) -> dict[str, Any]:
        """As in the result file of YouTube-VIS and OVIS (spec 8.4)."""
        return {
            "video_id": video_id,
            "score": self.score,
            "category_id": self.label,
            "segmentations": self.segmentations(),
        }


def finish(tracks: Iterable[Sequence[Seen | None]], settings: ClipTracking) -> list[TrackResult]:
    """The tracks that remain, in their order.

    Args:
        tracks: frames of every track.
        settings: thresholds and policies.
    """
    results = []
    for number, frames in enumerate(tracks):
        kept = [s if s and s.score >= settings.MIN_FRAME_SCORE else None for s in frames]
        seen = [s for s in kept if s is not None]
        if not seen or len(seen) < settings.MIN_DETECTIONS:
            continue
        scores = [s.score for s in seen]
        average = np.mean if settings.FINAL_SCORE_POLICY == "mean" else np.median
        score = float(average(scores))
        if not settings.MIN_TRACK_SCORE or score > settings.MIN_TRACK_SCORE:
            results.append(TrackResult(number, score, _label(seen, settings), kept))
    return results


def _label(seen: Sequence[Seen], settings: ClipTracking) -> int:
    """The class with most frames (the smallest one of several), or with the largest scores."""
    weights: dict[int, float] = defaultdict(float)
    by_score = settings.FINAL_CLASS_POLICY == "score_weighting"
    for item in seen if by_score else sorted(seen, key=lambda item: item.label):
        weights[item.label] += item.score if by_score else 1
    return max(weights, key=lambda label: weights[label])  # the first one of equals
