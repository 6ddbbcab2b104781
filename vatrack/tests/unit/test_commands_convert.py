"""The converters as commands: a miniature SAIL-VOS tree from raw annotations to every kind."""

import json

import cv2
import numpy as np
import pytest

from vatrack.commands import convert
from vatrack.data.annotations import AnnotatedFrames
from vatrack.data.settings import DatasetSettings
from vatrack.parity import RECORDS
from vidseg_common.errors import DatasetError, UserError


@pytest.fixture
def raw(tmp_path):
    """The recorded raw annotations and frames, as a user has them."""
    for name, value in json.loads((RECORDS / "conversion_input.json").read_text()).items():
        path = tmp_path / "raw" / f"{name.removeprefix('raw_')}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(value))
    arrays = np.load(RECORDS / "conversion_frames.npz")
    for name, pixels in zip(arrays["names"], arrays["frames_bgr"], strict=True):
        path = tmp_path / "png" / str(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels)
    return tmp_path


def steps(root):
    """Every step of the way to joint annotations, as on the command line."""
    return [
        (convert.main_number, ["-i", f"{root}/raw", "-o", f"{root}/coco", "--quiet"]),
        (
            convert.main_cut,
            [*("-i", f"{root}/coco", "-o", f"{root}/cut", "--frames", f"{root}/png"),
             *("--frames-out", f"{root}/cut_png", "--transfer", "copy", "--workers", "1")],
        ),
        (
            convert.main_kind,
            ["-i", f"{root}/cut", "-o", f"{root}/json", "--kind", "joint", "--bbox", "both"],
        ),
    ]  # fmt: skip


def run_all(root):
    for main, words in steps(root):
        assert main(words) == 0


def test_from_raw_annotations_to_what_a_network_reads(raw):
    run_all(raw)
    path = raw / "json" / "joint" / "valid(bbox=both_bbox).json"
    recorded = json.loads((RECORDS / "conversion_output.json").read_text())
    made = json.loads(path.read_text())
    assert made["videos"] == recorded["json_script_joint_both"]["videos"]
    for number, image in enumerate(made["images"]):
        name = image["file_name"].replace(".png", ".bmp")
        assert (raw / "cut_png" / name).is_file(), number
    # Its categories are those of the record, fewer than the published ones.
    names = tuple(item["name"] for item in made["categories"])
    data = AnnotatedFrames(DatasetSettings(path, raw, two_boxes=True, classes=names))
    assert len(data) == len(made["images"])
    truth = raw / "truth.json"
    assert convert.main_per_video(["-i", str(path), "-o", str(truth), "--masks", "amodal"]) == 0
    assert {"videos", "categories", "annotations"} <= json.loads(truth.read_text()).keys()


def test_what_is_finished_stays(raw, capsys):
    run_all(raw)
    before = {path: path.stat().st_mtime_ns for path in raw.rglob("*.json")}
    (raw / "cut" / "train.json").unlink()
    capsys.readouterr()
    run_all(raw)
    out = capsys.readouterr().out
    assert out.count("is there and stays") == 5
    after = {path: path.stat().st_mtime_ns for path in raw.rglob("*.json")}
    assert [p.name for p in before if before[p] != after[p]] == ["train.json"]
    main, words = steps(raw)[0]
    main([*words, "--overwrite"])
    assert (raw / "coco" / "valid.json").stat().st_mtime_ns != before[raw / "coco" / "valid.json"]


def test_notes_of_an_interrupted_step_make_it_go_on(raw):
    run_all(raw)
    out = raw / "cut" / "valid.json"
    expected = out.read_text()
    out.write_text("{}")
    (raw / "cut" / ".valid.json.notes").mkdir()
    main, words = steps(raw)[1]
    assert main(words) == 0
    assert out.read_text() == expected and not (raw / "cut" / ".valid.json.notes").exists()


def test_one_file_and_files_that_are_none(raw, capsys):
    words = ["-i", str(raw / "raw" / "train.json"), "-o"]
    assert convert.main_number([*words, str(raw / "one.json")]) == 0
    assert (raw / "one.json").is_file()
    assert convert.main_number([*words, str(raw / "folder")]) == 0
    assert (raw / "folder" / "train.json").is_file()
    with pytest.raises(UserError, match="would replace its input"):
        convert.main_number(["-i", str(raw / "raw"), "-o", str(raw / "raw")])
    with pytest.raises(UserError, match=r"nor a folder with train\.json or valid\.json"):
        convert.main_number(["-i", str(raw / "none"), "-o", str(raw / "x")])
    (raw / "bad.json").write_text('{"images": []')
    with pytest.raises(DatasetError, match=r"bad\.json"):
        convert.main_number(["-i", str(raw / "bad.json"), "-o", str(raw / "x.json")])


def test_frames_of_the_published_list(tmp_path, monkeypatch, capsys):
    frame = np.zeros((4, 6, 3), np.uint8)
    for suffix, video in ((".bmp", "a"), (".png", "b")):
        folder = tmp_path / "sailvos_complete_png" / video / "images"
        folder.mkdir(parents=True)
        for number in range(2):
            frame[:] = 40 * number + 9
            cv2.imwrite(str(folder / f"{number:06d}{suffix}"), frame)
    pieces = {"a__1": ["000000.bmp"], "a__2": ["000001.bmp"], "b__1": ["000001.bmp"], "b": []}
    (tmp_path / "sailvos_cut_structure.json").write_text(json.dumps(pieces))
    monkeypatch.setenv("VATRACK_DATA", str(tmp_path))
    for _ in range(2):  # again: everything is there
        assert convert.main_frames(["--quiet", "--workers", "1"]) == 0
        assert capsys.readouterr().out.startswith("3 frames in ")
    made = sorted((tmp_path / "sailvos_cut_png").rglob("*.png"))
    assert [path.parts[-3] for path in made] == ["a__1", "a__2", "b__1"]
    assert cv2.imread(str(made[1]))[0, 0].tolist() == [49, 49, 49]
    (tmp_path / "sailvos_complete_png" / "a" / "images" / "000001.bmp").unlink()
    with pytest.raises(DatasetError, match=r"000001"):
        convert.main_frames(["--quiet", "-o", str(tmp_path / "new")])
