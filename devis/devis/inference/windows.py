"""Cuts a stream of frames into overlapping clips without knowing its length (spec 3.3).

The clips are those of `devis.data.clips.clips_of_video`. A clip can be told from the last one as
soon as there is a frame behind it, so one frame is read ahead of the clip that is given out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from devis.data.clips import bounce
from vidseg_common.errors import VideoError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Window(Generic[Item]):
    """A clip of a stream.

    Attributes:
        frames: T frame numbers; of a stream that is shorter than a clip some come repeatedly.
        num_new: frames that no window before had: the last ones, or all of a short stream.
        items: of those frames.
        real_frames: how many of `frames`, from the first on, are not repeated ones.
        last_start: of the last window, the frames before its overlap with the window before.
    """

    frames: list[int]
    num_new: int
    items: list[Item]
    real_frames: int
    last_start: int = 0


def windows(stream: Iterable[Item], num_frames: int, stride: int) -> Iterator[Window[Item]]:
    """The clips of a stream, as its frames arrive.

    Args:
        stream: one item per frame.
        num_frames: T.
        stride: new frames per clip, less than T.

    Raises:
        VideoError: there are no frames.
    """
    source, waiting = iter(stream), []
    begin = known = 0  # first frame of the next clip, and how many frames clips had so far
    while True:
        for item in source:
            waiting.append(item)
            if known + len(waiting) > begin + num_frames:
                break
        length = known + len(waiting)
        if length <= begin + num_frames:
            yield _last(waiting, length, begin, num_frames)
            return
        count = begin + num_frames - known
        frames = list(range(begin, begin + num_frames))
        yield Window(frames, count, waiting[:count], num_frames)
        waiting = waiting[count:]
        known, begin = begin + num_frames, begin + stride


def _last(items: list[Item], length: int, begin: int, num_frames: int) -> Window[Item]:
    """The clip of the last frames; `begin` is where it would start if there were enough."""
    if length == 0:
        raise VideoError("a video has no frames; expected one or more")
    if length < num_frames:
        return Window(bounce(length, 0, num_frames), length, items, length)
    frames = list(range(length - num_frames, length))
    return Window(frames, len(items), items, num_frames, begin - frames[0])
