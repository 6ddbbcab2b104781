"""Frames of a data set on disk (spec 4.4)."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from vidseg_common.errors import DatasetError

IMAGES = "images"


def frame_path(img_prefix: Path, file_name: str) -> Path:
    """Where a frame lies: `<img_prefix>/<video>/images/<frame>`, else as the name says.

    Args:
        img_prefix: folder of the frames.
        file_name: of an annotation file, `<video>/images/<frame>` or `<video>/<frame>`.
    """
    parts = PurePosixPath(file_name).parts
    wanted = img_prefix / parts[0] / IMAGES / parts[-1] if len(parts) > 1 else img_prefix / parts[0]
    plain = img_prefix / file_name
    return plain if not wanted.exists() and plain.exists() else wanted


def read_frame(path: Path) -> NDArray[np.uint8]:
    """A frame as (H, W, 3) RGB.

    Raises:
        DatasetError: it is missing or no picture.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except FileNotFoundError:
        folder = path.parent
        there = len(list(folder.glob("*"))) if folder.is_dir() else None
        hint = "its folder is missing too" if there is None else f"{there} files are beside it"
        raise DatasetError(f"frame not found: {path} ({hint})") from None
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    # The colour of the file as it stands, without its note of an orientation.
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(data, flags) if data.size else None
    if image is None:
        raise DatasetError(f"{path}: is no picture that can be read")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
