import json

import numpy as np
import pytest

from vidseg_common.errors import DatasetError
from vidseg_common.masks import write_mask
from vidseg_common.metrics import folder_jf
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.metrics.folder_jf import evaluate_folders


def write_video(root, name, masks):
    for t, mask in enumerate(masks):
        write_mask(root / name / f"{t:05d}.png", mask)


@pytest.fixture
def folders(tmp_path):
    masks = np.zeros((5, 30, 40), np.uint8)
    masks[:, 5:15, 5:25] = 4
    masks[2:, 20:28, 10:30] = 90
    for name in ("v", "w"):
        write_video(tmp_path / "gt", name, masks)
        write_video(tmp_path / "pred", name, masks)
    return tmp_path


@pytest.fixture
def noisy(tmp_path):
    rng = np.random.default_rng(4)
    for name in ("a", "b"):
        masks = np.zeros((30, 40, 50), np.uint8)
        masks[:, 5:20, 5:30] = 1
        masks[:, 20:35, 10:30] = 2
        write_video(tmp_path / "gt", name, masks)
        write_video(tmp_path / "pred", name, masks * (rng.random(masks.shape) < 0.9))
    return tmp_path


def test_equals_davis_where_ids_are_consecutive(noisy):
    folders = evaluate_folders(noisy / "gt", noisy / "pred", progress=False)
    assert evaluate_folders(noisy / "gt", noisy / "pred", workers=2, progress=False) == folders
    davis = evaluate_davis(noisy / "gt", noisy / "pred", ["a", "b"], progress=False)
    assert folders.global_mean == pytest.approx(davis.global_mean, abs=1e-12)
    for row, other in zip(folders.rows, davis.rows, strict=True):
        assert (row.frames, row.j_frames, row.f_frames) == (
            other.frames,
            other.j_frames,
            other.f_frames,
        )


def test_rows_of_videos_and_objects(noisy):
    result = evaluate_folders(noisy / "gt", noisy / "pred", progress=False)
    assert list(result.numbers) == ["J&F-Mean", "J-Mean", "F-Mean"]
    videos, objects = result.per_video(), result.per_object()
    assert [row["video"] for row in videos] == ["a", "b"]
    assert videos[1]["J-Mean"] == pytest.approx(np.mean([row["J-Mean"] for row in objects[2:]]))
    assert objects[3]["object_id"] == 2
    assert result.table().splitlines()[1].startswith("Global score,,")
    data = json.loads(json.dumps(result.to_json()))
    assert len(data["objects"][0]["frames"]) == len(data["objects"][0]["j_frames"]) == 28


def test_only_chosen_frames_count(folders):
    (folders / "pred" / "v" / "00001.png").unlink()
    with pytest.raises(DatasetError, match=r"missing prediction .*00001.png"):
        evaluate_folders(folders / "gt", folders / "pred", progress=False)
    frames = {"v": {"00002", "00003", "00004"}}
    result = evaluate_folders(folders / "gt", folders / "pred", frames=frames, progress=False)
    assert [(row.sequence, row.object_id, row.jf) for row in result.rows] == [
        ("v", 4, 1.0),
        ("v", 90, 1.0),
    ]


def test_void_is_no_object_and_takes_predictions_out(folders):
    for t in range(5):
        mask = np.zeros((30, 40), np.uint8)
        mask[5:15, 5:25] = 4
        mask[15:20] = 255
        write_mask(folders / "gt" / "v" / f"{t:05d}.png", mask)
        mask[15:20] = 4
        write_mask(folders / "pred" / "v" / f"{t:05d}.png", mask)
    plain = evaluate_folders(folders / "gt", folders / "pred", progress=False)
    ids = [row.object_id for row in plain.rows if row.sequence == "v"]
    assert ids == [4, 255]
    void = evaluate_folders(folders / "gt", folders / "pred", void=255, progress=False)
    (row,) = [row for row in void.rows if row.sequence == "v"]
    assert (row.object_id, row.j, row.f) == (4, 1.0, 1.0)


def test_strict_skipped_and_missing(folders):
    for path in (folders / "pred/w").iterdir():
        path.unlink()
    (folders / "pred/w").rmdir()
    assert evaluate_folders(folders / "gt", folders / "pred", progress=False).skipped == ("w",)
    with pytest.raises(DatasetError, match="w: only one of the two"):
        evaluate_folders(folders / "gt", folders / "pred", strict=True, progress=False)
    (folders / "pred/v/00001.png").unlink()
    (folders / "pred/v/00002.png").write_bytes(b"")
    (folders / "pred/v/00003.png").unlink()
    with pytest.raises(DatasetError, match=r"2 problem\(s\)(.|\n)*00001.png(.|\n)*00003.png"):
        evaluate_folders(folders / "gt", folders / "pred", progress=False)


def test_nothing_to_score(folders, tmp_path):
    with pytest.raises(DatasetError, match="no video in common"):
        evaluate_folders(folders / "gt/v", folders / "pred", progress=False)
    write_video(tmp_path / "g2", "v", np.zeros((2, 4, 4), np.uint8))
    write_video(tmp_path / "p2", "v", np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(DatasetError, match="v: no frame to evaluate"):
        evaluate_folders(tmp_path / "g2", tmp_path / "p2", progress=False)
    with pytest.raises(DatasetError, match="no object"):
        evaluate_folders(
            tmp_path / "g2", tmp_path / "p2", skip_first_and_last=False, progress=False
        )


def test_command_line(folders, capsys):
    flags = ["-g", str(folders / "gt"), "-m", str(folders / "pred"), "--quiet", "-n", "1"]
    assert folder_jf.main([*flags, "--json", str(folders / "out.json")]) == 0
    text = (folders / "pred/results.csv").read_text()
    assert text == capsys.readouterr().out
    assert text.splitlines()[:3] == [
        "sequence,obj, J&F, J, F",
        "Global score,,100.0,100.0,100.0",
        "v,004,100.0,100.0,100.0",
    ]
    data = json.loads((folders / "out.json").read_text())
    assert data["global"]["J&F-Mean"] == 1.0
    assert len(data["objects"]) == 4
