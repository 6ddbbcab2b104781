"""The evaluation tools from the command line to files and numbers."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from stcn import Predictor
from stcn.commands import eval as eval_command
from stcn.commands import eval_davis, eval_generic, eval_youtube
from vidseg_common.errors import DatasetError, run_cli
from vidseg_common.masks import DAVIS_PALETTE, read_indices, read_mask_and_palette
from vidseg_common.metrics.davis_jf import evaluate_davis


def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def as_read(score):
    return json.loads(json.dumps(score.to_json()))


def every(lengths):
    return sorted(f"{name}/{t:05d}.png" for name, n in lengths.items() for t in range(n))


ALL = {"ant": 5, "bee": 4, "cat": 6}


def frames_of(folder):
    return [np.array(Image.open(path)) for path in sorted(folder.iterdir())]


class TestDavis2017:
    def test_masks_and_metric(self, tool, davis, tmp_path, network):
        out = tool(eval_davis.main_2017, "--davis_path", davis, "--workers", 1)
        assert files(tmp_path / "out") == every(ALL)
        images = frames_of(davis / "trainval/JPEGImages/480p/cat")
        truth = davis / "trainval/Annotations/480p"
        predictor, mask = Predictor(network), read_indices(truth / "cat/00000.png")
        for t, image in enumerate(images):
            written, palette = read_mask_and_palette(tmp_path / "out" / "cat" / f"{t:05d}.png")
            wanted = predictor.step(image, mask if t == 0 else None).mask
            assert np.array_equal(written, wanted)
            assert np.array_equal(palette, DAVIS_PALETTE)
        score = evaluate_davis(truth, tmp_path / "out", list(ALL), progress=False)
        metrics = tmp_path / "out_metrics"
        assert files(metrics) == [
            "global_results-val.csv",
            "per-sequence_results-val.csv",
            "result.json",
            "run.json",
        ]
        assert json.loads((metrics / "result.json").read_text()) == as_read(score)
        assert f"{score.global_mean:.6f}" in out
        assert "Total processed frames: 15" in out
        assert str(metrics) in out

    def test_test_dev_has_nothing_to_score(self, tool, davis, tmp_path):
        words = ("--davis_path", davis, "--split", "testdev", "--mem_every", 3)
        out = tool(eval_davis.main_2017, *words)
        assert files(tmp_path / "out") == every(ALL)
        assert files(tmp_path / "out_metrics") == ["run.json"]
        assert "metrics" not in out

    def test_later_annotations_may_be_missing(self, tool, davis, tmp_path):
        annotations = davis / "trainval/Annotations/480p"
        (annotations / "bee/00002.png").unlink()
        out = tool(eval_davis.main_2017, "--davis_path", davis, "--workers", 1)
        assert files(tmp_path / "out") == every(ALL)
        assert "not scored, for lack of annotations: 1 videos" in out
        scored = json.loads((tmp_path / "out_metrics/result.json").read_text())
        assert "bee" not in json.dumps(scored)

    def test_chosen_videos(self, tool, davis, tmp_path):
        tool(eval_davis.main_2017, "--davis_path", davis, "--videos", "cat", "ant", "--no-metric")
        assert files(tmp_path / "out") == every({"ant": 5, "cat": 6})
        tool(eval_davis.main_2017, "--davis_path", davis, "--no-metric")
        assert files(tmp_path / "out") == every(ALL)

    def test_continues_after_an_interruption(self, tool, davis, tmp_path, monkeypatch, weights):
        words = ("--davis_path", davis, "--workers", 1)
        tool(eval_davis.main_2017, *words, output="whole")
        steps = 0
        original = Predictor._advance

        def interrupted(*args, **more):
            nonlocal steps
            steps += 1
            if steps == 8:
                raise KeyboardInterrupt
            return original(*args, **more)

        monkeypatch.setattr(Predictor, "_advance", interrupted)
        argv = ["--output", str(tmp_path / "out"), "--model", str(weights), "--device", "cpu"]
        with pytest.raises(SystemExit) as caught:
            run_cli(lambda: eval_davis.main_2017([*argv, *map(str, words)]))
        assert caught.value.code == 130
        monkeypatch.undo()
        assert files(tmp_path / "out") == every({"ant": 5, "bee": 2})
        out = tool(eval_davis.main_2017, *words)
        assert "1 videos were finished before" in out
        assert "Total processed frames: 10" in out
        for name in files(tmp_path / "whole"):
            whole, part = (tmp_path / folder / name for folder in ("whole", "out"))
            assert whole.read_bytes() == part.read_bytes()
        # A complete folder is only scored again.
        again = tool(eval_davis.main_2017, *words)
        assert "3 videos were finished before" in again
        assert "Total processed frames: 0" in again
        assert "J&F-Mean" in again
        assert "Total processed frames: 15" in tool(eval_davis.main_2017, *words, "--overwrite")

    def test_memory_flags_change_results(self, tool, davis, tmp_path):
        words = ("--davis_path", davis, "--no-metric", "--videos", "cat")
        tool(eval_davis.main_2017, *words)
        plain = read_indices(tmp_path / "out/cat/00005.png")
        variants = {
            "last": ("--include_last",),
            "top": ("--top", 1),
            "every": ("--mem_every", 1),
            "size": ("--size", 24),
        }
        for name, flags in variants.items():
            tool(eval_davis.main_2017, *words, *flags, output=name)
            assert not np.array_equal(read_indices(tmp_path / name / "cat/00005.png"), plain), name
        tool(eval_davis.main_2017, *words, "--amp", output="amp")
        half = read_indices(tmp_path / "amp/cat/00005.png")
        assert np.mean(half != plain) < 0.1


class TestDavis2016:
    def run(self, tool, davis2016, *words, output="out"):
        return tool(
            *(eval_davis.main_2016, "--davis_path", davis2016, "--workers", 1, *words),
            output=output,
        )

    def test_masks_and_metric(self, tool, davis2016, tmp_path):
        out = self.run(tool, davis2016, "--videos", *ALL)
        assert files(tmp_path / "out") == every(ALL)
        with Image.open(tmp_path / "out/bee/00003.png") as image:
            assert image.mode == "L"
            assert set(np.unique(np.array(image))) <= {0, 255}
        score = evaluate_davis(
            davis2016 / "Annotations/480p",
            tmp_path / "out",
            list(ALL),
            binary=True,
            progress=False,
        )
        saved = json.loads((tmp_path / "out_metrics/result.json").read_text())
        assert saved == as_read(score)
        assert f"{score.global_mean:.6f}" in out

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("ImageSets/2016/val.txt", "bee\nant\n"),
            (
                "ImageSets/480p/val.txt",
                "/JPEGImages/480p/bee/00000.jpg /Annotations/480p/bee/00000.png \n"
                "/JPEGImages/480p/bee/00001.jpg /Annotations/480p/bee/00001.png \n"
                "/JPEGImages/480p/ant/00000.jpg /Annotations/480p/ant/00000.png \n",
            ),
            ("../2017/trainval/ImageSets/2016/val.txt", "ant\nbee\n"),
        ],
    )
    def test_forms_of_the_list(self, tool, davis2016, tmp_path, path, text):
        (davis2016 / path).parent.mkdir(parents=True)
        (davis2016 / path).write_text(text)
        self.run(tool, davis2016, "--no-metric")
        assert files(tmp_path / "out") == every({"ant": 5, "bee": 4})

    def test_without_a_list_the_benchmark_is_meant(self, davis2016, weights, tmp_path):
        argv = ["--output", str(tmp_path / "out"), "--model", str(weights)]
        with pytest.raises(DatasetError, match="blackswan"):
            eval_davis.main_2016([*argv, "--davis_path", str(davis2016)])
        shutil.move(davis2016 / "JPEGImages/480p/ant", davis2016 / "JPEGImages/480p/blackswan")
        assert not (tmp_path / "out").exists()


WANTED = [
    *("early/00000.png", "early/00005.png", "early/00010.png", "early/00015.png"),
    *("late/00005.png", "late/00010.png", "late/00015.png"),
]


class TestYouTube:
    def test_required_frames_in_the_layout_of_the_server(self, tool, youtube, tmp_path):
        tool(eval_youtube.main, "--yv_path", youtube, "--size", 32)
        root = tmp_path / "out" / "Annotations"
        assert files(tmp_path / "out") == [f"Annotations/{name}" for name in WANTED]
        assert set(np.unique(read_indices(root / "early/00015.png"))) <= {0, 3}
        assert set(np.unique(read_indices(root / "late/00005.png"))) <= {0, 2}
        late = read_indices(root / "late/00010.png")
        given = read_indices(youtube / "valid/Annotations/late/00010.png")
        assert late.shape == (36, 60)
        assert np.mean((late == 7) == (given == 7)) > 0.95

    def test_every_frame(self, tool, youtube, tmp_path):
        tool(eval_youtube.main, "--yv_path", youtube, "--size", 32, "--output_all")
        root = tmp_path / "out" / "Annotations"
        assert files(root / "early") == [f"{t:05d}.png" for t in range(17)]
        assert files(root / "late") == [f"{t:05d}.png" for t in range(5, 17)]

    def test_skipping_frames_changes_nothing(self, tool, youtube, tmp_path):
        words = ("--yv_path", youtube, "--size", 32)
        tool(eval_youtube.main, *words, output="few")
        tool(eval_youtube.main, *words, "--output_all", output="all")
        for name in WANTED:
            few, all_ = (tmp_path / folder / "Annotations" / name for folder in ("few", "all"))
            assert np.mean(read_indices(few) != read_indices(all_)) < 0.002

    @pytest.mark.parametrize("videos", [(), ("--videos", "late")])
    def test_local_score(self, tool, youtube, tmp_path, videos):
        words = ("--yv_path", youtube, "--size", 32, "--workers", 1, *videos)
        out = tool(eval_youtube.main, *words, "--ground_truth", youtube / "truth")
        result = json.loads((tmp_path / "out_metrics/result.json").read_text())
        assert 0 <= result["global"]["overall"] <= 1
        assert {row["video"] for row in result["objects"]} == set(videos[1:] or ("early", "late"))
        assert "overall" in out

    def test_video_without_masks_is_skipped(self, tool, youtube, tmp_path):
        (youtube / "valid/Annotations/early/00000.png").unlink()
        out = tool(eval_youtube.main, "--yv_path", youtube, "--size", 32)
        assert "skipped early: no annotated frame with an object" in out
        assert files(tmp_path / "out/Annotations") == WANTED[4:]


class TestGeneric:
    def test_masks_from_the_first_annotation_on(self, tool, generic, tmp_path):
        tool(eval_generic.main, "--data_path", generic, "--size", 32)
        assert files(tmp_path / "out") == every({"one": 7}) + [
            f"two/{t:05d}.png" for t in range(2, 7)
        ]
        assert set(np.unique(read_indices(tmp_path / "out/two/00003.png"))) <= {0, 4}
        assert set(np.unique(read_indices(tmp_path / "out/two/00006.png"))) <= {0, 4, 9}
        given = read_indices(generic / "Annotations/two/00004.png")
        assert np.mean((read_indices(tmp_path / "out/two/00004.png") == 9) == (given == 9)) > 0.95

    def test_score(self, tool, generic, tmp_path):
        words = ("--data_path", generic, "--size", 32, "--workers", 1, "--amp_off")
        out = tool(eval_generic.main, *words, "--ground_truth", generic / "truth")
        result = json.loads((tmp_path / "out_metrics/result.json").read_text())
        objects = [(row["sequence"], row["object_id"]) for row in result["objects"]]
        assert objects == [("one", 5), ("two", 4), ("two", 9)]
        assert "Global score" in out
        assert (tmp_path / "out_metrics/results.csv").read_text() in out

    def test_video_without_masks_is_skipped_and_the_others_done(self, tool, generic, tmp_path):
        shutil.rmtree(generic / "Annotations/one")
        words = ("--data_path", generic, "--size", 32, "--workers", 1)
        out = tool(eval_generic.main, *words, "--ground_truth", generic / "truth")
        assert "skipped one: no annotated frame with an object" in out
        assert {path.split("/")[0] for path in files(tmp_path / "out")} == {"two"}


def test_one_name_for_the_tools(tool, generic, tmp_path):
    tool(lambda argv: eval_command.main(["generic", *argv]), "--data_path", generic, "--size", 32)
    assert len(files(tmp_path / "out")) == 12
