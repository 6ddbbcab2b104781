"""Every published training by the name of its original file, in a small network and size."""

import pytest
import torch

from stemseg.checkpoint import build_network
from stemseg.commands import train
from stemseg.config import load_config
from vidseg_common.errors import CheckpointError
from vidseg_common.logging import read_jsonl

HEADS = [f"MODEL.{name}" for name in ("EMBEDDINGS", "SEEDINESS", "SEMSEG")]
SMALL = [
    *("INPUT.MIN_DIM", 32, "INPUT.MAX_DIM", 64, "INPUT.IMAGE_STD", "60,60,60"),
    *("MODEL.BACKBONE.TYPE", "R-14-FPN", "MODEL.RESNETS.BACKBONE_OUT_CHANNELS", 16),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 16, "MODEL.RESNETS.STEM_OUT_CHANNELS", 8),
    *("MODEL.RESNETS.WIDTH_PER_GROUP", 4),
    *(word for head in HEADS for word in (f"{head}.INTER_CHANNELS", "16,16,16,16")),
    *(word for head in HEADS for word in (f"{head}.GN_NUM_GROUPS", 4)),
    *("TRAINING.MAX_ITERATIONS", 2),
]
#: Stage to the mode that names its folder, and to the stage that it starts from.
STAGES = {
    "davis_1": ("davis", None),
    "davis_2": ("davis", "davis_1"),
    "youtube_vis": ("youtube_vis", None),
    "kitti_mots_1": ("kitti_mots", None),
    "kitti_mots_2": ("kitti_mots", "kitti_mots_1"),
}


@pytest.fixture
def models(tmp_path, monkeypatch, long_training_data):
    """The folder of the models, with a backbone in the place of the published one."""
    monkeypatch.setenv("STEMSEG_MODELS_DIR", str(tmp_path))
    cfg = load_config("davis_1", opts=[str(word) for word in SMALL])
    state = build_network(cfg).backbone.state_dict()
    state["body.stem.conv1.weight"] *= 0.5
    (tmp_path / "pretrained").mkdir()
    torch.save(state, tmp_path / "pretrained" / cfg.MODEL.BACKBONE.PRETRAINED_WEIGHTS)
    return tmp_path


def run(stage, name, *more, opts=()):
    flags = ["--cfg", f"{stage}.yaml", "--model_dir", name, "--device", "cpu"]
    flags += ["--num_cpu_workers", 0, "--save_interval", 1, "--summary_interval", 1, *more]
    return train.main([str(word) for word in [*flags, "--opts", *SMALL, *opts]])


def load(path):
    return torch.load(path, weights_only=True)


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def backbone_of(state):
    start = "backbone."
    return {k.removeprefix(start): v for k, v in state.items() if k.startswith(start)}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_trains_from_what_it_is_published_with(models, stage):
    mode, before = STAGES[stage]
    place = models / "checkpoints" / mode
    more = []
    if before:
        assert run(before, before) == 0
        more = ["--initial_ckpt", place / before / "000002.pth"]
    assert run(stage, stage, *more) == 0
    assert sorted(path.name for path in (place / stage).glob("*.pth")) == [
        *("000001.pth", "000002.pth"),
    ]
    cfg = load_config(place / stage / "config.yaml")
    assert cfg.INPUT.NUM_FRAMES == load_config(stage).INPUT.NUM_FRAMES
    got = backbone_of(load(place / stage / "000002.pth")["model"])
    start = (
        backbone_of(load(place / before / "000002.pth")["model"])
        if before
        else load(next((models / "pretrained").iterdir()))
    )
    frozen = ("body.stem.", "body.layer1.") if stage != "davis_2" else ("",)
    moved = {name for name in got if not torch.equal(got[name], start[name])}
    assert not any(name.startswith(frozen) for name in moved)
    assert bool(moved) == (stage != "davis_2")


def test_session_is_restored_by_name(models):
    place = models / "checkpoints" / "davis"
    assert run("davis_1", "first") == 0
    assert run("davis_1", "second", "--restore_session", place / "first" / "000001.pth") == 0
    first, second = (load(place / name / "000002.pth") for name in ("first", "second"))
    assert_same(first["model"], second["model"])
    records = read_jsonl(place / "second/logs/training.jsonl")
    assert [r["step"] for r in records if r["kind"] == "scalars"] == [2]


@pytest.mark.parametrize("level", ["O0", "O1"])
def test_memory_options_together(models, level):
    """Mixed precision (bfloat16 on a CPU), gradient checkpointing and accumulation."""
    opts = ["TRAINING.MIXED_PRECISION", "true", "TRAINING.GRADIENT_CHECKPOINTING", "true"]
    opts += ["TRAINING.MIXED_PRECISION_OPT_LEVEL", level, "TRAINING.BATCH_SIZE", 4]
    assert run("davis_1", "small", opts=opts) == 0
    state = load(models / "checkpoints/davis/small/000002.pth")
    assert all(value.dtype == torch.float32 for value in state["model"].values())


def test_weights_that_are_not_used_are_told(models, capsys):
    assert run("davis_1", "first", opts=["TRAINING.MAX_ITERATIONS", 1]) == 0
    weights = models / "checkpoints/davis/first/000001.pth"
    capsys.readouterr()
    assert run("davis_1", "first", "--initial_ckpt", weights) == 0
    assert "--initial_ckpt is not used: " in capsys.readouterr().out
    assert run("davis_1", "other", "--initial_ckpt", weights) == 0
    assert "not used" not in capsys.readouterr().out


def test_absent_weights_are_told(models):
    with pytest.raises(CheckpointError, match=r"gone\.pth"):
        run("davis_2", "x", "--initial_ckpt", models / "gone.pth")
    with pytest.raises(CheckpointError, match=r"gone\.pth"):
        run("davis_2", "x", "--restore_session", models / "gone.pth")
    (next((models / "pretrained").iterdir())).unlink()
    with pytest.raises(CheckpointError, match=r"backbone\.pth: no such file; .*--initial_ckpt"):
        run("davis_1", "x")
