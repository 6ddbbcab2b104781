"""Sinks for frames: H.264 video and GIF.

A file appears under its final name only when it is whole. Letters: H rows, W columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from PIL import Image

from vidseg_common.errors import VideoError
from vidseg_common.files import atomic_path
from vidseg_common.video_images import Rgb

# Divides the frame durations of 24, 25, 30 and 30000/1001 frames per second exactly.
_TICKS_PER_S = 90_000
_VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov")
_BT709 = 1  # the number ITU-T H.273 gives BT.709 as matrix, primaries and transfer alike
_LIMITED_RANGE = 1
# Browsers show anything faster at 10 frames per second.
_MIN_GIF_DELAY_S = 0.02
_PALETTE_SAMPLES = 16


class _Sink:
    """What the sinks share: leaving the `with` block well closes, leaving by an error aborts."""

    def close(self) -> None:
        """Finishes the file."""
        raise NotImplementedError

    def abort(self) -> None:
        """Gives up; nothing stays on the disk."""
        raise NotImplementedError

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


class VideoSink(_Sink):
    """Writes an H.264 MP4 that browsers play while it loads (yuv420p, BT.709, index first).

    Odd sizes are padded by one row or column, repeating the border. Frames keep the times they
    are given; there are no B-frames, because a variable frame rate with reordered frames gets a
    wrong total duration in MP4.

    Args:
        path: the file; it appears on `close()`.
        fps: frames per second, for frames that come without a time.
        crf: quality of x264, 0 (lossless) to 51; 18 looks like the source.

    Raises:
        VideoError: another suffix than .mp4, .m4v, .mov.
        ValueError: `fps` is not positive.
    """

    def __init__(self, path: str | Path, fps: float, *, crf: int = 20) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _VIDEO_SUFFIXES:
            allowed = ", ".join(_VIDEO_SUFFIXES)
            raise VideoError(f"{path}: the output video must end in one of {allowed}")
        if not fps > 0:
            raise ValueError(f"fps must be positive, not {fps}")
        self.fps = float(fps)
        self.crf = crf
        self.num_frames = 0
        self._shape: tuple[int, ...] = ()
        self._file: contextlib.AbstractContextManager[Path] | None = None
        self._is_open = True
        self._container: Any = None
        self._stream: Any = None
        self._last_pts = -1
        self._last_duration_s = 0.0
        self._waiting: Any = None

    def write(
        self, image: Rgb, time_s: float | None = None, duration_s: float | None = None
    ) -> None:
        """Encodes one frame.

        Args:
            image: (H, W, 3) uint8, RGB, the size of the first one.
            time_s: when it appears, in seconds; default: the number of frames so far / fps.
            duration_s: how long it stays, in seconds; counts for the last frame, the others
                stay until the next one. Default 1 / fps.

        Raises:
            VideoError: the size changed.
            ValueError: not an RGB uint8 image, or the time is not after that of the last frame.
            OSError: the file cannot be written.
        """
        check_rgb(image)
        if not self._is_open:
            raise RuntimeError(f"write() after the end of {self.path}")
        if self._container is None:
            self._open(image.shape)
        if image.shape != self._shape:
            raise VideoError(
                f"{self.path}: frame {self.num_frames} has another size than the first"
            )
        time_s = self.num_frames / self.fps if time_s is None else time_s
        pts = round(time_s * _TICKS_PER_S)
        if pts <= self._last_pts:
            raise ValueError(f"frame times must increase: {time_s} s at frame {self.num_frames}")
        picture = av.VideoFrame.from_ndarray(_pad_to_even(image), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace="itu709")
        picture.pts = pts
        picture.time_base = Fraction(1, _TICKS_PER_S)
        self._mux(self._stream.encode(picture))
        self._last_pts = pts
        self._last_duration_s = duration_s or 1 / self.fps
        self.num_frames += 1

    def close(self) -> None:
        """Finishes the file and gives it its name.

        Raises:
            VideoError: no frame was written.
            OSError: the file cannot be written.
        """
        if not self._is_open:
            return
        if self.num_frames == 0:
            self.abort()
            raise VideoError(f"no frames to write to {self.path}")
        with self._aborting():
            self._mux(self._stream.encode(None))
            self._waiting.duration = max(1, round(self._last_duration_s * _TICKS_PER_S))
            self._container.mux(self._waiting)
            self._container.close()
            file, self._file = self._file, None
            assert file is not None
            file.__exit__(None, None, None)
            self._is_open = False

    def abort(self) -> None:
        """Gives up; nothing stays on the disk. Without effect after `close()`."""
        self._is_open = False
        if self._container is not None:
            # The file is thrown away: that its end cannot be written does not matter.
            with contextlib.suppress(OSError, ValueError):
                self._container.close()
        file, self._file = self._file, None
        if file is not None:
            file.__exit__(VideoError, VideoError("given up"), None)

    def _open(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._file = atomic_path(self.path)
        with self._aborting():
            temporary = self._file.__enter__()
            self._container = av.open(
                str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
            )
            rate = Fraction(self.fps).limit_denominator(1001)
            stream = self._container.add_stream("libx264", rate=rate)
            stream.height, stream.width = (size + size % 2 for size in shape[:2])
            stream.pix_fmt = "yuv420p"
            stream.options = {"crf": str(self.crf), "preset": "veryfast", "bf": "0"}
            context = stream.codec_context
            context.time_base = Fraction(1, _TICKS_PER_S)
            context.color_range = _LIMITED_RANGE
            context.colorspace = context.color_primaries = context.color_trc = _BT709
            self._stream = stream

    def _mux(self, packets: list[Any]) -> None:
        # One packet is held back: the last one is told how long it lasts.
        with self._aborting():
            for packet in packets:
                if self._waiting is not None:
                    self._container.mux(self._waiting)
                self._waiting = packet

    @contextlib.contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.abort()
            # It tells the temporary name, or none.
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        except BaseException:
            self.abort()
            raise


class GifSink(_Sink):
    """Writes an animated GIF with one palette, scaled down and thinned out to stay small.

    The playing time is that of all frames, however many are left out. At most
    `max_frames` + 1 small frames are held in memory.

    Args:
        path: the file; it appears on `close()`.
        fps: frames per second, for frames that come without a time.
        max_side: longest side of the picture, in pixels.
        max_frames: when there are more, every 2nd (4th, 8th, ...) frame is kept.

    Raises:
        ValueError: an argument is not positive.
    """

    def __init__(
        self, path: str | Path, fps: float, max_side: int = 400, max_frames: int = 60
    ) -> None:
        if not fps > 0 or max_side < 1 or max_frames < 1:
            raise ValueError("fps, max_side and max_frames must be positive")
        self.path = Path(path)
        self.fps = float(fps)
        self.max_side = max_side
        self.max_frames = max_frames
        self.num_frames = 0
        self._stride = 1
        self._kept: list[tuple[float, Rgb]] = []
        self._end_s = 0.0

    def write(
        self, image: Rgb, time_s: float | None = None, duration_s: float | None = None
    ) -> None:
        """Takes one frame; arguments as `VideoSink.write`.

        Raises:
            ValueError: not an RGB uint8 image.
        """
        check_rgb(image)
        time_s = self.num_frames / self.fps if time_s is None else time_s
        self._end_s = time_s + (duration_s or 1 / self.fps)
        too_soon = bool(self._kept) and time_s - self._kept[-1][0] < _MIN_GIF_DELAY_S - 1e-6
        if self.num_frames % self._stride == 0 and not too_soon:
            self._kept.append((time_s, _shrink(image, self.max_side)))
        self.num_frames += 1
        if len(self._kept) > self.max_frames:
            self._kept = self._kept[::2]
            self._stride *= 2

    def close(self) -> None:
        """Writes the file.

        Raises:
            VideoError: no frame was written.
            OSError: the file cannot be written.
        """
        if self.num_frames == 0:
            raise VideoError(f"no frames to write to {self.path}")
        if not self._kept:
            return
        images = [image for _, image in self._kept]
        palette = _common_palette(images)
        pictures = [Image.fromarray(image).quantize(palette=palette) for image in images]
        # GIF counts hundredths of a second; rounding the times keeps errors from adding up.
        ticks = [round(100 * time_s) for time_s, _ in self._kept] + [round(100 * self._end_s)]
        delays = [10 * max(2, after - before) for before, after in pairwise(ticks)]
        self._kept = []
        with atomic_path(self.path) as temporary:
            pictures[0].save(
                temporary, format="GIF", save_all=True, append_images=pictures[1:],
                duration=delays, loop=0,
            )  # fmt: skip

    def abort(self) -> None:
        """Forgets the frames; nothing was written yet."""
        self._kept = []


def check_rgb(image: Rgb) -> None:
    """Refuses arrays that are not (H, W, 3) uint8, with a ValueError."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected (H, W, 3) uint8, got {image.shape} {image.dtype}")


def _pad_to_even(image: Rgb) -> Rgb:
    rows, columns = image.shape[0] % 2, image.shape[1] % 2
    if rows or columns:
        return np.pad(image, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)


def _shrink(image: Rgb, max_side: int) -> Rgb:
    """Always a copy: the caller may go on drawing on its own image."""
    scale = max_side / max(image.shape[:2])
    if scale >= 1:
        return image.copy()
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _common_palette(images: list[Rgb]) -> Image.Image:
    """256 colours for the whole animation, from frames spread over it.

    One palette for all keeps still areas still and the colours of the objects constant.
    """
    step = max(1, len(images) // _PALETTE_SAMPLES)
    rows = [_shrink(image, 160) for image in images[::step]]
    height, width = min(r.shape[0] for r in rows), min(r.shape[1] for r in rows)
    mosaic = np.concatenate([row[:height, :width] for row in rows])
    return Image.fromarray(mosaic).quantize(256, method=Image.Quantize.MEDIANCUT)
