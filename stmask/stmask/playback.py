"""Images, folders, videos and webcams, drawn and shown. Source: spec section 9."""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidseg_common.errors import UserError, VideoError
from vidseg_common.video import Frame, VideoSink, list_images, open_source, read_image, write_image

Image = np.ndarray
Draw = Callable[[Frame, float | None], Image]
"""Segments a frame and draws what was found; the number is the frame rate so far."""

_NO_WINDOWS = re.compile(r"GUI:\s+NONE")
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")  # can be written
_ESCAPE = 27
_WINDOW = "STMask"
_RATE_FRAMES = 10  # over which the frame rate is averaged


@dataclass(frozen=True)
class Playback:
    """How frames are shown.

    Attributes:
        draw: see `Draw`.
        in_real_time: wait until the time of a frame before it is shown.
        max_frames: stop after so many; None shows all.
        prefetch: frames read ahead.
    """

    draw: Draw
    in_real_time: bool = False
    max_frames: int | None = None
    prefetch: int = 1


def split_pair(text: str) -> tuple[str, Path | None]:
    """Takes `IN:OUT` apart; a path that exists is IN alone, whatever colons it has."""
    source, colon, target = text.partition(":")
    if not colon or Path(text).exists():
        return text, None
    return source, Path(target) if target else None


def play_image(playback: Playback, source: Path, target: Path) -> None:
    """Draws one image into a file.

    Raises:
        VideoError: it cannot be read.
        UserError: the name of the file tells no format of a picture.
    """
    frame = Frame(0, source.stem, read_image(source), 0.0, 0.0)
    if target.suffix.lower() not in _PICTURES:
        raise UserError(f"{target}: a picture's name must end in one of {', '.join(_PICTURES)}")
    write_image(target, playback.draw(frame, None))


def play_folder(playback: Playback, source: Path, target: Path) -> int:
    """Draws the images of a folder, as the frames of one video ordered by their numbers.

    Unlike frames of a video, images may differ in size.

    Args:
        playback: how.
        source: the folder.
        target: folder for `NAME.png`.

    Returns:
        How many images there were.

    Raises:
        VideoError: there is none, or one cannot be read.
    """
    if not source.is_dir():
        raise VideoError(f"no such folder of images: {source}")
    paths = list_images(source)[: playback.max_frames]
    rate = _Rate()
    for index, path in enumerate(paths):
        frame = Frame(index, path.stem, read_image(path), float(index), 1.0)
        write_image(target / f"{path.stem}.png", playback.draw(frame, rate.tick()))
    return len(paths)


def play_video(playback: Playback, source: str, target: Path | None) -> int:
    """Draws a video, or what a webcam sees, into a file or a window.

    Args:
        playback: how.
        source: file, folder of frames, or number of a webcam.
        target: the drawn video; None shows a window until its end, Escape, or Ctrl-C.

    Returns:
        How many frames there were.

    Raises:
        VideoError: the source cannot be read.
        UserError: there is no screen for a window.
    """
    if target is None:
        check_screen()
    count, rate = 0, _Rate()
    with ExitStack() as stack:
        frames, fps = _open(playback, source, stack)
        sink = None if target is None else stack.enter_context(VideoSink(target, fps))
        start = time.monotonic()
        try:
            for frame in frames:
                picture = playback.draw(frame, rate.tick())
                if playback.in_real_time:
                    time.sleep(max(0.0, start + frame.time_s - time.monotonic()))
                count += 1
                if sink is not None:
                    sink.write(picture, frame.time_s, frame.duration_s)
                elif not _show(picture):
                    break
        except KeyboardInterrupt:
            # The usual end of a webcam; a video is finished up to here.
            if not source.isdecimal() or not count:
                raise
    if target is None:
        cv2.destroyAllWindows()
    return count


def _open(playback: Playback, source: str, stack: ExitStack) -> tuple[Iterator[Frame], float]:
    """Frames of a video or webcam, and their rate."""
    if source.isdecimal():
        frames, fps = open_webcam(int(source), playback.max_frames)
        return stack.enter_context(closing(frames)), fps
    opened = open_source(Path(source), prefetch=playback.prefetch, max_frames=playback.max_frames)
    stack.enter_context(opened)
    return opened, opened.fps


def open_webcam(number: int, max_frames: int | None = None) -> tuple[Any, float]:
    """Frames of a webcam as they come, and their rate.

    Raises:
        VideoError: there is no such webcam, or it is in use.
    """
    with _quiet_opencv():
        camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        camera.release()
        raise VideoError(
            f"webcam {number}: cannot be opened; is one connected, free, and allowed to be used?"
        )
    return _webcam_frames(camera, number, max_frames), camera.get(cv2.CAP_PROP_FPS) or 25.0


def _webcam_frames(camera: Any, number: int, max_frames: int | None) -> Iterator[Frame]:
    start, last = time.monotonic(), 0.0
    index = 0
    try:
        while max_frames is None or index < max_frames:
            is_read, picture = camera.read()
            if not is_read:
                if not index:
                    raise VideoError(f"webcam {number}: gives no frames")
                return
            now = max(time.monotonic() - start, last + 1e-3)
            image = np.ascontiguousarray(picture[..., ::-1])
            yield Frame(index, f"{index:05d}", image, now, 0.0)
            last, index = now, index + 1
    finally:
        camera.release()


def check_screen() -> None:
    """Makes sure that windows can be shown.

    Raises:
        UserError: they cannot.
    """
    names = ("DISPLAY", "WAYLAND_DISPLAY")
    has_screen = sys.platform != "linux" or any(os.environ.get(name) for name in names)
    # OpenCV ends the process where it finds no screen, so it is not asked.
    if not has_screen or _NO_WINDOWS.search(cv2.getBuildInformation()):
        raise UserError("no window can be shown here; name an output file: --video=IN:OUT.mp4")


def _show(picture: Image) -> bool:
    """Shows a picture; False when the user closed the window or pressed Escape."""
    cv2.imshow(_WINDOW, picture[..., ::-1])
    key = cv2.waitKey(1) & 0xFF
    return key != _ESCAPE and cv2.getWindowProperty(_WINDOW, cv2.WND_PROP_VISIBLE) >= 1


class _Rate:
    """Frames per second over the last frames."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RATE_FRAMES + 1)

    def tick(self) -> float | None:
        """Counts a frame; None until there are two."""
        self._times.append(time.monotonic())
        span = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else None


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keeps OpenCV from printing what the error says already."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)
