"""The evaluation and prediction commands on small data sets, with a network made by hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from stemseg.checkpoint import build_network
from stemseg.commands import bench, common, predict
from stemseg.commands import eval as eval_command
from stemseg.config import dump_yaml, load_config
from stemseg.evaluate import evaluate
from stemseg.inference import predictor
from stemseg.inference.networks import PlainNetwork
from stemseg.outputs.writers import KittiMotsWriter
from vidseg_common import rle
from vidseg_common.errors import CheckpointError, ConfigError, DatasetError, UserError, VideoError
from vidseg_common.masks import read_mask, write_mask
from vidseg_common.video import list_images, write_image

ROOT = Path(__file__).parents[2]
FILES = {"davis": "davis_val", "ytvis": "youtube_vis_val", "kittimots": "kittimots_val"}
VARIABLES = {
    "davis": "DAVIS_BASE_DIR",
    "ytvis": "YOUTUBE_VIS_BASE_DIR",
    "kittimots": "KITTIMOTS_BASE_DIR",
}
IDS = {"davis": ("dog", "cat"), "ytvis": (3, 12), "kittimots": ("0002", "0006")}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model" / "weights.pth"
    path.parent.mkdir()
    torch.save({"model": {"x": torch.zeros(1)}}, path)
    return path


@pytest.fixture
def dataset(request, fakes, tmp_path, monkeypatch):
    """Two sequences of unequal length and size of the data set of the test, with ground truth."""
    return write_dataset(fakes, tmp_path, monkeypatch, getattr(request, "param", "davis"))


def write_dataset(fakes, tmp_path, monkeypatch, name, *, truth=True, lengths=(9, 20)):
    images = tmp_path / "JPEGImages" / "480p"
    folder = images / "valid" if name == "ytvis" else images
    sequences = []
    for sequence_id, num_frames, size in zip(IDS[name], lengths, ((48, 64), (64, 48)), strict=True):
        masks = fakes.color_masks(num_frames, 3, size)
        paths = [f"{sequence_id}/{t:05d}.png" for t in range(num_frames)]
        for path, frame in zip(paths, fakes.color_frames(masks), strict=True):
            write_image(folder / path, frame)
        sequences.append(entry_of(sequence_id, paths, masks, truth=truth))
    content = {
        "meta": {"category_labels": {"1": "car", "2": "pedestrian", "3": "ignore"}},
        "sequences": sequences,
    }
    file = tmp_path / "annotations" / f"{FILES[name]}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(file.parent))
    monkeypatch.setenv(VARIABLES[name], str(images))
    network = fakes.ColorNetwork(name)
    monkeypatch.setattr(eval_command, "load_network", lambda *_, **__: network)
    monkeypatch.setattr(eval_command, "deploy", lambda network, _: PlainNetwork(network))
    return name, file, network


def entry_of(sequence_id, paths, masks, *, truth):
    height, width = masks.shape[2:]
    entry = {"id": sequence_id, "height": height, "width": width, "image_paths": paths}
    if truth:
        # The first object is red, which the network takes for class 1.
        entry["categories"] = {str(k + 1): 1 if k == 0 else 2 for k in range(len(masks))}
        entry["segmentations"] = [
            {str(k + 1): rle.encode(mask[t])["counts"] for k, mask in enumerate(masks)}
            for t in range(len(paths))
        ]
    return entry


def words_of(weights, name, *more):
    size = ["--min_dim", "48", "--max_dim", "64"]
    return [str(weights), "-d", name, "-o", "out", "--device", "cpu", *size, *more]


def run(weights, name, *more):
    return eval_command.main(words_of(weights, name, "--workers", "1", *more))


def metrics(weights):
    return json.loads((weights.parent / "out_metrics" / "metrics.json").read_text())


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_davis_results_and_metric(weights, dataset, capsys):
    assert run(weights, "davis") == 0
    out = weights.parent / "out"
    assert len(files_in(out)) == 29
    assert np.unique(read_mask(out / "results" / "cat" / "00019.png")).tolist() == [0, 1, 2, 3]
    (found,) = metrics(weights).values()
    assert found["numbers"]["J&F-Mean"] > 0.95
    printed = capsys.readouterr().out
    assert "J&F-Mean" in printed
    assert printed.count("frames per second") == 3
    assert (weights.parent / "out_metrics" / "metrics.txt").is_file()


@pytest.mark.parametrize("dataset", ["ytvis"], indirect=True)
def test_youtube_vis_results_and_metric(weights, dataset):
    assert run(weights, "ytvis", "--resize_embeddings") == 0
    out = weights.parent / "out"
    assert files_in(out) == ["results.json", "results.zip"]
    assert zipfile.ZipFile(out / "results.zip").namelist() == ["results.json"]
    entries = json.loads((out / "results.json").read_text())
    assert sorted({entry["video_id"] for entry in entries}) == [3, 12]
    (found,) = metrics(weights).values()
    assert found["numbers"]["AP50"] > 0.95


@pytest.mark.parametrize("dataset", ["kittimots"], indirect=True)
def test_kitti_mots_results_and_metrics(weights, dataset, capsys):
    assert run(weights, "kittimots", "--seqs", "0006") == 0
    assert files_in(weights.parent / "out") == ["results/0006.txt", "results_nms/0006.txt"]
    found = metrics(weights)
    assert list(found) == [
        *("mots of results", "hota of results", "mots of results_nms", "hota of results_nms"),
    ]
    assert found["mots of results"]["numbers"]["sMOTSA"] > 0.95
    assert "IDS" in capsys.readouterr().out


def test_official_annotations_of_davis_are_preferred(weights, dataset, fakes, tmp_path, capsys):
    folder = tmp_path / "Annotations_unsupervised" / "480p"
    for name, num_frames, size in (("dog", 9, (48, 64)), ("cat", 20, (64, 48))):
        masks = fakes.color_masks(num_frames, 1, size)
        for t in range(num_frames):
            write_mask(folder / name / f"{t:05d}.png", masks[0, t].astype(np.uint8))
    assert run(weights, "davis") == 0
    assert f"against {folder}" in capsys.readouterr().out


@pytest.mark.parametrize("dataset", ["davis", "ytvis", "kittimots"], indirect=True)
def test_pictures_are_written_on_request(weights, dataset):
    run(weights, dataset[0], "--save_vis", "--no_metric")
    folder = weights.parent / "out" / "vis"
    assert len(files_in(folder)) == 29
    assert all(path.suffix == ".jpg" for path in folder.rglob("*") if path.is_file())
    assert not (weights.parent / "out_metrics" / "metrics.json").exists()


@pytest.mark.parametrize("name", ["davis", "ytvis", "kittimots"])
def test_sets_without_ground_truth_are_not_scored(weights, fakes, tmp_path, monkeypatch, name):
    write_dataset(fakes, tmp_path, monkeypatch, name, truth=False)
    assert run(weights, name) == 0
    assert not (weights.parent / "out_metrics" / "metrics.json").exists()


@pytest.mark.parametrize("dataset", ["davis", "ytvis", "kittimots"], indirect=True)
def test_an_interrupted_run_continues(weights, dataset, capsys):
    name, _, network = dataset
    args = eval_command.build_parser().parse_args(words_of(weights, name))
    plan, engine = eval_command.build(args)

    def stop(_video, _tracks):
        raise KeyboardInterrupt

    run(weights, name, "--seqs", str(IDS[name][0]), "--no_metric")
    with pytest.raises(KeyboardInterrupt):
        evaluate(plan, engine(), finished=stop)
    network.num_encoded = 0
    capsys.readouterr()
    assert run(weights, name) == 0
    # The first sequence has 9 frames and was finished, the second was stopped before its end.
    assert network.num_encoded == 20
    assert "1 sequences were finished before" in capsys.readouterr().out
    network.num_encoded = 0
    run(weights, name, "--overwrite")
    assert network.num_encoded == 29


def test_results_of_other_settings_are_not_mixed(weights, dataset):
    run(weights, "davis", "--no_metric")
    with pytest.raises(UserError, match=r"max_tracks was 20, now 5.*--overwrite"):
        run(weights, "davis", "--max_tracks", "5")
    assert run(weights, "davis", "--max_tracks", "5", "--overwrite") == 0


def test_a_removed_result_is_made_again(weights, dataset):
    _, _, network = dataset
    run(weights, "davis", "--no_metric")
    (weights.parent / "out" / "results" / "dog" / "00003.png").unlink()
    network.num_encoded = 0
    run(weights, "davis", "--no_metric")
    assert network.num_encoded == 9


def test_fewer_tracks_than_objects_are_told(weights, dataset, capsys):
    assert run(weights, "davis", "--max_tracks", "2") == 0
    assert "sequence dog: kept 2 of 3 tracks (--max_tracks)" in capsys.readouterr().out


def test_more_tracks_than_a_png_holds_are_refused(weights, dataset):
    with pytest.raises(ConfigError, match="at most 255 tracks of a video, not 256"):
        run(weights, "davis", "--max_tracks", "256")


@pytest.mark.parametrize("dataset", ["davis", "ytvis", "kittimots"], indirect=True)
def test_no_object_at_all(weights, dataset, capsys):
    assert run(weights, dataset[0], "-msp", "0.99") == 0
    assert "no object was found" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["davis", "ytvis", "kittimots"])
def test_videos_of_one_frame(weights, fakes, tmp_path, monkeypatch, name):
    write_dataset(fakes, tmp_path, monkeypatch, name, lengths=(1, 2))
    assert run(weights, name) == 0


def test_images_that_do_not_exist_are_listed(weights, dataset, tmp_path):
    (tmp_path / "JPEGImages" / "480p" / "cat" / "00004.png").unlink()
    with pytest.raises(DatasetError) as caught:
        run(weights, "davis")
    message = str(caught.value)
    assert "davis_val.json: 1 of 29 images looked for do not exist" in message
    assert "DAVIS_BASE_DIR" in message
    assert "sequence cat: no image" in message
    assert "00004.png" in message


@pytest.mark.parametrize("variable", ["STEMSEG_JSON_ANNOTATIONS_DIR", "DAVIS_BASE_DIR"])
def test_a_variable_that_is_not_set_is_named(weights, dataset, monkeypatch, variable):
    monkeypatch.delenv(variable)
    with pytest.raises(
        ConfigError, match=f"{variable} is not set; .*(480p of DAVIS|needed for davis_val)"
    ):
        run(weights, "davis")


def test_a_sequence_that_does_not_exist_is_named(weights, dataset):
    with pytest.raises(DatasetError, match=r"no such sequence[\s\S]*dogg.*dog"):
        run(weights, "davis", "--seqs", "dogg")


def test_images_of_another_size_than_stated_are_refused(weights, dataset):
    _, file, _ = dataset
    content = json.loads(file.read_text())
    content["sequences"][0]["height"] = 50
    for entry in content["sequences"]:
        del entry["segmentations"], entry["categories"]
    file.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=r"sequence dog, height and width: 64x50, but .* 64x48"):
        run(weights, "davis")


def test_frames_of_unequal_size_in_a_sequence_are_refused(weights, dataset, tmp_path):
    path = tmp_path / "JPEGImages" / "480p" / "dog" / "00002.png"
    write_image(path, np.zeros((40, 64, 3), np.uint8))
    with pytest.raises(VideoError, match=r"sequence dog: .*00002\.png is 64x40"):
        run(weights, "davis")


@pytest.mark.parametrize(("name", "bad_id"), [("ytvis", "three"), ("kittimots", "first")])
def test_ids_that_results_cannot_name_are_refused(
    weights, fakes, tmp_path, monkeypatch, name, bad_id
):
    monkeypatch.setitem(IDS, name, (bad_id, "other"))
    write_dataset(fakes, tmp_path, monkeypatch, name)
    with pytest.raises(DatasetError, match=f"sequence {bad_id}: .*number"):
        run(weights, name)


def test_a_missing_checkpoint_is_told(tmp_path, dataset):
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        run(tmp_path / "absent.pth", "davis")


def test_an_unknown_data_set_is_told(weights):
    with pytest.raises(SystemExit):
        run(weights, "vis")


def test_the_original_command_line_starts():
    script = ROOT / "inference" / "main.py"
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    for flag in ("--seqs", "-fo", "-st", "-msp", "--resize_embeddings", "--save_vis", "--max_dim"):
        assert flag in done.stdout


@pytest.fixture
def predictor_network(fakes, monkeypatch):
    network = fakes.ColorNetwork("kittimots")
    monkeypatch.setattr(common, "load_network", lambda *_, **__: network)
    monkeypatch.setattr(predictor, "deploy", lambda network, _: PlainNetwork(network))
    return network


def predict_words(weights, video, out, *words):
    return [str(video), "-o", str(out), "--model", str(weights), "-d", "kittimots",
            "--device", "cpu", "--min_dim", "48", "--max_dim", "64", *words]  # fmt: skip


def test_own_video(weights, fakes, tmp_path, predictor_network, capsys):
    masks = fakes.color_masks(11, 3)
    for t, frame in enumerate(fakes.color_frames(masks)):
        write_image(tmp_path / "clip" / f"frame{t:03d}.png", frame)
    out = tmp_path / "out"
    assert predict.main(predict_words(weights, tmp_path / "clip", out)) == 0
    assert (out / "overlay.mp4").stat().st_size > 0
    assert [path.name for path in list_images(out / "masks")] == [
        f"frame{t:03d}.png" for t in range(11)
    ]
    result = json.loads((out / "result.json").read_text())
    assert result["num_frames"] == len(result["frames"]) == 11
    assert sorted(found["category"] for found in result["objects"]) == [
        *("car", "pedestrian", "pedestrian"),
    ]
    assert set(result["frames"][3]["objects"]) == {"1", "2", "3"}
    assert "11 frames, 3 objects" in capsys.readouterr().out


def test_own_video_of_one_frame_without_objects(
    weights, fakes, tmp_path, predictor_network, capsys
):
    (frame,) = fakes.color_frames(fakes.color_masks(1, 0))
    write_image(tmp_path / "one.png", frame)
    words = predict_words(weights, tmp_path / "one.png", tmp_path / "out", "--no_overlay")
    assert predict.main(words) == 0
    assert not (tmp_path / "out" / "overlay.mp4").exists()
    assert not read_mask(tmp_path / "out" / "masks" / "one.png").any()
    assert "no object was found" in capsys.readouterr().out


def test_own_video_with_more_objects_than_the_limit(
    weights, fakes, tmp_path, predictor_network, capsys
):
    for t, frame in enumerate(fakes.color_frames(fakes.color_masks(3, 3))):
        write_image(tmp_path / "clip" / f"{t}.png", frame)
    words = predict_words(weights, tmp_path / "clip", tmp_path / "out", "--max_tracks", "1")
    assert predict.main(words) == 0
    assert "1 objects (2 more than --max_tracks left out)" in capsys.readouterr().out


def test_kitti_mots_keeps_as_many_tracks_as_its_ids_have_room_for(
    weights, fakes, tmp_path, monkeypatch, capsys
):
    write_dataset(fakes, tmp_path, monkeypatch, "kittimots", lengths=(3, 2))
    monkeypatch.setattr(KittiMotsWriter, "MOST_TRACKS", 2)
    assert run(weights, "kittimots") == 0
    assert capsys.readouterr().out.count("kept 2 of 3 tracks (the results have room for no mo") == 2
    ids = {line.split()[1] for line in (out_file(weights, "0002")).read_text().splitlines()}
    assert len(ids) == 2
    with pytest.raises(ConfigError, match="at most 2 tracks of a video, not 3"):
        run(weights, "kittimots", "--max_tracks", "3")


def out_file(weights, name):
    return weights.parent / "out" / "results" / f"{name}.txt"


def test_speed_of_a_checkpoint(tmp_path, tiny_yaml, capsys):
    cfg = load_config(tiny_yaml)
    path = tmp_path / "000006.pth"
    torch.save({"model": build_network(cfg).state_dict()}, path)
    dump_yaml(cfg, tmp_path / "config.yaml")
    words = ["--model", str(path), "--height", "32", "--width", "48", "--frames", "5"]
    assert bench.main([*words, "--threads", "1", "--device", "cpu", "-fo", "1"]) == 0
    first, *speeds = capsys.readouterr().out.splitlines()
    assert re.match(r"5 frames 48x32, \d+ objects, cpu, fp32, peak RSS \d+ MB", first)
    assert [line.split(":")[0] for line in speeds] == [
        *("speed of model inference", "speed of clustering and post-processing"),
        "speed of overall",
    ]
    with pytest.raises(ConfigError, match="below their 2 frames"):
        bench.main([*words, "-fo", "2"])
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        bench.main(["--model", str(tmp_path / "absent.pth")])


def test_own_video_that_does_not_exist(weights, tmp_path, predictor_network):
    with pytest.raises(VideoError, match="no such video"):
        predict.main(predict_words(weights, tmp_path / "absent.mp4", tmp_path / "out"))


def test_weights_of_no_published_model_need_a_configuration(weights, tmp_path):
    words = [str(tmp_path), "-o", str(tmp_path / "out"), "--model", str(weights)]
    with pytest.raises(CheckpointError, match=r"no published model .*config\.yaml"):
        predict.main(words)


def contents(folder):
    return {path: (folder / path).read_bytes() for path in files_in(folder)}


@pytest.mark.parametrize("dataset", ["davis", "ytvis", "kittimots"], indirect=True)
def test_shards_are_the_evaluation_at_once(weights, dataset, capsys):
    name, _, network = dataset
    more = ["--resize_embeddings"] if name == "ytvis" else []
    more += ["--save_vis"] if name == "davis" else []
    run(weights, name, *more)
    whole, scores = contents(weights.parent / "out"), metrics(weights)
    for folder in ("out", "out_metrics"):
        shutil.rmtree(weights.parent / folder)
    count = ("--num-shards", "3")
    run(weights, name, *more, *count, "--shard", "0")
    run(weights, name, *more, *count, "--shard", "2")
    assert "shard 2 of 3: 0 of 2 sequences" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"shard 1: is missing .*; run it with .* --shard 1"):
        run(weights, name, *more, *count, "--merge")
    run(weights, name, *more, *count, "--shard", "1")
    num_encoded = network.num_encoded
    run(weights, name, *more, *count, "--merge")
    assert network.num_encoded == num_encoded
    # An archive has the times of its files.
    found = contents(weights.parent / "out")
    found.pop("results.zip", None), whole.pop("results.zip", None)
    assert found == whole
    assert metrics(weights) == scores
    with pytest.raises(UserError, match=r"settings\.max_tracks was"):
        run(weights, name, *more, *count, "--merge", "--max_tracks", "1")


def test_own_videos_in_shards(fakes, tmp_path, weights, monkeypatch):
    network = fakes.ColorNetwork("davis")
    monkeypatch.setattr(common, "load_network", lambda *_, **__: network)
    monkeypatch.setattr(predictor, "deploy", lambda network, _: PlainNetwork(network))
    for name, length in (("one", 9), ("two", 8)):
        for t, frame in enumerate(fakes.color_frames(fakes.color_masks(length, 2, (48, 64)))):
            write_image(tmp_path / "clips" / name / f"{t}.png", frame)

    def predicted(output, *words):
        argv = [tmp_path / "clips", "-o", tmp_path / output, "--model", weights, "-d", "davis"]
        size = ["--min_dim", "48", "--max_dim", "64", "--device", "cpu", "--no_overlay"]
        predict.main([*map(str, argv), *size, *words])
        found = contents(tmp_path / output)
        return {path: data for path, data in found.items() if not path.endswith("result.json")}

    whole = predicted("whole")
    assert len(whole) == 17 + 1
    for index in range(2):
        predicted("out", "--num-shards", "2", "--shard", str(index))
    assert predicted("out", "--num-shards", "2", "--merge") == whole
