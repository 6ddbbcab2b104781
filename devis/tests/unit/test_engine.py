import json
import math

import pytest
import torch

from devis.checkpoint import read_checkpoint
from devis.data.build import train_dataset
from devis.engine import Trainer
from devis.session import Interrupted, NonFiniteLossError, TrainOptions
from vidseg_common.distributed import DistInfo
from vidseg_common.errors import CheckpointError, ConfigError, DatasetError, UserError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout

RANDOM = "none"


@pytest.fixture
def trainer(tiny, tmp_path):
    """Makes a training of the tiny network from random weights."""

    def make(*opts, folder="run", **options):
        cfg = tiny("OUTPUT_DIR", str(tmp_path / (folder or "none")), *opts)
        place = tmp_path / folder if folder else None
        given = TrainOptions(**{"backbone": RANDOM, **options})
        return Trainer(cfg, train_dataset(cfg), DistInfo(), place, given)

    return make


def stop_after(run, steps, monkeypatch, number=15):
    """Lets a training get a signal after some steps."""
    highest = run.agreement.highest

    def ask(value):
        return number if run.iteration == steps and value == 0 else highest(value)

    monkeypatch.setattr(run.agreement, "highest", ask)


def weights(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    assert [name for name, value in a.items() if not torch.equal(value, b[name])] == []


def resume(path):
    return ("MODEL.WEIGHTS", str(path), "SOLVER.RESUME_OPTIMIZER", True)


def test_training_moves_every_weight(trainer):
    run = trainer(folder=None)
    before = weights(run)
    assert run.run() == 2
    still = {name for name, value in weights(run).items() if torch.equal(value, before[name])}
    # Nothing asks for a change of a bias that moves all scores of an attention alike.
    assert {n for n in still if n.endswith("weight")} == set()
    assert run.iteration == 2 * run.epoch_length == 16


def test_groups_and_steps(trainer):
    run = trainer(folder=None)
    rates = [group["lr"] for group in run.optimiser.param_groups]
    assert rates == pytest.approx([1e-3, 2e-5, 1e-4, 1e-3, 1e-4])
    assert run.optimiser.param_groups[0]["weight_decay"] == 1e-4
    run.run()
    assert [g["lr"] for g in run.optimiser.param_groups] == pytest.approx([r / 10 for r in rates])


def test_gamma_and_start_epoch(trainer):
    opts = ("SOLVER.STEPS", "[1,3]", "SOLVER.GAMMA", 0.5, "START_EPOCH", 3, "SOLVER.EPOCHS", 4)
    run = trainer(*opts, folder=None)
    assert run.epoch == 2
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(5e-4)
    run.optimiser.step()  # without gradients
    run._finish_epoch(evaluate=False)
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(2.5e-4)


def test_files(trainer, tmp_path, capsys):
    run = trainer("SOLVER.CHECKPOINT_INTERVAL", 2, "VISDOM_AND_LOG_INTERVAL", 4)
    run.run()
    folder = tmp_path / "run"
    assert sorted(p.name for p in folder.glob("*.pth")) == [
        "checkpoint.pth",
        "checkpoint_epoch_2.pth",
    ]
    file = torch.load(folder / "checkpoint.pth", weights_only=True)
    original = {"model", "optimizer", "lr_scheduler", "epoch", "cfg", "vis_win_names"}
    assert original | {"best_val_stats"} <= file.keys()
    assert file["epoch"] == 2 and file["cfg"]["SOLVER"]["EPOCHS"] == 2
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Epoch")]
    assert [line.split("  ")[1] for line in lines] == ["[0/8]", "[4/8]", "[7/8]"] * 2
    for part in ("eta: 0:00:", "loss: ", "class_error: ", "loss_mask_0: ", "loss_ce_unscaled: "):
        assert part in lines[0]
    assert "lr_temporal_linear_proj: 0.0001 (0.0001)" in lines[0]
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [1, 5, 8, 9, 13, 16]
    assert any(folder.glob("events*"))


def test_last_checkpoint_only(trainer, tmp_path):
    trainer("SOLVER.CHECKPOINT_INTERVAL", 0, "SOLVER.EPOCHS", 1).run()
    assert [p.name for p in (tmp_path / "run").glob("*.pth")] == ["checkpoint.pth"]


@pytest.mark.parametrize("steps", [3, 8, 11])
def test_stopped_training_continues_bit_for_bit(trainer, tmp_path, monkeypatch, steps):
    straight = trainer("MODEL.DROPOUT", 0.2, folder=None)
    straight.run()
    first = trainer("MODEL.DROPOUT", 0.2)
    stop_after(first, steps, monkeypatch)
    with pytest.raises(Interrupted, match=f"after {steps} steps; continue with --resume"):
        first.run()
    second = trainer("MODEL.DROPOUT", 0.2, *resume(tmp_path / "run/checkpoint.pth"))
    assert second.iteration == steps
    second.run()
    assert_same(weights(straight), weights(second))
    old, new = (r.optimiser.state_dict() for r in (straight, second))
    assert old["param_groups"] == new["param_groups"]
    for key, moments in old["state"].items():
        assert_same(moments, new["state"][key])
    assert straight.schedule.state_dict() == second.schedule.state_dict()


def test_evaluation_does_not_change_the_training(trainer, tmp_path):
    plain = trainer(folder=None)
    plain.run()
    run = trainer("TEST.EVAL_PERIOD", 1)
    run.run()
    assert_same(weights(plain), weights(run))
    assert run.network.training
    for epoch in (1, 2):
        assert (tmp_path / f"run/eval_results/epoch_{epoch}/results.json").exists()


def test_images_have_losses_and_best_checkpoints(tiny, tmp_path):
    for split in ("train", "val"):
        videos = generate_videos(5, 2, 2, 48, 64, 2)
        write_layout("coco", videos, tmp_path / "COCO", split=split)
    opts = ("DATASETS.TYPE", "coco", "DATASETS.TRAIN_DATASET", "train", "SOLVER.BATCH_SIZE", 2)
    root = ("DATASETS.DATA_PATH", str(tmp_path), "OUTPUT_DIR", str(tmp_path / "run"))
    cfg = tiny(*opts, *root, "DATASETS.VAL_DATASET", "val", "TEST.EVAL_PERIOD", 1)
    run = Trainer(
        cfg, train_dataset(cfg), DistInfo(), tmp_path / "run", TrainOptions(backbone=RANDOM)
    )
    assert run.epoch_length == 2
    assert run.run() == 2
    records = [json.loads(x) for x in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    (first, second) = (r["values"] for r in records if "val/bbox_AP" in r["values"])
    wanted = {"val/loss", "val/loss_mask", "val/loss_giou_unscaled", "val/class_error"}
    assert wanted | {"val/segm_AP50", "val/MASK AP IoU=0.50:0.95"} <= first.keys() == second.keys()
    terms = sum(v for k, v in first.items() if k[4:9] == "loss_" and not k.endswith("_unscaled"))
    assert terms == pytest.approx(first["val/loss"], rel=1e-4)
    stats = torch.load(tmp_path / "run/checkpoint.pth", weights_only=True)["best_val_stats"]
    best = {"BBOX": "val/bbox_AP", "MASK": "val/segm_AP"}
    assert stats == {kind: max(first[key], second[key]) for kind, key in best.items()}
    for kind in best:
        assert (tmp_path / f"run/checkpoint_best_{kind}_AP_IoU_0_50-0_95.pth").exists()


def test_evaluation_that_fails_does_not_end_the_training(trainer, capsys):
    run = trainer("TEST.EVAL_PERIOD", 1, "DATASETS.VAL_DATASET", "yt_vis_val_19")
    assert run.run() == 2
    assert capsys.readouterr().out.count("is not evaluated: ") == 2


def test_checkpoint_of_the_original_program(trainer, tmp_path):
    """It has no counters of ours and the epoch alone says where to go on; rates are kept."""
    run = trainer("SOLVER.EPOCHS", 1)
    run.run()
    content = torch.load(tmp_path / "run/checkpoint.pth", weights_only=True)
    for name in ("iteration", "rng", "data", "scaler"):
        del content[name]
    content["cfg"] = {}
    old = tmp_path / "old.pth"
    torch.save(content, old, _use_new_zipfile_serialization=False)
    again = trainer(*resume(old), folder="b")
    assert (again.epoch, again.iteration) == (1, 8)
    assert again.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)  # decayed, as stored
    assert again.run() == 2


def test_other_schedule_is_told(trainer, tmp_path, capsys):
    trainer("SOLVER.EPOCHS", 1).run()
    path = tmp_path / "run/checkpoint.pth"
    trainer(*resume(path), "SOLVER.STEPS", "[5]", "SEED", 1, folder="b")
    out = capsys.readouterr().out
    assert "warning: SOLVER.STEPS stays [1] as in the checkpoint, not [5]" in out
    assert "other samples than before: seed was 42, is 1" in out


def test_what_cannot_be_continued(trainer, tmp_path):
    trainer("SOLVER.EPOCHS", 1).run()
    path = tmp_path / "run/checkpoint.pth"
    bare = tmp_path / "bare.pth"
    torch.save({"model": read_checkpoint(path).model}, bare)
    with pytest.raises(CheckpointError, match="lacks optimizer, lr_scheduler, epoch"):
        trainer(*resume(bare))
    with pytest.raises(CheckpointError, match="its optimiser has other parameters or groups"):
        trainer(*resume(path), "SOLVER.FROZEN_PARAMS", "['class_embed']")
    with pytest.raises(CheckpointError, match="no such file"):
        trainer(*resume(tmp_path / "none.pth"))


def test_weights_are_adapted_without_resuming(trainer, tmp_path, capsys):
    trainer("SOLVER.EPOCHS", 1).run()
    capsys.readouterr()
    run = trainer("MODEL.WEIGHTS", str(tmp_path / "run/checkpoint.pth"), folder="b")
    out = capsys.readouterr().out
    assert "from scratch: def_detr.class_embed.0.weight" in out
    assert run.iteration == 0


def test_non_finite_loss_stops_at_once(trainer, tmp_path):
    run = trainer()
    with torch.no_grad():
        run.network.mask_head.lay1.regular_conv.weight.fill_(math.nan)
    with pytest.raises(NonFiniteLossError, match=r"at step 1, epoch 1 \(video \d+, .*loss_mask"):
        run.run()
    assert list((tmp_path / "run").glob("*.pth")) == []


def test_error_in_the_middle_saves(trainer, tmp_path, monkeypatch):
    run = trainer()
    iterate = run._iterate

    def fail(parts):
        if run.iteration == 3:
            raise RuntimeError("out of memory")
        return iterate(parts)

    monkeypatch.setattr(run, "_iterate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.run()
    assert torch.load(tmp_path / "run/checkpoint.pth", weights_only=True)["iteration"] == 3


def test_half_precision_and_checkpointing(trainer):
    run = trainer(folder=None, amp="bf16", checkpointing=True)
    assert run.run() == 2
    assert all(torch.isfinite(value).all() for value in weights(run).values())
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        trainer(folder=None, amp="fp16")


def test_gradient_is_clipped(trainer):
    for limit, wanted in ((0.1, 0.1), (0.0, None)):
        run = trainer("SOLVER.GRAD_CLIP_MAX_NORM", limit, folder=None)
        run._iterate([next(run._batches(0, 1))])
        grads = [p.grad.norm() for p in run.network.parameters() if p.grad is not None]
        norm = torch.stack(grads).norm()
        assert norm == pytest.approx(0.1, rel=1e-3) if wanted else norm > 1


def test_too_few_samples(trainer):
    with pytest.raises(ConfigError, match=r"a step takes 9 samples .* the training set has 8"):
        trainer(folder=None, accumulate=9)


def test_missing_data(tiny, tmp_path):
    with pytest.raises(DatasetError, match="no annotation file"):
        train_dataset(tiny("DATASETS.DATA_PATH", str(tmp_path)))
