import json
from pathlib import Path

import numpy as np
import pytest

from vidseg_common.errors import DatasetError
from vidseg_common.masks import write_mask
from vidseg_common.metrics import folder_jf
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.metrics.folder_jf import evaluate_folders

PARITY = Path(__file__).parent / "parity"
RECORD = json.loads((PARITY / "expected_davis.json").read_text())["sequences"]
SEQUENCES = np.load(PARITY / "davis_sequences.npz")


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


@pytest.mark.parametrize(
    ("name", "workers"),
    [*((name, 1) for name in RECORD), ("late_object_predicted", 2), ("length_over_256", 2)],
)
def test_recorded_sequences(tmp_path, name, workers):
    write_video(tmp_path / "gt", name, SEQUENCES[f"{name}.gt"])
    write_video(tmp_path / "pred", name, SEQUENCES[f"{name}.pred"])
    for key, skip in (("skip_first_and_last", True), ("all_frames", False)):
        expected = RECORD[name]["generic"][key]
        result = evaluate_folders(
            tmp_path / "gt",
            tmp_path / "pred",
            skip_first_and_last=skip,
            workers=workers,
            progress=False,
        )
        assert {str(row.object_id) for row in result.rows} == set(expected["objects"])
        for row in result.rows:
            wanted = expected["objects"][str(row.object_id)]
            np.testing.assert_allclose((row.j, row.f), wanted, 0, 1e-12)
        np.testing.assert_allclose((result.j_mean, result.f_mean), expected["mean_J_F"], 0, 1e-12)


def test_equals_davis_where_ids_are_consecutive(tmp_path):
    name = "three_objects"
    write_video(tmp_path / "gt", name, SEQUENCES[f"{name}.gt"])
    write_video(tmp_path / "pred", name, SEQUENCES[f"{name}.pred"])
    folders = evaluate_folders(tmp_path / "gt", tmp_path / "pred", progress=False)
    davis = evaluate_davis(tmp_path / "gt", tmp_path / "pred", [name], progress=False)
    assert folders.global_mean == pytest.approx(davis.global_mean, abs=1e-12)


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
