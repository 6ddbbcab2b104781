"""Trainings of STCN as jobs: on two tasks as in one process, after a stop as without one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from cluster import Cluster, until

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "stcn" / "slurm" / "train.sbatch"
CONFIG = ROOT / "stcn" / "tests" / "tiny_train.yaml"
ITERATIONS = 24
#: Samples of a step; two processes have half of them each.
BATCH = 4
DATA = ("data.source", "synthetic", "data.synthetic_length", "100")
#: What a small node has; the scripts ask for what a training needs.
NODE = ("--cpus-per-task=2", "--gpus-per-node=2", "--mem=500M", "--time=10")
SECONDS = 240.0
#: Sums in another order; the optimiser divides gradients by their size.
TOLERANCE = 1e-3


def check_two_tasks(cluster: Cluster, folder: Path) -> str:
    """Two processes learn what one learns from the same samples."""
    job = submit(cluster, folder, "two")
    command = [sys.executable, ROOT / "stcn" / "train.py", "--config", CONFIG, "--id", "one"]
    places = ["--saves", folder / "saves", "--log_folder", folder / "log"]
    words = [str(word) for word in [*command, *flags(BATCH), *places, *DATA]]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    cluster.wait(job, SECONDS)
    done = subprocess.run(words, env=one_thread, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = losses(folder, "one"), losses(folder, "two")
    assert sorted(one) == sorted(two) == list(range(1, ITERATIONS + 1)), (sorted(one), sorted(two))
    gap = max(abs(one[i] - two[i]) / one[i] for i in one)
    assert gap <= TOLERANCE, f"losses differ by {gap:.1e} of their size"
    return f"{ITERATIONS} losses as in one process, within {gap:.0e}"


def check_requeue(cluster: Cluster, folder: Path) -> str:
    """A job that is told to stop queues again and ends with the weights of `check_two_tasks`."""
    job = submit(cluster, folder, "cut")
    assert until(lambda: len(losses(folder, "cut")) >= 3, SECONDS), "the training does not begin"
    cluster.ask("scancel", "--batch", "--signal=USR1", job)
    end = cluster.wait(job, SECONDS)
    assert end["Restarts"] == "1", f"it was started again {end['Restarts']} times"
    output = (folder / f"{job}.out").read_text()
    stop = [line for line in output.splitlines() if "stopped by SIGUSR1 after" in line]
    assert len(stop) == 1, output
    at = int(stop[0].split(" after ")[1].split()[0])
    assert f"checkpoint.pth at iteration {at}" in output, output
    assert losses(folder, "cut") == losses(folder, "two"), "other losses than without the stop"
    states = [final(folder, name) for name in ("two", "cut")]
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), f"{name} is not what it is without the stop"
    return f"stopped after {at} of {ITERATIONS} iterations, the same weights bit for bit"


def submit(cluster: Cluster, folder: Path, name: str) -> str:
    return cluster.submit(
        SCRIPT,
        *NODE,
        f"--output={folder}/%j.out",
        REPO=ROOT,
        PYTHON=sys.executable,
        ID=name,
        CONFIG=CONFIG,
        SAVES=folder / "saves",
        LOGS=folder / "log",
        OMP_NUM_THREADS=1,
        ARGS=" ".join([*flags(BATCH // 2), *DATA]),
    )


def flags(batch: int) -> list[str]:
    return ["--device", "cpu", "-b", str(batch), "-i", str(ITERATIONS)]


def losses(folder: Path, name: str) -> dict[int, float]:
    """Iteration to total loss, over all sessions of a training."""
    found = {}
    for file in folder.glob(f"log/*_{name}/*.jsonl"):
        for line in file.read_text().splitlines():
            record = json.loads(line) if line.endswith("}") else {}
            if record.get("kind") == "scalars":
                found[record["step"]] = record["values"]["train/total_loss"]
    return found


def final(folder: Path, name: str) -> dict[str, torch.Tensor]:
    (file,) = folder.glob(f"saves/*_{name}/*_{name}_{ITERATIONS}.pth")
    state: dict[str, torch.Tensor] = torch.load(file, weights_only=True)
    return state
