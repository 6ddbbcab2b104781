"""DAVIS 2016, 2017 and 2019 as records. Source: spec common sections 1.1 and 1.2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vidseg_common.datasets.records import VideoRecord, list_images, read_name_list
from vidseg_common.errors import DatasetError, list_problems

DAVIS2016_VAL: tuple[str, ...] = (
    "blackswan",
    "bmx-trees",
    "breakdance",
    "camel",
    "car-roundabout",
    "car-shadow",
    "cows",
    "dance-twirl",
    "dog",
    "drift-chicane",
    "drift-straight",
    "goat",
    "horsejump-high",
    "kite-surf",
    "libby",
    "motocross-jump",
    "paragliding-launch",
    "parkour",
    "scooter-black",
    "soapbox",
)

UNSUPERVISED_ANNOTATIONS = "Annotations_unsupervised"


def davis2016(
    root: str | Path,
    *,
    resolution: str = "480p",
    split: str = "val",
    names: Sequence[str] | None = None,
    first_only: bool = False,
) -> list[VideoRecord]:
    """Lists the sequences of DAVIS 2016, every frame with its annotation.

    Args:
        root: folder with JPEGImages and Annotations.
        resolution: "480p" or "1080p".
        split: "train", "val" or "trainval".
        names: only these sequences instead of those of the split.
        first_only: annotations of later frames are listed where present, but may be missing.

    Raises:
        DatasetError: files of the layout are missing; all of them are listed.
    """
    root = Path(root)
    chosen = davis2016_names(root, split, resolution) if names is None else list(names)
    return _collect(
        chosen, lambda name: _record(root, "Annotations", resolution, name, not first_only)
    )


def davis2017(
    root: str | Path,
    split: str = "val",
    *,
    resolution: str = "480p",
    names: Sequence[str] | None = None,
    unsupervised: bool = False,
    first_only: bool = False,
) -> list[VideoRecord]:
    """Lists the sequences of DAVIS 2017 (unsupervised: DAVIS 2019).

    Train and val have an annotation for every frame, the test sets for the first frame only.

    Args:
        root: folder with JPEGImages, Annotations and ImageSets, such as `2017/trainval`.
        split: "train", "val", "test-dev" or "test-challenge".
        resolution: "480p" or "Full-Resolution".
        names: only these sequences instead of those of the split.
        unsupervised: take the annotations of the unsupervised task; the test sets have none.
        first_only: annotations of later frames are listed where present, but may be missing.

    Raises:
        DatasetError: files of the layout are missing; all of them are listed.
    """
    root = Path(root)
    is_test = split.startswith("test")
    chosen = davis2017_names(root, split, unsupervised) if names is None else list(names)
    folder = UNSUPERVISED_ANNOTATIONS if unsupervised else "Annotations"
    every_frame = None if is_test and unsupervised else not (is_test or first_only)
    return _collect(chosen, lambda name: _record(root, folder, resolution, name, every_frame))


def davis2016_names(root: str | Path, split: str = "val", resolution: str = "480p") -> list[str]:
    """Names of a split of DAVIS 2016, from either form of its list or from memory (val).

    Raises:
        DatasetError: there is no list and the split is not "val".
    """
    lists = [Path(root) / "ImageSets" / part / f"{split}.txt" for part in ("2016", resolution)]
    for path in lists:
        if path.is_file():
            return read_name_list(path)
    if split == "val":
        return list(DAVIS2016_VAL)
    raise DatasetError(f"no list of the split {split!r}: neither {lists[0]} nor {lists[1]} exists")


def davis2017_names(root: str | Path, split: str = "val", unsupervised: bool = False) -> list[str]:
    """Names of a split of DAVIS 2017; unsupervised test sets are those of 2019.

    Raises:
        DatasetError: there is no list.
    """
    year = "2019" if unsupervised and split.startswith("test") else "2017"
    return read_name_list(Path(root) / "ImageSets" / year / f"{split}.txt")


def _collect(names: Sequence[str], reader: Callable[[str], VideoRecord]) -> list[VideoRecord]:
    """Reads all sequences and raises what is wrong with any of them at once."""
    records: list[VideoRecord] = []
    problems: list[str] = []
    for name in names:
        try:
            records.append(reader(name))
        except DatasetError as error:
            problems.append(f"{name}: {error}")
    if problems:
        header = "the data set is incomplete (choose sequences by name to use a part of it):"
        raise DatasetError(list_problems(header, problems))
    return records


def _record(
    root: Path, annotations: str, resolution: str, name: str, every_frame: bool | None
) -> VideoRecord:
    """Reads one sequence.

    Args:
        root: folder of the data set.
        annotations: name of the folder of annotations.
        resolution: name of the folder of the resolution.
        name: the sequence.
        every_frame: True if every frame must have an annotation, False if the first must, None
            if there are none.
    """
    frames = list_images(root / "JPEGImages" / resolution / name)
    if not frames:
        raise DatasetError(f"no images in {root / 'JPEGImages' / resolution / name}")
    folder = root / annotations / resolution / name
    masks = {i: folder / f"{frame.stem}.png" for i, frame in enumerate(frames)}
    present = {i: path for i, path in masks.items() if path.is_file()}
    needed = {True: masks, False: {0: masks[0]}, None: {}}[every_frame]
    missing = [path.name for i, path in needed.items() if i not in present]
    if missing:
        raise DatasetError(f"{len(missing)} annotation(s) missing in {folder}: {_shorten(missing)}")
    return VideoRecord(name, frames, present)


def _shorten(names: Sequence[str], limit: int = 5) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
