"""Trainings from start to end, as a user starts them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stcn.commands import train
from stcn.commands.eval_davis import main_2017
from stcn.config import CONFIGS
from stcn.engine import RunFolder, Trainer
from stcn.feed import build_loader
from stcn.losses import SequenceLoss
from stcn.model.training import TrainingModel
from vidseg_common.distributed import DistInfo
from vidseg_common.masks import read_mask, write_mask
from vidseg_common.metrics.davis_jf import evaluate_davis
from vidseg_common.synthetic import SceneOptions, generate_video
from vidseg_common.synthetic_writers import write_davis

TRAIN = Path(__file__).parents[2] / "train.py"
SLURM = Path(__file__).parents[2] / "slurm" / "train.sbatch"
MASK_CONV = "value_encoder.conv1.weight"

#: Objects that stay in sight and have no thin parts, nothing that resembles or hides them.
CALM = SceneOptions(
    min_area=0.1,
    max_area=0.2,
    late_entry=0,
    leave=0,
    articulated=0,
    distractors=0,
    similar=0,
    occluders=0,
    motion_blur=0,
    defocus=0,
)

# Runs train.py; after an iteration it shows that it is there and waits to be let on.
PAUSING = """
import os, pathlib, runpy, sys, time
from stcn.engine import Trainer

folder, report = pathlib.Path(os.environ["PAUSE_FOLDER"]), Trainer._report

def pause(self, seconds):
    report(self, seconds)
    if self.iteration == 3:
        (folder / "reached").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)

Trainer._report = pause
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

# Runs train.py in one of several processes: keeps its first gradients and its last weights; the
# second process is told to stop after the fourth iteration, or fails there.
RECORDING = """
import os, pathlib, runpy, signal, sys, torch
from stcn.engine import Trainer

folder, run, iterate = pathlib.Path(os.environ["RECORD_FOLDER"]), Trainer.run, Trainer._iterate

def record(self):
    self.gradients = None
    try:
        return run(self)
    finally:
        content = {"it": self.iteration, "first": self.gradients, "w": self.network.state_dict()}
        torch.save(content, folder / f"rank{self.dist.rank}.pth")

def keep(self, batch):
    out = iterate(self, batch)
    named = self.network.named_parameters()
    self.gradients = self.gradients or {n: p.grad.clone() for n, p in named}
    if self.dist.rank == 1 and self.iteration == 4:
        if "FAIL" in os.environ:
            (folder / "failed").touch()
            raise RuntimeError("fails on purpose")
        signal.raise_signal(signal.SIGTERM)
    return out

Trainer.run, Trainer._iterate = record, keep
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def words(config, root, place, name, *more):
    """The command line of a small training on a CPU."""
    flags = ["--config", config, "--davis_root", root, "--device", "cpu", "--id", name]
    folders = ["--saves", place / "saves", "--log_folder", place / "log"]
    return [str(word) for word in [*flags, *folders, *more]]


def only(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


def load(path):
    return torch.load(path, weights_only=True)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


@pytest.mark.slow
def test_learns_two_clips_from_random_weights(tmp_path):
    root = tmp_path / "DAVIS"
    clips = [generate_video(seed, 16, 96, 144, n, CALM) for seed, n in ((4, 1), (5, 2))]
    for split in ("train", "val"):
        names = write_davis(clips, root / "2017/trainval", split=split)
    assert train.main(words(CONFIGS / "overfit.yaml", root, tmp_path, "two")) == 0
    weights = only(tmp_path / "saves", "*_two/*_two_[0-9]*.pth")
    out = tmp_path / "masks"
    assert main_2017(f"--davis_path {root}/2017 --output {out} --model {weights}".split()) == 0
    result = json.loads((tmp_path / "masks_metrics/result.json").read_text())
    assert result["global"]["J&F-Mean"] >= 0.8
    assert copied_first_masks(root / "2017/trainval/Annotations/480p", names, tmp_path) < 0.5


def copied_first_masks(truth, names, tmp_path):
    """J&F of the first mask as the answer for every frame: how much the objects move."""
    for name in names:
        first = read_mask(truth / name / "00000.png")
        for path in (truth / name).glob("*.png"):
            write_mask(tmp_path / "copies" / name / path.name, first)
    result = evaluate_davis(truth, tmp_path / "copies", names, progress=False)
    return result.to_json()["global"]["J&F-Mean"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_process_goes_on_bit_for_bit(train_yaml, train_root, tmp_path, number, status):
    more = ["--num_workers", 2, "min_final_iterations", 5000, "save_every", 6]
    script = tmp_path / "pausing.py"
    script.write_text(PAUSING)
    process = subprocess.Popen(
        [sys.executable, script, TRAIN, *words(train_yaml, train_root, tmp_path, "cut", *more)],
        env=os.environ | {"PAUSE_FOLDER": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(tmp_path / "reached", process)
    os.killpg(process.pid, number)  # the loader's processes get it as well
    time.sleep(0.2)
    (tmp_path / "go").touch()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == status, output + errors
    file = only(tmp_path / "saves", "*_cut/*_cut_checkpoint.pth")
    name = signal.Signals(number).name
    expected = f"stopped by {name} after 3 iterations; continue with --load_model {file}"
    assert expected in errors
    assert load(file)["it"] == 3
    resume = ["--load_model", file, *more]
    assert train.main(words(train_yaml, train_root, tmp_path, "again", *resume)) == 0
    assert train.main(words(train_yaml, train_root, tmp_path, "straight", *more)) == 0
    runs = ("*_again/*_checkpoint.pth", "*_straight/*_checkpoint.pth")
    states = [load(only(tmp_path / "saves", pattern)) for pattern in runs]
    assert_same(states[0]["network"], states[1]["network"])
    for moments, other in zip(*(s["optimizer"]["state"].values() for s in states), strict=True):
        assert_same(moments, other)


def wait_for(path, process):
    deadline = time.monotonic() + 240
    while not path.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate())
        time.sleep(0.05)


def two_processes(tmp_path, *command, **more):
    """Runs RECORDING in two processes."""
    script = tmp_path / "recording.py"
    script.write_text(RECORDING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launch, script, TRAIN, *command],
        env=os.environ | {"RECORD_FOLDER": str(tmp_path), "OMP_NUM_THREADS": "1", **more},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_process_that_fails_ends_all(train_yaml, train_root, tmp_path):
    command = words(train_yaml, train_root, tmp_path, "two", "batch_size", 1)
    done = two_processes(tmp_path, *command, FAIL="1")
    assert done.returncode != 0
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 60
    assert "in keep" in done.stderr and "RuntimeError: fails on purpose" in done.stderr


@pytest.mark.slow
def test_two_processes_train_as_one(train_yaml, train_root, train_config, tmp_path):
    more = ["min_final_iterations", 5000]
    done = two_processes(tmp_path, *words(train_yaml, train_root, tmp_path, "two", *more))
    text = done.stdout + done.stderr
    assert (tmp_path / "rank1.pth").exists(), text
    ranks = [load(tmp_path / f"rank{rank}.pth") for rank in (0, 1)]
    # A signal to one process stops both after the same iteration, and the first one saves.
    assert [rank["it"] for rank in ranks] == [4, 4], text
    assert text.count("stopped by SIGTERM after 4 iterations") == 1
    assert_same(ranks[0]["w"], ranks[1]["w"])
    assert_same(load(only(tmp_path / "saves", "*_two/*_two_4.pth")), ranks[0]["w"])
    assert len(list((tmp_path / "saves").iterdir())) == 1
    assert len(list((tmp_path / "log").glob("*/*.jsonl"))) == 1
    assert text.count("It      2 [TRAIN] [total_loss   ]") == 1
    assert_gradients_of_joint_batch(ranks, train_config())


def assert_gradients_of_joint_batch(ranks, config):
    """Both processes stepped with the gradients of their two batches taken as one."""
    assert_same(ranks[0]["first"], ranks[1]["first"])
    loaders = [build_loader(config, rank=rank, world_size=2) for rank in (0, 1)]
    parts = [next(iter(loader.batches(0, 1))) for loader in loaders]
    assert parts[0]["info"]["name"] + parts[1]["info"]["name"] != 2 * parts[0]["info"]["name"]
    fields = ("rgb", "gt", "sec_gt", "selector", "cls_gt")
    joint = {name: torch.cat([part[name] for part in parts]) for name in fields}
    network = initial_network(config)
    masks = torch.cat([joint["gt"][:, 0], joint["sec_gt"][:, 0]], 1)
    out = TrainingModel(network).eval()(joint["rgb"], masks, joint["selector"])
    logits = [out["logits_1"], out["logits_2"]]
    SequenceLoss()(logits, joint["cls_gt"], joint["selector"], 0)["total_loss"].backward()
    for name, parameter in network.named_parameters():
        largest = max(1.0, float(parameter.grad.abs().max()))
        gap = float((parameter.grad - ranks[0]["first"][name]).abs().max())
        assert gap <= 1e-6 * largest, name


def initial_network(config):
    """The random weights that a training of this configuration starts from."""
    return Trainer(config, DistInfo(), RunFolder("", None, None)).network


@pytest.fixture
def static_root(tmp_path):
    """Every folder of the static stage, one image each."""
    rng = np.random.default_rng(0)
    for folder in ("fss/thing", "DUTS-TR", "DUTS-TE", "ecssd", "BIG_small", "HRSOD_small"):
        place = tmp_path / "static" / folder
        place.mkdir(parents=True)
        mask = np.zeros((60, 70), np.uint8)
        mask[15:45, 20:55] = 255
        image = rng.integers(0, 255, (60, 70, 3), dtype=np.uint8)
        Image.fromarray(image).save(place / "a.jpg")
        Image.fromarray(mask).save(place / "a.png")
    return tmp_path / "static"


@pytest.mark.slow
def test_stage_0_then_stage_3(train_yaml, train_root, static_root, tmp_path):
    pairs = ["stage", 0, "data.source", "static", "network.others_channel", "false"]
    flags = ["-i", 2, "--static_root", static_root]
    assert train.main(words(train_yaml, train_root, tmp_path, "s0", *flags, *pairs)) == 0
    first = only(tmp_path / "saves", "*_s0/*_s0_2.pth")
    flags = ["-i", 1, "--lr", 0, "--load_network", first]
    assert train.main(words(train_yaml, train_root, tmp_path, "s03", *flags)) == 0
    before, after = load(first), load(only(tmp_path / "saves", "*_s03/*_s03_1.pth"))
    assert before[MASK_CONV].shape[1] == 4
    extra = after[MASK_CONV][:, 4].flatten(1)
    assert torch.allclose(extra @ extra.T, torch.eye(len(extra)), atol=1e-5)
    after[MASK_CONV] = after[MASK_CONV][:, :4]
    assert_same(before, after)


def test_no_name_writes_nothing(train_yaml, train_root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--config", train_yaml, "--davis_root", train_root, "--device", "cpu", "-i", 1]
    assert train.main([str(word) for word in flags]) == 0
    assert list(tmp_path.iterdir()) == []


def test_unusable_input_is_one_line(train_yaml, train_root, tmp_path):
    blocked = tmp_path / "saves"
    blocked.write_text("in the way")
    done = subprocess.run(
        [sys.executable, TRAIN, *words(train_yaml, train_root, tmp_path, "x")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write into the output folder")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "log").exists()


def test_cluster_script_hands_everything_on(tmp_path):
    for name, body in (("scontrol", "seq -f node%g 7 20000"), ("srun", 'printf "%s\\n" "$@"')):
        tool = tmp_path / name
        tool.write_text(f"#!/bin/bash\n{body}\n")
        tool.chmod(0o755)
    (tmp_path / "common").symlink_to(SLURM.parents[2] / "common")
    run = tmp_path / "kept/Nov21_10.00.00_s3"
    run.mkdir(parents=True)
    (run / "Nov21_10.00.00_s3_checkpoint.pth").touch()
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "REPO": str(tmp_path),
        "PYTHON": "python3",
        "SLURM_JOB_NODELIST": "node[7-8]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_JOB_ID": "1234",
        "SLURM_GPUS_ON_NODE": "4",
        "STAGE": "3",
        "ID": "s3",
        "LOAD": "first.pth",
        "SAVES": "kept",
        "ARGS": "-b 2 data.crop 96",
    }
    common = ["train.py", "--id s3", "--rdzv-endpoint=node7:21234", "-b 2 data.crop 96"]
    fresh = run_script(settings)
    assert all(part in fresh for part in [*common, "--stage 3", "--nnodes=2", "--nproc-per-node=4"])
    assert "--load_network first.pth" in fresh and "--load_model" not in fresh
    restarted = run_script(settings | {"SLURM_RESTART_COUNT": "1"})
    assert "--load_network" not in restarted
    assert "--load_model kept/Nov21_10.00.00_s3/Nov21_10.00.00_s3_checkpoint.pth" in restarted
    configured = run_script(settings | {"CONFIG": "own.yaml"})
    assert "--config own.yaml --id s3" in configured and "--stage" not in configured


def run_script(environment):
    done = subprocess.run(
        ["bash", str(SLURM)], env=environment, capture_output=True, text=True, check=True
    )
    return " ".join(done.stdout.split())
