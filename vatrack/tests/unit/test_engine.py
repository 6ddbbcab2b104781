"""The training loop on pairs made up here: saving, resuming, stopping, what is not finite."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vatrack.checkpoint import read_checkpoint
from vatrack.engine import Trainer
from vatrack.feed import GroupOrder, Shares, make_feed
from vatrack.losses.batch import FrameTargets, PairSample
from vatrack.losses.settings import LossSettings, ProposalSettings
from vatrack.losses.training import total_loss
from vatrack.model import ModelSettings, build
from vatrack.saved import LATEST
from vatrack.schedules import Schedule
from vatrack.session import Interrupted, NonFiniteLossError, Plan, RunOptions
from vatrack.start import load_start
from vatrack.train_settings import TrainSettings
from vatrack.training_step import step_generator
from vidseg_common import distributed
from vidseg_common.errors import CheckpointError, ConfigError, UserError

HW = (32, 64)
MODEL = ModelSettings(
    kind="vatrack",
    blocks=(1, 1, 1, 1),
    stem_channels=8,
    fpn_channels=8,
    fc_channels=16,
    norm_groups=4,
    embed_dim=8,
    mask_convs=1,
    track_convs=1,
)
LIMITS = ProposalSettings(50, 30)
LOSSES = replace(LossSettings(), key_proposals=LIMITS, ref_proposals=LIMITS)
TRAINING = TrainSettings(
    epochs=2,
    samples_per_gpu=2,
    workers_per_gpu=0,
    schedule=Schedule(lr=0.01, warmup_iters=3),
    log_interval=2,
    seed=3,
)
CPU = distributed.DistInfo(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@dataclass
class Pairs:
    """Frames with one rectangle each; every draw depends on the key's seed alone."""

    num: int = 6
    spoilt: tuple = ()
    empty: tuple = ()
    seen: list = field(default_factory=list)

    @property
    def groups(self):
        return [i % 2 for i in range(self.num)]

    def __len__(self):
        return self.num

    def __getitem__(self, key):
        rng = np.random.default_rng(key.seed)
        self.seen.append(tuple(key))
        frames = []
        for _ in range(2):
            x, y = rng.integers(0, 30), rng.integers(0, 10)
            box = [] if key.item in self.empty else [[x, y, x + 30, y + 20]]
            masks = torch.zeros((len(box), *HW), dtype=torch.uint8)
            masks[:, y : y + 20, x : x + 30] = 1
            boxes = torch.tensor(box, dtype=torch.float32).reshape(-1, 4)
            zeros = torch.zeros(len(box), dtype=torch.int64)
            image = torch.from_numpy(rng.standard_normal((3, *HW)).astype("float32"))
            if key.item in self.spoilt:
                image[:] = float("nan")
            frames += [image, FrameTargets(boxes, zeros, zeros, HW, HW, masks, masks)]
        return PairSample(*frames, name=f"frame{key.item}")


def trainer(folder, dataset=None, options=None, validation=None, **changes):
    plan = Plan(MODEL, LOSSES, replace(TRAINING, **changes), "x = 1\n", ("person",))
    return Trainer(plan, dataset or Pairs(), CPU, folder, options, validation)


def weights(path):
    return read_checkpoint(path).state


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_checkpoints_and_logs(tmp_path):
    run = trainer(tmp_path)
    assert run.run() == 8  # two groups of three: two batches each, one pair repeated
    assert {p.name for p in tmp_path.glob("*.pth")} == {"epoch_1.pth", "epoch_2.pth", LATEST}
    assert (tmp_path / LATEST).resolve().name == "epoch_2.pth"
    found = read_checkpoint(tmp_path / LATEST)
    assert (found.meta["epoch"], found.meta["iter"], found.meta["seed"]) == (2, 8, 3)
    assert found.meta["config"] == "x = 1\n" and found.classes == ("person",)
    assert same(found.state, dict(run.network.state_dict()))
    (text,) = tmp_path.glob("*.log")
    assert "Epoch [2][4/4]\tlr: 1.000e-02, eta: 0:00:00" in text.read_text()
    (log,) = tmp_path.glob("*.log.json")
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert lines[0]["seed"] == 3
    assert [(x["epoch"], x["iter"]) for x in lines[1:]] == [(1, 2), (1, 4), (2, 2), (2, 4)]
    names = ["loss_cls", "loss_amodal_mask", "loss_track", "acc", "loss", "time", "data_time", "lr"]
    assert all(name in line for line in lines[1:] for name in names)
    total = sum(v for k, v in lines[1].items() if k.startswith("loss_"))
    assert lines[1]["loss"] == pytest.approx(total, rel=1e-3)


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_resume_is_exact(tmp_path, stop):
    whole = Pairs()
    trainer(tmp_path / "whole", whole).run()
    part = Pairs()
    trainer(tmp_path / "part", part, RunOptions(max_iters=stop)).run()
    resumed = trainer(tmp_path / "part", part, resume_from=str(tmp_path / "part" / LATEST))
    assert resumed.run() == 8
    first, second = (read_checkpoint(tmp_path / name / LATEST) for name in ("whole", "part"))
    assert same(first.state, second.state)
    moments = [c.optimizer["state"] for c in (first, second)]
    assert all(
        torch.equal(moments[0][k]["momentum_buffer"], moments[1][k]["momentum_buffer"])
        for k in moments[0]
    )
    assert whole.seen == part.seen
    assert torch.equal(
        first.rest["training"]["rng"]["torch"], second.rest["training"]["rng"]["torch"]
    )
    # What was written where it stopped is gone.
    assert not list((tmp_path / "part").glob("iter_*.pth"))


def test_resume_tells_what_changed(tmp_path, capsys):
    trainer(tmp_path, options=RunOptions(max_iters=2)).run()
    trainer(None, Pairs(8), resume_from=str(tmp_path / LATEST), seed=4)
    out = capsys.readouterr().out
    assert "samples was 6, is 8" in out and "seed was 3, is 4" in out
    bare = {"state_dict": weights(tmp_path / LATEST), "meta": {"iter": 2}}
    torch.save(bare, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match="has no optimiser"):
        trainer(None, resume_from=str(tmp_path / "bare.pth"))


def test_only_the_newest_epochs_stay(tmp_path):
    trainer(tmp_path, epochs=4, max_keep_ckpts=2).run()
    assert {p.name for p in tmp_path.glob("epoch*")} == {"epoch_3.pth", "epoch_4.pth"}


def test_a_loss_that_is_no_number_is_skipped(tmp_path, capsys):
    run = trainer(tmp_path, Pairs(spoilt=(1,)))
    assert run.run() == 8
    assert "no step is made" in capsys.readouterr().out
    assert all(bool(v.isfinite().all()) for v in run.network.state_dict().values())


def test_losses_that_stay_no_numbers_end_the_training(tmp_path):
    run = trainer(tmp_path, Pairs(spoilt=tuple(range(6))), epochs=30)
    with pytest.raises(NonFiniteLossError, match=r"is nan at iteration 49 \(frame\d, frame\d\)"):
        run.run()
    assert (tmp_path / LATEST).exists()  # regular epochs; nothing is saved after the error


@pytest.mark.parametrize("largest", [None, 1.0])
def test_a_gradient_that_is_no_number_does_not_reach_the_weights(capsys, largest):
    run = trainer(None, grad_clip=largest)
    spoilt = [True, *[False] * 20]
    weight = run.network.rpn_head.rpn_cls.weight
    weight.register_hook(lambda grad: grad * float("inf") if spoilt.pop(0) else grad)
    before = weight.detach().clone()
    run.run()
    assert "the gradient is" in capsys.readouterr().out
    assert not torch.equal(before, weight.detach())
    assert all(bool(v.isfinite().all()) for v in run.network.state_dict().values())


def test_batches_without_objects_train(tmp_path):
    run = trainer(None, Pairs(empty=tuple(range(6))))
    before = {k: v.clone() for k, v in run.network.state_dict().items()}
    assert run.run() == 8
    after = run.network.state_dict()
    assert not same(before, dict(after))
    assert all(bool(v.isfinite().all()) for v in after.values())


def test_a_signal_saves_and_tells_how_to_go_on(tmp_path):
    class Stopping(Pairs):
        def __getitem__(self, key):
            if len(self.seen) == 4:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__getitem__(key)

    with pytest.raises(Interrupted, match=r"after 3 iterations; continue with --resume-from .*lat"):
        trainer(tmp_path, Stopping()).run()
    assert (tmp_path / LATEST).resolve().name == "iter_3.pth"


def test_an_error_in_the_data_saves(tmp_path):
    class Failing(Pairs):
        def __getitem__(self, key):
            if len(self.seen) == 4:
                raise UserError("frame9.png: no such file")
            return super().__getitem__(key)

    with pytest.raises(UserError, match="frame9"):
        trainer(tmp_path, Failing()).run()
    assert read_checkpoint(tmp_path / LATEST).meta["iter"] == 2


def test_validation_after_epochs(tmp_path, capsys):
    seen = []

    def validation(network, path):
        network.eval()
        seen.append(path.name)
        if len(seen) == 2:
            raise UserError("a frame is missing")
        return {"visible_video_segm_mAP_50": 0.5}

    run = trainer(tmp_path, validation=validation, epochs=3)
    assert run.run() == 12
    assert seen == ["epoch_1.pth", "epoch_2.pth"] and run.step.training
    assert "nothing is evaluated from here on: a frame is missing" in capsys.readouterr().out
    (log,) = tmp_path.glob("*.log.json")
    assert '"mode": "val", "epoch": 1' in log.read_text()


def test_norms_of_the_backbone_keep_their_statistics():
    run = trainer(None)
    means = {k: v.clone() for k, v in run.network.state_dict().items() if "running" in k}
    run.run()
    assert same(means, {k: v for k, v in run.network.state_dict().items() if "running" in k})


@pytest.mark.parametrize("amp", ["bf16"])
def test_half_precision(amp):
    run = trainer(None, options=RunOptions(amp=amp))
    assert run.run() == 8
    assert all(p.dtype == torch.float32 for p in run.network.parameters())
    with pytest.raises(UserError, match="needs a GPU"):
        trainer(None, options=RunOptions(amp="fp16"))


def test_start_takes_what_fits(tmp_path):
    source = build(replace(MODEL, kind="qdtrack", num_classes=80))
    torch.save({"state_dict": source.state_dict(), "meta": {}}, tmp_path / "coco.pth")
    network = build(MODEL)
    report = load_start(network, str(tmp_path / "coco.pth"))
    own = network.state_dict()
    assert torch.equal(own["neck.fpn_convs.0.conv.weight"], source.neck.fpn_convs[0].conv.weight)
    assert "roi_head.bbox_head.fc_cls.weight" in report.other_shape
    assert "roi_head.amodal_mask_head.upsample.weight" in report.left
    backbone = {k.removeprefix("backbone."): v for k, v in own.items() if k.startswith("backbone.")}
    backbone["fc.weight"] = torch.zeros(2, 2)
    torch.save(backbone, tmp_path / "imagenet.pth")
    other = build(MODEL)
    report = load_start(other, str(tmp_path / "imagenet.pth"), into_backbone=True)
    assert report.unknown == ("backbone.fc.weight",) and len(report.taken) == len(backbone) - 1
    assert torch.equal(other.backbone.conv1.weight, network.backbone.conv1.weight)
    torch.save({"a.weight": torch.zeros(3, 3)}, tmp_path / "foreign.pth")
    with pytest.raises(CheckpointError, match="no weight in it fits"):
        load_start(build(MODEL), str(tmp_path / "foreign.pth"))
    with pytest.raises(CheckpointError, match="there are torchvision://resnet50"):
        load_start(build(MODEL), "torchvision://resnet5")


def test_groups_never_mix():
    groups = np.array([0, 0, 0, 1, 1, 0, 0])
    order = GroupOrder(groups, 4, seed=1)
    assert len(order) == 12
    for epoch in range(5):
        items = order(epoch)
        assert set(items) == set(range(7))
        assert all(len(set(groups[part])) == 1 for part in items.reshape(-1, 4))
    assert not np.array_equal(order(0), order(1))
    assert np.array_equal(order(1), GroupOrder(groups, 4, seed=1)(1))


def test_processes_share_the_pairs_of_a_step():
    order = {}
    for rank in (None, 0, 1):
        shares = Shares(4) if rank is None else Shares(2, rank, 2)
        data = Pairs(8)
        feed, length = make_feed(data, data.groups, shares, num_workers=0, seed=0)
        assert length == 2
        order[rank] = [batch.names for batch in feed.batches(0, 4)]
    assert order[None] == [a + b for a, b in zip(order[0], order[1], strict=True)]
    with pytest.raises(ConfigError, match="no frame with an object"):
        make_feed(Pairs(0), [], Shares(1), num_workers=0, seed=0)


TWO = """
import pathlib, sys
folder, here, fails = sys.argv[1:]
sys.path.insert(0, here)
import test_engine as t
from vidseg_common import distributed

t.CPU, iterate, first = distributed.setup("cpu"), t.Trainer._iterate, {}

def watch(self, batch, rate):
    if fails == "True" and t.CPU.rank == 1 and self.iteration == 1:
        pathlib.Path(folder, "failed").touch()
        raise RuntimeError("fails on purpose")
    values = iterate(self, batch, rate)
    if not first:
        grads = {n: p.grad for n, p in self.network.named_parameters() if p.grad is not None}
        first.update({n: grad.clone() for n, grad in grads.items()})
    return values

t.Trainer._iterate = watch
run = t.trainer(None, t.Pairs(8, empty=(0, 3)), samples_per_gpu=1, epochs=1)
assert run.run() == 4
content = {"first": first, "w": run.network.state_dict()}
t.torch.save(content, f"{folder}/rank{t.CPU.rank}.pt")
distributed.cleanup()
"""


def two_processes(tmp_path, *, fails):
    script = tmp_path / "train_two.py"
    script.write_text(TWO)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", script]
    words = [sys.executable, *launch, tmp_path, Path(__file__).parent, fails]
    return subprocess.run(
        [str(word) for word in words],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


def test_two_processes_step_as_one_and_end_with_one_network(tmp_path):
    done = two_processes(tmp_path, fails=False)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [torch.load(tmp_path / f"rank{i}.pt", weights_only=True) for i in range(2)]
    assert same(ranks[0]["w"], ranks[1]["w"]) and same(ranks[0]["first"], ranks[1]["first"])
    # One process takes the pairs of both one after the other.
    alone, data = trainer(None, Pairs(8, empty=(0, 3))), Pairs(8, empty=(0, 3))
    for rank in range(2):
        feed, _ = make_feed(data, data.groups, Shares(1, rank, 2), num_workers=0, seed=alone.seed)
        losses = alone.step(next(feed.batches(0, 1)), step_generator(alone.seed, 0, rank))
        (total_loss(losses) / 2).backward()
    grads = {n: p.grad for n, p in alone.network.named_parameters() if p.grad is not None}
    largest = max(float(grad.abs().max()) for grad in grads.values())
    for name, grad in grads.items():
        assert float((grad - ranks[0]["first"][name]).abs().max()) <= 1e-6 * largest, name


def test_a_process_that_fails_ends_all(tmp_path):
    done = two_processes(tmp_path, fails=True)
    assert done.returncode != 0
    assert time.time() - (tmp_path / "failed").stat().st_mtime < 60
    assert "in watch" in done.stderr and "RuntimeError: fails on purpose" in done.stderr


def test_more_processes_go_on_at_the_same_place_of_the_epoch(tmp_path, capsys):
    trainer(tmp_path, samples_per_gpu=1, epochs=1).run()
    # What a second process adds to a step is what another pair adds.
    resumed = trainer(tmp_path, samples_per_gpu=2, resume_from=str(tmp_path / LATEST))
    assert resumed.iteration == resumed.epoch_length == 4
    out = capsys.readouterr().out
    assert "an epoch had 6 iterations and has 4 now; iteration 6 becomes 4" in out
    assert "other samples than before: batch size was 1, is 2" in out
