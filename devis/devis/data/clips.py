"""Which frames make a clip: of validation videos and of training samples (spec 3.2, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass

from vidseg_common.errors import DatasetError


@dataclass(frozen=True)
class VideoClips:
    """How a video is cut for inference.

    Attributes:
        clips: frame numbers of every clip, T each.
        real_length: frames of a video that is shorter than a clip; else None.
        last_start: frames of the last clip that come before the overlap with the clip before it.
    """

    clips: list[list[int]]
    real_length: int | None = None
    last_start: int = 0


def clips_of_video(length: int, num_frames: int, stride: int) -> VideoClips:
    """Cuts a video into overlapping clips; the last one holds the last frames.

    A video that is shorter than a clip is shown back and forth; one frame is repeated.

    Args:
        length: frames of the video.
        num_frames: T.
        stride: new frames per clip, less than T.

    Raises:
        DatasetError: the video has no frames.
    """
    _check_length(length)
    if length < num_frames:
        return VideoClips([bounce(length, 0, num_frames)], real_length=length)
    starts = [*range(0, length - num_frames, stride), length - num_frames]
    regular = stride * (len(starts) - 1)
    clips = [list(range(start, start + num_frames)) for start in starts]
    return VideoClips(clips, last_start=regular - starts[-1])


def bounce(length: int, start: int, num_frames: int) -> list[int]:
    """Frame numbers from a start on: up to the last frame, down to the first, up again, ...

    Args:
        length: frames of the video; a single one is repeated.
        start: the first frame number.
        num_frames: how many.
    """
    period = max(2 * (length - 1), 1)
    steps = [(start + step) % period for step in range(num_frames)]
    return [min(step, period - step) if length > 1 else 0 for step in steps]


def training_starts(length: int, num_frames: int, *, each_frame: bool) -> list[int]:
    """Frames that a training clip may start with.

    Args:
        length: frames of the video.
        num_frames: T.
        each_frame: every frame may; else those with T - 1 frames after them, and the first.

    Raises:
        DatasetError: the video has no frames.
    """
    _check_length(length)
    return list(range(length if each_frame else max(length - num_frames + 1, 1)))


def _check_length(length: int) -> None:
    if length < 1:
        raise DatasetError("a video has no frames; expected one or more")
