import argparse

import pytest
import torch
import yaml

from stemseg.commands import train
from stemseg.config import CONFIGS, load_config
from stemseg.feed import plan_batches
from stemseg.schedules import DecayFactor
from vidseg_common.errors import CheckpointError, ConfigError

STAGES = ("davis_1", "davis_2", "youtube_vis", "kitti_mots_1", "kitti_mots_2")


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.setenv("STEMSEG_MODELS_DIR", str(tmp_path))
    return tmp_path


def start_of(cfg, folder, **flags):
    flags = {"restore_session": None, "initial_ckpt": None, "no_resume": False} | flags
    return train.choose_start(argparse.Namespace(**flags), cfg, folder)


@pytest.mark.parametrize(
    ("stage", "iterations", "rates", "frames"),
    [
        ("davis_1", 50000, {0: 1, 39999: 1, 49999: 0.1}, 8),
        ("davis_2", 10000, {0: 1, 9999: 1}, 16),
        ("youtube_vis", 160000, {0: 1, 59999: 1, 159999: 0.01}, 8),
        ("kitti_mots_1", 80000, {0: 1, 59999: 1, 79999: 0.1}, 8),
        ("kitti_mots_2", 20000, {0: 1, 19999: 1}, 8),
    ],
)
def test_published_stages(stage, iterations, rates, frames):
    cfg = load_config(f"{stage}.yaml")
    assert iterations == cfg.TRAINING.MAX_ITERATIONS
    factor = DecayFactor(cfg.TRAINING)
    for iteration, want in rates.items():
        assert factor(iteration) == pytest.approx(want)
    assert cfg.TRAINING.INITIAL_LR == 0.001
    assert frames == cfg.INPUT.NUM_FRAMES
    assert (stage == "davis_2") == cfg.TRAINING.FREEZE_BACKBONE
    assert cfg.MODEL.BACKBONE.FREEZE_AT_STAGE == 2
    assert plan_batches(cfg.TRAINING).interval == 2
    assert plan_batches(cfg.TRAINING, world_size=2).interval == 1


@pytest.mark.parametrize("stage", STAGES)
def test_original_files_hold_original_keys_only(stage):
    text = yaml.safe_load((CONFIGS / f"{stage}.yaml").read_text())
    assert set(text) <= {"INPUT", "TRAINING", "MODEL", "DATA", "CLUSTERING"}
    assert "GRADIENT_CHECKPOINTING" not in text["TRAINING"]


def test_folder_of_a_model(models):
    cfg = load_config("kitti_mots_1")
    assert train.model_folder(models / "x", cfg) == models / "x"
    got = train.model_folder(train.Path("first"), cfg)
    assert got == models / "checkpoints" / "kitti_mots" / "first"


def test_folder_needs_the_variable(monkeypatch):
    monkeypatch.delenv("STEMSEG_MODELS_DIR", raising=False)
    with pytest.raises(ConfigError, match="STEMSEG_MODELS_DIR is not set"):
        train.model_folder(train.Path("first"), load_config("davis_1"))


def test_what_a_training_starts_with(models, tiny_config):
    cfg, folder = load_config("davis_1"), models / "model"
    with pytest.raises(CheckpointError, match=r"mask_rcnn_R_101_FPN_backbone\.pth: no such file"):
        start_of(cfg, folder)
    backbone = models / "pretrained" / cfg.MODEL.BACKBONE.PRETRAINED_WEIGHTS
    backbone.parent.mkdir()
    backbone.touch()
    assert start_of(cfg, folder).backbone == backbone
    assert start_of(cfg, folder, initial_ckpt="w.pth") == train.Start(weights="w.pth")
    folder.mkdir()
    for name in ("000100.pth", "000200.pth"):
        (folder / name).touch()
    newest = train.Start(session=folder / "000200.pth")
    assert start_of(cfg, folder) == start_of(cfg, folder, initial_ckpt="w.pth") == newest
    assert start_of(cfg, folder, no_resume=True) == train.Start(backbone=backbone)
    assert start_of(cfg, folder, restore_session="s.pth") == train.Start(session="s.pth")
    assert start_of(tiny_config(), models / "none") == train.Start()


def test_session_and_weights_exclude_each_other(capsys):
    flags = [
        "--model_dir",
        "m",
        "--cfg",
        "davis_1",
        "--initial_ckpt",
        "a",
        "--restore_session",
        "b",
    ]
    with pytest.raises(SystemExit):
        train.main(flags)
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--save_interval", "0", "save_interval"),
        ("--num_cpu_workers", "-1", "num_cpu_workers"),
        ("--log_level", "loud", "log_level"),
        ("--sav_interval", "5", "did you mean --save_interval"),
    ],
)
def test_unusable_flags(capsys, flag, value, message):
    with pytest.raises(SystemExit):
        train.main(["--model_dir", "m", "--cfg", "davis_1", flag, value])
    assert message in capsys.readouterr().err


def test_all_gpus_get_a_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    started = []

    class Process:
        def __init__(self, words):
            started.append(words)

        def wait(self):
            if len(started) == 1:
                started.append("interrupted once")
                raise KeyboardInterrupt
            return 3

    monkeypatch.setattr(train.subprocess, "Popen", Process)
    words = ["--model_dir", "m", "--cfg", "davis_1", "--allow_multigpu", "--master_port", "5"]
    assert train.main(words) == 3
    assert started[0][1:] == [
        *("-m", "torch.distributed.run", "--nproc-per-node=4", "--master-port=5"),
        *("--module", "stemseg", "train", *words),
    ]
    assert train._num_processes("cpu") == 1
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert train._num_processes("auto") == 1
