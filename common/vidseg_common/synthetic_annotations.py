"""Synthetic videos as the hub records of every annotation format.

Masks come from the renderer exactly: visible and whole (amodal) masks of every object, and from
them how much of it is hidden. Classes have the numbers 1, 2, ... of `CLASS_NAMES`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vidseg_common import rle
from vidseg_common.datasets.annotations import Category, Clip, Track, Video
from vidseg_common.rle import RLE
from vidseg_common.synthetic_bodies import CLASS_NAMES
from vidseg_common.synthetic_render import SyntheticVideo

CATEGORIES: tuple[Category, ...] = tuple(
    Category(number, name, "synthetic") for number, name in enumerate(CLASS_NAMES, start=1)
)
"""Every class with its number."""

SLIGHT_FROM = 0.05
"""Hidden share from which OVIS' level is "slight_occlusion"; less is a touch, not an occlusion."""

SEVERE_FROM = 0.5
"""Hidden share from which OVIS' level is "severe_occlusion"."""


def occlusion_level(rate: float) -> str:
    """OVIS' level of a hidden share in 0..1."""
    if rate >= SEVERE_FROM:
        return "severe_occlusion"
    return "slight_occlusion" if rate >= SLIGHT_FROM else "no_occlusion"


def clip_of(
    video: SyntheticVideo,
    video_id: int,
    file_names: Sequence[str],
    *,
    name: str | None = None,
) -> Clip:
    """Encodes one video; an object that is never visible is left out.

    Hidden shares and occlusion levels are those of the masks: 1 - visible pixels / whole pixels.

    Args:
        video: frames and masks.
        video_id: number of the video.
        file_names: image of each frame.
        name: name of the video, its own by default.
    """
    height, width = video.visible.shape[1:]
    tracks = [
        _track(object_id, class_name, video.visible == object_id, whole)
        for object_id, class_name, whole in zip(
            video.object_ids, video.classes, video.amodal, strict=True
        )
        if (video.visible == object_id).any()
    ]
    record = Video(video_id, name or video.name, height, width, tuple(file_names))
    return Clip(record, tracks)


def _track(
    object_id: int, class_name: str, visible: NDArray[np.bool_], whole: NDArray[np.bool_]
) -> Track:
    """One object of (T, H, W) visible and whole masks."""
    seen, full = visible.sum(axis=(1, 2)), whole.sum(axis=(1, 2))
    rates = [1 - int(a) / int(b) if b else None for a, b in zip(seen, full, strict=True)]
    levels = [
        occlusion_level(rate) if pixels and rate is not None else None
        for pixels, rate in zip(seen, rates, strict=True)
    ]
    return Track(
        object_id,
        CLASS_NAMES.index(class_name) + 1,
        _encode_all(visible),
        amodal=_encode_all(whole),
        occlusion=levels,
        occlude_rates=rates,
    )


def _encode_all(masks: NDArray[np.bool_]) -> list[RLE | None]:
    return [rle.encode(mask) if mask.any() else None for mask in masks]
