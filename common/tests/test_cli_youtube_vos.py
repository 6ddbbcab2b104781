"""`vidseg` on YouTube-VOS with its 30-fps frames."""

import json
import shutil
from pathlib import Path

import pytest
from cli_data import run

from vidseg_common.errors import UserError
from vidseg_common.formats import FORMATS
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two videos of 11 frames, three of which are those of the split."""
    write_layout("youtube-vos", generate_videos(1, 2, 11, 32, 48, 2), tmp_path / "YouTube")
    return tmp_path / "YouTube"


def info(*words: object, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    assert run("info", *words, "--json") == 0
    counts: dict[str, int] = json.loads(capsys.readouterr().out)
    return counts


def test_info(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert info(root, capsys=capsys)["frames"] == 6
    assert info(root, "--all-frames", capsys=capsys)["frames"] == 22


def test_validate(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("validate", root, "--all-frames") == 0
    dense = root / "all_frames" / "valid_all_frames" / "JPEGImages"
    video = sorted(dense.iterdir())[0]
    (video / "00005.jpg").unlink()
    capsys.readouterr()
    assert run("validate", root, "--all-frames") == 2
    assert "00005" in capsys.readouterr().out
    assert run("validate", root) == 0


def test_show_and_convert(root: Path, tmp_path: Path) -> None:
    name = sorted(path.name for path in (root / "valid" / "Annotations").iterdir())[0]
    run("show", root, "--all-frames", "-o", tmp_path / "shown", "--as", "png", "--videos", name)
    assert len(list((tmp_path / "shown" / name).iterdir())) == 11
    run("convert", root, "--all-frames", "--to", "ytvis2019", "-o", tmp_path / "x.json")
    assert {v.num_frames for v in FORMATS["ytvis2019"].read(tmp_path / "x.json").videos} == {11}


def test_the_split_is_that_of_the_ground_truth(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("convert", root, "--split", "valid", "--to", "youtube-vos-results", "-o", tmp_path / "r")
    for folder in (tmp_path / "r" / "Annotations").iterdir():
        for name in ("00005.png", "00010.png"):
            shutil.copy(folder / "00000.png", folder / name)
    capsys.readouterr()
    words = (tmp_path / "r", "--gt", root, "--split", "valid")
    for command in ("validate", "info"):
        assert run(command, *words) == 0
    assert "no problems" in capsys.readouterr().out


def test_other_formats_have_no_such_frames(tmp_path: Path) -> None:
    write_layout("davis", generate_videos(1, 1, 3, 32, 48, 1), tmp_path)
    with pytest.raises(UserError, match="davis2017 has no all-frames; leave --all-frames out"):
        run("info", tmp_path, "--all-frames")
