"""Scripts around data sets, logs and weights."""

import json
import math

import numpy as np
import pytest
import torch

from stmask.tools import box_search, boxes, plot_loss, split_sub, unpack
from vidseg_common.datasets import youtube_vis
from vidseg_common.errors import CheckpointError, DatasetError, UserError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout


@pytest.fixture(scope="module")
def annotations(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    write_layout("ytvis", generate_videos(1, 4, 2, 36, 64, 2), root)
    return root / "train" / "instances.json"


def test_the_last_tenth_is_for_validation(annotations, tmp_path, capsys):
    assert split_sub.main([str(annotations), "-o", str(tmp_path)]) == 0
    whole, train, valid = (
        youtube_vis.read(path)
        for path in (annotations, tmp_path / "train_sub.json", tmp_path / "valid_sub.json")
    )
    assert [v.id for v in train.videos] + [v.id for v in valid.videos] == [
        v.id for v in whole.videos
    ]
    assert len(train.videos) == 3
    for part in (train, valid):
        for clip in part.clips():
            (same,) = [c for c in whole.clips() if c.video.id == clip.video.id]
            assert clip.tracks == same.tracks
    assert "3 videos in" in capsys.readouterr().out


def test_sets_that_cannot_be_split_are_told(annotations, tmp_path):
    content = json.loads(annotations.read_text())
    one = {**content, "videos": content["videos"][:1]}
    one["annotations"] = [a for a in content["annotations"] if a["video_id"] == 1]
    del content["annotations"]
    for name, data in (("one", one), ("bare", content)):
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    with pytest.raises(DatasetError, match="field videos: expected two or more, got 1"):
        split_sub.main([str(tmp_path / "one.json")])
    with pytest.raises(DatasetError, match="field annotations: expected some"):
        split_sub.main([str(tmp_path / "bare.json")])


def test_boxes_are_saved(annotations, tmp_path):
    path = tmp_path / "new" / "boxes.npy"
    assert boxes.main_save([str(annotations), "-o", str(path)]) == 0
    found = np.load(path)
    content = json.loads(annotations.read_text())
    stated = [box for a in content["annotations"] for box in a["bboxes"] if box]
    assert found.shape == (len(stated), 6)
    assert (found[:, :2] == (64, 36)).all()
    assert sorted(map(tuple, found[:, 2:])) == sorted(map(tuple, stated))


def test_crowds_and_boxes_without_area_are_left_out(annotations, tmp_path):
    content = json.loads(annotations.read_text())
    for entry in content["annotations"]:
        entry["iscrowd"] = 1
    (tmp_path / "crowd.json").write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="field bboxes: expected at least one"):
        boxes.read_boxes(tmp_path / "crowd.json")


def test_clusters_are_found():
    values = np.array([1.0, 1.1, 10, 11, 100])
    centres, groups = boxes.cluster(values, 3)
    assert np.allclose(centres, [math.sqrt(1.1), math.sqrt(110), 100])
    assert groups.tolist() == [0, 0, 1, 1, 2]
    assert len(boxes.cluster(np.array([2.0, 2.0]), 5)[0]) == 1


def test_clusters_are_printed(annotations, capsys):
    assert boxes.main_cluster([str(annotations), "--scales", "2", "--ratios", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and lines[0].split()[:2] == ["size", "boxes"]


def test_a_box_that_is_a_prior_overlaps_fully():
    # Kernel 3x3 of the level of stride 32 at pixel (4, 5): a cell is 640/20 = 384/12 = 32 wide.
    box = [640, 360, (4 + 0.5) * 32 - 48, (5 + 0.5) * 32 - 48, 96, 96]
    near = [640, 360, *(v + 1 for v in box[2:4]), 96, 96]
    found = boxes.best_overlaps(np.array([box, near], float), "STMask_plus_base_config")
    assert found[0] == pytest.approx(1) and 0.9 < found[1] < 1


def test_recall_is_printed(annotations, capsys):
    assert boxes.main_recall([str(annotations), "--max_boxes", "3"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["all", "3"]


def test_augmented_boxes_stay_in_their_frames(annotations, tmp_path):
    path = tmp_path / "augmented.npy"
    words = [str(annotations), "-o", str(path), "--copies", "20"]
    assert box_search.main_augment(words) == 0
    found, before = np.load(path), boxes.read_boxes(annotations)
    assert found.shape == (20 * len(before), 6)
    low, high = found[:, 2:4], found[:, 2:4] + found[:, 4:]
    assert (low >= 0).all() and (high <= found[:, :2] + 1e-6).all() and (found[:, 4:] > 0).all()
    # Frames grow and shrink; some stay as they are.
    areas = found[:, :2].prod(1) / before[0, :2].prod()
    assert areas.max() > 2 and areas.min() < 0.7 and (areas == 1).any()
    assert box_search.main_augment([*words[:-1], "20", "--seed", "0"]) == 0
    assert (np.load(path) == found).all()


def test_scales_are_found_that_made_the_boxes(annotations, capsys):
    kernels = ((3, 3), (3, 5), (5, 3))
    sizes = box_search.shapes_of(kernels, [1.3])
    (scale,) = box_search.best_scales(sizes, kernels, 1)
    assert scale == pytest.approx(1.3, abs=1e-3)
    assert box_search.mean_overlap(sizes, sizes) == 1
    assert box_search.main_optimize([str(annotations), "--scales", "2"]) == 0
    first, before, after = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{len(boxes.read_boxes(annotations))} boxes")
    assert float(after.split()[0]) >= float(before.split()[0])


def record(session, iteration, total, **losses):
    data = {"loss": {**losses, "Total": total}, "epoch": 0, "iter": iteration, "elapsed": 2.0}
    return {"type": "train", "session": session, "data": data, "time": 0}


def write_log(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records) + '{"type": "tra')


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "run.log"
    first = [{"type": "session", "session": 1, "data": {}}]
    first += [record(1, i, 10.0 - i, B=1.0) for i in range(6)]
    write_log(path, [*first, *(record(2, i, 20.0 + i, C=float("nan")) for i in range(4, 8))])
    return path


def test_a_resumed_session_replaces_what_it_did_again(log):
    rows = plot_loss.read_losses(log)
    assert [row["iter"] for row in rows] == list(range(8))
    assert [row["loss"]["Total"] for row in rows] == [10, 9, 8, 7, 24, 25, 26, 27]
    assert len(plot_loss.read_losses(log, session=1)) == 6


def test_means_run_over_the_last_values():
    values = np.array([1.0, 3, np.nan, 5, 7])
    assert plot_loss.smooth(values, 2).tolist() == [1, 2, 3, 5, 6]
    assert np.isnan(plot_loss.smooth(np.array([np.nan, 1]), 5)[0])


@pytest.mark.parametrize("words", [[], ["--x", "elapsed", "--log_scale"], ["--losses", "Total"]])
def test_curves_are_drawn(log, words, capsys):
    assert plot_loss.main([str(log), *words]) == 0
    assert log.with_name("run_loss.png").stat().st_size > 5000
    assert "8 iterations" in capsys.readouterr().out


def test_logs_that_cannot_be_drawn_are_told(log, tmp_path):
    with pytest.raises(UserError, match="no log of a training"):
        plot_loss.main([str(tmp_path / "absent.log")])
    with pytest.raises(UserError, match=r"no loss 'Totl'; did you mean Total"):
        plot_loss.main([str(log), "--losses", "Totl"])
    with pytest.raises(UserError, match="no records of training of session 7"):
        plot_loss.main([str(log), "--session", "7"])
    with pytest.raises(UserError, match=r"\.gif: expected a name that ends in"):
        plot_loss.main([str(log), "-o", str(tmp_path / "x.gif")])


def test_tensors_become_files(tmp_path):
    state = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.bfloat16)}
    torch.save(state, tmp_path / "w.pth")
    assert unpack.main([str(tmp_path / "w.pth"), str(tmp_path / "out")]) == 0
    assert (np.load(tmp_path / "out" / "a.weight.npy") == state["a.weight"].numpy()).all()
    assert np.load(tmp_path / "out" / "b.npy").tolist() == [1, 1]
    index = json.loads((tmp_path / "out" / "index.json").read_text())
    assert index == {"a.weight": [2, 3], "b": [2]}


@pytest.mark.parametrize("key", ["../evil", "a/b"])
def test_keys_that_leave_the_folder_are_refused(tmp_path, key):
    torch.save({key: torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="no name of a file"):
        unpack.main([str(tmp_path / "w.pth"), str(tmp_path / "out")])
