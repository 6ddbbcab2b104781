"""Image files of training sets, with errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from vidseg_common.errors import DatasetError


def read_image(path: Path) -> Image.Image:
    """Return an image file as RGB.

    Raises:
        DatasetError: the file is missing or cannot be decoded.
    """
    with _named_errors(path), Image.open(path) as image:
        return image.convert("RGB")


def read_palette_mask(path: Path) -> Image.Image:
    """Return a label map in palette mode, its pixels being the labels.

    Raises:
        DatasetError: the file is missing, cannot be decoded, or has colours instead of labels.
    """
    with _named_errors(path), Image.open(path) as mask:
        if mask.mode not in ("P", "L", "1"):
            raise DatasetError(f"{path}: a label map with a palette is needed, got {mask.mode}")
        return mask.convert("P")


def read_grey_mask(path: Path) -> Image.Image:
    """Return the mask of one object as grey levels 0..255.

    Raises:
        DatasetError: the file is missing or cannot be decoded.
    """
    with _named_errors(path), Image.open(path) as mask:
        return mask.convert("L")


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise DatasetError(f"{path}: no such file") from error
    except (OSError, SyntaxError) as error:
        raise DatasetError(f"{path}: cannot be read as an image ({error})") from error
