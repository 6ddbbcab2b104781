"""`vidseg sailvos`: the steps from raw annotations to training files, as commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from cli_data import run
from test_sailvos_convert import annotation, raw_file

from vidseg_common.background import write_image
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.sailvos_per_video import read_per_video
from vidseg_common.errors import DatasetError, UserError

FRAMES = 14


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A folder of raw annotations; the scene of the frames changes in the middle."""
    for name in ("train", "valid"):
        images = [(t, f"{name}/images/{t:06d}.bmp") for t in range(FRAMES)]
        objects = [annotation(t, t, 7) for t in range(FRAMES)]
        objects += [annotation(FRAMES, 0, 8, occlude_rate=0.8)]
        (tmp_path / "raw").mkdir(exist_ok=True)
        raw_file(tmp_path / "raw" / f"{name}.json", images, objects, [name])
        for t in range(FRAMES):
            image = np.full((4, 6, 3), 255 * (t >= FRAMES // 2), np.uint8)
            write_image(tmp_path / "frames" / name / "images" / f"{t:06d}.png", image)
    return tmp_path / "raw"


def test_all_steps_on_folders(raw: Path, tmp_path: Path) -> None:
    frames, cut = tmp_path / "frames", tmp_path / "cut_png"
    run("sailvos", "number", raw, "-o", tmp_path / "one")
    run("sailvos", "cut", tmp_path / "one", "-o", tmp_path / "two", "--frames", frames,
        "--frames-out", cut, "--transfer", "copy", "--workers", "1")  # fmt: skip
    run("sailvos", "kind", tmp_path / "two", "-o", tmp_path, "--kind", "joint", "--bbox", "both")
    run("sailvos", "kind", tmp_path / "two", "-o", tmp_path, "--kind", "visible")
    file = tmp_path / "joint" / "valid(bbox=both_bbox).json"
    data = sailvos.read(file)
    assert [(video.name, video.num_frames) for video in data.videos] == [
        ("valid__7", 7),
        ("valid__13", 7),
    ]
    assert [len(clip.tracks) for clip in data.clips()] == [1, 1]  # one is hidden too much
    assert run("validate", file, "--images", cut) == 0
    assert (tmp_path / "visible" / "train.json").is_file()
    run("sailvos", "per-video", file, "-o", tmp_path / "truth.json", "--masks", "amodal")
    assert len(read_per_video(tmp_path / "truth.json", masks="amodal").videos) == 2


def test_frames_of_the_official_split(raw: Path, tmp_path: Path) -> None:
    names = {"train__6": [f"{t:06d}.bmp" for t in range(7)]}
    (tmp_path / "structure.json").write_text(json.dumps(names))
    words = ["sailvos", "frames", tmp_path / "structure.json", "-o", tmp_path / "out"]
    run(*words, "--frames", tmp_path / "frames", "--transfer", "symlink", "--workers", "1")
    assert len(list((tmp_path / "out" / "train__6" / "images").glob("*.png"))) == 7
    with pytest.raises(DatasetError, match="000000"):
        run(*words, "--frames", tmp_path, "--workers", "1")


def test_outputs_are_not_replaced(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    words = ["sailvos", "number", raw / "train.json", "-o"]
    run(*words, out)
    with pytest.raises(UserError, match=r"out\.json exists"):
        run(*words, out)
    run(*words, out, "--overwrite")
    with pytest.raises(UserError, match="would replace an input"):
        run(*words, raw / "train.json", "--overwrite")


def test_steps_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("sailvos")
    assert "  per-video " in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean number"):
        run("sailvos", "numbers")


def test_what_is_missing(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing at"):
        run("sailvos", "number", tmp_path / "no.json", "-o", tmp_path / "out.json")
    (raw / "valid.json").unlink()
    with pytest.raises(DatasetError, match=r"valid\.json"):
        run("sailvos", "number", raw, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()
