"""Trainings from start to end, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from two_processes import (
    assert_gradients_of_one_process,
    assert_same,
    keep_first_gradients,
    two_processes,
)

from stemseg.commands import train
from stemseg.config import load_config
from stemseg.engine import Trainer
from vidseg_common.logging import read_jsonl

TRAIN = Path(__file__).parents[2] / "training" / "main.py"
OVERFIT = Path(__file__).parents[3] / "benchmarks" / "overfit_stemseg.py"
SLURM = Path(__file__).parents[2] / "slurm" / "train.sbatch"

# Runs main.py; after the third iteration it shows that it is there and waits to be let on.
PAUSING = """
import os, pathlib, runpy, sys, time
from stemseg.engine import Trainer

folder, report = pathlib.Path(os.environ["PAUSE_FOLDER"]), Trainer._report

def pause(self, losses):
    report(self, losses)
    if self.iteration == 3:
        (folder / "reached").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)

Trainer._report = pause
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def models(tmp_path, monkeypatch, training_data):
    """The folder of the models of a user who has every data set."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("STEMSEG_MODELS_DIR", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return folder


def words(config, name, *more):
    """The command line of a small training on a CPU."""
    flags = ["--cfg", config, "--model_dir", name, "--device", "cpu", "--num_cpu_workers", 0]
    return [str(word) for word in [*flags, "--summary_interval", 1, *more]]


def load(path):
    return torch.load(path, weights_only=True)


def curve(folder):
    """Iteration to losses; a later session wins."""
    records = read_jsonl(folder / "logs/training.jsonl")
    return {r["step"]: r["values"] for r in records if r["kind"] == "scalars"}


def start_paused(tmp_path, *command):
    script = tmp_path / "pausing.py"
    script.write_text(PAUSING)
    process = subprocess.Popen(
        [sys.executable, script, TRAIN, *command],
        env=os.environ | {"PAUSE_FOLDER": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "reached").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


@pytest.mark.slow
def test_killed_training_continues_bit_for_bit(models, tiny_yaml, tmp_path):
    place = models / "checkpoints/davis"
    assert train.main(words(tiny_yaml, "straight")) == 0
    process = start_paused(tmp_path, *words(tiny_yaml, "killed", "--save_interval", 2))
    process.kill()
    process.communicate()
    assert [path.name for path in (place / "killed").glob("*.pth")] == ["000002.pth"]
    assert train.main(words(tiny_yaml, "killed")) == 0
    straight, killed = (load(place / name / "000006.pth") for name in ("straight", "killed"))
    assert_same(straight["model"], killed["model"])
    assert curve(place / "straight") == curve(place / "killed")
    assert list(curve(place / "killed")) == [1, 2, 3, 4, 5, 6]
    assert load_config(place / "killed/config.yaml") == load_config(tiny_yaml)


@pytest.mark.slow
def test_interrupted_training_saves_and_continues(models, tiny_yaml, tmp_path):
    place = models / "checkpoints/davis"
    process = start_paused(tmp_path, *words(tiny_yaml, "run"))
    process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "after 3 iterations; continue with --restore_session" in err
    assert "Traceback" not in err
    assert load(place / "run/000003.pth")["iterations"] == 3
    assert train.main(words(tiny_yaml, "run")) == 0
    assert train.main(words(tiny_yaml, "straight")) == 0
    assert curve(place / "run") == curve(place / "straight")


@pytest.fixture
def first_gradients(monkeypatch):
    return keep_first_gradients(monkeypatch, Trainer)


@pytest.mark.slow
def test_two_processes_step_as_one_and_stop_together(models, tiny_yaml, tmp_path, first_gradients):
    command = words(tiny_yaml, "two", "--allow_multigpu")
    text, _ = two_processes(Trainer, 4, tmp_path, TRAIN, *command)
    assert (tmp_path / "rank1.pth").exists(), text
    ranks = [load(tmp_path / f"rank{rank}.pth") for rank in (0, 1)]
    assert [rank["it"] for rank in ranks] == [4, 4], text
    assert text.count("after 4 iterations; continue with --restore_session") == 1
    assert "Grad strides" not in text
    assert_same(ranks[0]["w"], ranks[1]["w"])
    place = models / "checkpoints/davis"
    saved = load(place / "two/000004.pth")
    assert_same(saved["model"], ranks[0]["w"])
    # One process takes the same clips one after the other.
    assert train.main(words(tiny_yaml, "one")) == 0
    assert_gradients_of_one_process(ranks, first_gradients)
    one, two = curve(place / "one"), curve(place / "two")
    assert list(two) == [1, 2, 3, 4]
    for step, values in two.items():
        assert values == pytest.approx(one[step], rel=1e-3, abs=1e-5)
    # One process continues what two began.
    assert train.main(words(tiny_yaml, "two")) == 0
    assert curve(place / "two")[6] == pytest.approx(one[6], rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_a_process_that_fails_ends_all(models, tiny_yaml, tmp_path):
    text, status = two_processes(
        Trainer, 4, tmp_path, TRAIN, *words(tiny_yaml, "two", "--allow_multigpu"), FAIL="1"
    )
    assert status != 0
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 60
    assert "in stop" in text and "RuntimeError: fails on purpose" in text


@pytest.mark.slow
def test_learns_two_clips_from_random_weights(tmp_path):
    """A fifth of the budget of `make overfit-stemseg`, which has to reach 0.8."""
    opts = ["INPUT.MIN_DIM", 96, "INPUT.MAX_DIM", 144, "TRAINING.MAX_ITERATIONS", 120]
    opts += ["TRAINING.LR_DECAY_STEPS", "90,110"]
    flags = ["--threads", 1, "--folder", tmp_path / "run", "--out", tmp_path / "result.json"]
    command = [sys.executable, OVERFIT, *flags, "--opts", *opts]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["J&F"] >= 0.6
    assert result["iterations"] == 120


def test_recorded_result_holds_what_was_promised():
    result = json.loads((OVERFIT.parent / "results" / "stemseg_overfit.json").read_text())
    assert result["J&F"] >= 0.8
    assert result["training_cpu_seconds"] <= 600
    assert result["iterations"] == load_config("overfit").TRAINING.MAX_ITERATIONS


def test_every_mode_trains_on_its_mixture(models, tiny_yaml):
    ytvis = ["MODEL.EMBEDDING_DIM_MODE", "xyff", "INPUT.NUM_CLASSES", 41]
    kitti = ["DATA.KITTI_MOTS.MAPILLARY_WEIGHT", 0.5, "DATA.KITTI_MOTS.KITTI_MOTS_WEIGHT", 0.5]
    kitti += ["INPUT.NUM_CLASSES", 3]
    davis = ["DATA.DAVIS.DAVIS_WEIGHT", 0.25, "DATA.DAVIS.COCO_WEIGHT", 0.25]
    davis += ["DATA.DAVIS.PASCAL_VOC_WEIGHT", 0.25, "DATA.DAVIS.YOUTUBE_VIS_WEIGHT", 0.25]
    for mode, keys in (("youtube_vis", ytvis), ("kitti_mots", kitti), ("davis", davis)):
        gaps = [f"DATA.{mode.upper()}.FRAME_GAP_{end}" for end in ("LOWER", "UPPER")]
        opts = ["TRAINING.MODE", mode, "TRAINING.MAX_ITERATIONS", 2, *keys, gaps[0], 3, gaps[1], 4]
        assert train.main(words(tiny_yaml, "all", "--opts", *opts)) == 0
        assert (models / "checkpoints" / mode / "all/000002.pth").is_file()


def run(*command):
    return subprocess.run(
        [sys.executable, TRAIN, *command], capture_output=True, text=True, check=False
    )


def test_unusable_input_is_one_line(models, tiny_yaml, monkeypatch):
    monkeypatch.delenv("DAVIS_BASE_DIR")
    done = run(*words(tiny_yaml, "x"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: the environment variable DAVIS_BASE_DIR is not set")
    assert len(done.stderr.splitlines()) == 1


def test_second_run_in_a_folder_is_refused(models, tiny_yaml, tmp_path):
    process = start_paused(tmp_path, *words(tiny_yaml, "run"))
    done = run(*words(tiny_yaml, "run"))
    (tmp_path / "go").touch()
    process.communicate()
    assert done.returncode == 2
    assert "is in use by process" in done.stderr


def test_cluster_script_hands_everything_on(tmp_path):
    for name, body in (("scontrol", "seq -f node%g 7 20000"), ("srun", 'printf "%s\\n" "$@"')):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/bash\n{body}\n")
        tool.chmod(0o755)
    (tmp_path / "common").symlink_to(SLURM.parents[2] / "common")
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REPO": str(tmp_path),
        "PYTHON": "python3",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "1234",
        "SLURM_GPUS_ON_NODE": "4",
        "CFG": "own/davis_2.yaml",
        "INITIAL": "first.pth",
        "ARGS": "--amp bf16 --opts TRAINING.BATCH_SIZE 8",
    }
    done = subprocess.run(
        ["bash", str(SLURM)], env=settings, capture_output=True, text=True, check=True
    )
    words = " ".join(done.stdout.split())
    for part in ("--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=node7:21234"):
        assert part in words
    assert words.endswith(
        "training/main.py --cfg own/davis_2.yaml --model_dir davis_2 --initial_ckpt first.pth "
        "--amp bf16 --opts TRAINING.BATCH_SIZE 8"
    )
