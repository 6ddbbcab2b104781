"""Video, GIF and image-folder sinks, and writing behind the computation."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from vidseg_common.errors import MaskError, VideoError
from vidseg_common.files import atomic_path
from vidseg_common.video import (
    BackgroundWriter,
    GifSink,
    ImageFolderSink,
    VideoSink,
    open_source,
    read_image,
    write_image,
)


def noisy(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(red: int, green: int, blue: int, height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), (red, green, blue), np.uint8)


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# ------------------------------------------------------------------------------ video


def test_video_plays_in_browsers(tmp_path: Path) -> None:
    path = tmp_path / "out" / "clip.mp4"
    with VideoSink(path, 30000 / 1001) as sink:
        for seed in range(10):
            sink.write(noisy(seed=seed))
        assert not path.exists()
    assert files_in(tmp_path / "out") == ["clip.mp4"]
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.codec_context.colorspace == 1
        assert stream.average_rate is not None
        assert float(stream.average_rate) == pytest.approx(30000 / 1001, rel=1e-4)


@pytest.mark.parametrize("color", [(255, 0, 0), (0, 128, 0), (0, 0, 128), (200, 200, 30)])
def test_colors_survive(tmp_path: Path, color: tuple[int, int, int]) -> None:
    with VideoSink(tmp_path / "clip.mp4", 25) as sink:
        sink.write(plain(*color))
    with open_source(tmp_path / "clip.mp4") as source:
        image = next(source).image
    assert np.abs(image.astype(int) - color).max() <= 4


def test_failed_video_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), VideoSink(tmp_path / "clip.mp4", 25) as sink:
        sink.write(noisy())
        raise KeyError
    with (
        pytest.raises(VideoError, match=r"frame 1 has another size"),
        VideoSink(tmp_path / "clip.mp4", 25) as sink,
    ):
        sink.write(noisy())
        sink.write(noisy(50))
    with pytest.raises(VideoError, match=r"no frames to write to .*clip\.mp4"):
        VideoSink(tmp_path / "clip.mp4", 25).close()
    assert files_in(tmp_path) == []


def test_older_video_survives_a_failed_one(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"older")
    with pytest.raises(KeyError), VideoSink(path, 25) as sink:
        sink.write(noisy())
        raise KeyError
    assert path.read_bytes() == b"older"


def test_video_sink_refuses_nonsense(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"\.avi"):
        VideoSink(tmp_path / "clip.avi", 25)
    with pytest.raises(ValueError, match="fps"):
        VideoSink(tmp_path / "clip.mp4", 0)
    sink = VideoSink(tmp_path / "clip.mp4", 25)
    with pytest.raises(ValueError, match="uint8"):
        sink.write(noisy().astype(np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="uint8"):
        sink.write(noisy()[..., 0])
    sink.write(noisy(), 1.0)
    with pytest.raises(ValueError, match="increase"):
        sink.write(noisy(), 1.0)
    sink.close()
    sink.close()
    with pytest.raises(RuntimeError, match="after the end"):
        sink.write(noisy())


@pytest.mark.parametrize(("room", "frames"), [(20_000, 80), (2_000, 1), (2_000, 10), (0, 1)])
def test_full_disk_leaves_no_video_and_names_it(tmp_path: Path, room: int, frames: int) -> None:
    """A process whose files may not grow stands for a full disk."""
    script = """
        import resource, signal, sys
        import numpy as np
        from vidseg_common.video import VideoSink
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
        rng = np.random.default_rng(0)
        try:
            with VideoSink(sys.argv[1], 25, crf=0) as sink:
                for _ in range(int(sys.argv[3])):
                    sink.write(rng.integers(0, 256, (96, 128, 3), dtype=np.uint8))
        except OSError as error:
            sys.exit(0 if error.filename == sys.argv[1] else f"unnamed: {error!r}")
        sys.exit("no error")
    """
    path = tmp_path / "clip.mp4"
    command = [sys.executable, "-c", textwrap.dedent(script), str(path), str(room), str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path) == []


# ------------------------------------------------------------------------------ GIF


def gif_frames(path: Path) -> tuple[list[np.ndarray], list[int]]:
    with Image.open(path) as gif:
        pairs = [
            (np.array(frame.convert("RGB")), frame.info["duration"])
            for frame in ImageSequence.Iterator(gif)
        ]
    return [image for image, _ in pairs], [duration for _, duration in pairs]


def test_gif_keeps_colors_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    with GifSink(path, 10, max_side=32) as sink:
        for index in range(6):
            sink.write(plain(40 * index, 128, 0))
    images, delays = gif_frames(path)
    assert images[0].shape == (24, 32, 3)
    assert delays == [100] * 6
    for index, image in enumerate(images):
        assert np.abs(image.astype(int) - (40 * index, 128, 0)).max() <= 8


def test_long_gif_is_thinned_out_but_plays_as_long(tmp_path: Path) -> None:
    path = tmp_path / "clip.gif"
    sink = GifSink(path, 25, max_frames=10)
    for index in range(101):
        sink.write(noisy(8, 8, seed=index))
        assert len(sink._kept) <= 10
    sink.close()
    images, delays = gif_frames(path)
    assert 5 <= len(images) <= 10
    assert sum(delays) == pytest.approx(101 / 25 * 1000, abs=10)


def test_fast_video_gives_a_gif_browsers_play_at_speed(tmp_path: Path) -> None:
    with GifSink(tmp_path / "clip.gif", 120) as sink:
        for index in range(60):
            sink.write(noisy(8, 8, seed=index))
    _, delays = gif_frames(tmp_path / "clip.gif")
    assert min(delays) >= 20
    assert sum(delays) == pytest.approx(500, abs=20)


def test_gif_takes_true_times(tmp_path: Path) -> None:
    with GifSink(tmp_path / "clip.gif", 25) as sink:
        for index, (time_s, duration_s) in enumerate([(0, 0.5), (0.5, 0.1), (0.6, 2.0)]):
            sink.write(noisy(8, 8, seed=index), time_s, duration_s)
    assert gif_frames(tmp_path / "clip.gif")[1] == [500, 100, 2000]


def test_gif_frames_are_copies(tmp_path: Path) -> None:
    image = plain(200, 0, 0)
    with GifSink(tmp_path / "clip.gif", 25) as sink:
        sink.write(image)
        image[:] = 0
    assert gif_frames(tmp_path / "clip.gif")[0][0][0, 0, 0] > 190


def test_failed_gif_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="no frames"):
        GifSink(tmp_path / "clip.gif", 25).close()
    with pytest.raises(KeyError), GifSink(tmp_path / "clip.gif", 25) as sink:
        sink.write(noisy())
        raise KeyError
    assert files_in(tmp_path) == []


# ------------------------------------------------------------------------------ images behind


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_image_folder(tmp_path: Path, suffix: str) -> None:
    with BackgroundWriter() as writer:
        sink = ImageFolderSink(tmp_path / "frames", writer, suffix=suffix)
        for index in range(12):
            sink.write(f"{index:05d}", plain(10 * index, 0, 0))
    assert files_in(tmp_path / "frames") == [f"{index:05d}{suffix}" for index in range(12)]
    image = read_image(tmp_path / "frames" / f"00007{suffix}")
    assert np.abs(image.astype(int) - (70, 0, 0)).max() <= (0 if suffix == ".png" else 3)


def test_writer_is_bounded() -> None:
    gate = threading.Event()
    submitted: list[int] = []

    def submit_all() -> None:
        with BackgroundWriter(num_threads=2, max_queue=4) as writer:
            for index in range(10):
                writer.submit(gate.wait)
                submitted.append(index)

    thread = threading.Thread(target=submit_all)
    thread.start()
    time.sleep(0.2)
    assert len(submitted) == 4
    gate.set()
    thread.join(timeout=10)
    assert len(submitted) == 10


def no_space(path: Path, image: np.ndarray) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(image.tobytes()[:10])
        raise OSError(errno.ENOSPC, "No space left on device", str(temporary))


def test_full_disk_is_raised_once_with_the_name_of_the_file(tmp_path: Path) -> None:
    writer = BackgroundWriter()
    path = tmp_path / "00003.png"
    writer.submit(no_space, path, noisy())
    with pytest.raises(OSError, match=r"No space left.*00003\.png'") as info:
        for _ in range(1000):
            time.sleep(0.01)
            writer.submit(write_image, tmp_path / "later.png", noisy())
    assert info.value.errno == errno.ENOSPC
    assert info.value.filename == str(path)
    writer.close()
    assert not path.exists()
    assert not [name for name in files_in(tmp_path) if "part" in name]


def test_error_of_the_last_file_is_raised_on_close(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"00003\.png"), BackgroundWriter() as writer:
        writer.submit(no_space, tmp_path / "00003.png", noisy())
    with pytest.raises(RuntimeError, match=r"after close"):
        writer.submit(print)


def test_other_errors_name_the_file_too(tmp_path: Path) -> None:
    def refuse(path: Path) -> None:
        raise MaskError("id 300 does not fit")

    def fail(path: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(MaskError, match=r"a\.png: id 300"), BackgroundWriter() as writer:
        writer.submit(refuse, tmp_path / "a.png")
    with pytest.raises(RuntimeError, match=r"b\.png.*ZeroDivision"), BackgroundWriter() as writer:
        writer.submit(fail, path=tmp_path / "b.png")


def test_what_waits_is_written_when_the_computation_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), BackgroundWriter(num_threads=1) as writer:
        for index in range(5):
            writer.submit(write_image, tmp_path / f"{index}.png", noisy())
        raise KeyError
    assert files_in(tmp_path) == [f"{index}.png" for index in range(5)]


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0)])
def test_writer_arguments(arguments: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BackgroundWriter(*arguments)
    with pytest.raises(ValueError, match="suffix"):
        ImageFolderSink("frames", BackgroundWriter(), suffix=".gif")


def test_waiting_for_the_writer_raises_what_went_wrong(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        time.sleep(0.05)
        raise OSError(27, "File too large", str(path))

    written = tmp_path / "written.txt"
    with BackgroundWriter(num_threads=1, max_queue=2) as writer:
        writer.submit(written.write_text, "all")
        writer.wait()
        assert written.read_text() == "all"
        writer.submit(fail, tmp_path / "a.png")
        with pytest.raises(OSError, match="File too large"):
            writer.wait()
