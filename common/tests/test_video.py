"""Video files as frame sources: times, turns, sizes, and every kind of damage."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from vidseg_common.errors import VideoError
from vidseg_common.video import VideoSink, open_source
from vidseg_common.video_files import Turn, turn_of_matrix

CORNERS = {"red": (0, 0), "green": (0, 1), "blue": (1, 0), "white": (1, 1)}
COLORS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255,) * 3}


def corner_image(height: int = 48, width: int = 64) -> np.ndarray:
    """Four quarters: red, green above blue, white."""
    image = np.zeros((height, width, 3), np.uint8)
    for name, (row, column) in CORNERS.items():
        rows = slice(row * height // 2, (row + 1) * height // 2)
        columns = slice(column * width // 2, (column + 1) * width // 2)
        image[rows, columns] = COLORS[name]
    return image


def corners_of(image: np.ndarray) -> list[str]:
    """Names of the nearest colours at the centres of the quarters, row by row."""
    height, width = image.shape[:2]
    centres = [image[height * r // 4, width * c // 4].astype(int) for r in (1, 3) for c in (1, 3)]
    return [
        min(COLORS, key=lambda name: float(np.abs(np.array(COLORS[name]) - centre).sum()))
        for centre in centres
    ]


def noisy(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


def write_video(path: Path, images: list[np.ndarray], times: list[float] | None = None) -> Path:
    with VideoSink(path, 25) as sink:
        for index, image in enumerate(images):
            sink.write(image, None if times is None else times[index])
    return path


def rotate_by_header(path: Path, abcd: tuple[int, int, int, int]) -> None:
    """Puts a display matrix into the track header of an MP4."""
    data = bytearray(path.read_bytes())
    one, unit = 0x10000, 0x40000000
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, unit)
    place = data.index(identity, data.index(b"tkhd"))
    a, b, c, d = (value * one for value in abcd)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, unit)
    path.write_bytes(data)


@pytest.mark.parametrize("prefetch", [0, 1, 8])
def test_video_gives_every_frame_once(tmp_path: Path, prefetch: int) -> None:
    images = [np.full((48, 64, 3), 10 * i, np.uint8) for i in range(20)]
    with open_source(write_video(tmp_path / "clip.mp4", images), prefetch=prefetch) as source:
        assert (source.name, source.num_frames) == ("clip", 20)
        assert (source.height, source.width) == (48, 64)
        assert source.fps == pytest.approx(25)
        frames = list(source)
        assert list(source) == []
    assert [f.index for f in frames] == list(range(20))
    assert [f.name for f in frames][:2] == ["00000", "00001"]
    assert [f.time_s for f in frames] == pytest.approx([i / 25 for i in range(20)])
    for frame, image in zip(frames, images, strict=True):
        assert frame.image.dtype == np.uint8 and frame.image.flags.c_contiguous
        assert np.abs(frame.image.astype(int) - image).max() <= 3


def test_one_frame_video(tmp_path: Path) -> None:
    with open_source(write_video(tmp_path / "one.mp4", noisy(1))) as source:
        frames = list(source)
    assert len(frames) == 1
    assert frames[0].duration_s == pytest.approx(1 / 25)


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (33, 35)])
def test_odd_sizes_are_padded_to_even(tmp_path: Path, size: tuple[int, int]) -> None:
    image = corner_image(*size)
    with open_source(write_video(tmp_path / "odd.mp4", [image] * 3)) as source:
        assert (source.height, source.width) == (size[0] + size[0] % 2, size[1] + size[1] % 2)
        assert corners_of(next(source).image) == ["red", "green", "blue", "white"]


def test_variable_frame_rate_keeps_times_and_duration(tmp_path: Path) -> None:
    times, end_s = [0.0, 0.04, 0.08, 0.5, 0.52, 2.0], 3.5
    path = tmp_path / "vfr.mp4"
    with VideoSink(path, 25) as sink:
        for image, time_s in zip(noisy(6), times, strict=True):
            sink.write(image, time_s, end_s - time_s)
    with open_source(path) as source, VideoSink(tmp_path / "copy.mp4", source.fps) as sink:
        for frame in source:
            sink.write(frame.image, frame.time_s, frame.duration_s)
    for name in ("vfr.mp4", "copy.mp4"):
        with open_source(tmp_path / name) as source:
            frames = list(source)
        assert [f.time_s for f in frames] == pytest.approx(times, abs=1e-3)
        assert frames[3].duration_s == pytest.approx(0.02, abs=1e-3)
        assert frames[-1].time_s + frames[-1].duration_s == pytest.approx(end_s, abs=1e-3)


@pytest.mark.parametrize(
    ("abcd", "corners"),
    [
        ((0, 1, -1, 0), ["blue", "red", "white", "green"]),
        ((-1, 0, 0, -1), ["white", "blue", "green", "red"]),
        ((0, -1, 1, 0), ["green", "white", "red", "blue"]),
        ((-1, 0, 0, 1), ["green", "red", "white", "blue"]),
    ],
    ids=["clockwise", "upside-down", "counterclockwise", "mirrored"],
)
def test_rotation_in_metadata_is_applied(
    tmp_path: Path, abcd: tuple[int, int, int, int], corners: list[str]
) -> None:
    path = write_video(tmp_path / "phone.mp4", [corner_image()] * 3)
    rotate_by_header(path, abcd)
    with open_source(path) as source:
        size = (source.height, source.width)
        frames = list(source)
    assert size == ((64, 48) if abcd[0] == 0 else (48, 64))
    assert all(frame.image.shape[:2] == size for frame in frames)
    assert corners_of(frames[-1].image) == corners


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_turn_equals_rot90(quarter_turns: int) -> None:
    cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns]
    matrix = np.array([cos, sin, 0, -sin, cos, 0, 0, 0, 1], np.int32) * 65536
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    expected = np.rot90(image, -quarter_turns)
    np.testing.assert_array_equal(turn_of_matrix(matrix).apply(image), expected)
    assert turn_of_matrix(matrix) != Turn() or quarter_turns == 0


def cut(path: Path, fraction: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def test_truncated_video_says_how_many_frames_could_be_read(tmp_path: Path) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", noisy(30, 96, 128)), 0.5)
    frames = []
    with (
        pytest.raises(
            VideoError, match=r"cut\.mp4.*cut off or damaged: (\d+) of 30 frames"
        ) as info,
        open_source(path) as source,
    ):
        frames.extend(source)
    assert 5 < len(frames) < 25
    assert f"{len(frames)} of 30" in str(info.value)


def test_truncated_video_can_be_used_as_far_as_it_goes(tmp_path: Path) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", noisy(30, 96, 128)), 0.5)
    with (
        pytest.warns(UserWarning, match="of 30 frames could be read"),
        open_source(path, on_truncation="warn") as source,
    ):
        frames = list(source)
    assert 5 < len(frames) < 25
    assert frames[-1].duration_s == pytest.approx(1 / 25)


def test_last_frame_missing_is_noticed(tmp_path: Path) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", noisy(10)), 0.995)
    with pytest.raises(VideoError, match=r"\d of 10 frames"), open_source(path) as source:
        list(source)


def remux(source: Path, target: Path, shift_s: float) -> None:
    """Copies the packets, moved back in time: what comes before zero is hidden by an edit list."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        for packet in old.demux(stream):
            if packet.dts is not None and packet.pts is not None:
                packet.stream = copy
                packet.pts -= round(shift_s / stream.time_base)
                packet.dts -= round(shift_s / stream.time_base)
                new.mux(packet)


def test_frames_hidden_by_an_edit_list_are_not_missing(tmp_path: Path) -> None:
    remux(write_video(tmp_path / "all.mp4", noisy(20)), tmp_path / "trimmed.mp4", shift_s=0.2)
    with open_source(tmp_path / "trimmed.mp4") as source:
        frames = list(source)
    assert len(frames) == 15
    assert frames[0].time_s == 0


def test_matroska_announces_its_length_only_in_time(tmp_path: Path) -> None:
    remux(write_video(tmp_path / "all.mp4", noisy(30)), tmp_path / "clip.mkv", shift_s=0)
    with open_source(tmp_path / "clip.mkv") as source:
        assert source.num_frames is None
        assert len(list(source)) == 30
    cut(tmp_path / "clip.mkv", 0.6)
    with pytest.raises(VideoError, match=r"1\d frames could be read"):
        list(open_source(tmp_path / "clip.mkv"))


def test_recording_that_starts_between_key_frames(tmp_path: Path) -> None:
    path = tmp_path / "recording.ts"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "sc_threshold": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in noisy(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode(None))
    data = path.read_bytes()
    packets = len(data) // 188
    path.write_bytes(data[188 * (packets // 5) :])
    with open_source(path) as source:
        frames = list(source)
    assert len(frames) in (10, 20)
    assert frames[0].time_s == 0


def test_max_frames_does_not_read_as_far_as_the_damage(tmp_path: Path) -> None:
    path = cut(write_video(tmp_path / "cut.mp4", noisy(30, 96, 128)), 0.5)
    with open_source(path, max_frames=3) as source:
        assert source.num_frames == 3
        assert [frame.index for frame in source] == [0, 1, 2]


@pytest.mark.parametrize("keep", [0, 10, 600])
def test_video_cut_before_its_first_frame(tmp_path: Path, keep: int) -> None:
    path = write_video(tmp_path / "cut.mp4", noisy(5))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(VideoError, match=r"cut\.mp4"):
        open_source(path)


def test_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "empty.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(VideoError, match=r"(?s)empty\.mkv"):
        open_source(path)


def test_sound_alone_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    with pytest.raises(VideoError, match=r"sound\.wav.*no video stream"):
        open_source(path)


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "resized.mjpeg"
    with path.open("wb") as file:
        for size in ((64, 48), (64, 48), (32, 48)):
            Image.new("RGB", size, "red").save(file, "JPEG")
    assert av.open(str(path)).streams.video
    with pytest.raises(VideoError, match=r"frame 2 is 32x48.* 64x48"), open_source(path) as source:
        list(source)


@pytest.mark.parametrize("name", ["nothing.mp4", "nothing"])
def test_missing_source(tmp_path: Path, name: str) -> None:
    with pytest.raises(VideoError, match=f"no such.*{name}"):
        open_source(tmp_path / name)


def test_foreign_file_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("this is not a video\n" * 50)
    with pytest.raises(VideoError, match=r"cannot read .*text\.mp4 as a video"):
        open_source(path)
