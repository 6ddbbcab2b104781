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

from devis.commands import main as main_command
from devis.commands import train
from devis.engine import Trainer
from vidseg_common.errors import CheckpointError, ConfigError, UserError
from vidseg_common.files import OutputLock

ROOT = Path(__file__).parents[3]
MAIN, SLURM = ROOT / "devis" / "main.py", ROOT / "devis" / "slurm" / "train.sbatch"
OVERFIT = ROOT / "benchmarks" / "overfit_devis.py"
TINY = Path(__file__).parents[1] / "tiny_train.yaml"

# Runs main.py; after the third step it shows that it is there and waits to be let on.
PAUSING = """
import os, pathlib, runpy, sys, time
from devis.engine import Trainer

folder, iterate = pathlib.Path(os.environ["PAUSE_FOLDER"]), Trainer._iterate

def pause(self, parts):
    losses = iterate(self, parts)
    if self.iteration == 3:
        (folder / "reached").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
    return losses

Trainer._iterate = pause
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def words(clips_root, one_thread):
    """Makes the command line of a small training on a CPU."""

    def make(folder, *more):
        flags = ["--config-file", TINY, "--device", "cpu", "--backbone-weights", "none"]
        keys = ["DATASETS.DATA_PATH", clips_root, "OUTPUT_DIR", folder]
        return [str(word) for word in [*flags, *keys, "VISDOM_AND_LOG_INTERVAL", 1, *more]]

    return make


def load(path):
    return torch.load(path, weights_only=True)


def curve(folder):
    """Step to its total loss; a later session wins. Averages over a session leave the first."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return {r["step"]: r["values"] for r in map(json.loads, lines) if r["kind"] == "scalars"}


def start_paused(tmp_path, *command):
    script = tmp_path / "pausing.py"
    script.write_text(PAUSING)
    process = subprocess.Popen(
        [sys.executable, script, MAIN, *command],
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
def test_interrupted_training_saves_and_continues(words, tmp_path):
    place = tmp_path / "run"
    process = start_paused(tmp_path, *words(place))
    with pytest.raises(UserError, match="in use by process"), OutputLock(place):
        pass
    process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert "after 3 steps; continue with --resume" in err
    assert "Traceback" not in err
    assert [path.name for path in place.glob("*.pth")] == ["checkpoint.pth"]
    assert train.main(words(place, "--resume", "latest")) == 0
    assert main_command.main(words(tmp_path / "straight")) == 0
    old, new = (load(folder / "checkpoint.pth") for folder in (tmp_path / "straight", place))
    assert_same(old["model"], new["model"])
    assert sorted(curve(place)) == sorted(curve(tmp_path / "straight")) == list(range(1, 17))


@pytest.fixture
def first_gradients(monkeypatch):
    return keep_first_gradients(monkeypatch, Trainer)


@pytest.mark.slow
def test_two_processes_step_as_one_and_stop_together(words, tmp_path, first_gradients):
    plain = ("MODEL.DROPOUT", 0)  # processes draw differently
    text, _ = two_processes(Trainer, 2, tmp_path, MAIN, *words(tmp_path / "two", *plain))
    assert (tmp_path / "rank1.pth").exists(), text
    ranks = [load(tmp_path / f"rank{rank}.pth") for rank in (0, 1)]
    assert [rank["it"] for rank in ranks] == [2, 2], text
    assert text.count("after 2 steps; continue with --resume") == 1
    assert_same(ranks[0]["w"], ranks[1]["w"])
    saved = load(tmp_path / "two" / "checkpoint.pth")
    assert_same(saved["model"], ranks[0]["w"])
    assert len(saved["rng"]) == 2
    # One process takes the same shares one after the other.
    flags = ("--accumulate", 2, *plain, "SOLVER.EPOCHS", 1)
    assert main_command.main(words(tmp_path / "one", *flags)) == 0
    assert_gradients_of_one_process(ranks, first_gradients)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert sorted(two) == [1, 2]
    for step, values in two.items():
        for name in ("train/loss", "train/loss_mask_unscaled", "train/class_error"):
            assert values[name] == pytest.approx(one[step][name], rel=1e-3), name
    # One process continues what two began, with the same samples in a step.
    assert main_command.main(words(tmp_path / "two", "--resume", "latest", *flags)) == 0
    ends = [load(tmp_path / name / "checkpoint.pth") for name in ("one", "two")]
    assert ends[0]["iteration"] == ends[1]["iteration"] > 2
    for name, value in ends[0]["model"].items():
        assert torch.allclose(value, ends[1]["model"][name], rtol=1e-2, atol=1e-3), name


@pytest.mark.slow
def test_a_process_that_fails_ends_all(words, tmp_path):
    text, status = two_processes(Trainer, 2, tmp_path, MAIN, *words(tmp_path / "two"), FAIL="1")
    assert status != 0
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 60
    assert "in stop" in text and "RuntimeError: fails on purpose" in text


def test_evaluation_of_what_was_trained(words, tmp_path, capsys):
    assert main_command.main(words(tmp_path, "SOLVER.EPOCHS", 1, "TEST.EVAL_PERIOD", 1)) == 0
    first = tmp_path / "eval_results" / "epoch_1" / "results.json"
    capsys.readouterr()
    given = ("MODEL.WEIGHTS", tmp_path / "checkpoint.pth", "--eval-only")
    assert main_command.main(words(tmp_path, *given)) == 0
    assert "Average Precision" in capsys.readouterr().out
    assert json.loads((tmp_path / "eval_results/results.json").read_text()) == json.loads(
        first.read_text()
    )
    # The configuration beside the checkpoint is the one of the training.
    config = str(tmp_path / "config.yaml")
    assert main_command.main(["--config-file", config, *map(str, given), "--device", "cpu"]) == 0


def test_wrong_words(words, tmp_path, capsys):
    with pytest.raises(CheckpointError, match=r"--resume latest: no file .*checkpoint\.pth"):
        train.main(words(tmp_path, "--resume", "latest"))
    with pytest.raises(UserError, match="expected env:// or tcp://HOST:PORT"):
        train.main(words(tmp_path, "--dist-url", "file:///x"))
    with pytest.raises(ConfigError, match=r"SOLVER\.EPOCH"):
        train.main(words(tmp_path, "SOLVER.EPOCH", 3))
    with pytest.raises(ConfigError, match=r"RESUME_OPTIMIZER needs MODEL.WEIGHTS"):
        train.main(words(tmp_path, "SOLVER.RESUME_OPTIMIZER", True))
    with pytest.raises(SystemExit):
        train.main(words(tmp_path, "--resme", "x"))
    assert "did you mean --resume?" in capsys.readouterr().err


def test_non_finite_loss_is_status_1(words, tmp_path, capsys):
    assert train.main(words(tmp_path, "SOLVER.BASE_LR", 1e30)) == 1
    err = capsys.readouterr().err
    assert "at step 2, epoch 1 (video" in err and "loss_ce" in err


@pytest.mark.slow
def test_learns_a_clip_from_random_weights(tmp_path):
    """A part of the budget of `make overfit-devis`, and one clip of the two."""
    flags = ["--clips", 1, "--folder", tmp_path / "run", "--out", tmp_path / "result.json"]
    keys = ["SOLVER.EPOCHS", 14, "SOLVER.STEPS", "[12]"]
    done = subprocess.run(
        [str(word) for word in [sys.executable, OVERFIT, *flags, *keys]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["AP50"] >= 0.5
    assert result["iterations"] == 182


def test_recorded_result_holds_what_was_promised():
    result = json.loads((OVERFIT.parent / "results" / "devis_overfit.json").read_text())
    assert result["AP50"] >= 0.8
    assert result["training_cpu_seconds"] <= 900


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
        "CFG": "own/mine.yaml",
        "ARGS": "--amp bf16 SOLVER.EPOCHS 3",
    }

    def words_of():
        done = subprocess.run(
            ["bash", str(SLURM)], env=settings, capture_output=True, text=True, check=True
        )
        return " ".join(done.stdout.split())

    given = words_of()
    for part in ("--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=node7:21234"):
        assert part in given
    command, rest = (
        "devis/main.py --config-file own/mine.yaml",
        "--amp bf16 SOLVER.EPOCHS 3 OUTPUT_DIR output/mine",
    )
    assert given.endswith(f"{command} {rest}")
    # A job that starts again continues.
    (tmp_path / "output/mine").mkdir(parents=True)
    (tmp_path / "output/mine/checkpoint.pth").touch()
    assert words_of().endswith(f"{command} --resume latest {rest}")
