"""Sequences of ground truth and results, paired by name and scored one by one.

Source: spec common sections 1.5 and 6.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from vidseg_common.datasets.annotations import AnnotationSet, Clip
from vidseg_common.errors import DatasetError, list_problems
from vidseg_common.metrics.forked import can_fork, share_jobs
from vidseg_common.metrics.parallel import run_jobs

__all__ = [
    "SequencePair",
    "SequenceSource",
    "check_track_ids",
    "find_sequence",
    "pair_clips",
    "pair_files",
    "pair_located",
    "score_pairs",
]

SequenceSource = Path | Clip
Score = TypeVar("Score")


@dataclass(frozen=True)
class SequencePair:
    """A sequence to score: where its objects come from, read when it is its turn.

    Attributes:
        name: name of the sequence.
        num_frames: number of its frames.
        truth: a text file or PNG folder of a MOTS data set, or a clip.
        predictions: the same of the results.
        first_frame: number of the first frame in files, 1 in trees of MOTSChallenge.
    """

    name: str
    num_frames: int
    truth: SequenceSource
    predictions: SequenceSource
    first_frame: int = 0


def check_track_ids(clip: Clip) -> None:
    """Makes sure that an id of a class means one track; else no identity can be compared.

    Raises:
        DatasetError: two tracks of one class and id.
    """
    ids = Counter((track.category_id, track.id) for track in clip.tracks)
    twice = [track_id for (_, track_id), count in ids.items() if count > 1]
    if twice:
        name = clip.video.name
        raise DatasetError(f"video {name}: more than one track of a class has the id {twice}")


class _Pairs(Sequence[SequencePair]):
    """Pairs of clips of one name; each is read when it is asked for and not kept."""

    def __init__(self, truth: AnnotationSet, predictions: AnnotationSet) -> None:
        self._truth = truth
        self._predictions = predictions
        self._places = {video.name: i for i, video in enumerate(predictions.videos)}

    def __len__(self) -> int:
        return len(self._truth.videos)

    def __getitem__(self, position: int) -> SequencePair:  # type: ignore[override]
        if not 0 <= position < len(self):
            raise IndexError(position)
        video = self._truth.videos[position]
        predictions = self._predictions.load(self._places[video.name])
        return SequencePair(video.name, video.num_frames, self._truth.load(position), predictions)


def pair_clips(truth: AnnotationSet, predictions: AnnotationSet) -> Sequence[SequencePair]:
    """Pairs the videos of two sets by name; nothing is read before it is needed.

    Raises:
        DatasetError: no video, a video that only one side has, or lengths that differ.
    """
    if not truth.videos:
        raise DatasetError("the ground truth has no video to score")
    wanted = {video.name: video.num_frames for video in truth.videos}
    given = {video.name: video.num_frames for video in predictions.videos}
    problems = [f"video {name}: not in the predictions" for name in wanted.keys() - given.keys()]
    problems += [f"video {name}: not in the ground truth" for name in given.keys() - wanted.keys()]
    problems += [
        f"video {name}: {given[name]} frames predicted, {wanted[name]} in the ground truth"
        for name in wanted.keys() & given.keys()
        if wanted[name] != given[name]
    ]
    if problems:
        raise DatasetError(
            list_problems("predictions do not fit the ground truth:", sorted(problems))
        )
    return _Pairs(truth, predictions)


def pair_files(
    results: Path, truth: Path, sequences: Iterable[tuple[str, int]]
) -> list[SequencePair]:
    """Pairs the files of MOTS results and ground truth, text or PNG folder on either side.

    Args:
        results: folder with NAME.txt or NAME/NNNNNN.png per sequence.
        truth: the same of the ground truth.
        sequences: name and index of the last frame of each, as a sequence map lists them.

    Raises:
        DatasetError: no sequence, or one that a side does not have; all are listed.
    """
    frames = [(name, last_frame + 1) for name, last_frame in sequences]
    return pair_located(results, frames, partial(find_sequence, truth))


def pair_located(
    results: Path,
    frames: Iterable[tuple[str, int]],
    locate: Callable[[str, list[str]], Path],
    *,
    first_frame: int = 0,
) -> list[SequencePair]:
    """Pairs result files with ground truth of any layout.

    Args:
        results: folder with NAME.txt or NAME/NNNNNN.png per sequence.
        frames: name and number of frames of each sequence.
        locate: finds the ground truth of a sequence, or adds a problem to the list.
        first_frame: number of the first frame.

    Raises:
        DatasetError: no sequence, or one that a side does not have; all are listed.
    """
    pairs: list[SequencePair] = []
    problems: list[str] = []
    for name, num_frames in frames:
        truth, found = locate(name, problems), find_sequence(results, name, problems)
        pairs.append(SequencePair(name, num_frames, truth, found, first_frame))
    if problems:
        raise DatasetError(list_problems("sequences are missing:", problems))
    if not pairs:
        raise DatasetError("no sequence to score")
    return pairs


def find_sequence(folder: Path, name: str, problems: list[str]) -> Path:
    """The text file or PNG folder of a sequence; one that is missing is added to the problems."""
    text = folder / f"{name}.txt"
    if text.is_file() or (folder / name).is_dir():
        return text if text.is_file() else folder / name
    problems.append(f"{folder}: neither {name}.txt nor a folder {name}")
    return text


def score_pairs(
    score: Callable[[SequencePair], Score],
    pairs: Sequence[SequencePair],
    *,
    workers: int = 1,
    progress: bool = False,
) -> dict[str, Score]:
    """Scores every sequence, several at a time where asked for.

    A pair of clips is read when it is its turn, where the system can fork.

    Args:
        score: a function of a module, or a `partial` of one.
        pairs: the sequences.
        workers: number of processes.
        progress: shows a bar on stderr.

    Returns:
        The score of each sequence by name, in order.

    Raises:
        DatasetError: what any of the sequences has wrong, all of them in one message.
    """
    sizes = [1] * len(pairs)
    run = share_jobs if can_fork() else run_jobs
    outcomes = run(
        partial(_attempt, score), pairs, sizes, workers=workers, progress=progress, unit="sequence"
    )
    failures = [str(found) for _, found in outcomes if isinstance(found, DatasetError)]
    if failures:
        raise DatasetError("\n".join(failures))
    return {name: found for name, found in outcomes if not isinstance(found, DatasetError)}


def _attempt(
    score: Callable[[SequencePair], Score], pair: SequencePair
) -> tuple[str, Score | DatasetError]:
    """Name and score of a sequence; its error is returned, so that the others are checked too."""
    try:
        return pair.name, score(pair)
    except DatasetError as error:
        return pair.name, error
