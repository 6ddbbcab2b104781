"""Division of a video into overlapping clips, for videos whose length is not known ahead.

Source: spec section 8, item 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from vidseg_common.errors import ConfigError


@dataclass(frozen=True)
class Clip:
    """One clip: the frame at every position of it.

    Attributes:
        frames: frame indices, not descending; a video shorter than a clip repeats frame 0.
        num_padded: how many positions at the front are such repetitions.
    """

    frames: tuple[int, ...]
    num_padded: int = 0

    @property
    def last_positions(self) -> dict[int, int]:
        """Every frame of the clip in ascending order, and where it occurs last."""
        return {frame: position for position, frame in enumerate(self.frames)}


class ClipSchedule:
    """Says which clips are complete as frames come in, and which frames are still needed.

    Args:
        length: frames of a clip.
        overlap: frames that neighbouring clips share.

    Raises:
        ConfigError: the overlap is negative or not below the length.
    """

    def __init__(self, length: int, overlap: int) -> None:
        if not 0 <= overlap < length:
            raise ConfigError(
                f"the frame overlap of clips must be at least 0 and below their {length} frames "
                f"(INPUT.NUM_FRAMES), got {overlap}"
            )
        self.length = length
        self.step = length - overlap
        self.num_frames = 0
        self._last_start: int | None = None

    def add_frame(self) -> list[Clip]:
        """Counts one more frame; the clip that ends with it, if there is one."""
        self.num_frames += 1
        start = 0 if self._last_start is None else self._last_start + self.step
        if start + self.length > self.num_frames:
            return []
        self._last_start = start
        return [self._clip(start)]

    def finish(self) -> list[Clip]:
        """The clip that covers the frames left over at the end of the video, if there are any."""
        if self.num_frames == 0:
            return []
        if self._last_start is None:
            missing = self.length - self.num_frames
            return [Clip((*[0] * missing, *range(self.num_frames)), missing)]
        if self._last_start + self.length == self.num_frames:
            return []
        return [self._clip(self.num_frames - self.length)]

    @property
    def oldest_needed(self) -> int:
        """The first frame that a later clip may hold.

        The video may end at any frame and the last clip then reaches back from there.
        """
        if self._last_start is None:
            return 0
        return max(self._last_start + 1, self.num_frames - self.length)

    def _clip(self, start: int) -> Clip:
        return Clip(tuple(range(start, start + self.length)))


def subsequences(num_frames: int, length: int, overlap: int) -> list[Clip]:
    """All clips of a video of known length.

    Args:
        num_frames: of the video.
        length: frames of a clip.
        overlap: frames that neighbouring clips share.

    Raises:
        ConfigError: see `ClipSchedule`.
    """
    schedule = ClipSchedule(length, overlap)
    clips = [clip for _ in range(num_frames) for clip in schedule.add_frame()]
    return clips + schedule.finish()
