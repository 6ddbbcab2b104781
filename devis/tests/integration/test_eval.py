"""`devis eval` and the evaluation of training, on small data sets."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from devis import evaluate as evaluate_module
from devis.commands import eval as eval_command
from devis.commands import main as main_command
from devis.config import load_config, model_settings, to_dict
from devis.evaluate import evaluate
from devis.model import build
from vidseg_common import rle
from vidseg_common.errors import CheckpointError, ConfigError, DatasetError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout
from vidseg_common.video import read_image

TINY = Path(__file__).parents[1] / "tiny_train.yaml"
COCO = [
    *("DATASETS.TYPE", "coco", "DATASETS.TRAIN_DATASET", "train", "DATASETS.VAL_DATASET", "val"),
    *("SOLVER.BATCH_SIZE", 4, "TEST.NUM_OUT", 5),
]
LENGTHS = (5, 1, 9)
FRAMES = ("MODEL.DEVIS.NUM_FRAMES", 3, "TEST.CLIP_TRACKING.STRIDE", 2)


@pytest.fixture
def videos(tmp_path):
    """Three videos, one shorter than a clip."""
    made = [next(iter(generate_videos(9 + n, 1, n, 48, 64, 2))) for n in LENGTHS]
    write_layout("ytvis", made, tmp_path / "data" / "Youtube_VIS-2021", split="val")
    return tmp_path / "data"


@pytest.fixture
def images(tmp_path):
    """Six images."""
    made = generate_videos(3, 2, 3, 48, 64, 2)
    write_layout("coco", made, tmp_path / "data" / "COCO", split="val")
    return tmp_path / "data"


def config(data, *words):
    base = ["DATASETS.DATA_PATH", str(data), "OUTPUT_DIR", str(data.parent / "out")]
    return load_config(TINY, [*base, *FRAMES, *words])


def weights(cfg, path, seed=0):
    torch.manual_seed(seed)
    network = build(model_settings(cfg))
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": network.state_dict(), "cfg": to_dict(cfg)}, path)
    return path


def words_of(data, *words):
    base = ["DATASETS.DATA_PATH", data, "OUTPUT_DIR", data.parent / "out", *FRAMES, *words]
    return ["--config-file", str(TINY), "--device", "cpu", "--workers", "1", *map(str, base)]


def run(data, *words):
    file = weights(config(data), data.parent / "tiny.pth")
    return eval_command.main(words_of(data, "MODEL.WEIGHTS", file, *words))


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def truth_file(data):
    return data / "Youtube_VIS-2021" / "valid" / "instances.json"


def test_results_and_scores_of_videos(videos, one_thread, capsys):
    assert run(videos) == 0
    out = videos.parent / "out"
    assert files_in(out) == [
        *("eval_results/results.json", "eval_results/results.zip"),
        *("output_eval/eval_results.json", "output_eval/eval_results.txt"),
    ]
    entries = json.loads((out / "eval_results" / "results.json").read_text())
    lengths = {v["id"]: v["length"] for v in json.loads(truth_file(videos).read_text())["videos"]}
    assert {e["video_id"] for e in entries} == set(lengths)
    for entry in entries:
        assert set(entry) == {"video_id", "score", "category_id", "segmentations"}
        assert type(entry["video_id"]) is int and 1 <= entry["category_id"] <= 40
        assert len(entry["segmentations"]) == lengths[entry["video_id"]]
        for mask in filter(None, entry["segmentations"]):
            assert rle.decode(mask).shape == (48, 64)
    with zipfile.ZipFile(out / "eval_results" / "results.zip") as packed:
        assert packed.namelist() == ["results.json"]
        assert json.loads(packed.read("results.json")) == entries
    said = capsys.readouterr().out
    assert "Average Precision  (AP) @[ IoU=0.50:0.95" in said
    assert "frames/s" in said and "memory" in said
    numbers = json.loads((out / "output_eval" / "eval_results.json").read_text())["numbers"]
    assert set(numbers) >= {"AP", "AP50", "AP75", "AR1", "AR10"}


def test_the_original_command_evaluates(videos, one_thread):
    run(videos)
    results = videos.parent / "out" / "eval_results" / "results.json"
    before = json.loads(results.read_text())
    results.unlink()
    words = words_of(videos, "MODEL.WEIGHTS", videos.parent / "tiny.pth")
    without_workers = [*words[:4], "--eval-only", *words[6:]]
    assert main_command.main(without_workers) == 0
    assert json.loads(results.read_text()) == before


def test_perfect_tracks_score_one(videos, one_thread, monkeypatch):
    truth = json.loads(truth_file(videos).read_text())
    held = {v["id"]: [] for v in truth["videos"]}
    for a in truth["annotations"]:
        keys = ("video_id", "category_id", "segmentations")
        held[a["video_id"]].append({k: a[k] for k in keys} | {"score": 0.9})

    def perfect(network, cfg, place):
        found = ((i, held[v.id]) for i, v in enumerate(place.chosen.data.videos))
        return evaluate_module._Work(found, evaluate_module.Stopwatch(place.device), True)

    monkeypatch.setattr(evaluate_module, "_videos", perfect)
    cfg = config(videos)
    network = build(model_settings(cfg)).train()
    found = evaluate(network, cfg, device=torch.device("cpu"), folder=videos.parent / "epoch_3")
    assert found["AP"] == found["AP50"] == 1
    assert network.training
    assert (videos.parent / "out" / "output_eval" / "epoch_3.json").is_file()


def test_hidden_ground_truth_is_not_scored(videos, one_thread, capsys):
    content = json.loads(truth_file(videos).read_text())
    del content["annotations"]
    truth_file(videos).write_text(json.dumps(content))
    assert run(videos) == 0
    assert "not scored" in capsys.readouterr().out
    assert files_in(videos.parent / "out") == [
        "eval_results/results.json",
        "eval_results/results.zip",
    ]


def test_several_epochs(videos, one_thread, capsys):
    folder = videos.parent / "run"
    for epoch in (2, 4):
        weights(config(videos), folder / f"checkpoint_epoch_{epoch}.pth", epoch)
    words = ("TEST.INPUT_FOLDER", folder, "TEST.EPOCHS_TO_EVAL", "[2,4]")
    assert eval_command.main(words_of(videos, *words)) == 0
    out = videos.parent / "out"
    first, second = ((out / f"val_epoch_{e}" / "results.json").read_text() for e in (2, 4))
    assert first != second
    assert (out / "output_eval" / "val_epoch_4.json").is_file()
    with pytest.raises(ConfigError, match=r"there is no file .*checkpoint_epoch_7"):
        eval_command.main(words_of(videos, *words[:3], "[2,7]"))


@pytest.mark.slow
def test_several_processes_give_the_same_results(videos, one_thread):
    run(videos)
    out = videos.parent / "out" / "eval_results" / "results.json"
    alone = json.loads(out.read_text())
    out.unlink()
    words = words_of(videos, "MODEL.WEIGHTS", videos.parent / "tiny.pth")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, "-m", "devis", "eval", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    together = json.loads(out.read_text())
    for entry, other in zip(alone, together, strict=True):
        assert entry.pop("score") == pytest.approx(other.pop("score"), rel=1e-4)
    assert together == alone
    assert done.stdout.count("results in") == 1


def stop_at(monkeypatch, name):
    """An evaluation that ends like one that is killed, when the video begins."""
    frames = evaluate_module._frames

    def stopping(chosen, video, *rest):
        if video.name == name:
            raise KeyboardInterrupt
        return frames(chosen, video, *rest)

    monkeypatch.setattr(evaluate_module, "_frames", stopping)


def test_an_interrupted_run_goes_on_after_the_last_finished_video(
    videos, one_thread, monkeypatch, capsys
):
    run(videos)
    names, folder = names_of(videos), videos.parent / "out" / "eval_results"
    straight = (folder / "results.json").read_text()
    (folder / "results.json").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, names[2])
        run(videos)
    assert (folder / "results.finished.jsonl").exists()
    assert not (folder / "results.json").exists()
    with monkeypatch.context() as patch:
        stop_at(patch, names[0])
        assert run(videos) == 0
        out = capsys.readouterr().out
        assert "2 video(s) were finished by an interrupted run and are kept" in out
        assert files_in(folder) == ["results.json", "results.zip"]
        assert (folder / "results.json").read_text() == straight


def test_images_of_an_interrupted_run_are_kept(images, one_thread, monkeypatch):
    words = [*COCO, "SOLVER.BATCH_SIZE", 2]
    file = weights(config(images, *words), images.parent / "tiny.pth")
    words = words_of(images, *words, "MODEL.WEIGHTS", file)
    eval_command.main(words)
    results = images.parent / "out" / "eval_results" / "results.json"
    straight = results.read_text()
    batches, sizes = evaluate_module._batches, []

    def second_fails(chosen, parts):
        sizes.append(len(parts))
        for n, batch in enumerate(batches(chosen, parts)):
            if n == 1 and len(parts) == 3:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(evaluate_module, "_batches", second_fails)
    with pytest.raises(KeyboardInterrupt):
        eval_command.main(words)
    assert eval_command.main(words) == 0
    assert sizes == [3, 2] and results.read_text() == straight


@pytest.mark.parametrize("masks", [True, False])
def test_results_and_scores_of_images(images, one_thread, capsys, masks):
    words = [*COCO, "MODEL.MASK_ON", masks, *([] if masks else ["MODEL.LOSS.MASK_AUX_LOSS", "[]"])]
    cfg = config(images, *words)
    file = weights(cfg, images.parent / "tiny.pth")
    assert eval_command.main(words_of(images, *words, "MODEL.WEIGHTS", file)) == 0
    out = images.parent / "out"
    entries = json.loads((out / "eval_results" / "results.json").read_text())
    assert len(entries) == 6 * 5
    for entry in entries:
        assert 1 <= entry["category_id"] <= 91 and len(entry["bbox"]) == 4
        assert ("segmentation" in entry) == masks
        if masks:
            assert rle.decode(entry["segmentation"]).shape == (48, 64)
    curves = torch.load(out / "eval_results" / "eval.pth")
    assert curves["precision"].shape[:2] == (10, 101) and len(curves["stats"]) == 12
    names = {p.name for p in (out / "output_eval").iterdir() if p.suffix == ".json"}
    assert names == {"bbox_eval_results.json", *(["segm_eval_results.json"] if masks else [])}


def test_images_of_a_batch_are_those_of_images_alone(images, one_thread):
    cfg = config(images, *COCO)
    torch.manual_seed(0)
    network = build(model_settings(cfg)).eval()
    found = []
    for size in (1, 6):
        part = config(images, *COCO, "SOLVER.BATCH_SIZE", size)
        folder = images.parent / str(size)
        numbers = evaluate(network, part, device=torch.device("cpu"), folder=folder)
        assert {"bbox_AP", "bbox_AP50", "segm_AP"} <= set(numbers)
        found.append(json.loads((folder / "results.json").read_text()))
    for one, other in zip(*found, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-3)
        assert one["bbox"] == pytest.approx(other["bbox"], rel=1e-2, abs=0.1)


def test_images_without_annotations_are_left_out(images, one_thread):
    file = images / "COCO" / "annotations" / "instances_val2017.json"
    content = json.loads(file.read_text())
    gone = content["images"][2]["id"]
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] != gone]
    file.write_text(json.dumps(content))
    cfg = config(images, *COCO)
    network = build(model_settings(cfg)).eval()
    evaluate(network, cfg, device=torch.device("cpu"), folder=images.parent / "x")
    entries = json.loads((images.parent / "x" / "results.json").read_text())
    assert gone not in {entry["image_id"] for entry in entries}
    assert len({entry["image_id"] for entry in entries}) == 5


def names_of(data):
    return [
        v["file_names"][0].split("/")[0] for v in json.loads(truth_file(data).read_text())["videos"]
    ]


def test_pictures_of_clips_and_tracks(videos, one_thread, capsys):
    name, pictures = names_of(videos)[0], videos.parent / "viz"
    viz = ["TEST.VIZ.OUT_VIZ_PATH", pictures, "TEST.VIZ.VIDEO_NAMES", f"{name},other"]
    run(videos, *viz, "TEST.VIZ.SAVE_CLIP_VIZ", True, "TEST.CLIP_TRACKING.MIN_DETECTIONS", 4)
    assert "1 of 3 videos are run" in capsys.readouterr().out
    assert [p.name for p in pictures.iterdir()] == [name]
    windows = sorted((pictures / name / "clip_results").iterdir())
    assert [w.name for w in windows] == ["window_0", "window_1"]
    assert all(len(files_in(track)) == 3 for window in windows for track in window.iterdir())
    tracks = list((pictures / name / "tracks_results").iterdir())
    assert tracks
    for track in tracks:
        assert files_in(track) == [*(f"{t:05d}.jpg" for t in range(5)), "matches.txt"]
        assert (track / "matches.txt").read_text().startswith("Window_0 track_")
        assert read_image(track / "00000.jpg").shape == (48, 64, 3)


def test_merged_pictures_of_all_videos(videos, one_thread):
    pictures = videos.parent / "viz"
    run(videos, "TEST.VIZ.OUT_VIZ_PATH", pictures, "TEST.VIZ.SAVE_MERGED_TRACKS", True)
    expected = [
        f"{name}/{t:05d}.jpg"
        for name, n in zip(names_of(videos), LENGTHS, strict=True)
        for t in range(n)
    ]
    assert files_in(pictures) == sorted(expected)


def test_unknown_videos_to_draw(videos, one_thread):
    viz = ["TEST.VIZ.OUT_VIZ_PATH", videos.parent / "viz", "TEST.VIZ.VIDEO_NAMES", "other"]
    with pytest.raises(ConfigError, match="has none of other"):
        run(videos, *viz)


def test_missing_frames_are_named_before_anything_runs(videos, one_thread):
    missing = videos / "Youtube_VIS-2021" / "valid" / "JPEGImages" / names_of(videos)[2]
    (missing / "00004.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1 image\(s\) do not exist(.|\n)*00004.jpg"):
        run(videos)


def test_frames_of_another_size(videos, one_thread):
    content = json.loads(truth_file(videos).read_text())
    content["videos"][0]["height"] = 50
    del content["annotations"]
    truth_file(videos).write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="height and width: 50x64"):
        run(videos)


def test_weights_of_other_class_counts(videos, one_thread):
    words = ("DATASETS.VAL_DATASET", "ovis_val")
    file = weights(config(videos, *words), videos.parent / "ovis.pth")
    with pytest.raises(CheckpointError, match=r"class_embed"):
        eval_command.main(words_of(videos, "MODEL.WEIGHTS", file))


def test_no_weights(videos, one_thread):
    with pytest.raises(ConfigError, match=r"MODEL\.WEIGHTS"):
        eval_command.main(words_of(videos))


def test_no_data(tmp_path, one_thread):
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match=r"no annotation file .*instances.json"):
        run(tmp_path / "data")
