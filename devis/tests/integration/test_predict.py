"""`devis predict`, `devis download` and `visualize_att_maps.py`."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import devis
from devis.commands import download, predict, visualize_att_maps
from devis.config import load_config, model_settings, to_dict
from devis.model import build
from devis.weights import RELEASED, STARTS, class_names
from vidseg_common import rle
from vidseg_common.errors import CheckpointError, ConfigError, DownloadError, VideoError
from vidseg_common.video import VideoSink, read_image

TINY = Path(__file__).parents[1] / "tiny_train.yaml"


@pytest.fixture
def weights(tmp_path, one_thread):
    """A checkpoint of the small network, with its configuration inside."""
    return checkpoint(load_config(TINY), tmp_path / "tiny.pth")


def checkpoint(cfg, path):
    torch.manual_seed(0)
    network = build(model_settings(cfg))
    torch.save({"model": network.state_dict(), "cfg": to_dict(cfg)}, path)
    return path


@pytest.fixture
def clip(tmp_path):
    """A video file of five frames."""
    rng = np.random.default_rng(0)
    path = tmp_path / "clip.mp4"
    with VideoSink(path, 10) as sink:
        for _ in range(5):
            small = rng.integers(0, 256, (6, 8, 3), np.uint8)
            sink.write(cv2.resize(small, (64, 48)))
    return path


def run(weights, clip, *words):
    base = [str(clip), "-o", str(weights.parent / "out"), "--model", str(weights)]
    return predict.main([*base, "--device", "cpu", *words])


def test_masks_overlay_and_results(weights, clip, capsys):
    assert run(weights, clip, "--score-threshold", "0", "--opts", "TEST.NUM_OUT", "2") == 0
    out = weights.parent / "out"
    assert {p.name for p in out.iterdir()} == {"masks", "overlay.mp4", "result.json"}
    content = json.loads((out / "result.json").read_text())
    assert (content["height"], content["width"], content["num_frames"]) == (48, 64, 5)
    scores = [found["score"] for found in content["objects"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 2
    assert [found["id"] for found in content["objects"]] == [1, 2]
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == len(content["frames"]) == 5
    best = content["objects"][0]
    for t, path in enumerate(masks):
        ids = np.asarray(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
        assert ids.shape[:2] == (48, 64)
        entry = content["frames"][t]["objects"]["1"]
        assert entry["area"] == rle.area(best["segmentations"][t])
        assert 0 <= entry["score"] <= 1
    assert best["category"] == class_names(load_config(TINY))[best["category_id"]]
    assert "5 frames, 2 objects" in capsys.readouterr().out


def test_no_object_is_told(weights, clip, capsys):
    assert run(weights, clip, "--score-threshold", "1", "--no-overlay", "--max-frames", "3") == 0
    out = weights.parent / "out"
    assert {p.name for p in out.iterdir()} == {"masks", "result.json"}
    assert "no object was found" in capsys.readouterr().out
    assert len(list((out / "masks").iterdir())) == 3


def test_overlapping_instances_show_the_best(weights):
    network, cfg = devis.load(weights)
    found = devis.Predictor(network, cfg).run([np.zeros((48, 64, 3), np.uint8)] * 2)
    seen = [track.frames[0] for track in found.tracks]
    ids = predict.id_map(seen, (48, 64))
    covered = np.zeros((48, 64), bool)
    for number, one in enumerate(seen, start=1):
        mask = rle.decode(one.mask[0].encoded[one.mask[1]])
        assert (ids[mask & ~covered] == number).all()
        covered |= mask
    assert (ids[~covered] == 0).all()


def test_a_model_of_images_is_refused(tmp_path, one_thread, clip):
    words = ["DATASETS.TYPE", "coco", "DATASETS.VAL_DATASET", "val", "DATASETS.TRAIN_DATASET"]
    file = checkpoint(load_config(TINY, [*words, "train"]), tmp_path / "images.pth")
    with pytest.raises(ConfigError, match="model of single images"):
        run(file, clip)


def test_a_file_that_tells_no_configuration(weights, clip):
    bare = weights.with_name("bare.pth")
    torch.save({"model": torch.load(weights)["model"]}, bare)
    with pytest.raises(CheckpointError, match=r"give --config-file"):
        run(bare, clip)
    assert run(bare, clip, "--config-file", str(TINY), "--no-overlay") == 0


def test_unusable_video(weights, tmp_path):
    with pytest.raises(VideoError, match="no such video"):
        run(weights, tmp_path / "none.mp4")


def test_names_of_classes():
    assert class_names(load_config("devis_R_50_YT-19"))[1] == "person"
    assert class_names(load_config("devis_R_50_YT-21"))[1] == "airplane"
    assert class_names(load_config("devis_R_50_OVIS"))[25] == "Vehical"
    assert class_names(load_config("deformable_mask_head_R_50"))[90] == "toothbrush"


def test_figures_of_attention(weights, clips_root, capsys):
    out = weights.parent / "viz"
    base = ["--config-file", str(TINY), "--device", "cpu", "MODEL.WEIGHTS", str(weights)]
    base += ["DATASETS.DATA_PATH", str(clips_root), "TEST.VIZ.OUT_VIZ_PATH", str(out)]
    base += ["TEST.CLIP_TRACKING.MIN_TRACK_SCORE", "0", "TEST.CLIP_TRACKING.MIN_FRAME_SCORE", "0"]
    assert visualize_att_maps.main(["--layer", "1", "--max-clips", "2", *base]) == 0
    files = sorted(out.rglob("*.png"))
    assert len(files) == 2 * 2 * 3  # videos, clips, instances
    assert all("_res_3-4.png" in file.name for file in files)
    assert read_image(files[0]).shape[1] > 640
    merged = ["--merge-resolution", "0", "--layer", "0", "--max-clips", "1"]
    assert visualize_att_maps.main([*merged, *base]) == 0
    assert len(list(out.rglob("window_0_res_6-8.png"))) == 2
    with pytest.raises(ConfigError, match="layers 0 to 1"):
        visualize_att_maps.main(base)
    with pytest.raises(ConfigError, match=r"MODEL.WEIGHTS"):
        visualize_att_maps.main([*base, "MODEL.WEIGHTS", ""])
    three_levels = [*base, "MODEL.NUM_FEATURE_LEVELS", "3"]
    with pytest.raises(ConfigError, match="--used-resolution 3: the network has the levels 0 to 2"):
        visualize_att_maps.main(["--used-resolution", "3", *three_levels])


@pytest.fixture
def small_releases(monkeypatch):
    """Published names stand for the small network."""
    monkeypatch.setitem(RELEASED, "r50_devis_yt-21", TINY)
    monkeypatch.setitem(STARTS, "r50_deformable_detr_segmentation_ablation_1lvl_res", TINY)


@pytest.mark.parametrize("packed", [True, False])
def test_a_copy_fetched_by_hand_is_put_in_place(weights, small_releases, packed, capsys):
    given = weights
    if packed:
        given = weights.with_name("copy.zip")
        with zipfile.ZipFile(given, "w") as archive:
            archive.write(weights, "folder/anything.pth")
    folder = weights.parent / "weights"
    words = ["--from-file", str(given), "-o", str(folder)]
    assert download.main(["r50_devis_yt-21", *words]) == 0
    assert [p.name for p in folder.iterdir()] == ["r50_devis_yt-21.pth"]
    assert "loads strictly" in capsys.readouterr().out
    assert given.exists()
    devis.load(folder / "r50_devis_yt-21.pth", config=TINY)


def test_a_start_of_training(weights, small_releases, capsys):
    words = ["--from-file", str(weights), "-o", str(weights.parent / "weights")]
    assert download.main(["r50_deformable_detr_segmentation_ablation_1lvl_res", *words]) == 0
    assert "ready to start a training from" in capsys.readouterr().out


def test_other_files_are_refused(weights, small_releases):
    folder = weights.parent / "weights"
    other = weights.with_name("other.pth")
    torch.save({"model": {"conv.weight": torch.zeros(1)}}, other)
    for name in ("r50_devis_yt-21", "r50_deformable_detr_segmentation_ablation_1lvl_res"):
        with pytest.raises(CheckpointError, match=r"other\.pth"):
            download.main([name, "--from-file", str(other), "-o", str(folder)])
    two = weights.with_name("two.zip")
    with zipfile.ZipFile(two, "w") as archive:
        archive.write(weights, "a.pth")
        archive.write(weights, "b.pth")
    with pytest.raises(CheckpointError, match="2 files of weights"):
        download.main(["r50_devis_yt-21", "--from-file", str(two), "-o", str(folder)])
    with pytest.raises(DownloadError, match="give one of"):
        download.main(["r50_devis_yt-21", "-o", str(folder)])
    assert list(folder.iterdir()) == []
