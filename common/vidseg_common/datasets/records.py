"""The one record every data-set reader returns, and the readers of its small parts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vidseg_common.errors import DatasetError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_MOST_NAMED = 5
_IMAGE_PAIR = re.compile(r"^/?JPEGImages/[^/]+/([^/]+)/[^/\s]+")


@dataclass(frozen=True)
class VideoRecord:
    """Where the frames and annotations of one video lie.

    Attributes:
        name: name of the video or sequence; also the name of its results folder.
        frame_paths: image files in order of time.
        mask_paths: frame index (position in `frame_paths`) to annotation file.
        required: frame indices whose result is wanted, None for all frames.
    """

    name: str
    frame_paths: tuple[Path, ...]
    mask_paths: Mapping[int, Path]
    required: frozenset[int] | None = None

    @property
    def num_frames(self) -> int:
        """Number of frames of the video."""
        return len(self.frame_paths)

    @property
    def required_indices(self) -> tuple[int, ...]:
        """Frame indices whose result is wanted, ascending."""
        return tuple(range(self.num_frames) if self.required is None else sorted(self.required))


def read_name_list(path: str | Path) -> list[str]:
    """Reads the sequence names of an image-set file, in the order of the file, each once.

    Both forms are accepted: one name per line, and the image/annotation pairs of DAVIS 2016
    ("/JPEGImages/480p/NAME/00000.jpg /Annotations/480p/NAME/00000.png"). Blank lines and lines
    that begin with "#" are skipped. Source: spec common sections 1.1 and 1.2.

    Args:
        path: the text file.

    Raises:
        DatasetError: the file is missing or holds no name.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DatasetError(f"list of sequences not found: {path}") from None
    except UnicodeDecodeError:
        raise DatasetError(f"not a text file: {path}") from None
    names: dict[str, None] = {}
    for line in map(str.strip, lines):
        if line and not line.startswith("#"):
            pair = _IMAGE_PAIR.match(line)
            names[pair.group(1) if pair else line] = None
    if not names:
        raise DatasetError(f"list of sequences is empty: {path}")
    return list(names)


def natural_key(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts "frame2" before "frame10": digits compare as numbers."""
    parts = re.split(r"(\d+)", path.name)
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def list_images(folder: str | Path) -> tuple[Path, ...]:
    """Lists the image files of a folder in natural order (hidden files left out).

    Args:
        folder: an existing folder.

    Raises:
        DatasetError: the folder is missing.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DatasetError(f"folder of images not found: {folder}")
    images = (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )
    return tuple(sorted(images, key=lambda path: (natural_key(path), path.name)))


def list_folders(root: str | Path) -> list[str]:
    """Lists the names of the sub-folders of a folder, sorted (hidden ones left out).

    Args:
        root: an existing folder.

    Raises:
        DatasetError: the folder is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetError(f"folder not found: {root}")
    return sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def unknown_folders(root: str | Path, known: Iterable[str]) -> list[str]:
    """Names of sub-folders that are none of the known ones, such as results of other videos.

    Args:
        root: an existing folder.
        known: names that are expected; they need not be there.

    Raises:
        DatasetError: the folder is missing.
    """
    return sorted(set(list_folders(root)) - set(known))


def other_videos_notes(names: Sequence[str]) -> list[str]:
    """What is said about results of videos that the ground truth does not have.

    The official tools of masks and of tracking leave them out without a word.

    Args:
        names: those videos; nothing is said where there are none.
    """
    if not names:
        return []
    shown = ", ".join(names[:_MOST_NAMED]) + (", ..." if len(names) > _MOST_NAMED else "")
    return [f"results of {len(names)} video(s) that are not in the ground truth, left out: {shown}"]
