"""Image folders and lists as frame sources, and images of every kind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vidseg_common.errors import VideoError
from vidseg_common.video import open_source, read_image


def write_images(folder: Path, count: int, suffix: str = ".png") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:05d}{suffix}" for index in range(count)]
    for index, path in enumerate(paths):
        Image.new("RGB", (8, 6), (index, 0, 0)).save(path)
    return paths


def test_folder_in_natural_order_with_stems_as_names(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    (tmp_path / ".hidden.png").write_text("not a frame")
    with open_source(tmp_path, image_fps=10) as source:
        assert (source.name, source.num_frames, source.fps) == (tmp_path.name, 3, 10)
        frames = list(source)
    assert [f.name for f in frames] == ["frame1", "frame9", "frame10"]
    assert [int(f.image[0, 0, 0]) for f in frames] == [1, 9, 10]
    assert [f.time_s for f in frames] == pytest.approx([0, 0.1, 0.2])


def test_list_keeps_the_given_order(tmp_path: Path) -> None:
    paths = write_images(tmp_path / "clip", 4)
    with open_source(paths[::-1], max_frames=3) as source:
        assert (source.name, source.num_frames) == ("clip", 3)
        assert [f.name for f in source] == ["00003", "00002", "00001"]


def test_one_image_is_a_video_of_one_frame(tmp_path: Path) -> None:
    with open_source(str(write_images(tmp_path, 1)[0])) as source:
        assert len(list(source)) == 1


def test_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="holds no image"):
        open_source(tmp_path)
    with pytest.raises(VideoError, match="empty"):
        open_source([])


def test_equal_names_are_refused(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 2) + write_images(tmp_path, 1, ".jpg")
    with pytest.raises(VideoError, match=r"same name '00000'.*00000\.png.*00000\.jpg"):
        open_source(paths)


@pytest.mark.parametrize("prefetch", [0, 4])
def test_mixed_sizes_are_refused_by_name(tmp_path: Path, prefetch: int) -> None:
    paths = write_images(tmp_path, 4)
    Image.new("RGB", (9, 6)).save(paths[2])
    frames = []
    with (
        pytest.raises(VideoError, match=r"00002\.png is 9x6.*8x6"),
        open_source(tmp_path, prefetch=prefetch) as source,
    ):
        frames.extend(source)
    assert len(frames) == 2


def test_unreadable_images_are_named(tmp_path: Path) -> None:
    paths = write_images(tmp_path, 4, ".jpg")
    paths[3].write_bytes(paths[3].read_bytes()[:400])
    with pytest.raises(VideoError, match=r"00003\.jpg"), open_source(paths) as source:
        list(source)
    paths[1].unlink()
    with (
        pytest.raises(VideoError, match=r"no such image.*00001\.jpg"),
        open_source(paths) as source,
    ):
        list(source)
    paths[0].write_text("text")
    with pytest.raises(VideoError, match=r"00000\.jpg"):
        open_source(paths)


def test_any_kind_of_pixel_becomes_rgb(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    wide = grey.astype(np.uint16) * 256 + 77
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(wide).save(tmp_path / "wide.tif")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(np.dstack([as_rgb, 255 - grey])).save(tmp_path / "alpha.png")
    Image.fromarray(np.dstack([grey, grey])).save(tmp_path / "grey_alpha.png")
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_image(path), as_rgb, err_msg=path.name)
    Image.fromarray(grey > 127).save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png"), (as_rgb > 127) * np.uint8(255))


def test_sixteen_bit_colour(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "deep.png"), rgb[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png"), rgb)


def test_floating_point_image_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(VideoError, match=r"float\.tif: floating-point"):
        read_image(tmp_path / "float.tif")


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it 90 degrees clockwise
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24] = 200
    Image.fromarray(stored).save(tmp_path / "phone.jpg", exif=exif, quality=95)
    image = read_image(tmp_path / "phone.jpg")
    assert image.shape == (64, 48, 3)
    assert image[:, 30:].min() > 190 and image[:, :18].max() < 10
