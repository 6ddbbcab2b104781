"""Writing image files behind the computation: a bounded pool of threads, and an image folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from vidseg_common.errors import UserError
from vidseg_common.files import atomic_path
from vidseg_common.video_images import Rgb
from vidseg_common.video_sinks import check_rgb


class BackgroundWriter:
    """Runs file-writing functions in a few threads behind a bounded queue.

    The first error of a function is raised once, by the next `submit()` or by `close()`, with
    the name of the file; what waits after it is dropped. Leaving the `with` block closes; when
    it is left by an error, the files that wait are still written.

    Args:
        num_threads: how many files are written at the same time.
        max_queue: how many calls may wait or run; `submit` blocks beyond that.
    """

    def __init__(self, num_threads: int = 2, max_queue: int = 32) -> None:
        if num_threads < 1 or max_queue < 1:
            raise ValueError("num_threads and max_queue must be at least 1")
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="write")
        self._max_queue = max_queue
        self._room = threading.BoundedSemaphore(max_queue)
        self._lock = threading.Lock()
        self._failed = False
        self._error: BaseException | None = None
        self._closed = False

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Queues `function(*args, **kwargs)`; arrays passed must not be changed afterwards.

        Args:
            function: writes one file.
            *args: its arguments; the first path among them names the file in errors.
            **kwargs: its keyword arguments.

        Raises:
            RuntimeError: the writer is closed.
            Exception: what an earlier function raised.
        """
        if self._closed:
            raise RuntimeError("submit() after close()")
        self._raise_error()
        self._room.acquire()
        self._pool.submit(self._run, function, args, kwargs).add_done_callback(self._release)

    def wait(self) -> None:
        """Waits until all that was submitted is written; more may be submitted afterwards.

        Raises:
            Exception: what a function raised, unless `submit()` has raised it already.
        """
        for _ in range(self._max_queue):
            self._room.acquire()
        for _ in range(self._max_queue):
            self._room.release()
        self._raise_error()

    def close(self) -> None:
        """Waits until all is written.

        Raises:
            Exception: what a function raised, unless `submit()` has raised it already.
        """
        self._closed = True
        self._pool.shutdown(wait=True)
        self._raise_error()

    def __enter__(self) -> BackgroundWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        self._closed = True
        self._pool.shutdown(wait=True)

    def _run(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if self._failed:
            return
        try:
            function(*args, **kwargs)
        except BaseException as error:
            with self._lock:
                if not self._failed:
                    self._failed = True
                    self._error = _naming_file(error, [*args, *kwargs.values()])

    def _release(self, _: Future[None]) -> None:
        self._room.release()

    def _raise_error(self) -> None:
        with self._lock:
            error, self._error = self._error, None
        if error is not None:
            raise error


class ImageFolderSink:
    """Writes images into a folder through a `BackgroundWriter`.

    Args:
        folder: where to; created with the first image.
        writer: does the writing; closing it is the caller's part.
        suffix: ".png" (lossless, fast compression) or ".jpg" (quality 95).
    """

    def __init__(
        self, folder: str | Path, writer: BackgroundWriter, *, suffix: str = ".png"
    ) -> None:
        if suffix not in (".png", ".jpg"):
            raise ValueError(f"suffix must be .png or .jpg, not {suffix!r}")
        self.folder = Path(folder)
        self._writer = writer
        self._suffix = suffix

    def write(self, name: str, image: Rgb) -> None:
        """Queues one image.

        Args:
            name: file name without suffix.
            image: (H, W, 3) uint8, RGB; must not be changed afterwards.
        """
        check_rgb(image)
        self._writer.submit(write_image, self.folder / f"{name}{self._suffix}", image)


def write_image(path: str | Path, image: Rgb) -> None:
    """Writes an (H, W, 3) uint8 RGB image as PNG or JPEG, by suffix, atomically."""
    with atomic_path(path, durable=False) as temporary:
        # Each format takes its own option and ignores the other.
        Image.fromarray(image).save(temporary, compress_level=1, quality=95)


def _naming_file(error: BaseException, arguments: list[Any]) -> BaseException:
    """The error, saying which file it is about."""
    path = next((a for a in arguments if isinstance(a, Path)), None)
    if path is None or str(path) in str(error):
        return error
    named: Exception
    if isinstance(error, OSError) and error.errno is not None:
        # Also replaces the temporary name that an atomic writer worked on.
        named = OSError(error.errno, error.strerror, str(path))
    elif isinstance(error, UserError):
        named = type(error)(f"{path}: {error}")
    else:
        named = RuntimeError(f"cannot write {path}: {error!r}")
    named.__cause__ = error
    return named
