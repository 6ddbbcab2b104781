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

from stmask.commands import train
from stmask.engine import Trainer
from stmask.session import Start
from vidseg_common.errors import CheckpointError, ConfigError

TRAIN = Path(__file__).parents[2] / "train.py"
OVERFIT = Path(__file__).parents[3] / "benchmarks" / "overfit_stmask.py"
SLURM = Path(__file__).parents[2] / "slurm" / "train.sbatch"

# Runs train.py; after the third iteration it shows that it is there and waits to be let on.
PAUSING = """
import os, pathlib, runpy, sys, time
from stmask.engine import Trainer

folder, iterate = pathlib.Path(os.environ["PAUSE_FOLDER"]), Trainer._iterate

def pause(self, batches, rate):
    losses = iterate(self, batches, rate)
    if self.iteration == 3:
        (folder / "reached").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
    return losses

Trainer._iterate = pause
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def words(config, folder, *more):
    """The command line of a small training on a CPU."""
    flags = ["--config", config, "--save_folder", folder, "--device", "cpu", "--num_workers", 0]
    flags += ["--batch_size", 2, "--no_autoscale", "--lr", 0.001, "--validation_epoch", 0]
    return [str(word) for word in [*flags, *more]]


def load(path):
    return torch.load(path, weights_only=True)


def curve(folder):
    """Iteration to losses; a later session wins."""
    records = [json.loads(line) for line in (folder / "tiny_train.log").read_text().splitlines()]
    rows = [record["data"] for record in records if record["type"] == "train"]
    return {row["iter"]: row["loss"] for row in rows}


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("*.pth"))


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
def test_killed_training_continues_bit_for_bit(training_data, tiny_yaml, tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert train.main(words(tiny_yaml, straight)) == 0
    process = start_paused(tmp_path, *words(tiny_yaml, killed, "--save_interval", 2))
    # A second run in the folder is refused meanwhile.
    second = subprocess.run(
        [sys.executable, TRAIN, *words(tiny_yaml, killed)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "is in use by process" in second.stderr
    process.kill()
    process.communicate()
    assert checkpoints(killed) == ["tiny_train_0_2.pth"]
    assert train.main(words(tiny_yaml, killed, "--resume", "latest")) == 0
    (last,) = straight.glob("*_6.pth")
    assert_same(load(last), load(killed / last.name))
    assert curve(straight) == curve(killed)
    assert sorted(curve(killed)) == [1, 2, 3, 4, 5, 6]
    sessions = {json.loads(line)["session"] for line in (killed / "tiny_train.log").open()}
    assert sessions == {0, 1}


@pytest.mark.slow
def test_interrupted_training_saves_and_continues(training_data, tiny_yaml, tmp_path):
    place = tmp_path / "run"
    process = start_paused(tmp_path, *words(tiny_yaml, place))
    process.send_signal(signal.SIGINT)
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "after 3 iterations; continue with --resume" in err
    assert "Traceback" not in err
    assert checkpoints(place) == ["tiny_train_0_3_interrupt.pth"]
    assert train.main(words(tiny_yaml, place, "--resume", "interrupt")) == 0
    assert train.main(words(tiny_yaml, tmp_path / "straight")) == 0
    assert curve(place) == curve(tmp_path / "straight")


@pytest.fixture
def first_gradients(monkeypatch):
    return keep_first_gradients(monkeypatch, Trainer)


@pytest.mark.slow
def test_two_processes_step_as_one_and_stop_together(
    training_data, tiny_yaml, tmp_path, first_gradients
):
    text, _ = two_processes(Trainer, 4, tmp_path, TRAIN, *words(tiny_yaml, tmp_path / "two"))
    assert (tmp_path / "rank1.pth").exists(), text
    ranks = [load(tmp_path / f"rank{rank}.pth") for rank in (0, 1)]
    assert [rank["it"] for rank in ranks] == [4, 4], text
    assert text.count("after 4 iterations; continue with --resume") == 1
    assert "Grad strides" not in text
    assert_same(ranks[0]["w"], ranks[1]["w"])
    (saved,) = (tmp_path / "two").glob("*_4_interrupt.pth")
    assert_same(load(saved), ranks[0]["w"])
    # One process takes the same shares one after the other.
    assert train.main(words(tiny_yaml, tmp_path / "one", "--batch_alloc", "1,1")) == 0
    assert_gradients_of_one_process(ranks, first_gradients)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    assert sorted(two) == [1, 2, 3, 4]
    for step, values in two.items():
        assert values == pytest.approx(one[step], rel=1e-3, abs=1e-4)
    # One process continues what two began, with the same shares.
    flags = ("--batch_alloc", "1,1", "--resume", "interrupt")
    assert train.main(words(tiny_yaml, tmp_path / "two", *flags)) == 0
    assert curve(tmp_path / "two")[6] == pytest.approx(one[6], rel=1e-3, abs=1e-4)


@pytest.mark.slow
def test_a_process_that_fails_ends_all(training_data, tiny_yaml, tmp_path):
    text, status = two_processes(
        Trainer, 4, tmp_path, TRAIN, *words(tiny_yaml, tmp_path / "two"), FAIL="1"
    )
    assert status != 0
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 60
    assert "in stop" in text and "RuntimeError: fails on purpose" in text


def test_checkpoints_are_validated(training_data, tiny_yaml, tmp_path, capsys):
    flags = ["--validation_epoch", 1, "--max_iter", 2, "--output_json"]
    assert train.main(words(tiny_yaml, tmp_path, *flags)) == 0
    assert "Average Precision" in (tmp_path / "tiny_train_0_2.txt").read_text()
    assert isinstance(json.loads((tmp_path / "tiny_train_0_2.json").read_text()), list)
    records = [json.loads(line) for line in (tmp_path / "tiny_train.log").open()]
    assert {"iter", "mAP", "AP50"} < records[-1]["data"].keys()
    assert records[-1]["type"] == "val"
    (training_data / "YouTube_VOS2021/annotations_instances/valid_sub.json").rename(
        tmp_path / "away.json"
    )
    try:
        assert train.main(words(tiny_yaml, tmp_path / "b", "--max_iter", 1, *flags[:2])) == 0
    finally:
        (tmp_path / "away.json").rename(
            training_data / "YouTube_VOS2021/annotations_instances/valid_sub.json"
        )
    assert "checkpoints are not scored: no annotation file" in capsys.readouterr().out


def test_failing_validation_does_not_end_the_training(training_data, tiny_yaml, tmp_path, capsys):
    sub = json.loads((training_data / "YouTube_VOS2021/train/instances.json").read_text())
    sub["videos"][0]["file_names"][0] = "nowhere.jpg"
    (tmp_path / "sub.json").write_text(json.dumps(sub))
    config = tmp_path / "broken.yaml"
    change = f"{{base: {tiny_yaml}, valid_sub_dataset: {{ann_file: {tmp_path}/sub.json}}}}"
    config.write_text(change)
    flags = ["--validation_epoch", 1, "--max_iter", 2, "--save_interval", 1]
    assert train.main(words(config, tmp_path / "run", *flags)) == 0
    out = capsys.readouterr().out
    assert out.count("warning: checkpoints are not scored from here on") == 1
    assert "nowhere.jpg" in out
    assert len(checkpoints(tmp_path / "run")) == 2


def test_start_from_a_file(training_data, tiny_yaml, tmp_path, capsys):
    assert train.main(words(tiny_yaml, tmp_path, "--max_iter", 1)) == 0
    (file,) = tmp_path.glob("*.pth")
    flags = ["--max_iter", 1, "--start_from", file]
    assert train.main(words(tiny_yaml, tmp_path / "b", *flags)) == 0
    assert f"{file}: " in capsys.readouterr().out
    with pytest.raises(CheckpointError, match="no such file"):
        train.main(words(tiny_yaml, tmp_path / "c", "--start_from", tmp_path / "x.pth"))
    with pytest.raises(CheckpointError, match="latest: no checkpoint of tiny_train"):
        train.main(words(tiny_yaml, tmp_path / "c", "--resume", "latest"))


def test_missing_detector_tells_what_to_do(training_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"yolact_plus_base_54_800000\.pth: no such file"):
        train.main(["--device", "cpu", "--save_folder", str(tmp_path)])


def test_flags(tiny_yaml, capsys):
    parse = train.build_parser().parse_args
    args = parse([])
    expected = {
        **{"batch_size": 8, "resume": None, "start_iter": -1, "num_workers": 2, "cuda": True},
        **{"lr": None, "momentum": 0.9, "decay": 1e-4, "gamma": None, "save_interval": 10000},
        **{"save_folder": Path("weights/weights_temp"), "config": "STMask_plus_base_config"},
        **{"validation_epoch": 1, "keep_latest_interval": 100000, "train_dataset": None},
    }
    assert {name: getattr(args, name) for name in expected} == expected
    old = ["--learning_rate=1e-3", "--weight_decay=0.1", "--eval_batch_size=1", "--cuda=false"]
    args = parse([*old, "--backbone.pred_scales_num", "3", "--batch_alloc=3,5"])
    assert (args.lr, args.decay, args.cuda, args.batch_alloc) == (1e-3, 0.1, False, (3, 5))
    cfg = train.training_config(parse(["--train_dataset", "train_OVIS_dataset"]))
    assert cfg.train_dataset.ann_file.endswith("OVIS/annotations_train.json")
    assert cfg.max_iter == 125000
    with pytest.raises(ConfigError, match="unknown data set"):
        train.training_config(parse(["--train_dataset", "OVIS"]))
    # The rate grows with the batch only where that is asked for, and no rate is given.
    lines = ("", "--scale_lr", "--scale_lr --batch_size=4", "--scale_lr --lr=1")
    rates = [train._options(parse(line.split()), Start()).rate for line in lines]
    assert rates == [1e-4, 2e-4, 1e-4, 1]
    for flag in ("--lr=-1", "--num_workers=x", "--batch_alloc=3;5", "--batch_size=0"):
        with pytest.raises(SystemExit):
            parse([flag])


@pytest.mark.slow
def test_learns_two_clips_from_random_weights(tmp_path):
    """A sixth of the processor time of `make overfit-stmask`: fewer iterations, smaller frames."""
    config = tmp_path / "short.yaml"
    base = Path(__file__).parents[2] / "configs" / "overfit.yaml"
    sets = ("train_dataset", "valid_sub_dataset", "valid_dataset")
    small = ", ".join(f"{name}: {{img_scale: [[128, 96]]}}" for name in sets)
    config.write_text(f"{{base: {base}, max_iter: 110, lr_steps: [75, 97], {small}}}")
    flags = ["--threads", 1, "--folder", tmp_path / "run", "--out", tmp_path / "result.json"]
    command = [sys.executable, OVERFIT, *flags, "--config", config]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["AP50"] >= 0.6
    assert result["iterations"] == 110


def test_recorded_result_holds_what_was_promised():
    result = json.loads((OVERFIT.parent / "results" / "stmask_overfit.json").read_text())
    assert result["AP50"] >= 0.8
    assert result["training_cpu_seconds"] <= 600


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
        "CONFIG": "own/mine.yaml",
        "ARGS": "--amp bf16 --keep_latest",
    }

    def words_of():
        done = subprocess.run(
            ["bash", str(SLURM)], env=settings, capture_output=True, text=True, check=True
        )
        return " ".join(done.stdout.split())

    given = words_of()
    for part in ("--nnodes=2", "--nproc-per-node=4", "--rdzv-endpoint=node7:21234"):
        assert part in given
    command = "stmask/train.py --config own/mine.yaml --batch_size 8 --save_folder weights/mine"
    assert given.endswith(f"{command} --amp bf16 --keep_latest")
    # A job that starts again continues.
    (tmp_path / "weights/mine").mkdir(parents=True)
    (tmp_path / "weights/mine/mine_0_5.pth").touch()
    assert words_of().endswith(f"{command} --resume latest --amp bf16 --keep_latest")
