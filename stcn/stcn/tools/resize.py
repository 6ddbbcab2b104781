"""Smaller copies of data sets, made before training (method specification section 7).

``resize_video_set`` brings videos to a shorter side of 480 pixels, ``resize_image_folder``
still images to 384. Both can be interrupted: what is already there is not made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.records import list_images
from vidseg_common.errors import DatasetError
from vidseg_common.files import atomic_path, check_writable

VIDEO_SIDE = 480
IMAGE_SIDE = 384
JPEG_QUALITY = 95
#: Files a worker process is handed at once.
_CHUNK = 16

Job = tuple[Path, Path]


def shorter_side_size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return (width, height) after scaling the shorter side to ``side``, cut to whole pixels."""
    shorter = min(width, height)
    return int(width * side / shorter), int(height * side / shorter)


def resize_frame(job: Job, side: int, resample: Image.Resampling) -> None:
    """Write a smaller copy of an image file, in the same format and mode.

    Args:
        job: file to read, file to write.
        side: shorter side of the copy, in pixels.
        resample: NEAREST for label maps, whose palette is kept.
    """
    source, target = job
    try:
        with Image.open(source) as image:
            image.load()
    except (OSError, SyntaxError) as error:
        raise DatasetError(f"{source}: cannot be read as an image ({error})") from error
    width, height = image.size
    small = image.resize(shorter_side_size(width, height, side), resample)
    with atomic_path(target, durable=False) as temporary:
        small.save(temporary, quality=JPEG_QUALITY)


def resize_area(job: Job, side: int) -> None:
    """Write a smaller copy of an image file, every pixel the mean of those it covers."""
    source, target = job
    image = cv2.imdecode(np.fromfile(source, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise DatasetError(f"{source}: cannot be read as an image")
    size = shorter_side_size(image.shape[1], image.shape[0], side)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    with atomic_path(target, durable=False) as temporary:
        cv2.imwrite(str(temporary), small)


def resize_video_set(source: Path, target: Path, *, num_workers: int = 8) -> None:
    """Copy a video data set with a shorter side of 480 pixels.

    Frames (``JPEGImages``) are interpolated bicubically, label maps (``Annotations``) not at all.

    Raises:
        DatasetError: a folder is missing or a file cannot be read.
    """
    for folder, resample in (
        ("JPEGImages", Image.Resampling.BICUBIC),
        ("Annotations", Image.Resampling.NEAREST),
    ):
        root = source / folder
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder")
        videos = sorted(video for video in root.iterdir() if video.is_dir())
        files = [file for video in videos for file in list_images(video)]
        jobs = [(file, target / folder / file.relative_to(root)) for file in files]
        resize = partial(resize_frame, side=VIDEO_SIDE, resample=resample)
        _run(resize, jobs, folder, num_workers)


def resize_image_folder(source: Path, target: Path, *, num_workers: int = 8) -> None:
    """Copy the images of a folder with a shorter side of 384 pixels.

    Raises:
        DatasetError: the folder is missing or a file cannot be read.
    """
    jobs = [(file, target / file.name) for file in list_images(source)]
    _run(partial(resize_area, side=IMAGE_SIDE), jobs, source.name, num_workers)


def _run(resize: Callable[[Job], None], jobs: list[Job], name: str, num_workers: int) -> None:
    missing = [job for job in jobs if not job[1].exists()]
    progress = partial(tqdm, total=len(missing), desc=name, unit="image")
    if num_workers < 2:
        for job in progress(missing):
            resize(job)
        return
    with ProcessPoolExecutor(num_workers) as pool:
        for _ in progress(pool.map(resize, missing, chunksize=_CHUNK)):
            pass


def _parse(prog: str, description: str, argv: Sequence[str] | None) -> tuple[Path, Path, int]:
    parser = ArgumentParser(prog=prog, description=description)
    parser.add_argument("input", type=Path, help="folder to read")
    parser.add_argument("output", type=Path, help="folder to write")
    parser.add_argument("--num_workers", type=int, default=8, help="processes")
    args = parser.parse_args(argv)
    check_writable(args.output)
    return args.input, args.output, args.num_workers


def main_youtube(argv: Sequence[str] | None = None) -> int:
    """Run ``resize_youtube.py IN OUT``; returns its exit status."""
    description = "Copy IN/{JPEGImages,Annotations}/VIDEO with a shorter side of 480 pixels."
    source, target, num_workers = _parse("resize_youtube.py", description, argv)
    resize_video_set(source, target, num_workers=num_workers)
    return 0


def main_length(argv: Sequence[str] | None = None) -> int:
    """Run ``resize_length.py IN OUT``; returns its exit status."""
    description = "Copy the images of a folder with a shorter side of 384 pixels."
    source, target, num_workers = _parse("resize_length.py", description, argv)
    resize_image_folder(source, target, num_workers=num_workers)
    return 0
