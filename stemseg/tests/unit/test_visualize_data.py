import cv2
import numpy as np
import pytest
import torch

from stemseg.commands import visualize_data
from stemseg.commands.visualize_data import main
from stemseg.data.visualise import class_map
from stemseg.drawing import color_of
from vidseg_common.errors import ConfigError, UserError

SMALL = [
    *("--num_workers", "0", "--opts"),
    *("INPUT.NUM_FRAMES", "4", "INPUT.MIN_DIM", "48", "INPUT.MAX_DIM", "64"),
    *("DATA.KITTI_MOTS.FRAME_GAP_LOWER", "4"),
    *("DATA.DAVIS.FRAME_GAP_LOWER", "4", "DATA.DAVIS.FRAME_GAP_UPPER", "4"),
]


def call(dataset, cfg, *flags):
    return main(["--cfg", cfg, "-d", dataset, *flags, *SMALL])


@pytest.mark.parametrize(
    ("dataset", "cfg", "text"),
    [("davis", "davis_1", "object"), ("kittimots", "kitti_mots_2", "pedestrian")],
)
def test_videos_are_written(training_data, tmp_path, capsys, dataset, cfg, text):
    assert call(dataset, cfg, "--output_dir", str(tmp_path), "-bS", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(": 2 instances (" in line for line in lines)
    assert any(text in line for line in lines)
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 3
    names = sorted(path.name for path in folders[0].iterdir())
    assert names == [f"{t:03d}_{view}.png" for t in range(4)
                     for view in ("classes", "ignore", "instances")]  # fmt: skip
    picture = cv2.imread(str(folders[0] / "000_instances.png"))
    assert picture.shape == (48, 64, 3)


def test_instances_have_the_colours_of_their_numbers(training_data, tmp_path):
    call("davis", "davis_1", "--output_dir", str(tmp_path), "--max_clips", "1")
    (folder,) = tmp_path.iterdir()
    instances, ignore = (cv2.imread(str(folder / f"000_{v}.png")).astype(int)
                         for v in ("instances", "ignore"))  # fmt: skip
    # The ignore region of DAVIS is what no instance covers.
    changed = np.argwhere(ignore.min(2) < 100)
    assert len(changed)
    inside = ignore.astype(int)
    painted = instances - inside // 2
    for number in (1, 2):
        half = np.array(color_of(number)) // 2
        assert (np.abs(painted - half).max(2) <= 1).any()


def test_images_are_written(training_data, tmp_path, capsys):
    call("coco", "davis_1", "--output_dir", str(tmp_path), "--max_clips", "2", "--shuffle")
    assert len(list(tmp_path.iterdir())) == 2
    assert "object" in capsys.readouterr().out


def test_without_display(training_data, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UserError, match=r"no display.*--output_dir"):
        call("davis", "davis_1")


def test_keys_go_on_and_q_quits(training_data, monkeypatch, capsys):
    monkeypatch.setenv("DISPLAY", ":9")
    keys = iter([32] * 5 + [ord("q")])
    shown = []
    monkeypatch.setattr(visualize_data.cv2, "imshow", lambda name, picture: shown.append(name))
    monkeypatch.setattr(visualize_data.cv2, "waitKey", lambda _: next(keys))
    assert call("davis", "davis_1") == 0
    assert shown == ["instances", "ignore", "classes"] * 6
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_data_set_that_the_mode_does_not_use(training_data, tmp_path):
    with pytest.raises(ConfigError, match="does not use mapillary"):
        call("mapillary", "davis_1", "--output_dir", str(tmp_path))


@pytest.mark.parametrize("flags", [["-bS", "0"], ["--num_workers", "-1"], ["--max_clips", "x"]])
def test_numbers_out_of_range(flags):
    with pytest.raises(SystemExit) as stop:
        main(["--cfg", "davis_1", "-d", "davis", *flags])
    assert stop.value.code == 2


def test_higher_classes_win():
    masks = torch.tensor([[[1, 1, 0]], [[0, 1, 0]]], dtype=torch.uint8)
    assert class_map(masks, torch.tensor([7, 3])).tolist() == [[7, 7, 0]]
    assert class_map(masks[:0], torch.tensor([])).tolist() == [[0, 0, 0]]
