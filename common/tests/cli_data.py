"""A small data set with images, for the tests of the `vidseg` commands."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidseg_common.background import write_image
from vidseg_common.cli import dispatch
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Track,
    Video,
    annotations_of,
)
from vidseg_common.rle import RLE, decode, encode

HEIGHT, WIDTH, FRAMES = 24, 32, 4
CATEGORIES = (Category(1, "car"), Category(2, "person"))


def square(top: int, left: int, side: int = 7) -> RLE:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top : top + side, left : left + side] = True
    return encode(mask)


def clip_of(number: int, categories: Sequence[int] = (1, 2)) -> Clip:
    """Two objects that move and do not overlap; the second one enters in the second frame."""
    names = tuple(f"v{number}/{t:05d}.jpg" for t in range(FRAMES))
    first: list[RLE | None] = [square(1 + number, t + 1) for t in range(FRAMES)]
    second: list[RLE | None] = [square(12, 20 - t) if t else None for t in range(FRAMES)]
    tracks = [
        Track(1, categories[0], first),
        Track(2, categories[1], second),
    ]
    return Clip(Video(number, f"v{number}", HEIGHT, WIDTH, names), tracks)


def make_set(folder: Path, num_videos: int = 2) -> AnnotationSet:
    """A data set whose images are written below a folder."""
    clips = [clip_of(number) for number in range(1, num_videos + 1)]
    for clip in clips:
        for t, name in enumerate(clip.video.file_names):
            image = np.full((HEIGHT, WIDTH, 3), 20 * t + clip.video.id, np.uint8)
            write_image(folder / name, image)
    return annotations_of(clips, CATEGORIES, image_root=folder)


def run(*words: object) -> int:
    """Runs a command line of `vidseg`."""
    return dispatch([str(word) for word in words]) or 0


def frames_of(data: AnnotationSet) -> list[list[tuple[str, str]]]:
    """Category and mask of the objects of every frame, in the order of names."""
    names = data.category_names()
    found = []
    for i in sorted(range(len(data.videos)), key=lambda i: data.videos[i].name):
        clip = data.load(i)
        for t in range(clip.video.num_frames):
            masks = [(names[k.category_id], k.segmentations[t]) for k in clip.tracks]
            found.append(sorted((name, m["counts"]) for name, m in masks if m is not None))
    return found


def tracks_of(data: AnnotationSet) -> list[list[list[str | None]]]:
    """Masks of the tracks of every video, in the order of names."""
    found = []
    for i in sorted(range(len(data.videos)), key=lambda i: data.videos[i].name):
        rows = [[m and m["counts"] for m in k.segmentations] for k in data.load(i).tracks]
        found.append(sorted(rows, key=str))
    return found


def unions_of(data: AnnotationSet) -> list[bytes]:
    """What is covered by any object, frame by frame, in the order of names."""
    found = []
    for i in sorted(range(len(data.videos)), key=lambda i: data.videos[i].name):
        clip = data.load(i)
        for t in range(clip.video.num_frames):
            total = np.zeros((clip.video.height, clip.video.width), bool)
            for track in clip.tracks:
                mask = track.segmentations[t]
                total |= False if mask is None else decode(mask)
            found.append(np.packbits(total).tobytes())
    return found
