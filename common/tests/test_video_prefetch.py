"""Decoding ahead: a bounded queue, and a thread that always ends."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg_common.errors import VideoError
from vidseg_common.video import Frame, FrameSource, open_source


def threads_decoding() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("decode")]


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    yield
    gc.collect()
    assert threads_decoding() == []


class CountingReader:
    """Frames without end, counting those made."""

    name, fps, num_frames, height, width = "endless", 25.0, None, 2, 2

    def __init__(self, fail_at: int | None = None) -> None:
        self.made = 0
        self.closed = 0
        self.fail_at = fail_at

    def frames(self) -> Iterator[Frame]:
        while True:
            if self.made == self.fail_at:
                raise VideoError(f"frame {self.made} is broken")
            yield Frame(self.made, "", np.zeros((2, 2, 3), np.uint8), 0.0, 0.04)
            self.made += 1

    def close(self) -> None:
        self.closed += 1


def wait_until_idle(reader: CountingReader) -> None:
    made = -1
    while reader.made != made:
        made = reader.made
        time.sleep(0.05)


def test_queue_is_bounded() -> None:
    reader = CountingReader()
    with FrameSource(reader, prefetch=3) as source:
        for consumed in range(1, 30):
            next(source)
            assert reader.made <= consumed + 3 + 1
        wait_until_idle(reader)
        assert reader.made <= 29 + 3 + 1
    assert reader.closed == 1


def test_consumer_may_stop_early_or_fail() -> None:
    for prefetch in (1, 2, 8):
        reader = CountingReader()
        with FrameSource(reader, prefetch) as source:
            next(source)
        assert threads_decoding() == []
        assert list(source) == []
    with pytest.raises(KeyError), FrameSource(CountingReader(), 2) as source:
        raise KeyError
    assert threads_decoding() == []


def test_forgotten_source_ends_its_thread() -> None:
    reader = CountingReader()
    for frame in FrameSource(reader, 2):
        if frame.index == 5:
            break
    gc.collect()
    assert threads_decoding() == []
    assert reader.closed == 1


def test_error_arrives_in_its_place_and_ends_the_source() -> None:
    with FrameSource(CountingReader(fail_at=5), 8) as source:
        assert [next(source).index for _ in range(5)] == list(range(5))
        with pytest.raises(VideoError, match="frame 5 is broken"):
            next(source)
        assert threads_decoding() == []
        assert list(source) == []


@pytest.mark.parametrize("options", [{"prefetch": -1}, {"max_frames": 0}, {"image_fps": 0}])
def test_arguments_out_of_range(tmp_path: Path, options: dict[str, int]) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match="must be"):
        open_source(tmp_path, **options)  # type: ignore[arg-type]
