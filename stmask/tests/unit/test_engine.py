import json
import math

import pytest
import torch
from torch import nn

from stmask.checkpoint import load_network
from stmask.config import get_config
from stmask.data.setup import build_dataset
from stmask.engine import Trainer
from stmask.session import Interrupted, NonFiniteLossError, Saving, Start, TrainOptions
from vidseg_common.distributed import DistInfo
from vidseg_common.errors import CheckpointError, ConfigError, UserError

TERMS = ["BIoU", "C", "M", "T", "center", "B_shift", "M_shift"]


@pytest.fixture
def trainer(training_data, tiny_yaml, tmp_path):
    """Makes a training of the tiny network; keywords replace options."""

    def make(name="run", changes=None, **options):
        cfg = get_config(str(tiny_yaml)).copy(changes or {})
        dataset = build_dataset(cfg.train_dataset, cfg.num_classes)
        given = {"batch_size": 2, "num_workers": 0, "rate": 1e-3, **options}
        folder = tmp_path / name if name else None
        return Trainer(cfg, dataset, DistInfo(), folder, TrainOptions(**given))

    return make


def files(tmp_path, name="run"):
    return sorted(path.name for path in (tmp_path / name).glob("tiny*"))


def written(*numbers):
    """Names of checkpoints by epoch and iteration."""
    names = [f"tiny_train_{epoch}_{iteration}" for epoch, iteration in numbers]
    return sorted(f"{name}.{ending}" for name in names for ending in ("optim", "pth"))


def logged(tmp_path, name="run", kind="train"):
    lines = (tmp_path / name / "tiny_train.log").read_text().splitlines()
    return [record["data"] for line in lines if (record := json.loads(line))["type"] == kind]


def weights(run):
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def moved(before, run):
    after = run.network.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


def test_training_moves_every_weight_but_batch_norm(trainer):
    run = trainer(None)
    before = weights(run)
    assert run.run() == 6
    frozen = {
        f"{name}.{key}"
        for name, module in run.network.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key in module.state_dict()
    }
    assert frozen
    changed = moved(before, run)
    assert not changed & frozen
    # A bias stays zero where nothing asks for a change.
    assert changed >= {name for name in before.keys() - frozen if name.endswith("weight")}
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)  # behind the step


def test_batch_norm_is_trained_on_request(trainer):
    run = trainer(None, train_bn=True)
    before = weights(run)
    run.run()
    changed = moved(before, run)
    assert {name for name in before if ".bn" in name} <= changed
    # The configuration's own switch wins.
    assert not trainer(None, {"freeze_bn": True}, train_bn=True).step.train_bn


def test_files_log_and_console(trainer, tmp_path, capsys):
    run = trainer(changes={"max_iter": 12}, saving=Saving(interval=5), arguments={"config": "x"})
    run.run()
    assert files(tmp_path) == ["tiny_train.log", *written((0, 5), (1, 10), (2, 12))]
    network, _ = load_network(tmp_path / "run" / "tiny_train_2_12.pth", run.cfg)
    assert network.settings == run.network.settings
    (session,) = logged(tmp_path, kind="session")
    assert session == {"config": "x"}
    records = logged(tmp_path)
    assert [record["iter"] for record in records] == list(range(1, 13))
    assert list(records[0]["loss"]) == [*TERMS, "Total"]
    assert {"epoch", "lr", "elapsed"} < records[0].keys()
    assert records[-1]["epoch"] == 0 + 11 // run.epoch_length
    lines = [line for line in capsys.readouterr().out.splitlines() if "||" in line]
    assert len(lines) == 1
    assert lines[0].startswith("[  ")
    for part in (" 10 || BIoU: ", " | Total: ", " || ETA: 0:00:0", " || timer: "):
        assert part in lines[0]
    assert any((tmp_path / "run/train_log").glob("events*"))


def test_saving_rules(trainer, tmp_path):
    long = {"max_iter": 12}
    trainer("late", long, saving=Saving(interval=2, from_epoch=2)).run()
    assert [name for name in files(tmp_path, "late") if name.endswith("pth")] == [
        "tiny_train_2_12.pth"
    ]
    keeping = Saving(interval=2, keep_latest=True, keep_latest_interval=4)
    trainer("latest", long, saving=keeping).run()
    assert files(tmp_path, "latest") == ["tiny_train.log", *written((0, 4), (1, 8), (2, 12))]


def test_continues_bit_for_bit(trainer, tmp_path):
    straight = trainer("straight")
    straight.run()
    trainer("first", {"max_iter": 4}).run()
    middle = next((tmp_path / "first").glob("*_4.pth"))
    second = trainer("second", start=Start(resume=middle))
    assert second.iteration == 4
    second.run()
    assert moved(weights(straight), second) == set()
    assert [r["loss"] for r in logged(tmp_path, "straight")[4:]] == [
        r["loss"] for r in logged(tmp_path, "second")
    ]


def test_continues_with_weights_alone(trainer, tmp_path, capsys):
    trainer("first", {"max_iter": 2}).run()
    file = next((tmp_path / "first").glob("*_2.pth"))
    file.with_suffix(".optim").unlink()
    run = trainer("second", start=Start(resume=file))
    assert (run.iteration, run.optimiser.state) == (2, {})
    assert "the optimiser starts anew" in capsys.readouterr().out
    assert trainer("third", start=Start(resume=file, iteration=5)).iteration == 5
    other = file.with_name("mine.pth")
    file.rename(other)
    with pytest.raises(CheckpointError, match="give --start_iter"):
        trainer("fourth", start=Start(resume=other))


def test_side_file_of_other_weights_is_not_used(trainer, tmp_path):
    trainer("a", {"max_iter": 2}).run()
    trainer("b", {"max_iter": 2}, seed=1).run()
    a, b = (next((tmp_path / name).glob("*_2.pth")) for name in "ab")
    a.with_suffix(".optim").replace(b.with_suffix(".optim"))
    assert trainer("c", start=Start(resume=b)).optimiser.state == {}
    b.with_suffix(".optim").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"_2\.optim"):
        trainer("d", start=Start(resume=b))


def test_shares_of_a_batch_are_averaged(trainer):
    shared = trainer(None, batch_alloc=(1, 1))
    assert shared.interval == 2
    before = weights(shared)
    shared.run()
    assert moved(before, shared)


def test_delayed_settings(trainer, capsys):
    run = trainer(None, {"delayed_settings": [[3, {"train_track": False}]]})
    run.run()
    assert "from iteration 3 on: {'train_track': False}" in capsys.readouterr().out
    assert "T" not in run.log.averages.means()
    with pytest.raises(ConfigError, match="the network cannot change"):
        trainer(None, {"delayed_settings": [[0, {"embed_dim": 4}]]})


def test_step_without_finite_loss_is_skipped(trainer, capsys, monkeypatch):
    run = trainer(None)
    with torch.no_grad():
        run.network.prediction_layers[0].mask_layer[0].bias.fill_(torch.nan)
    before = {n: v for n, v in weights(run).items() if not v.isnan().any()}
    run.run()
    assert moved(before, run) == set()
    out = capsys.readouterr().out
    assert out.count("M is nan at iteration") == 6
    monkeypatch.setattr("stmask.engine.PATIENCE", 3)
    with torch.no_grad():
        (again := trainer(None)).network.prediction_layers[0].mask_layer[0].bias.fill_(torch.nan)
    with pytest.raises(NonFiniteLossError, match=r"as it was in 3 iterations in a row"):
        again.run()


def test_signal_saves_and_replaces_earlier_stops(trainer, tmp_path, monkeypatch):
    old = tmp_path / "run" / "tiny_train_0_1_interrupt.pth"
    old.parent.mkdir()
    old.touch()
    run = trainer()
    monkeypatch.setattr(run.agreement, "highest", lambda value: 15 if run.iteration == 3 else value)
    with pytest.raises(
        Interrupted, match=r"after 3 iterations; continue with --resume .*_3_interr"
    ):
        run.run()
    assert [path.name for path in old.parent.glob("*.pth")] == ["tiny_train_0_3_interrupt.pth"]
    silent = trainer("silent", saving=Saving(on_interrupt=False))
    monkeypatch.setattr(silent.agreement, "highest", lambda value: 15)
    with pytest.raises(Interrupted, match="nothing was saved"):
        silent.run()
    assert files(tmp_path, "silent") == ["tiny_train.log"]


def test_error_saves_what_is_there(trainer, tmp_path, monkeypatch):
    run = trainer()
    iterate = run._iterate

    def fail(batches, rate):
        if run.iteration == 2:
            raise UserError("frame 7 is damaged")
        return iterate(batches, rate)

    monkeypatch.setattr(run, "_iterate", fail)
    with pytest.raises(UserError, match="frame 7"):
        run.run()
    assert "tiny_train_0_2_interrupt.pth" in files(tmp_path)


def test_half_precision_on_cpu(trainer, tmp_path):
    run = trainer(amp="bf16", changes={"max_iter": 2})
    run.run()
    full = trainer("full", {"max_iter": 2})
    full.run()
    half, whole = (logged(tmp_path, name)[0]["loss"]["Total"] for name in ("run", "full"))
    assert math.isclose(half, whole, rel_tol=0.05)
    assert half != whole
    with pytest.raises(UserError, match="--amp fp16 needs a GPU"):
        trainer(amp="fp16")
