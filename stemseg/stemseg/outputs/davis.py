"""Results of DAVIS unsupervised: palette PNGs of ranks. Source: spec section 9.1."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stemseg.drawing import Image, color_map, color_of, overlay_mask
from stemseg.inference.engine import VideoTracks
from stemseg.outputs.resize import instance_masks
from vidseg_common.masks import write_mask
from vidseg_common.video import BackgroundWriter


def rank_maps(tracks: VideoTracks, kept: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """(H, W) map of ranks, from 1, of every frame; where masks overlap the later rank wins.

    Args:
        tracks: of the video.
        kept: labels in the order of their ranks, at most 255.
    """
    for frame in range(tracks.num_frames):
        ranks = np.zeros(tracks.geometry.image, np.uint8)
        for number, mask in masks_of_frame(tracks, kept, frame).items():
            ranks[mask] = number
        yield ranks


def masks_of_frame(
    tracks: VideoTracks, kept: Sequence[int], frame: int
) -> dict[int, NDArray[np.bool_]]:
    """(H, W) mask of every kept instance that the label map of a frame shows, by rank from 1."""
    labels = tracks.labels[frame]
    shown = [(rank, label) for rank, label in enumerate(kept, start=1) if (labels == label).any()]
    masks = instance_masks(labels, [label for _, label in shown], tracks.geometry)
    return {rank: mask for (rank, _), mask in zip(shown, masks, strict=True)}


def write_masks(tracks: VideoTracks, kept: Sequence[int], folder: Path) -> None:
    """Writes `folder/NNNNN.png` of every frame; without instances they are all zero."""
    palette = color_map()
    with BackgroundWriter() as writer:
        for frame, ranks in enumerate(rank_maps(tracks, kept)):
            writer.submit(write_mask, folder / f"{frame:05d}.png", ranks, palette)


def draw_frames(
    tracks: VideoTracks, kept: Sequence[int], frames: Iterable[Image]
) -> Iterator[Image]:
    """Frames (BGR) with the masks in the colours of their ranks."""
    for image, ranks in zip(frames, rank_maps(tracks, kept), strict=True):
        for number in np.unique(ranks[ranks > 0]).tolist():
            image = overlay_mask(image, ranks == number, color_of(number))
        yield image
