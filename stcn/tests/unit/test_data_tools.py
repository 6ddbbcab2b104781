import io
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stcn.model.network import STCN, NetworkConfig
from stcn.tools import archives, bl30k, datasets, weights
from stcn.tools.archives import Archive, fetch, find_content, merge_folder
from stcn.tools.resize import main_length, main_youtube, shorter_side_size
from vidseg_common.errors import CheckpointError, DatasetError, DownloadError

SCRIPTS = Path(__file__).parents[2]
CLIP = Archive("clip.zip", "no-such-id", "DAVIS/2016", ("JPEGImages",))


def write_zip(path, *names):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)


def type_answer(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


@pytest.fixture
def no_network(monkeypatch):
    def refuse(target, **_):
        raise DownloadError(f"{target.name}: quota exceeded")

    monkeypatch.setattr(archives, "download", refuse)


def test_archive_goes_to_its_place_without_its_wrapping(tmp_path, no_network):
    write_zip(tmp_path / "hand" / "clip.zip", "DAVIS/JPEGImages/480p/a/0.jpg", "DAVIS/README.md")
    fetch(CLIP, tmp_path, from_dir=tmp_path / "hand")
    assert (tmp_path / "DAVIS/2016/JPEGImages/480p/a/0.jpg").exists()
    assert not (tmp_path / "DAVIS/DAVIS").exists()
    assert (tmp_path / "hand/clip.zip").exists(), "a file fetched by hand is its owner's"
    assert not list((tmp_path / archives.STATE_FOLDER).glob("*.unpacked"))


def test_finished_archives_are_not_fetched_again(tmp_path, no_network):
    write_zip(tmp_path / "hand" / "clip.zip", "JPEGImages/a/0.jpg")
    fetch(CLIP, tmp_path, from_dir=tmp_path / "hand")
    fetch(CLIP, tmp_path)


def test_downloaded_archives_are_removed(tmp_path, monkeypatch):
    def pretend(target, *, drive_id):
        assert drive_id == CLIP.drive_id
        write_zip(target, "JPEGImages/a/0.jpg")
        return target

    monkeypatch.setattr(archives, "download", pretend)
    fetch(CLIP, tmp_path)
    assert not list(tmp_path.rglob("*.zip"))
    assert (tmp_path / "DAVIS/2016/JPEGImages/a/0.jpg").exists()


def test_failed_download_says_how_to_go_on(tmp_path, no_network):
    with pytest.raises(DownloadError, match=r"no-such-id as clip\.zip.*--from-dir"):
        fetch(CLIP, tmp_path)
    assert not (tmp_path / "DAVIS").exists()


def test_damaged_download_stays_until_the_user_removes_it(tmp_path, monkeypatch):
    def pretend(target, *, drive_id):
        target.parent.mkdir(parents=True)
        target.write_bytes(b"half an archive")
        return target

    monkeypatch.setattr(archives, "download", pretend)
    with pytest.raises(DownloadError, match=r"remove .*clip\.zip to have it downloaded again"):
        fetch(CLIP, tmp_path)
    assert not (tmp_path / "DAVIS").exists()


def test_foreign_archive_leaves_nothing(tmp_path):
    write_zip(tmp_path / "hand" / "clip.zip", "holiday/pictures.txt")
    with pytest.raises(DatasetError, match=r"clip\.zip.*JPEGImages.*holiday"):
        fetch(CLIP, tmp_path, from_dir=tmp_path / "hand")
    assert not (tmp_path / "DAVIS").exists()
    assert not list((tmp_path / archives.STATE_FOLDER).glob("*"))


def test_content_is_searched_from_the_top(tmp_path):
    (tmp_path / "a" / "b" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "z" / "JPEGImages").mkdir(parents=True)
    assert find_content(tmp_path, ["JPEGImages"]) == tmp_path / "z"


def test_merging_keeps_what_is_there(tmp_path):
    for name in ("from/x/1", "to/x/2", "from/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    merge_folder(tmp_path / "from", tmp_path / "to")
    found = sorted(str(p.relative_to(tmp_path / "to")) for p in (tmp_path / "to").rglob("?"))
    assert found == ["x", "x/1", "x/2", "y"]


@pytest.mark.parametrize("answer", ["n\n", "", "yes please\n"])
def test_nothing_happens_without_y(tmp_path, monkeypatch, capsys, answer):
    for main in (datasets.main, bl30k.main):
        type_answer(monkeypatch, answer)
        assert main(["--root", str(tmp_path)]) == 1
    assert "Nothing was done." in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_bl30k_goes_into_its_folder(tmp_path, monkeypatch, no_network):
    hand = tmp_path / "hand"
    hand.mkdir()
    for part in "ab":
        with tarfile.open(hand / f"BL30K_{part}.tar", "w") as file:
            entry = tarfile.TarInfo(f"BL30K/JPEGImages/{part}/0.jpg")
            file.addfile(entry, io.BytesIO())
    type_answer(monkeypatch, "y\n")
    command = ["--root", str(tmp_path), "--from-dir", str(hand), "--parts", "a", "b"]
    assert bl30k.main(command) == 0
    assert (tmp_path / "BL30K/JPEGImages/a/0.jpg").exists()
    assert (tmp_path / "BL30K/JPEGImages/b/0.jpg").exists()


def test_published_ids_and_targets():
    assert len({archive.drive_id for archive in datasets.ARCHIVES + bl30k.ARCHIVES}) == 16
    targets = {archive.name: archive.target for archive in datasets.ARCHIVES}
    assert targets["davis-2017-scribbles.zip"] == targets["davis-2017-trainval.zip"]
    assert targets["youtube-2018-valid.zip"] == "YouTube2018/valid"


def test_youtube_frames_are_shrunk_after_unpacking(tmp_path, no_network):
    image = io.BytesIO()
    Image.new("RGB", (64, 48), (9, 9, 9)).save(image, "JPEG")
    mask = io.BytesIO()
    Image.new("P", (64, 48), 2).save(mask, "PNG")
    hand = tmp_path / "hand" / "youtube-2019-train.zip"
    write_zip(hand)
    with zipfile.ZipFile(hand, "w") as file:
        file.writestr("train/JPEGImages/v/00000.jpg", image.getvalue())
        file.writestr("train/Annotations/v/00000.png", mask.getvalue())
    command = ["--root", str(tmp_path), "--yes", "--from-dir", str(hand.parent)]
    assert datasets.main([*command, "--only", hand.name, "--num_workers", "1"]) == 0
    small = tmp_path / "YouTube/train_480p"
    assert Image.open(small / "JPEGImages/v/00000.jpg").size == (640, 480)
    assert Image.open(small / "Annotations/v/00000.png").mode == "P"


def test_sizes_are_cut_to_whole_pixels():
    assert shorter_side_size(1280, 720, 480) == (853, 480)
    assert shorter_side_size(721, 1280, 480) == (480, int(1280 * 480 / 721))


def write_video_set(root):
    palette = list(np.random.RandomState(0).randint(0, 256, 768))
    for i in range(2):
        frame, mask = root / f"JPEGImages/v/{i}.jpg", root / f"Annotations/v/{i}.png"
        for path in (frame, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (90, 60), (i, 100, 200)).save(frame)
        labels = np.zeros((60, 90), dtype=np.uint8)
        labels[10:30, 20:70] = 7
        image = Image.fromarray(labels)
        image.putpalette([int(value) for value in palette])
        image.save(mask)
    return palette


def test_resize_youtube_keeps_labels_and_palette(tmp_path):
    palette = write_video_set(tmp_path / "in")
    assert main_youtube([str(tmp_path / "in"), str(tmp_path / "out"), "--num_workers", "2"]) == 0
    mask = Image.open(tmp_path / "out/Annotations/v/1.png")
    assert mask.size == (720, 480) and mask.mode == "P"
    assert mask.getpalette()[:24] == palette[:24]
    assert set(np.unique(np.asarray(mask))) == {0, 7}
    assert Image.open(tmp_path / "out/JPEGImages/v/0.jpg").size == (720, 480)


def test_interrupted_resizing_goes_on(tmp_path):
    write_video_set(tmp_path / "in")
    broken = tmp_path / "in/JPEGImages/v/1.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    command = [str(tmp_path / "in"), str(tmp_path / "out"), "--num_workers", "1"]
    with pytest.raises(DatasetError, match=r"1\.jpg: cannot be read"):
        main_youtube(command)
    first = tmp_path / "out/JPEGImages/v/0.jpg"
    made = first.stat().st_mtime_ns
    assert sorted(p.name for p in first.parent.iterdir()) == ["0.jpg"]
    broken.write_bytes(whole)
    assert main_youtube(command) == 0
    assert first.stat().st_mtime_ns == made
    assert sorted(p.name for p in first.parent.iterdir()) == ["0.jpg", "1.jpg"]


def test_resize_length_averages(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    checker = (np.indices((768, 1000)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(checker).save(source / "a.png")
    assert main_length([str(source), str(tmp_path / "out"), "--num_workers", "1"]) == 0
    small = np.asarray(Image.open(tmp_path / "out/a.png"))
    assert small.shape == (384, 500)
    assert abs(small.astype(int) - 127).max() <= 1


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match="JPEGImages"):
        main_youtube([str(tmp_path), str(tmp_path / "out")])


def test_weights_by_hand_are_checked_before_they_get_their_name(tmp_path):
    good, bad = tmp_path / "fetched.pth", tmp_path / "other.pth"
    torch.save(STCN(NetworkConfig()).state_dict(), good)
    torch.save({"conv1.weight": torch.zeros(3)}, bad)
    saves = tmp_path / "saves"
    with pytest.raises(CheckpointError):
        weights.main(["--output", str(saves), "--from-file", str(bad)])
    assert not list(saves.rglob("*.pth"))
    assert weights.main(["--output", str(saves), "--from-file", str(good)]) == 0
    assert (saves / "stcn.pth").read_bytes() == good.read_bytes()
    assert weights.main(["--output", str(saves)]) == 0


@pytest.mark.parametrize(
    "name",
    ["download_model", "download_datasets", "download_bl30k", "resize_youtube", "resize_length"],
)
def test_entry_files_explain_themselves(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    assert stopped.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_entry_file_runs_from_its_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "resize_length.py", str(tmp_path / "none"), str(tmp_path / "out")],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: folder of images not found")
    assert len(done.stderr.splitlines()) == 1
