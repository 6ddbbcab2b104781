"""`vidseg pack` with data sets as benchmarks publish them, test sets without annotations too."""

import shutil
import zipfile
from pathlib import Path

import pytest
from cli_data import run

from vidseg_common.errors import UserError

SMALL = ("--videos", "2", "--frames", "6", "--size", "48x64", "--quiet")


def packed(results: Path, server: str, out: Path, *line: object) -> set[str]:
    """Names in the zip file of results that have no problems."""
    assert run("pack", results, "--for", server, "-o", out, *line) == 0
    with zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def names_below(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.glob(pattern)}


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """DAVIS 2017 with results in `found`."""
    run("synth", tmp_path / "davis", "--layout", "davis", *SMALL)
    run("convert", tmp_path / "davis", "--to", "davis-results", "-o", tmp_path / "found")
    return tmp_path / "davis"


@pytest.mark.parametrize("server", ["davis", "davis-unsupervised"])
def test_davis_needs_no_annotations(davis: Path, tmp_path: Path, server: str) -> None:
    want = names_below(tmp_path / "found", "*/*.png")
    assert len(want) == 12
    assert packed(tmp_path / "found", server, tmp_path / "1.zip", "--gt", davis) == want
    shutil.rmtree(davis / "Annotations")
    assert packed(tmp_path / "found", server, tmp_path / "2.zip", "--gt", davis) == want


def test_davis_2019_val_and_test_sets(davis: Path, tmp_path: Path) -> None:
    found, want = tmp_path / "found", names_below(tmp_path / "found", "*/*.png")
    whole = tmp_path / "2019"
    run("convert", davis, "--to", "davis2019", "-o", whole, "--images", "copy")
    line = ("--gt", whole)
    assert packed(found, "davis-unsupervised", tmp_path / "val.zip", *line) == want
    # The test sets have lists of their own and no annotations.
    shutil.rmtree(whole / "Annotations_unsupervised")
    (whole / "ImageSets/2017").rename(whole / "ImageSets/2019")
    (whole / "ImageSets/2019/val.txt").rename(whole / "ImageSets/2019/test-dev.txt")
    line = ("--gt", whole, "--split", "test-dev")
    assert packed(found, "davis-unsupervised", tmp_path / "test.zip", *line) == want
    with pytest.raises(UserError, match="folder of annotations not found"):
        run("evaluate", "--metric", "davis-unsupervised", "--pred", found, *line)


def test_davis_without_annotations_is_told(davis: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(davis / "Annotations")
    capsys.readouterr()
    assert run("validate", davis, "--format", "davis2017") == 2
    text = capsys.readouterr().out
    assert "Annotations: folder of annotations not found" in text and "1 problem" in text
    with pytest.raises(UserError, match="no annotations to convert"):
        run("convert", davis, "--to", "youtube-vos", "-o", davis.parent / "x")


def test_youtube_vos_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only first frames are annotated, every frame of meta.json must be submitted."""
    root, found = tmp_path / "vos", tmp_path / "found"
    run("synth", root, "--layout", "youtube-vos", *SMALL)
    run("convert", root, "--to", "youtube-vos-results", "-o", found)
    line = ("--gt", root)
    capsys.readouterr()
    assert run("pack", found, "--for", "youtube-vos", "-o", tmp_path / "0.zip", *line) == 2
    assert "00005.png: mask not found" in capsys.readouterr().out
    for folder in (found / "Annotations").iterdir():
        shutil.copy(folder / "00000.png", folder / "00005.png")
        shutil.copy(folder / "00000.png", folder / "00003.png")
    capsys.readouterr()
    assert run("pack", found, "--for", "youtube-vos", "-o", tmp_path / "0.zip", *line) == 2
    assert "has no frame of this name" in capsys.readouterr().out
    for path in found.glob("*/*/00003.png"):
        path.unlink()
    want = names_below(found, "Annotations/*/*.png")
    assert len(want) == 4
    assert packed(found, "youtube-vos", tmp_path / "1.zip", *line) == want
    inner = found / "Annotations"
    assert packed(inner, "youtube-vos", tmp_path / "2.zip", "--gt", root / "valid") == want
    shutil.rmtree(root / "valid" / "Annotations")
    assert packed(found, "youtube-vos", tmp_path / "3.zip", *line) == want


@pytest.fixture
def challenge(tmp_path: Path) -> Path:
    """MOTSChallenge with results in `found`."""
    run("synth", tmp_path / "kitti", "--layout", "kitti-mots", *SMALL)
    root = tmp_path / "challenge"
    run("convert", tmp_path / "kitti", "--to", "mots-challenge", "-o", root, "--images", "copy")
    line = ("--from", "mots-challenge", "--to", "kitti-mots-results")
    run("convert", root, *line, "-o", tmp_path / "found")
    return root


def test_mots_challenge(
    challenge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, names = tmp_path / "found", {"0000.txt", "0001.txt"}
    line = ("--gt", challenge)
    assert packed(found, "mots-challenge", tmp_path / "1.zip", *line) == names
    # The test set has images and seqinfo.ini alone.
    shutil.copytree(challenge / "MOTS-train", challenge / "MOTS-test")
    for path in challenge.glob("MOTS-test/*/gt/gt.txt"):
        path.unlink()
        path.parent.rmdir()
    assert packed(found, "mots-challenge", tmp_path / "2.zip", *line) == names  # of MOTS-train
    test = (*line, "--split", "test")
    assert packed(found, "mots-challenge", tmp_path / "3.zip", *test) == names
    with pytest.raises(UserError, match="no annotations"):
        run("evaluate", "--metric", "mots", "--gt-format", "mots-challenge",
            "--pred", found, *test)  # fmt: skip
    (challenge / "MOTS-test").rename(tmp_path / "MOTS-test")
    capsys.readouterr()
    assert run("validate", tmp_path / "MOTS-test") == 0
    assert run("info", tmp_path / "MOTS-test") == 0
    text = capsys.readouterr().out
    assert "mots-challenge, no problems" in text and "frames        12" in text
    # Frames count from 1.
    run("convert", tmp_path / "kitti", "--to", "kitti-mots-results", "-o", tmp_path / "zero")
    capsys.readouterr()
    zero = ("pack", tmp_path / "zero", "--for", "mots-challenge", "-o", tmp_path / "4.zip")
    assert run(*zero, *line) == 2
    assert "frame 0 is outside of the sequence (1..6)" in capsys.readouterr().out


def test_the_test_set_of_mots_challenge_is_known(
    challenge: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out = tmp_path / "four", tmp_path / "x.zip"
    found.mkdir()
    for name in ("0001", "0006", "0007", "0012"):
        shutil.copy(tmp_path / "found" / "0000.txt", found / f"{name}.txt")
    assert len(packed(found, "mots-challenge", out)) == 4
    line = (found / "0007.txt").read_text().splitlines()[0].split(maxsplit=1)[1]
    (found / "0007.txt").write_text(f"501 {line}\n")
    (found / "0012.txt").unlink()
    capsys.readouterr()
    assert run("pack", found, "--for", "mots-challenge", "-o", out, "--overwrite") == 2
    text = capsys.readouterr().out
    assert "frame 501 is outside of the sequence (1..500)" in text
    assert "no result of sequence 0012" in text


def test_images_of_the_test_set_of_kitti(tmp_path: Path) -> None:
    root, found = tmp_path / "kitti", tmp_path / "found"
    run("synth", root, "--layout", "kitti-mots", *SMALL)
    run("convert", root, "--to", "kitti-mots-results", "-o", found)
    (root / "testing").mkdir()
    shutil.move(root / "training" / "image_02", root / "testing" / "image_02")
    line = ("--gt", root, "--split", "test")
    assert packed(found, "kitti-mots", tmp_path / "x.zip", *line) == {"0000.txt", "0001.txt"}
    text = found / "0001.txt"
    text.write_text(text.read_text().replace("5 1001", "6 1001", 1))
    assert run("pack", found, "--for", "kitti-mots", "-o", tmp_path / "y.zip", *line) == 2
