"""Frames in and out: sources that decode ahead, sinks for video, GIF and image folders.

A source holds at most `prefetch` decoded frames, so its memory does not depend on the length of
the video. The sinks live in `vidseg_common.video_sinks` and `vidseg_common.background` and are
offered here too.
"""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from vidseg_common.background import BackgroundWriter, ImageFolderSink, write_image
from vidseg_common.errors import VideoError
from vidseg_common.video_files import OnTruncation, VideoFileReader
from vidseg_common.video_images import (
    DEFAULT_FPS,
    IMAGE_SUFFIXES,
    Frame,
    FrameReader,
    ImageListReader,
    list_images,
    read_image,
)
from vidseg_common.video_sinks import GifSink, VideoSink

__all__ = [
    "IMAGE_SUFFIXES",
    "BackgroundWriter",
    "Frame",
    "FrameSource",
    "GifSink",
    "ImageFolderSink",
    "VideoSink",
    "list_images",
    "open_source",
    "read_image",
    "write_image",
]


def open_source(
    src: Path | str | Sequence[Path | str],
    *,
    prefetch: int = 8,
    max_frames: int | None = None,
    image_fps: float = DEFAULT_FPS,
    on_truncation: OnTruncation = "error",
) -> FrameSource:
    """Opens a video file, a folder of images or a list of image files.

    The first frame is decoded at once, so that bad input shows here and the size is known.

    Args:
        src: the video, the folder (its images in natural order), one image, or images in order.
        prefetch: frames decoded ahead in a thread; 0 decodes when asked, without a thread.
        max_frames: deliver only this many frames from the start; None delivers all.
        image_fps: frame rate assumed for images, which carry none.
        on_truncation: a video that is cut off or damaged raises ("error", after its good frames
            were delivered) or delivers what can be decoded and warns at the end ("warn").

    Returns:
        The source: a context manager, and an iterator over its frames for one pass.

    Raises:
        VideoError: nothing there, not a video, no frames, or the first frame cannot be read.
        ValueError: `prefetch` or `image_fps` or `max_frames` is out of range.
    """
    if prefetch < 0 or image_fps <= 0 or (max_frames is not None and max_frames < 1):
        raise ValueError("prefetch must be >= 0, image_fps > 0 and max_frames >= 1")
    return FrameSource(_open_reader(src, max_frames, image_fps, on_truncation), prefetch)


def _open_reader(
    src: Path | str | Sequence[Path | str],
    max_frames: int | None,
    image_fps: float,
    on_truncation: OnTruncation,
) -> FrameReader:
    if not isinstance(src, (str, Path)):
        paths = [Path(path) for path in src]
        name = paths[0].parent.name if paths else "frames"
        return ImageListReader(paths, name=name, fps=image_fps, max_frames=max_frames)
    path = Path(src)
    if path.is_dir():
        paths, name = list_images(path), path.resolve().name
        return ImageListReader(paths, name=name, fps=image_fps, max_frames=max_frames)
    if not path.exists():
        raise VideoError(f"no such video file or folder of frames: {src}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageListReader([path], name=path.stem, fps=image_fps, max_frames=max_frames)
    return VideoFileReader(path, max_frames=max_frames, on_truncation=on_truncation)


class FrameSource:
    """Iterator over the frames of a reader, decoded ahead in a thread.

    Leaving the `with` block, `close()`, or dropping the last reference ends the thread. An error
    of the reader is raised here, in its place in the order of the frames.

    Args:
        reader: where the frames come from.
        prefetch: bound of the queue, 0 for no thread.

    Attributes:
        name: stem of the file, or name of the folder.
        fps: mean frames per second.
        num_frames: how many frames are announced, None where the file does not say. Damaged
            files, and videos cut by an edit list, deliver fewer.
        height: rows of every frame.
        width: columns of every frame.
    """

    def __init__(self, reader: FrameReader, prefetch: int) -> None:
        self.name = reader.name
        self.fps = reader.fps
        self.num_frames = reader.num_frames
        self.height = reader.height
        self.width = reader.width
        self._frames = _ThreadedFrames(reader, prefetch) if prefetch else reader.frames()
        # Holds no reference to `self`: a source that is dropped half-way ends its thread.
        self._finalizer = weakref.finalize(self, _end, self._frames, reader)

    def __enter__(self) -> FrameSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        if not self._finalizer.alive:
            raise StopIteration
        try:
            return next(self._frames)
        except BaseException:
            # The end or an error: either way nothing more will come.
            self.close()
            raise

    def close(self) -> None:
        """Ends the thread and releases the files; may be called twice."""
        self._finalizer()


def _end(frames: Iterator[Frame], reader: FrameReader) -> None:
    if isinstance(frames, _ThreadedFrames):
        frames.stop()
    reader.close()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


class _ThreadedFrames(Iterator[Frame]):
    """Runs a reader in a thread that stays at most `bound` frames ahead."""

    def __init__(self, reader: FrameReader, bound: int) -> None:
        self._queue: queue.Queue[Frame | _Failure | None] = queue.Queue(bound)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=_pump,
            args=(reader, self._queue, self._stopped),
            name=f"decode {reader.name}",
            daemon=True,
        )
        self._thread.start()

    def __next__(self) -> Frame:
        item = self._queue.get()
        if item is None:
            raise StopIteration
        if isinstance(item, _Failure):
            raise item.error
        return item

    def stop(self) -> None:
        """Ends the thread, dropping the frames that wait."""
        self._stopped.set()
        # A thread waiting for room gets it, then sees that it should stop.
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                break
        # The collector may drop a forgotten source from inside the thread itself.
        if self._thread is not threading.current_thread():
            self._thread.join()


def _pump(
    reader: FrameReader,
    frames: queue.Queue[Frame | _Failure | None],
    stopped: threading.Event,
) -> None:
    """Moves frames into the queue until the end, an error, or `stopped`.

    It puts at most one item after `stopped` is set, for which `stop` has made room.
    """
    last: _Failure | None = None
    try:
        for frame in reader.frames():
            if stopped.is_set():
                return
            frames.put(frame)
    except BaseException as error:
        last = _Failure(error)
    if not stopped.is_set():
        frames.put(last)
