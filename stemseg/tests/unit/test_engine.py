import math
import signal

import pytest
import torch

from stemseg.feed import plan_batches
from stemseg.session import Interrupted, NonFiniteLossError
from vidseg_common.errors import ConfigError, UserError


def files(tmp_path, name="run"):
    return sorted(path.name for path in (tmp_path / name).glob("*.pth"))


def test_training_changes_the_weights_and_the_rate(trainer):
    run = trainer(files=False)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    assert run.run() == 6
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(1e-3)  # past the milestone
    assert all(not torch.equal(before[n], v) for n, v in run.network.named_parameters())


def test_losses_fall(trainer, logged):
    run = trainer(TRAINING__MAX_ITERATIONS=40, TRAINING__LR_DECAY_TYPE="none")
    run.run()
    curves = logged(run)

    def mean(name, steps):
        return sum(curves[step][f"training_{name}"] for step in steps) / len(steps)

    for name in ("lovasz_loss", "semantic_segmentation_loss", "foreground"):
        assert mean(name, range(36, 41)) < 0.9 * mean(name, range(1, 6))


def test_frozen_parts_do_not_move(trainer):
    run = trainer(files=False, TRAINING__MAX_ITERATIONS=2, TRAINING__FREEZE_BACKBONE=True)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    run.run()
    after = run.network.state_dict()
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved
    assert not any(name.startswith("backbone.") for name in moved)


def test_accumulated_step_is_the_mean_of_its_clips(trainer):
    """Two clips at once or one after the other: the same step where losses are means of clips."""
    names = ("LOVASZ", "SEEDINESS", "VARIANCE_SMOOTHNESS")
    off = {f"TRAINING__LOSSES__EMBEDDING__WEIGHT_{name}": 0 for name in names}
    one_by_one = trainer(files=False, TRAINING__MAX_ITERATIONS=1, **off)
    one_by_one.run()
    together = trainer(
        files=False, TRAINING__MAX_ITERATIONS=1, TRAINING__MAX_SAMPLES_PER_GPU=2, **off
    )
    together.run()
    assert one_by_one.plan.interval == 2
    assert together.plan.interval == 1
    for name, value in one_by_one.network.named_parameters():
        other = together.network.get_parameter(name)
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-6)


def test_gradient_checkpointing_changes_no_number(trainer, logged):
    curves = []
    for name, on in (("plain", False), ("checkpointed", True)):
        run = trainer(name, TRAINING__GRADIENT_CHECKPOINTING=on, TRAINING__MAX_ITERATIONS=3)
        run.run()
        curves.append(logged(run))
    assert curves[0] == curves[1]


def test_loss_at_full_resolution(trainer, logged):
    run = trainer(TRAINING__LOSS_AT_FULL_RES=True, TRAINING__MAX_ITERATIONS=1)
    run.run()
    assert math.isfinite(logged(run)[1]["training_embedding_loss"])


def test_deterministic_seed_gives_the_same_curve_twice(trainer, logged):
    try:
        curves = []
        for name in ("a", "b"):
            run = trainer(name, deterministic=True, seed=5)
            run.run()
            curves.append(logged(run))
    finally:
        torch.use_deterministic_algorithms(False)
    assert curves[0] == curves[1]
    other = trainer("c", seed=6)
    other.run()
    assert logged(other) != curves[0]


def test_saves_when_due_and_at_the_end_and_keeps_the_newest(trainer, tmp_path):
    trainer(save_interval=2, TRAINING__MAX_ITERATIONS=5, ckpts_to_keep=2).run()
    assert files(tmp_path) == ["000004.pth", "000005.pth"]
    trainer("all", save_interval=2, TRAINING__MAX_ITERATIONS=5, ckpts_to_keep=0).run()
    assert files(tmp_path, "all") == ["000002.pth", "000004.pth", "000005.pth"]
    state = torch.load(tmp_path / "run/000005.pth", weights_only=True)
    entries = {"model", "optimizer", "lr_scheduler", "logger", "iterations", "scaler", "rng"}
    assert entries <= state.keys()
    assert state["iterations"] == state["logger"]["latest_iteration"] == 5


def test_without_folder_nothing_is_written(trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = trainer(files=False, TRAINING__MAX_ITERATIONS=1)
    run.run()
    assert run.save() is None
    assert list(tmp_path.iterdir()) == []


def test_console_and_curves_at_their_intervals(trainer, logged, capsys):
    run = trainer(display_interval=3, summary_interval=2)
    run.run()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("It: ")]
    assert [line[:9] for line in lines] == ["It: 00003", "It: 00006"]
    assert " - EmbL: " in lines[0] and " - ETA: 0-00:00:" in lines[0]
    curves = logged(run)
    assert list(curves) == [2, 4, 6]
    terms = ("embedding_loss", "semantic_segmentation_loss", "foreground", "lovasz_loss")
    terms += ("variance_smoothness_loss", "seediness_loss", "lr")
    assert set(curves[2]) == {f"training_{term}" for term in terms}
    assert any((run.folder / "logs").glob("events*"))


def test_model_without_semantic_head(trainer, logged):
    run = trainer(MODEL__USE_SEMSEG_HEAD=False, TRAINING__MAX_ITERATIONS=1)
    run.run()
    assert "training_foreground" not in logged(run)[1]


def test_non_finite_loss_names_term_iteration_and_samples(trainer, tmp_path):
    run = trainer()
    with torch.no_grad():
        run.network.semseg_head.conv_out.weight.fill_(torch.nan)
    with pytest.raises(NonFiniteLossError) as caught:
        run.run()
    message = str(caught.value)
    assert message.startswith("foreground is nan at iteration 0; the samples were clip")
    assert files(tmp_path) == []  # weights that give no number are not worth keeping


def test_all_processes_stop_when_one_loss_is_not_finite(trainer, monkeypatch):
    run = trainer(files=False)
    monkeypatch.setattr(run.agreement, "highest", lambda value: 1)
    with pytest.raises(NonFiniteLossError, match="of another process is not finite"):
        run.run()


def test_bad_sample_does_not_cost_the_weights(trainer, tmp_path, monkeypatch):
    run = trainer()
    whole = run.loss

    def spoilt(*args):
        factor = math.inf if run.iteration == 4 else 1.0
        return {name: value * factor for name, value in whole(*args).items()}

    monkeypatch.setattr(run, "loss", spoilt)
    with pytest.raises(NonFiniteLossError, match="at iteration 4"):
        run.run()
    assert files(tmp_path) == ["000004.pth"]


def test_error_in_the_middle_of_a_step_saves_nothing(trainer, tmp_path, monkeypatch):
    run = trainer()

    def fail(*args):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(run.scaler, "step", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        run.run()
    assert files(tmp_path) == []


def test_failing_save_does_not_hide_the_error(trainer, tmp_path, monkeypatch, capsys):
    run = trainer()

    def fail(losses):
        if run.iteration == 2:
            (tmp_path / "run").rename(tmp_path / "away")
            (tmp_path / "run").write_text("in the way")
            raise ZeroDivisionError

    monkeypatch.setattr(run, "_report", fail)
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert "could not save after an error" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_after_the_iteration(trainer, tmp_path, monkeypatch, number):
    run = trainer()
    report = run._report

    def report_and_signal(losses):
        report(losses)
        if run.iteration == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(run, "_report", report_and_signal)
    with pytest.raises(Interrupted, match="after 2 iterations; continue with") as caught:
        run.run()
    assert caught.value.status == 1
    assert files(tmp_path) == ["000002.pth"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_bf16_trains_on_a_cpu_with_losses_in_float32(trainer, monkeypatch):
    run = trainer(files=False, TRAINING__MIXED_PRECISION=True)
    assert run.amp_dtype == torch.bfloat16
    whole, kinds, halves = run.loss, set(), []
    run.network.backbone.register_forward_hook(lambda _m, _i, maps: halves.append(maps[0].dtype))

    def watch(heads, targets):
        losses = whole(heads, targets)
        kinds.update(value.dtype for value in losses.values())
        return losses

    monkeypatch.setattr(run, "loss", watch)
    assert run.run() == 6
    assert kinds == {torch.float32}
    assert set(halves) == {torch.bfloat16}
    assert all(bool(torch.isfinite(p).all()) for p in run.network.parameters())


def test_levels_of_mixed_precision(trainer):
    off = trainer(
        files=False, TRAINING__MIXED_PRECISION=True, TRAINING__MIXED_PRECISION_OPT_LEVEL="O0"
    )
    assert off.amp_dtype is None
    with pytest.raises(UserError, match="fp16 needs a GPU"):
        trainer(files=False, amp="fp16", TRAINING__MIXED_PRECISION=True)


def test_unused_key_is_said(trainer, capsys):
    trainer(files=False, TRAINING__CLIP_GRADIENTS=True)
    assert "TRAINING.CLIP_GRADIENTS has no effect" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "world_size", "message"),
    [
        ({"BATCH_SIZE": 2}, 3, "cannot be shared by 3 processes"),
        ({"BATCH_SIZE": 1}, 2, "cannot be shared by 2 processes"),
        ({"BATCH_SIZE": 3, "MAX_SAMPLES_PER_GPU": 2}, 1, "must be a multiple of"),
        ({"ACCUMULATE_GRADIENTS": False}, 1, "is more than TRAINING.MAX_SAMPLES_PER_GPU 1"),
    ],
)
def test_steps_that_cannot_be_shared_out(tiny_config, changes, world_size, message):
    cfg = tiny_config(**{f"TRAINING__{name}": value for name, value in changes.items()})
    with pytest.raises(ConfigError, match=message):
        plan_batches(cfg.TRAINING, world_size=world_size)


@pytest.mark.parametrize(
    ("changes", "world_size", "sub_batch", "interval"),
    [
        ({}, 1, 1, 2),
        ({}, 2, 1, 1),
        ({"BATCH_SIZE": 8, "MAX_SAMPLES_PER_GPU": 2}, 2, 2, 2),
        ({"ACCUMULATE_GRADIENTS": False, "MAX_SAMPLES_PER_GPU": 4}, 1, 2, 1),
        ({"ACCUMULATE_GRADIENTS": False}, 2, 1, 1),
    ],
)
def test_plans(tiny_config, changes, world_size, sub_batch, interval):
    cfg = tiny_config(**{f"TRAINING__{name}": value for name, value in changes.items()})
    plan = plan_batches(cfg.TRAINING, world_size=world_size)
    assert (plan.sub_batch, plan.interval) == (sub_batch, interval)
