"""Frames, and the reader that takes them from image files.

Nothing here runs in a thread: `vidseg_common.video` puts a reader behind a bounded queue.
Letters: H rows, W columns.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vidseg_common.errors import VideoError

Rgb = NDArray[np.uint8]

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
)  # fmt: skip
DEFAULT_FPS = 24.0
_WIDE_GREY_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Frame:
    """One frame of a source.

    Attributes:
        index: position in the source, from 0.
        name: stem of the image file, or the index in five digits for video files.
        image: (H, W, 3) uint8, RGB.
        time_s: when the frame appears, in seconds from the first one.
        duration_s: how long it stays, in seconds.
    """

    index: int
    name: str
    image: Rgb
    time_s: float
    duration_s: float


class FrameReader(Protocol):
    """What a source of frames offers: its properties, one pass over its frames, and an end."""

    name: str
    fps: float
    num_frames: int | None
    height: int
    width: int

    def frames(self) -> Iterator[Frame]:
        """Yields the frames in order; called once."""
        ...

    def close(self) -> None:
        """Releases files; never raises, may be called twice."""
        ...


def read_image(path: str | Path) -> Rgb:
    """Reads an image file as RGB, turned upright as its EXIF orientation says.

    16-bit values keep their high byte, grey and palette images get three channels, and alpha is
    dropped (colours stay as stored).

    Args:
        path: any still image Pillow reads.

    Returns:
        (H, W, 3) uint8.

    Raises:
        VideoError: missing, unreadable, cut off or floating-point; the message names the file.
    """
    try:
        with Image.open(path) as image:
            return _to_rgb(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise VideoError(f"no such image: {path}") from None
    # Pillow's decoders raise all of these on damaged files.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise VideoError(f"cannot read the image {path}: {error}") from error


def _to_rgb(image: Image.Image) -> Rgb:
    if image.mode in _WIDE_GREY_MODES:
        grey = (np.asarray(image).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("floating-point pixels; save it as an 8-bit or 16-bit image")
    return np.array(image.convert("RGB"))


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key that puts frame2 before frame10; equal numbers fall back to the name."""
    parts = re.findall(r"\d+|\D+", path.name)
    key = [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts]
    return key, path.name


def list_images(folder: str | Path) -> list[Path]:
    """Lists the image files of a folder (not of its sub-folders) in natural order.

    Hidden files are left out.

    Raises:
        VideoError: the folder holds no image.
    """
    folder = Path(folder)
    paths = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    ]
    if not paths:
        wanted = " ".join(IMAGE_SUFFIXES)
        raise VideoError(f"no frames: the folder {folder} holds no image files ({wanted})")
    return sorted(paths, key=natural_key)


class ImageListReader:
    """Reads image files as the frames of a video.

    Args:
        paths: the files in order.
        name: name of the source.
        fps: frames per second, for the times; images carry none.
        max_frames: stop after this many.

    Raises:
        VideoError: no paths, two files of the same stem (their outputs would overwrite each
            other), or the first image cannot be read.
    """

    def __init__(
        self, paths: Sequence[Path], *, name: str, fps: float, max_frames: int | None
    ) -> None:
        self._paths = list(paths)[:max_frames]
        if not self._paths:
            raise VideoError(f"no frames: the list of images of {name!r} is empty")
        self._refuse_equal_names()
        self._first: Rgb | None = read_image(self._paths[0])
        self.name = name
        self.fps = fps
        self.num_frames: int | None = len(self._paths)
        self.height, self.width = self._first.shape[:2]

    def _refuse_equal_names(self) -> None:
        stem, count = Counter(path.stem for path in self._paths).most_common(1)[0]
        if count > 1:
            same = ", ".join(str(path) for path in self._paths if path.stem == stem)
            raise VideoError(f"{count} frames have the same name {stem!r}: {same}")

    def frames(self) -> Iterator[Frame]:
        """Yields the frames in order.

        Raises:
            VideoError: an image cannot be read or has another size than the first one.
        """
        for index, path in enumerate(self._paths):
            image = read_image(path) if self._first is None else self._first
            self._first = None
            if image.shape[:2] != (self.height, self.width):
                raise VideoError(
                    f"{path} is {image.shape[1]}x{image.shape[0]}, but the frames before it are "
                    f"{self.width}x{self.height}; all frames must have one size"
                )
            yield Frame(index, path.stem, image, index / self.fps, 1 / self.fps)

    def close(self) -> None:
        """Forgets the image read ahead."""
        self._first = None
