import json
import os
import subprocess
import sys

import pytest
import torch

from vidseg_common import doctor, doctor_machine
from vidseg_common.checkpoint import save_safetensors
from vidseg_common.doctor_data import examine_root
from vidseg_common.doctor_machine import check_torch_pair, required_packages, version_tuple
from vidseg_common.doctor_weights import examine_file


def touch(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def davis(root, num_sequences, num_frames=3, place="DAVIS/2017/trainval"):
    folder = root / place
    names = [f"seq{index:02d}" for index in range(num_sequences)]
    for name in names:
        for frame in range(num_frames):
            touch(folder / "JPEGImages/480p" / name / f"{frame:05d}.jpg")
            touch(folder / "Annotations/480p" / name / f"{frame:05d}.png")
    for listed in ("2017/train", "2017/val", "2016/val"):
        touch(folder / "ImageSets" / f"{listed}.txt", "\n".join(names[:2]).encode())
    return folder


def test_whole_davis_set_has_no_problem(tmp_path):
    davis(tmp_path, 90)
    section = examine_root(tmp_path)
    assert section.problems == []
    fact = section.facts["DAVIS 2017 trainval"]
    assert fact == "90 of 90 sequences, 270 frames, 270 annotations"
    assert section.facts["BL30K"] == "not found"


def test_every_fault_of_a_davis_set_is_told(tmp_path):
    folder = davis(tmp_path, 5)
    (folder / "JPEGImages/480p/seq00/00001.jpg").unlink()
    (folder / "Annotations/480p/seq01/00002.png").unlink()
    for frame in (folder / "JPEGImages/480p/seq02").iterdir():
        frame.unlink()
    touch(folder / "Annotations/480p/ghost/00000.png")
    (folder / "ImageSets/2017/val.txt").write_text("seq00\nlost\n")
    (folder / "ImageSets/2016/val.txt").unlink()
    problems = examine_root(tmp_path).problems
    expected = [
        "5 sequences instead of 90",
        "ImageSets/2017/val.txt names sequences that are not there: lost",
        "no list ",
        "sequences without frames: seq02",
        "annotations missing: seq01/00002",
        "annotations whose frame is missing: seq00/00001",
        "frames missing: seq00/00001",
        "annotations without frames for ghost",
    ]
    assert len(problems) == len(expected)
    for text in expected:
        (line,) = [problem for problem in problems if text in problem]
        assert line.startswith("DAVIS 2017 trainval: ")
        assert "download it again" in line
        assert "\n" not in line


def test_youtube_and_static_sets(tmp_path):
    valid = tmp_path / "YouTube/valid"
    touch(valid / "JPEGImages/v1/00000.jpg")
    touch(valid / "JPEGImages/v1/00005.jpg")
    touch(valid / "Annotations/v1/00005.png")
    touch(valid / "meta.json", b'{"videos": {}}')
    touch(tmp_path / "YouTube/all_frames/valid_all_frames/JPEGImages/other/00000.jpg")
    touch(tmp_path / "static/HRSOD_small/a.jpg")
    touch(tmp_path / "static/HRSOD_small/a.png")
    touch(tmp_path / "static/fss/cat/1.jpg")
    section = examine_root(tmp_path)
    assert section.facts["static/HRSOD_small"] == "1 images, 1 masks"
    text = "\n".join(section.problems)
    for expected in (
        "YouTube-VOS 2019 valid: 1 sequences instead of 507",
        "meta.json lists no videos",
        "JPEGImages lacks v1",
        "static/fss: 1 images instead of 10000",
        "static/fss: images without mask: 1",
    ):
        assert expected in text
    assert "HRSOD" not in text
    assert "annotations missing" not in text


def test_root_that_is_itself_a_set(tmp_path):
    touch(tmp_path / "JPEGImages/clip/a.jpg")
    touch(tmp_path / "JPEGImages/clip/b.jpg")
    touch(tmp_path / "Annotations/clip/a.png")
    section = examine_root(tmp_path)
    assert section.problems == []
    (fact,) = section.facts.values()
    assert fact == "1 sequences, 2 frames, 1 annotations"


def test_root_without_data(tmp_path):
    assert "holds no known data set" in examine_root(tmp_path).problems[0]
    assert "no such folder" in examine_root(tmp_path / "none").problems[0]


@pytest.mark.parametrize("form", ["bare", "training", "legacy", "safetensors"])
def test_good_weights(tmp_path, form):
    state = {"module.w": torch.ones(2, 3), "module.n": torch.tensor(1)}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_safetensors(state, path)
    elif form == "training":
        torch.save({"it": 3, "network": state, "optimizer": {}, "scheduler": {}}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "bare")
    section = examine_file(path)
    assert section.problems == []
    assert section.facts["keys"] == "2"
    assert section.facts["values"] == "7"
    assert section.facts["types"] == "float32, int64"
    assert section.facts["safe to load"].startswith("yes")
    assert section.facts["prefix"].startswith("module.")
    container = section.facts["container"]
    assert container.startswith("training state" if form == "training" else "bare state dict")


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_bad_weights(tmp_path):
    torch.save({"w": torch.ones(1), "x": Payload(tmp_path / "ran")}, tmp_path / "evil.pth")
    torch.save({"w": torch.tensor([float("nan")])}, tmp_path / "nan.pth")
    torch.save({"it": 3}, tmp_path / "none.pth")
    (tmp_path / "page.pth").write_text("<html>")
    expected = {
        "evil.pth": "mkdir",
        "nan.pth": "NaN or infinite",
        "none.pth": "no weights found",
        "page.pth": "web page",
        "missing.pth": "no such file",
    }
    for name, text in expected.items():
        (problem,) = examine_file(tmp_path / name).problems
        assert text in problem
        assert "\n" not in problem
    assert not (tmp_path / "ran").exists()


def test_torch_pair():
    assert check_torch_pair("2.14.1", "0.29.1") is None
    assert check_torch_pair("2.11.0+cpu", "0.26.0+cpu") is None
    assert check_torch_pair(None, "0.26.0") is None
    assert "torchvision 0.29" in check_torch_pair("2.14.1", "0.28.0")
    assert "matching pair" in check_torch_pair("2.14.1+cpu", "0.29.1+cu130")


def test_requirements_are_read_from_the_installed_distributions():
    needed = required_packages()
    assert version_tuple(needed["torch"]) >= (2, 11)
    assert "numpy" in needed
    assert "vidseg-common" not in needed


def test_missing_and_old_packages(monkeypatch):
    monkeypatch.setattr(
        doctor_machine, "required_packages", lambda: {"numpy": "99.0", "no-such-package": "0"}
    )
    problems = doctor_machine.examine_packages().problems
    assert any(problem.startswith("no-such-package is not installed") for problem in problems)
    assert any("is older than 99.0: run make setup" in problem for problem in problems)


def test_little_memory(monkeypatch):
    monkeypatch.setattr(
        doctor_machine, "read_meminfo", lambda: {"MemTotal": 8.0, "MemAvailable": 0.5}
    )
    problems = doctor_machine.examine_storage().problems
    assert "only 0.5 GiB of memory is free" in problems[0]


def test_command_in_text_and_json(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor_machine, "MIN_MEMORY_GIB", 0)
    monkeypatch.setattr(doctor_machine, "MIN_DISK_GIB", 0)
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    arguments = ["--weights", str(tmp_path / "w.pth")]
    assert doctor.main(arguments) == 0, capsys.readouterr().out
    text = capsys.readouterr().out
    assert "no problems found" in text
    assert "torchvision" in text
    assert doctor.main([*arguments, str(tmp_path / "none.pth"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert len(report["problems"]) == 1
    assert report["sections"]["native operators"]["torchvision"] == "active"
    assert doctor.main(["--data", str(tmp_path)]) == 1
    assert "1 problem(s)\n  ! " in capsys.readouterr().out


def test_module_runs_and_names_the_nearest_flag():
    done = subprocess.run(
        [sys.executable, "-m", "vidseg_common.doctor", "--weigths", "x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "unknown flag --weigths; did you mean --weights?" in done.stderr
