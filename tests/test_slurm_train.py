"""The train.sbatch of every method, with stand-ins for the programs of SLURM."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = sorted(ROOT.glob("*/slurm/train.sbatch"))
STAND_INS = {
    "scontrol": 'case $1 in show) printf "node7\\nnode8\\n";; *) echo "$@" >> "$REPO/asked";; esac',
    # A training: it ends by itself when it may, or with the file that tells it to save.
    "srun": 'printf "%s\\n" "$@" > "$REPO/words"; touch "$REPO/reached"\n'
    'while [ ! -e "$VIDSEG_STOP_FILE" ] && [ ! -e "$REPO/go" ]; do sleep 0.02; done\n'
    '[ ! -e "$VIDSEG_STOP_FILE" ] || exit ${STOPPED:-1}\nexit ${ENDED:-0}',
}


@pytest.fixture(params=SCRIPTS, ids=lambda path: path.parts[-3])
def script(request):
    return request.param


def start(script, folder, **more):
    for name, body in STAND_INS.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "common").symlink_to(ROOT / "common")
    settings = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "REPO": str(folder),
        "PYTHON": "python3",
        "TMPDIR": str(folder),
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "1234",
        **more,
    }
    process = subprocess.Popen(["bash", script], env=settings, stderr=subprocess.PIPE, text=True)
    wait_for(folder / "reached", process)
    return process


def wait_for(path, process):
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)


def end(process):
    _, errors = process.communicate(timeout=60)
    return process.returncode, errors


def test_there_is_one_for_each_method():
    assert [path.parts[-3] for path in SCRIPTS] == ["devis", "stcn", "stemseg", "stmask", "vatrack"]


def test_time_is_up_so_it_saves_and_queues_again(script, tmp_path):
    process = start(script, tmp_path)
    process.send_signal(signal.SIGUSR1)
    status, errors = end(process)
    assert status == 0
    assert errors == "job 1234 goes back into the queue and continues from what was saved\n"
    assert (tmp_path / "asked").read_text() == "requeue 1234\n"
    assert not (tmp_path / "stop-1234").exists()
    words = (tmp_path / "words").read_text()
    assert "--nnodes=2\n--nproc-per-node=1\n--rdzv-id=1234\n" in words
    assert "--rdzv-endpoint=node7:21234\n" in words


def test_a_training_that_just_ended_is_not_queued_again(script, tmp_path):
    process = start(script, tmp_path, STOPPED="0")
    process.send_signal(signal.SIGUSR1)
    assert end(process) == (0, "")
    assert not (tmp_path / "asked").exists()


def test_the_script_outlives_a_training_that_is_ended(script, tmp_path):
    process = start(script, tmp_path, ENDED="7")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert process.poll() is None
    (tmp_path / "go").touch()
    assert end(process) == (7, "")
    assert not (tmp_path / "asked").exists()


def test_slurm_asks_the_script_alone_and_may_start_it_again(script):
    text = script.read_text()
    for line in ("--signal=B:USR1@120", "--requeue", "--open-mode=append"):
        assert f"\n#SBATCH {line}\n" in text
