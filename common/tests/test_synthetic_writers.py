"""The layouts written for synthetic videos, read back by the data-set readers."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg_common.datasets.davis import davis2016, davis2017
from vidseg_common.errors import ConfigError, DatasetError
from vidseg_common.masks import read_mask
from vidseg_common.synthetic import SceneOptions, SyntheticVideo, generate_video
from vidseg_common.synthetic_cli import generate_videos, main
from vidseg_common.synthetic_writers import write_davis, write_youtube_vos


@pytest.fixture(scope="module")
def videos() -> list[SyntheticVideo]:
    options = SceneOptions(late_entry=0.0, distractors=0.0, occluders=0.0)
    return [generate_video(seed, 12, 48, 64, 2, options) for seed in (1, 2)]


@pytest.fixture(scope="module")
def late() -> SyntheticVideo:
    """A video in which object 2 is first seen in frame 5, between frames 3 and 6 hidden again."""
    video = generate_video(3, 12, 48, 64, 3)
    visible = np.zeros_like(video.visible)
    visible[:, 5:20, 5:20] = 1
    visible[3:, 25:40, 5:20] = 3
    return dataclasses.replace(video, visible=visible)


def test_davis_2017(videos: list[SyntheticVideo], tmp_path: Path) -> None:
    names = write_davis(iter(videos), tmp_path, split="train")
    records = davis2017(tmp_path, "train")
    assert [record.name for record in records] == names == [video.name for video in videos]
    for record, video in zip(records, videos, strict=True):
        assert len(record.frame_paths) == len(record.mask_paths) == 12
        for t in range(12):
            assert np.array_equal(read_mask(record.mask_paths[t]), video.visible[t])
        image = np.asarray(Image.open(record.frame_paths[3])).astype(int)
        assert np.abs(image - video.frames[3]).mean() < 12


def test_davis_test_split_has_the_first_annotation_only(
    videos: list[SyntheticVideo], tmp_path: Path
) -> None:
    write_davis(videos, tmp_path, split="test-dev")
    for record in davis2017(tmp_path, "test-dev"):
        assert list(record.mask_paths) == [0]


def test_davis_2016(videos: list[SyntheticVideo], tmp_path: Path) -> None:
    names = write_davis(videos, tmp_path, year=2016, split="val")
    records = davis2016(tmp_path)
    assert [record.name for record in records] == names
    with Image.open(records[0].mask_paths[0]) as mask:
        assert mask.mode == "L"
        assert np.array_equal(np.asarray(mask), 255 * (videos[0].visible[0] > 0))
    first = (tmp_path / "ImageSets/480p/val.txt").read_text().splitlines()[0]
    assert first == (
        f"/JPEGImages/480p/{names[0]}/00000.jpg /Annotations/480p/{names[0]}/00000.png"
    )


def test_youtube_vos_valid(late: SyntheticVideo, tmp_path: Path) -> None:
    write_youtube_vos([late], tmp_path, ground_truth=tmp_path / "full")
    folder = tmp_path / "valid"
    frames = sorted(path.name for path in (folder / "JPEGImages" / late.name).iterdir())
    assert frames == ["00000.jpg", "00005.jpg", "00010.jpg"]
    annotations = {path.name for path in (folder / "Annotations" / late.name).iterdir()}
    assert annotations == {"00000.png", "00005.png"}
    second = read_mask(folder / "Annotations" / late.name / "00005.png")
    assert set(np.unique(second)) == {0, 3}
    assert np.array_equal(second == 3, late.visible[5] == 3)
    objects = json.loads((folder / "meta.json").read_text())["videos"][late.name]["objects"]
    assert {key: entry["frames"] for key, entry in objects.items()} == {
        "1": ["00000", "00005", "00010"],
        "3": ["00005", "00010"],
    }
    assert objects["1"]["category"] == late.classes[0]
    every = tmp_path / "all_frames" / "valid_all_frames" / "JPEGImages" / late.name
    assert len(list(every.iterdir())) == 12
    full = [read_mask(path) for path in sorted((tmp_path / "full" / late.name).iterdir())]
    assert np.array_equal(np.stack(full), late.visible[::5])


def test_youtube_vos_train(late: SyntheticVideo, tmp_path: Path) -> None:
    write_youtube_vos([late], tmp_path, "train")
    masks = sorted((tmp_path / "train" / "Annotations" / late.name).iterdir())
    assert [path.name for path in masks] == ["00000.png", "00005.png", "00010.png"]
    assert np.array_equal(read_mask(masks[1]), late.visible[5])
    assert not (tmp_path / "all_frames").exists()


def test_youtube_vos_is_read_back(late: SyntheticVideo, tmp_path: Path) -> None:
    reader = pytest.importorskip("vidseg_common.datasets.youtube_vos")
    write_youtube_vos([late], tmp_path)
    (record,) = reader.youtube_vos(tmp_path, "valid")
    assert record.name == late.name
    assert len(record.frame_paths) == 12
    assert set(record.mask_paths) == {0, 5}
    assert record.required == frozenset({0, 5, 10})


def test_wrong_requests_are_refused(
    videos: list[SyntheticVideo], late: SyntheticVideo, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="2018"):
        write_davis(videos, tmp_path, year=2018)
    with pytest.raises(ConfigError, match="val"):
        write_youtube_vos(videos, tmp_path, "val")
    with pytest.raises(DatasetError, match=videos[0].name):
        write_davis([videos[0], videos[0]], tmp_path)
    with pytest.raises(DatasetError, match="no video"):
        write_davis([], tmp_path)
    empty = dataclasses.replace(late, visible=np.zeros_like(late.visible))
    with pytest.raises(DatasetError, match="no object"):
        write_youtube_vos([empty], tmp_path)


def test_videos_are_taken_one_by_one(videos: list[SyntheticVideo], tmp_path: Path) -> None:
    def stream() -> Iterator[SyntheticVideo]:
        yield videos[0]
        assert (tmp_path / "JPEGImages/480p" / videos[0].name / "00011.jpg").is_file()
        yield videos[1]

    assert len(write_davis(stream(), tmp_path)) == 2


def test_generated_videos_start_with_an_object() -> None:
    for video in generate_videos(5, 6, 2, 32, 40, None):
        assert video.visible[0].any()


@pytest.mark.parametrize("layout", ["davis", "davis2016", "youtube-vos"])
def test_command(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path), "--layout", layout, "--videos", "2", "--frames", "6"]
    assert main([*arguments, "--size", "32x48", "--seed", "4", "--quiet"]) == 0
    assert "2 videos of 6 frames" in capsys.readouterr().out
    if layout == "davis":
        first = davis2017(tmp_path)[0]
        assert Image.open(first.frame_paths[0]).size == (48, 32)
        expected = next(generate_videos(4, 1, 6, 32, 48, None))
        assert np.array_equal(read_mask(first.mask_paths[5]), expected.visible[5])


@pytest.mark.parametrize(
    ("flags", "word"),
    [(["--size", "32"], "HxW"), (["--size", "3x3"], "16 to 4096"), (["--video", "2"], "--videos")],
)
def test_command_line_errors(flags: list[str], word: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vidseg_common.synthetic", "--out", str(tmp_path), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
