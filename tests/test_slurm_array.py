"""The scripts of shards, eval_array.sbatch and predict_array.sbatch, with stand-ins for SLURM."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("*/slurm/*_array.sbatch"))
#: What a user has to say.
SETTINGS = {"VIDEO": "clips more.mp4", "MASK": "masks", "MODEL": "m.pth", "ARGS": "--device cpu"}
STAND_INS = {
    "srun": 'printf "%s\\n" "$@"; env | grep -E "SRUN|OMP_" >&2',
    "sbatch": 'echo "$@" >> "$ASKED"; echo "$SHARDS" >> "$ASKED"; echo "7$(wc -l < "$ASKED");c"',
}


@pytest.fixture(params=SCRIPTS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def script(request):
    return request.param


@pytest.fixture
def start(tmp_path):
    """Runs a script with the stand-ins; gives its process when it has ended."""

    def run(script, **settings):
        for name, body in STAND_INS.items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / "common").symlink_to(ROOT / "common")
        given = {"REPO": str(tmp_path), "ASKED": str(tmp_path / "asked"), **settings}
        return subprocess.run(
            ["bash", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}", **given},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def test_there_are_two_for_each_method():
    methods = ["devis", "stcn", "stemseg", "stmask", "vatrack"]
    names = [(path.parts[-3], path.stem) for path in SCRIPTS]
    assert names == [(m, f"{k}_array") for m in methods for k in ("eval", "predict")]


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ({"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "4"}, "--num-shards 4 --shard 2"),
        (
            {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "1", "SHARDS": "8"},
            "--num-shards 8 --shard 3",
        ),
        ({"SHARDS": "8"}, "--num-shards 8 --merge"),
    ],
)
def test_a_task_runs_its_shard_and_another_job_merges(script, start, task, flags):
    done = start(script, PYTHON="py", SLURM_CPUS_PER_TASK="6", **SETTINGS, **task)
    assert done.returncode == 0, done.stderr
    words = done.stdout.split("\n")
    assert words[:2] == ["--ntasks=1", "py"]
    assert flags in " ".join(words)
    assert "--device\ncpu" in done.stdout
    assert "SRUN_CPUS_PER_TASK=6" in done.stderr and "OMP_NUM_THREADS=6" in done.stderr


def test_a_job_that_is_no_array_says_what_is_missing(script, start):
    done = start(script, **SETTINGS)
    assert done.returncode == 2
    assert done.stderr.startswith("error: SHARDS is missing")


def test_tasks_write_their_own_log_and_may_start_again(script):
    text = script.read_text()
    for line in ("--output=%x-%A_%a.out", "--requeue", "--open-mode=append", "--ntasks=1"):
        assert f"\n#SBATCH {line}\n" in text


def test_an_array_and_its_merge_are_submitted(start, tmp_path):
    submit = ROOT / "common/slurm/submit_array.sh"
    assert start(submit).returncode == 2
    script = tmp_path / "x.sbatch"
    script.touch()
    (tmp_path / "common").unlink()
    done = subprocess.run(
        [submit, script],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "ASKED": str(tmp_path / "asked"),
            "SHARDS": "4",
            "SBATCH": "--partition=long",
            "MERGE": "--gres=none",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "4 shards in job 72, merge in job 74\n"
    array, count, merge, again = (tmp_path / "asked").read_text().splitlines()
    assert array == f"--parsable --array=0-3 --partition=long {script}"
    assert merge.startswith("--parsable --dependency=afterok:72 --kill-on-invalid-dep=yes")
    assert merge.endswith(f" --partition=long --gres=none {script}")
    assert (count, again) == ("4", "4")
