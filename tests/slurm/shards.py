"""An evaluation of STCN as an array of four shards with a dependent merge, as in one run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cluster import Cluster

from vidseg_common.synthetic import SceneOptions, generate_video
from vidseg_common.synthetic_writers import write_davis

ROOT = Path(__file__).resolve().parents[2]
SUBMIT = ROOT / "common" / "slurm" / "submit_array.sh"
SCRIPT = "stcn/slurm/eval_array.sbatch"
WEIGHTS = ROOT / "stcn" / "stcn" / "weights" / "stcn_demo.safetensors"
LENGTHS = (7, 3, 5, 4, 6, 3)
NODE = "--cpus-per-task=1 --mem=300M --time=10"
SECONDS = 240.0


def check_shards(cluster: Cluster, folder: Path) -> str:
    """Four shards put together are the files and the metric of one run."""
    options = SceneOptions(min_area=0.05, max_area=0.2, late_entry=0)
    videos = [generate_video(k, n, 48, 64, options=options) for k, n in enumerate(LENGTHS)]
    data = folder / "DAVIS" / "2017" / "trainval"
    write_davis(videos, data)
    words = f"--davis_path {folder}/DAVIS/2017 --model {WEIGHTS} --device cpu --workers 1"
    settings = {
        "SHARDS": "4",
        "SBATCH": f"{NODE} --output={folder}/%j.out",
        "REPO": str(ROOT),
        "PYTHON": sys.executable,
        "OUT": str(folder / "shards"),
        "ARGS": words,
        "OMP_NUM_THREADS": "1",
    }
    submitted = run([SUBMIT, SCRIPT], cluster.environment | settings)
    found = re.fullmatch(r"4 shards in job (\d+), merge in job (\d+)", submitted.strip())
    assert found, submitted
    cluster.wait(found[2], SECONDS)
    command = [sys.executable, "-m", "stcn", "eval", "davis2017", "--output", folder / "whole"]
    run([*command, *words.split()], os.environ | {"OMP_NUM_THREADS": "1"})
    for ending in ("", "_metrics"):
        at_once, merged = (content(folder / f"{name}{ending}") for name in ("whole", "shards"))
        assert at_once and at_once == merged, f"{sorted(at_once)} is not {sorted(merged)}"
    masks = sum(LENGTHS)
    return f"{masks} masks of {len(LENGTHS)} videos and the metric, the same bytes"


def run(command: list[object], environment: dict[str, str]) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def content(folder: Path) -> dict[str, bytes]:
    """Files below a folder; `run.json` has times, which differ."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
