"""Multi-scale testing from options to merged masks, and the scripts of the original names."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stcn.commands import eval_youtube, ms
from vidseg_common.masks import read_indices

PROJECT = Path(__file__).parents[2]
WANTED = [
    *("early/00000.png", "early/00005.png", "early/00010.png", "early/00015.png"),
    *("late/00005.png", "late/00010.png", "late/00015.png"),
]


class TestMultiScale:
    def options(self, tool, youtube):
        words = ("--yv_path", youtube, "--amp_off")
        tool(ms.main_eval, *words, "--res", 32, output="plain")
        tool(ms.main_eval, *words, "--res", 32, "--flip", output="flip")
        tool(ms.main_eval, *words, "--res", 48, "--use_km", output="large")
        return ["plain", "flip", "large"]

    def test_options_and_merge(self, tool, youtube, tmp_path, capsys, listing):
        folders = [tmp_path / name for name in self.options(tool, youtube)]
        for folder in folders:
            assert listing(folder) == sorted(
                ["early.npz", "late.npz", *(f"Annotations/{n}" for n in WANTED)]
            )
        merged = tmp_path / "merged"
        argv = ["--list", *map(str, folders), "--output", str(merged), "--num_proc", "1"]
        assert ms.main_merge(argv) == 0
        assert "2 videos found in 3 of 3 options" in capsys.readouterr().out
        assert listing(merged) == [f"Annotations/{name}" for name in WANTED]
        for name, ids in (("early", [0, 3]), ("late", [0, 2, 7])):
            stored = [np.load(folder / f"{name}.npz") for folder in folders]
            total = sum(volume["volume"].astype(int) for volume in stored)
            for frame, scores in zip(stored[0]["names"], total, strict=True):
                wanted = np.array(ids)[scores.argmax(0)]
                got = read_indices(merged / "Annotations" / name / f"{Path(frame).stem}.png")
                assert np.array_equal(got, wanted)

    def test_plain_option_is_the_plain_tool(self, tool, youtube, tmp_path):
        tool(ms.main_eval, "--yv_path", youtube, "--amp_off", "--res", 32, output="plain")
        tool(eval_youtube.main, "--yv_path", youtube, "--res", 32, output="tool")
        for name in WANTED:
            plain, wanted = (tmp_path / f"{k}/Annotations" / name for k in ("plain", "tool"))
            assert plain.read_bytes() == wanted.read_bytes()
        with np.load(tmp_path / "plain/late.npz") as stored:
            labels = np.array([0, 2, 7])[stored["volume"].argmax(1)]
        written = [read_indices(tmp_path / "plain/Annotations" / n) for n in WANTED[4:]]
        # Rounding to 8 bits makes ties.
        assert np.mean(labels != np.stack(written)) < 0.02

    def test_interrupted_option_stores_its_volumes_again(
        self, tool, youtube, tmp_path, monkeypatch, weights
    ):
        words = ["--yv_path", str(youtube), "--amp_off", "--res", "32"]
        tool(ms.main_eval, *words, output="whole")
        finish = ms.VolumeWriter.finish

        def interrupted(self, record):
            if record.name == "late":
                raise KeyboardInterrupt
            finish(self, record)

        monkeypatch.setattr(ms.VolumeWriter, "finish", interrupted)
        argv = ["--output", str(tmp_path / "out"), "--model", str(weights), "--device", "cpu"]
        with pytest.raises(KeyboardInterrupt):
            ms.main_eval([*argv, *words])
        monkeypatch.undo()
        assert not (tmp_path / "out/late.npz").exists()
        tool(ms.main_eval, *words)
        with np.load(tmp_path / "out/late.npz") as a, np.load(tmp_path / "whole/late.npz") as b:
            assert np.array_equal(a["volume"], b["volume"])


def python(*words, timeout=300):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_script_of_the_original_name(davis, weights, tmp_path, listing):
    done = python(
        *("eval_davis.py", "--davis_path", davis, "--output", tmp_path / "out"),
        *("--model", weights, "--device", "cpu", "--videos", "bee", "--workers", 1),
    )
    assert done.returncode == 0, done.stderr
    assert listing(tmp_path / "out") == [f"bee/{t:05d}.png" for t in range(4)]
    assert "J&F-Mean" in done.stdout


def test_module_of_the_original_name(youtube, weights, tmp_path, listing):
    done = python(
        *("-m", "ms.eval_youtube", "--yv_path", youtube, "--output", tmp_path / "a"),
        *("--model", weights, "--device", "cpu", "--res", 32, "--videos", "early", "--flip"),
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "early.npz").exists()
    done = python("-m", "ms.merge_ensemble", "--list", tmp_path / "a", "--output", tmp_path / "m")
    assert done.returncode == 0, done.stderr
    assert len(listing(tmp_path / "m")) == 4


SCRIPTS = ("eval_davis.py", "eval_davis_2016.py", "eval_youtube.py", "eval_generic.py")


@pytest.mark.parametrize("script", [*SCRIPTS, "ms/eval_youtube.py", "ms/merge_ensemble.py"])
def test_help_of_scripts(script, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(PROJECT / script), run_name="__main__")
    assert caught.value.code == 0
    assert "--output" in capsys.readouterr().out
