"""The evaluation command on a small data set."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stmask import evaluate as evaluate_module
from stmask.commands import eval as eval_command
from stmask.outputs.drawing import color_of
from stmask.scoring import SCALARS
from vidseg_common import rle
from vidseg_common.errors import CheckpointError, ConfigError, DatasetError, UserError, VideoError
from vidseg_common.finished import FinishedVideos
from vidseg_common.video import read_image, write_image

ROOT = Path(__file__).parents[2]


def run(weights, config, *words):
    folder = config.parent
    fixed = [f"--trained_model={weights}", f"--config={config}", "--no_bar", "--device=cpu"]
    fixed.append(f"--mask_det_file={folder / 'results' / 'r.json'}")
    return eval_command.main([*fixed, *words])


def results(config):
    return json.loads((config.parent / "results" / "r.json").read_text())


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_every_frame_of_every_video_is_in_the_results(weights, config, seen, colors, capsys):
    assert run(weights, config) == 0
    entries = results(config)
    assert [(e["video_id"], e["category_id"]) for e in entries] == [
        (video, k) for video in (3, 7) for k in (1, 2, 3)
    ]
    truth = colors.color_masks(5, 3, (48, 80))
    for entry, track in zip(entries[3:], truth, strict=True):
        assert len(entry["segmentations"]) == 5
        for mask, expected in zip(entry["segmentations"], track, strict=True):
            assert (rle.decode(mask) == expected).all()
    assert entries[0]["score"] == pytest.approx(0.9)
    assert seen[0].num_resets == 2
    out = capsys.readouterr().out
    assert "9 images, 6 objects" in out
    assert "Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all | maxDets=100 ] = 1.000" in out
    metrics = json.loads((config.parent / "results" / "r_metrics.json").read_text())
    assert metrics["numbers"]["AP"] == 1


def test_the_real_network_and_tracker(weights, config, capsys):
    assert run(weights, config, "--output_web_json", f"--web_det_path={config.parent}") == 0
    entries = results(config)
    assert entries and all(len(e["segmentations"]) == (4 if e["video_id"] == 3 else 5)
                           for e in entries)  # fmt: skip
    web = json.loads((config.parent / "tiny.json").read_text())
    assert [image["image_id"] for image in web["images"]] == list(range(9))
    assert web["images"][4]["file_name"] == "second/00000.png"
    assert web["info"]["Config"]["name"] == "tiny"
    assert "see them with: stmask viewer" in capsys.readouterr().out


def stop_at(monkeypatch, video_id):
    """An evaluation that ends like one that is killed, when the video begins."""
    frames = evaluate_module._frames

    def stopping(plan, video):
        if video.id == video_id:
            raise KeyboardInterrupt
        return frames(plan, video)

    monkeypatch.setattr(evaluate_module, "_frames", stopping)


def test_an_interrupted_run_goes_on_after_the_last_finished_video(
    weights, config, monkeypatch, capsys
):
    run(weights, config)
    straight = results(config)
    folder = config.parent / "results"
    (folder / "r.json").unlink()
    finished = folder / "r.finished.jsonl"
    assert not finished.exists()
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run(weights, config)
    assert finished.exists() and not (folder / "r.json").exists()
    capsys.readouterr()
    # Running the first video again would end this run too.
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        assert run(weights, config, "--resume") == 0
    assert results(config) == straight
    assert not finished.exists()
    out = capsys.readouterr().out
    assert "1 video(s) were finished by an interrupted run and are kept" in out
    assert "5 images (and 1 videos before)" in out
    assert "Average Precision" in out


def test_results_of_other_settings_are_not_kept(weights, config, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        with pytest.raises(KeyboardInterrupt):
            run(weights, config)
    assert run(weights, config, "--precision=bf16", "--no_metric") == 0
    out = capsys.readouterr().out
    assert "is of an interrupted run with other precision, and begun anew" in out
    assert "9 images, " in out


def test_a_video_cut_short_by_the_limit_is_not_kept(weights, config, monkeypatch):
    kept = []
    monkeypatch.setattr(FinishedVideos, "add", lambda self, number, _entries: kept.append(number))
    run(weights, config, "--max_images=6")
    assert kept == [3]


def test_flags_of_the_network_reach_it(weights, config):
    words = ("--cross_class_nms=false", "--max_memory=5", "--precision=bf16", "--no_metric")
    assert run(weights, config, *words) == 0
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        run(weights, config, "--precision=fp16")


def test_pictures_in_place_of_the_submission(weights, config, seen):
    assert run(weights, config, "--display", "--display_lincomb", "--mask_proto_debug") == 0
    folder = config.parent / "results"
    names = [f"{t:05d}{end}.png" for t in range(4) for end in ("", "_lincomb", "_proto")]
    assert files_in(folder / "out" / "first") == names
    assert not (folder / "r.json").exists()
    picture = read_image(folder / "out" / "first" / "00000.png")
    frame = read_image(config.parent / "frames" / "first" / "00000.png")
    assert picture.shape == frame.shape and (picture != frame).any()


def test_what_is_drawn_can_be_chosen(weights, config, seen):
    words = ["--display_bboxes=false", "--display_text=false", "--score_threshold=0.3"]
    run(weights, config, "--display", *words, "--top_k=1")
    picture = read_image(config.parent / "results" / "out" / "first" / "00000.png").astype(int)
    frame = read_image(config.parent / "frames" / "first" / "00000.png").astype(int)
    changed = (picture != frame).any(2)
    expected = (0.55 * np.array([230, 20, 20]) + 0.45 * np.array(color_of(0))).round()
    assert (picture[changed] == expected).all()
    assert changed.sum() == (frame == [230, 20, 20]).all(2).sum()


def test_boxes_alone_and_uncropped_masks(weights, config, seen):
    run(weights, config, "--display", "--detect")
    run(weights, config, "--display", "--no_crop")
    assert [(p.with_masks, p.crop) for p in seen] == [(False, True), (True, False)]


def test_uncropped_masks_of_the_real_network(weights, config):
    run(weights, config, "--no_metric")
    cropped = sum(rle.area(m) for e in results(config) for m in e["segmentations"] if m)
    run(weights, config, "--no_metric", "--no_crop")
    assert sum(rle.area(m) for e in results(config) for m in e["segmentations"] if m) > cropped


def test_times(weights, config, capsys):
    assert run(weights, config, "--benchmark") == 0
    out = capsys.readouterr().out
    for name in ("Load Data", "Network Extra", "backbone", "fpn", "proto", "pred_heads", "Detect",
                 "Track", "Postprocess", "total", "frames per second over 7 images"):  # fmt: skip
        assert name in out
    assert not (config.parent / "results").exists()


@pytest.mark.parametrize(("number", "lengths"), [(2, [4] * 3), (6, [4] * 3 + [5] * 3)])
def test_a_limit_of_images(weights, config, seen, capsys, number, lengths):
    assert run(weights, config, f"--max_images={number}") == 0
    assert [len(e["segmentations"]) for e in results(config)] == lengths
    out = capsys.readouterr().out
    assert f"{number} images" in out and "not scored: --max_images" in out


@pytest.mark.parametrize(
    ("words", "order"), [(["--no_sort"], [7, 3]), ([], [3, 7]), (["--shuffle", "--seed=1"], None)]
)
def test_the_order_of_videos(weights, config, seen, words, order):
    run(weights, config, *words)
    found = list(dict.fromkeys(e["video_id"] for e in results(config)))
    assert found == order if order else sorted(found) == [3, 7]


def test_sets_without_ground_truth_are_not_scored(weights, config, seen, capsys):
    content = json.loads((config.parent / "valid.json").read_text())
    del content["annotations"]
    (config.parent / "valid.json").write_text(json.dumps(content))
    assert run(weights, config) == 0
    assert "has no annotations, the challenge server scores it" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing to score against"):
        run(weights, config, "--only_calc_metrics")


@pytest.mark.parametrize("name", ["valid_sub", "train_sub"])
def test_parts_of_the_training_set(weights, config, seen, name):
    with pytest.raises(DatasetError, match=f"no annotation file .*{name}.json"):
        run(weights, config, f"--use_{name}")
    (config.parent / "valid.json").rename(config.parent / f"{name}.json")
    assert run(weights, config, f"--use_{name}") == 0
    assert len(results(config)) == 6


def test_existing_results_are_scored_and_logged(weights, config, seen, capsys):
    run(weights, config, "--no_metric")
    log = config.parent / "log"
    assert run(weights, config, "--only_calc_metrics", f"--log_folder={log}") == 0
    assert "Average Recall" in capsys.readouterr().out
    assert len(seen) == 1  # nothing was run again
    events = EventAccumulator(str(log))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {f"valid_metrics/{name}" for name in SCALARS.values()}
    (event,) = events.Scalars("valid_metrics/mAP")
    assert (event.step, event.value) == (20, 1.0)


def test_own_annotation_files(weights, config, seen):
    other = config.parent / "own" / "set.json"
    other.parent.mkdir()
    (config.parent / "valid.json").rename(other)
    words = [f"--ann_file={other}", f"--img_prefix={config.parent / 'frames'}"]
    assert run(weights, config, *words) == 0
    with pytest.raises(DatasetError, match=r"9 frame\(s\) do not exist below"):
        run(weights, config, *words[:1])


def test_another_data_set(weights, config, seen, monkeypatch):
    monkeypatch.setenv("STMASK_DATA_ROOT", str(config.parent / "data"))
    with pytest.raises(DatasetError, match=r"no annotation file .*OVIS.annotations_valid\.json"):
        run(weights, config, "--eval_dataset=valid_OVIS_dataset")
    with pytest.raises(ConfigError, match="did you mean valid_OVIS_dataset"):
        run(weights, config, "--eval_dataset=valid_OVSI_dataset")


def change(config, edit):
    path = config.parent / "valid.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_bad_data_sets_are_told(weights, config, seen):
    change(config, lambda c: c["videos"][0].update(height=50))
    change(config, lambda c: c.pop("annotations"))
    with pytest.raises(DatasetError, match=r"video 7, height and width: 80x50, but .* 80x48"):
        run(weights, config)
    change(config, lambda c: c["categories"].pop())
    with pytest.raises(DatasetError, match=r"categories: has 2, but the network tells 3"):
        run(weights, config)
    change(config, lambda c: c["videos"][0].update(file_names=[], length=0))
    with pytest.raises(DatasetError, match=r"video 7.*file_names"):
        run(weights, config)
    change(config, lambda c: c.update(videos=[]))
    with pytest.raises(DatasetError, match="videos"):
        run(weights, config)


def test_bad_frames_are_told(weights, config, seen):
    path = config.parent / "frames" / "first" / "00002.png"
    write_image(path, np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(VideoError, match=r"video 3 \(first\): .*00002\.png is 9x9"):
        run(weights, config)
    path.write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"video 3 \(first\): .*00002\.png"):
        run(weights, config)
    path.unlink()
    with pytest.raises(DatasetError, match=r"1 frame\(s\) do not exist[\s\S]*00002\.png"):
        run(weights, config)
    assert not (config.parent / "results" / "r.json").exists()


def test_videos_without_objects(weights, config, seen, capsys, colors):
    for path in (config.parent / "frames").rglob("*.png"):
        write_image(path, np.full_like(read_image(path), colors.GREY))
    assert run(weights, config, "--display") == 0
    assert run(weights, config) == 0
    assert results(config) == []
    assert "2 video(s) without any object, such as first" in capsys.readouterr().out


def test_an_interrupted_run_leaves_no_results(weights, config, seen, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate_module.VideoTracks, "entries", stop)
    with pytest.raises(KeyboardInterrupt):
        run(weights, config)
    assert files_in(config.parent / "results") == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size=2"], "one by one, got 2"),
        (["--image=a.png", "--video=b.mp4"], "--image and --video: expected one"),
        (["--max_images=0"], "expected a positive number or -1"),
        (["--detect"], "--detect finds no masks"),
        (["--img_prefix=x"], "goes with --ann_file"),
        (["--use_train_sub", "--use_valid_sub"], "expected one of them"),
        (["--score_threshold=1.5"], "expected a number from 0 to 1, not '1.5'"),
        (["--score_threshold=nan"], "expected a number from 0 to 1, not 'nan'"),
        (["--display_text=maybe"], "expected true or false, not 'maybe'"),
    ],
)
def test_contradicting_flags_are_told(weights, config, capsys, words, message):
    with pytest.raises(SystemExit):
        run(weights, config, *words)
    assert message in capsys.readouterr().err


def test_flags_without_effect_are_told(weights, config, seen, capsys):
    run(weights, config, "--eval_types=segm", "--clip_eval_mode=true", "--benchmark")
    error = capsys.readouterr().err
    assert "--eval_types is accepted and does nothing" in error
    assert "--clip_eval_mode is accepted and does nothing" in error


def test_weights_that_are_not_there_are_told(weights, config, monkeypatch, capsys):
    monkeypatch.chdir(config.parent)
    with pytest.raises(SystemExit):
        eval_command.main([])
    assert "--trained_model is missing: expected a checkpoint" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match=r"nowhere\.pth: no such file"):
        eval_command.main(["--trained_model=nowhere.pth"])
    with pytest.raises(CheckpointError, match="interrupt: no checkpoint of tiny in weights"):
        run("interrupt", config)


def test_the_latest_weights_are_found(weights, config, seen, monkeypatch, capsys):
    monkeypatch.chdir(config.parent)
    weights.rename(weights.with_name("tiny_3_1000.pth"))
    (weights.parent / "tiny_2_900.pth").write_bytes(b"older")
    (weights.parent / "other_9_9000.pth").write_bytes(b"of another configuration")
    assert run("latest", config, "--benchmark") == 0


def test_the_original_command_line_starts():
    words = [sys.executable, ROOT / "eval.py", "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    for flag in ("--trained_model", "--mask_det_file", "--display_lincomb", "--video_multiframe"):
        assert flag in done.stdout
