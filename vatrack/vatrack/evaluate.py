"""Runs a data set through a network, whole videos over the processes (spec 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from tqdm import tqdm

from vatrack.evaluation_set import EvaluationSet
from vatrack.inference.predictor import Predictor
from vatrack.inference.results import FrameResult
from vatrack.outputs.drawing import draw_masks
from vatrack.outputs.finished import from_entries, to_entries
from vatrack.outputs.store import Masks, PlainFrame, ResultStore, to_plain
from vidseg_common.datasets.annotations import Video
from vidseg_common.distributed import DistInfo
from vidseg_common.finished import FinishedVideos
from vidseg_common.video import BackgroundWriter, write_image

#: What a process has found: place of a video and its frames.
Found = list[tuple[int, list[PlainFrame]]]


@dataclass(frozen=True)
class Pictures:
    """What is drawn of every frame.

    Attributes:
        folder: for the pictures.
        threshold: tracks that score no more are left out.
    """

    folder: Path
    threshold: float = 0.5


@dataclass(frozen=True)
class Run:
    """How a data set is run.

    Attributes:
        chosen: the data set; its frames exist.
        masks: which masks the network makes.
        classes: names, in the order of labels.
        dist: place among several processes.
        prefetch: frames read ahead in a thread.
        pictures: what is drawn, if anything.
        finished: keeps the results of videos that are through, and has those of an earlier run,
            which are not run again; None keeps nothing.
        positions: of the videos that are run; None: all.
    """

    chosen: EvaluationSet
    masks: Masks
    classes: Sequence[str]
    dist: DistInfo
    prefetch: int = 4
    pictures: Pictures | None = None
    finished: FinishedVideos | None = None
    positions: Sequence[int] | None = None

    def mine(self) -> list[int]:
        """Positions of the videos of this process."""
        videos = self.chosen.data.videos
        wanted = range(len(videos)) if self.positions is None else self.positions
        part = share([videos[i] for i in wanted], self.dist.rank, self.dist.world_size)
        return [wanted[k] for k in part]


def run_set(run: Run, predictor: Predictor) -> ResultStore:
    """Segments the videos.

    Args:
        run: see `Run`.
        predictor: of this process.

    Returns:
        In the first process the results of all, in the others their own.

    Raises:
        UserError: a frame cannot be read.
    """
    data, dist = run.chosen.data, run.dist
    store = ResultStore(data.videos, data.categories, run.masks)
    mine = run.mine()
    total = sum(data.videos[i].num_frames for i in mine)
    with ExitStack() as stack:
        writer = stack.enter_context(BackgroundWriter()) if run.pictures else None
        # disable=None: no bar where nobody looks.
        disable = None if dist.is_main else True
        bar = stack.enter_context(tqdm(total=total, unit="frame", disable=disable))
        for position in mine:
            video = data.videos[position]
            bar.set_postfix_str(video.name)
            if run.finished is not None and video.id in run.finished:
                store.add(position, from_entries(run.finished.entries(video.id)))
                bar.update(video.num_frames)
                continue
            frames = []
            for number, image, found in _results(run, predictor, video):
                frames.append(to_plain(found))
                if writer is not None:
                    _draw(run, writer, video.file_names[number], image, found)
                bar.update()
            store.add(position, frames)
            if run.finished is not None:
                run.finished.add(video.id, to_entries(frames))
    if dist.world_size > 1:
        _gather(store, mine, dist)
    return store


def share(videos: Sequence[Video], rank: int, world_size: int) -> range:
    """The videos of a process: whole ones, one after the other, of about equally many frames."""
    ends = np.cumsum([video.num_frames for video in videos])
    total = int(ends[-1]) if len(ends) else 0
    limits = [total * r / world_size for r in (rank, rank + 1)]
    # A video goes to the process in whose part its middle lies.
    middles = ends - np.array([video.num_frames for video in videos]) / 2
    first, last = np.searchsorted(middles, limits)
    return range(int(first), int(last) if rank + 1 < world_size else len(videos))


def _results(
    run: Run, predictor: Predictor, video: Video
) -> Iterator[tuple[int, NDArray[np.uint8], FrameResult]]:
    """Number, image and result of the frames of a video."""
    predictor.reset()
    with closing(run.chosen.frames_of(video, run.prefetch)) as frames:
        for number, image in enumerate(frames):
            yield number, image, predictor.step(image)


def _draw(
    run: Run, writer: BackgroundWriter, name: str, image: NDArray[np.uint8], found: FrameResult
) -> None:
    """Queues the pictures of a frame, `VIDEO/images/FRAME.png`; of joint models one of a kind."""
    assert run.pictures is not None
    kinds = ("amodal", "visible") if run.masks == "joint" else (run.masks,)
    for kind in kinds:
        folder = run.pictures.folder / kind if run.masks == "joint" else run.pictures.folder
        parts = Path(name).parts
        path = folder / parts[0] / "images" / parts[-1] if len(parts) > 1 else folder / name
        picture = draw_masks(image, found, run.classes, kind, run.pictures.threshold)
        writer.submit(write_image, path.with_suffix(".png"), picture)


def _gather(store: ResultStore, mine: Sequence[int], dist: DistInfo) -> None:
    """Brings the results of all processes into the store of the first one."""
    own: Found = [(position, store.plain(position)) for position in mine]
    parts: list[Found] | None = [[] for _ in range(dist.world_size)] if dist.is_main else None
    torch.distributed.gather_object(own, parts)
    for part in (parts or [])[1:]:
        for position, frames in part:
            store.add(position, frames)
