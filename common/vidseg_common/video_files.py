"""The reader that takes frames from a video file: true times, upright pictures, damage noticed.

Nothing here runs in a thread: `vidseg_common.video` puts a reader behind a bounded queue.
Letters: H rows, W columns.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
from av.error import FFmpegError, InvalidDataError
from numpy.typing import NDArray

from vidseg_common.errors import VideoError
from vidseg_common.video_images import Frame, Rgb

OnTruncation = Literal["error", "warn"]


class VideoFileReader:
    """Decodes a video file: true times, upright frames, damage noticed.

    Pixels are taken as stored: non-square ones are not stretched.

    Args:
        path: any file FFmpeg reads that has a video stream.
        max_frames: stop after this many.
        on_truncation: what to do with a cut off or damaged file: "error" raises at the first
            damage, "warn" delivers every frame that can be decoded and warns at the end.

    Raises:
        VideoError: not a video, no frame can be decoded, or (while reading) damage or a change
            of the frame size.
    """

    def __init__(self, path: Path, *, max_frames: int | None, on_truncation: OnTruncation) -> None:
        self._path = path
        self._max_frames = max_frames
        self._on_truncation = on_truncation
        self._damage: str | None = None
        self._skipped_s = 0.0  # undecodable start of a recording
        self._picture_s = 0.0  # what the last picture says of its own duration
        self._container, self._stream = _open_video(path)
        try:
            self.name = path.stem
            rate = self._stream.average_rate or self._stream.guessed_rate or Fraction(25)
            self.fps = float(rate)
            self.num_frames = _limited(self._stream.frames or None, max_frames)
            self._decoded = self._decode()
            self._first = next(self._decoded, None)
            if self._first is None:
                raise VideoError(f"no frames: {path} has a video stream without any frame")
            self.height, self.width = self._first.image.shape[:2]
        except BaseException:
            self.close()
            raise

    def frames(self) -> Iterator[Frame]:
        """Yields the frames in order.

        Raises:
            VideoError: damage (after the last good frame), or a change of the frame size.
        """
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._decoded

    def close(self) -> None:
        """Closes the file."""
        self._first = None
        self._container.close()

    def _decode(self) -> Iterator[Frame]:
        """Frames with durations, which are known only when the next frame is."""
        turn: Turn | None = None
        start_s = 0.0
        held: Frame | None = None
        for picture in self._pictures():
            turn = _turn_of(picture) if turn is None else turn
            own_duration = float((picture.duration or 0) * (picture.time_base or 0))
            self._picture_s = max(own_duration, 1 / self.fps)
            image = turn.apply(np.asarray(picture.to_ndarray(format="rgb24"), np.uint8))
            if held is None:
                start_s = picture.time or 0.0
                self._skipped_s = start_s - self._stream_start_s(start_s)
                held = Frame(0, "00000", image, 0.0, 1 / self.fps)
                continue
            self._check_size(held, image)
            time_s = held.time_s + 1 / self.fps
            # Broken files repeat times or have none; frames of one time cannot be written.
            if picture.time is not None and picture.time - start_s > held.time_s:
                time_s = picture.time - start_s
            yield replace(held, duration_s=time_s - held.time_s)
            index = held.index + 1
            if index == self._max_frames:
                return
            held = Frame(index, f"{index:05d}", image, time_s, 1 / self.fps)
        if held is not None:
            yield replace(held, duration_s=self._last_duration(held))
        self._report_damage(held)

    def _pictures(self) -> Iterator[av.VideoFrame]:
        for batch in self._batches():
            for picture in batch:
                if picture.is_corrupt:
                    self._damage = self._damage or "a frame could only be decoded in part"
                    continue
                yield picture
            if self._damage and self._on_truncation == "error":
                # What was sent before the damage may still be in the decoder.
                yield from self._drain()
                return

    def _batches(self) -> Iterator[list[av.VideoFrame]]:
        """Decodes packet by packet, noting damage instead of stopping at it."""
        has_key = False
        packets = iter(self._container.demux(self._stream))
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self._damage = self._damage or _reason(error)
                yield self._drain()
                return
            if packet is None:
                return
            # A recording that starts in the middle of a group has no picture to build on yet.
            has_key = has_key or packet.is_keyframe
            if packet.size and not has_key:
                continue
            try:
                pictures = packet.decode()
            except FFmpegError as error:
                self._damage = self._damage or _reason(error)
                pictures = []
            yield pictures

    def _drain(self) -> list[av.VideoFrame]:
        try:
            return [p for p in self._stream.decode(None) if not p.is_corrupt]
        except FFmpegError:
            return []

    def _check_size(self, held: Frame, image: Rgb) -> None:
        if image.shape != held.image.shape:
            raise VideoError(
                f"{self._path}: frame {held.index + 1} is {image.shape[1]}x{image.shape[0]}, but "
                f"the frames before it are {held.image.shape[1]}x{held.image.shape[0]}; "
                "all frames must have one size"
            )

    def _stream_start_s(self, default: float) -> float:
        start = self._stream.start_time
        return default if start is None else float(start * self._stream.time_base)

    def _stored_duration_s(self) -> float | None:
        """Time from the first frame to the end of the stream as announced, in seconds."""
        announced = self._announced_s()
        return None if announced is None else announced - self._skipped_s

    def _announced_s(self) -> float | None:
        stream = self._stream
        if stream.duration and stream.time_base:
            return float(stream.duration * stream.time_base)
        tag = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
        if tag:  # Matroska and WebM
            return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
        # The length of the file counts sound as well, which may be longer.
        alone = len(self._container.streams) == 1 and self._container.duration
        return self._container.duration / 1e6 if alone else None

    def _last_duration(self, last: Frame) -> float:
        """What the file says remains after the last frame, unless frames are missing."""
        stored = self._stored_duration_s()
        if stored is None or self._damage or self._is_cut(last):
            return 1 / self.fps
        remaining = stored - last.time_s
        return remaining if remaining > 0.25 / self.fps else 1 / self.fps

    def _is_cut(self, last: Frame | None) -> bool:
        """Whether the file announces frames that did not come.

        Fewer frames than announced are normal where an edit list hides some, and some formats
        announce none, hence the second condition: playing time must be missing as well.
        """
        announced = self._stream.frames
        stored = self._stored_duration_s()
        if stored is None or (last is not None and last.index + 1 == announced):
            return False
        return last is None or last.time_s + self._picture_s + 0.5 / self.fps < stored

    def _report_damage(self, last: Frame | None) -> None:
        if self._damage is None and not self._is_cut(last):
            return
        read = 0 if last is None else last.index + 1
        total = f" of {self._stream.frames}" if self._stream.frames else ""
        detail = f" ({self._damage})" if self._damage else ""
        message = (
            f"{self._path}: the video is cut off or damaged: "
            f"{read}{total} frames could be read{detail}"
        )
        if self._on_truncation == "error" or last is None:
            raise VideoError(message)
        warnings.warn(message, stacklevel=2)


@dataclass(frozen=True)
class Turn:
    """One of the eight ways to turn or mirror a picture by right angles.

    Attributes:
        transpose: swap rows and columns first.
        flip_rows: then turn upside down.
        flip_columns: then swap left and right.
    """

    transpose: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def apply(self, image: Rgb) -> Rgb:
        """Turns an (H, W, 3) image; the result is contiguous."""
        if self.transpose:
            image = image.transpose(1, 0, 2)
        rows = slice(None, None, -1 if self.flip_rows else 1)
        columns = slice(None, None, -1 if self.flip_columns else 1)
        return np.ascontiguousarray(image[rows, columns])


def turn_of_matrix(matrix: NDArray[np.int32]) -> Turn:
    """Turn that a display matrix (nine numbers a b u c d v x y w) asks for.

    A point (x, y) goes to (a x + c y, b x + d y), y pointing down. Angles between the right
    ones, which no camera writes, are rounded. Source: ISO/IEC 14496-12, track header box.
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, flip_rows=d < 0, flip_columns=a < 0)
    return Turn(True, flip_rows=b < 0, flip_columns=c < 0)


def _turn_of(picture: av.VideoFrame) -> Turn:
    side_data: Any = picture.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return Turn()
    return turn_of_matrix(np.frombuffer(side_data, np.int32))


def _limited(announced: int | None, limit: int | None) -> int | None:
    return announced if announced is None or limit is None else min(announced, limit)


def _reason(error: FFmpegError) -> str:
    """FFmpeg's words without its error numbers."""
    if isinstance(error, InvalidDataError):
        return "the data is damaged, cut off or not a video"
    return error.strerror or type(error).__name__


def _open_video(path: Path) -> tuple[Any, Any]:
    """Opens a file and picks its main video stream (not a cover picture)."""
    try:
        container = av.open(str(path))
    except FFmpegError as error:
        raise VideoError(
            f"cannot read {path} as a video: no frame could be read ({_reason(error)})"
        ) from error
    stream: Any = container.streams.best("video")
    if stream is None or not stream.codec_context:
        container.close()
        raise VideoError(f"cannot read {path} as a video: it has no video stream")
    # Frames are decoded on several cores; it costs a few frames of memory.
    stream.thread_type = "AUTO"
    return container, stream
