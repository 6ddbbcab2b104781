"""Where the tracking tool looks for the sequences of KITTI-MOTS and MOTSChallenge.

Source: spec common section 1.5.
"""

from __future__ import annotations

from collections.abc import Callable
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from functools import partial
from pathlib import Path

from vidseg_common.datasets.mots_files import read_seqmap
from vidseg_common.datasets.mots_layout import KITTI_LAST_FRAMES, KITTI_SPLITS
from vidseg_common.datasets.records import list_folders
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.metrics.sequence_pairs import SequencePair, find_sequence, pair_located

__all__ = ["challenge_pairs", "kitti_pairs"]

_KITTI_FOLDERS = ("label_02", "instances_txt", "instances")
_KITTI_MAPS = ("evaluate_mots.seqmap.{split}", "{split}.seqmap")


def kitti_pairs(
    results: Path,
    gt_folder: Path,
    *,
    split: str,
    seqmap: Path | None = None,
    location: str | None = None,
) -> list[SequencePair]:
    """Pairs the sequences of KITTI-MOTS.

    Args:
        results: folder with SEQ.txt, or SEQ/NNNNNN.png.
        gt_folder: folder with label_02/SEQ.txt, instances_txt/SEQ.txt, instances/SEQ/, or the
            sequences themselves.
        split: "train" or "val", or the name of a sequence map in the folder.
        seqmap: sequence map, in place of the split.
        location: path of a sequence with {gt_folder} and {seq}, in place of the layouts above.

    Raises:
        DatasetError: sequences that are missing, all listed, or an unknown split.
    """
    sequences = read_seqmap(seqmap) if seqmap else _kitti_split(gt_folder, split)
    known = (gt_folder / name for name in _KITTI_FOLDERS)
    folder = next((path for path in known if path.is_dir()), gt_folder)

    locate = _located(gt_folder, location) or partial(find_sequence, folder)
    frames = [(name, last + 1) for name, last in sequences]
    return pair_located(results, frames, locate)


def _kitti_split(gt_folder: Path, split: str) -> list[tuple[str, int]]:
    for pattern in _KITTI_MAPS:
        path = gt_folder / pattern.format(split=split)
        if path.is_file():
            return read_seqmap(path)
    if split in KITTI_SPLITS:
        return [(name, KITTI_LAST_FRAMES[name]) for name in KITTI_SPLITS[split]]
    raise DatasetError(
        f"no sequence map for the split {split!r} in {gt_folder}; name one with --SEQMAP_FILE, or "
        f"take a split that is known: {', '.join(KITTI_SPLITS)}"
    )


def challenge_pairs(
    results: Path,
    gt_folder: Path,
    *,
    split: str,
    seqmap: Path | None = None,
    location: str | None = None,
) -> list[SequencePair]:
    """Pairs the sequences of MOTSChallenge, whose frames count from 1.

    Args:
        results: folder with SEQ.txt.
        gt_folder: folder with SPLIT/SEQ/gt/gt.txt, SPLIT/SEQ/seqinfo.ini and seqmaps/SPLIT.txt.
        split: such as "MOTS-train"; "" where the sequences lie in the folder itself.
        seqmap: list of sequences with a header line, in place of seqmaps/SPLIT.txt.
        location: path of a sequence with {gt_folder} and {seq}, in place of gt/gt.txt.

    Raises:
        DatasetError: sequences or their lengths that are missing, all listed.
    """
    folder = gt_folder / split if split else gt_folder
    path = seqmap or gt_folder / "seqmaps" / f"{split}.txt"
    names = _listed(path) if seqmap or path.is_file() else list_folders(folder)
    problems: list[str] = []
    frames = [(name, _length(folder / name / "seqinfo.ini", problems)) for name in names]
    if problems:
        raise DatasetError(list_problems("lengths of sequences are missing:", problems))

    def locate(name: str, problems: list[str]) -> Path:
        return _existing(folder / name / "gt" / "gt.txt", problems)

    return pair_located(results, frames, _located(folder, location) or locate, first_frame=1)


def _listed(path: Path) -> list[str]:
    """Names of a list whose first line is a header."""
    if not path.is_file():
        raise DatasetError(f"sequence map not found: {path}")
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [line.split()[0] for line in lines if line.strip()]


def _length(path: Path, problems: list[str]) -> int:
    """Number of frames that a seqinfo.ini states."""
    parser = ConfigParser(interpolation=None)
    try:
        if not parser.read(path, encoding="utf-8"):
            problems.append(f"{path}: not found")
            return 0
        return parser.getint("Sequence", "seqLength")
    except (ConfigParserError, ValueError) as error:
        problems.append(f"{path}: [Sequence] seqLength=N expected ({error})")
        return 0


def _located(gt_folder: Path, location: str | None) -> Callable[[str, list[str]], Path] | None:
    """Where a pattern says that a sequence is; None without a pattern."""
    if location is None:
        return None

    def locate(name: str, problems: list[str]) -> Path:
        text = location.replace("{gt_folder}", str(gt_folder)).replace("{seq}", name)
        return _existing(Path(text), problems)

    return locate


def _existing(path: Path, problems: list[str]) -> Path:
    if not path.exists():
        problems.append(f"{path}: not found")
    return path
