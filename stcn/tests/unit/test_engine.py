import math
import signal

import pytest
import torch

from stcn.engine import NonFiniteLossError
from stcn.stopping import Interrupted
from vidseg_common.errors import ConfigError, UserError


def files(tmp_path, name="run"):
    return sorted(path.name for path in (tmp_path / "saves" / name).glob("*"))


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_training_changes_the_weights_and_the_rate(trainer):
    run = trainer(files=False)
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    run.run()
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(1e-4)  # past the milestone
    changed = [not torch.equal(before[n], v) for n, v in run.network.named_parameters()]
    assert all(changed)


def test_statistics_stay_in_the_published_training(trainer):
    run = trainer(files=False, iterations=2)
    before = {n: b.clone() for n, b in run.network.named_buffers()}
    run.run()
    assert_same(before, dict(run.network.named_buffers()))


def test_statistics_are_trained_when_asked_for(trainer):
    run = trainer(files=False, iterations=2, train_batch_norm=True)
    run.run()
    assert int(run.network.key_encoder.bn1.num_batches_tracked) == 2


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


def test_saves_when_due_and_at_the_end(trainer, tmp_path):
    trainer(save_every=3).run()
    assert files(tmp_path) == ["run_3.pth", "run_6.pth", "run_checkpoint.pth"]
    weights = torch.load(tmp_path / "saves/run/run_6.pth", weights_only=True)
    state = torch.load(tmp_path / "saves/run/run_checkpoint.pth", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert_same(weights, state["network"])
    assert {"it", "network", "optimizer", "scheduler", "scaler", "rng", "data"} <= set(state)
    assert state["it"] == 6


def test_no_final_save_of_a_short_training(trainer, tmp_path):
    trainer(min_final_iterations=6).run()
    assert files(tmp_path) == []


def test_debug_reports_and_draws_each_iteration_and_saves_nothing(
    trainer, logged, tmp_path, monkeypatch
):
    run = trainer(debug=True, report_every=100, iterations=3)
    drawn = []
    monkeypatch.setattr(run.logger, "image", lambda name, image, step: drawn.append((name, step)))
    run.run()
    assert sorted(logged(run)) == [1, 2, 3]
    assert drawn == [("train/pairs", step) for step in (1, 2, 3)]
    assert files(tmp_path) == []


def test_debug_still_saves_when_due(trainer, tmp_path):
    trainer(debug=True, save_every=4).run()
    assert files(tmp_path) == ["run_4.pth", "run_checkpoint.pth"]


def test_without_folders_nothing_is_written(trainer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = trainer("", files=False)
    run.run()
    assert not run.save()
    assert list(tmp_path.iterdir()) == []


def test_console_lines_have_the_original_form(trainer, capsys):
    trainer("", files=False, iterations=1).run()
    lines = [line for line in capsys.readouterr().out.splitlines() if "[TRAIN]" in line]
    assert lines[0] == "DEBUG - It      1 [TRAIN] [lr           ]: 0.0010000"
    assert any("[sec_iou      ]: 0." in line for line in lines)


def test_non_finite_loss_names_term_iteration_and_samples(trainer, tmp_path):
    run = trainer()
    with torch.no_grad():
        run.network.decoder.pred.bias.fill_(torch.nan)
    with pytest.raises(NonFiniteLossError) as caught:
        run.run()
    message = str(caught.value)
    assert message.startswith("loss_1 is nan at iteration 0; the samples were ")
    assert "ant (0" in message or "bee (0" in message
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
        result = whole(*args)
        return {n: v * math.inf if args[-1] == 4 else v for n, v in result.items()}

    monkeypatch.setattr(run, "loss", spoilt)
    with pytest.raises(NonFiniteLossError, match="at iteration 4"):
        run.run()
    assert files(tmp_path) == ["run_4.pth", "run_checkpoint.pth"]


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
    (tmp_path / "saves").write_text("in the way")
    monkeypatch.setattr(run, "_report", lambda seconds: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run.run()
    assert "could not save after an error" in capsys.readouterr().out


@pytest.mark.parametrize(("number", "status"), [(2, 130), (15, 143)])
def test_signal_saves_after_the_iteration(trainer, tmp_path, monkeypatch, number, status):
    run = trainer(min_final_iterations=5000)
    report = run._report

    def report_and_signal(seconds):
        report(seconds)
        if run.iteration == 2:
            signal.raise_signal(number)

    monkeypatch.setattr(run, "_report", report_and_signal)
    with pytest.raises(Interrupted, match="after 2 iterations; continue with") as caught:
        run.run()
    assert caught.value.status == status
    assert files(tmp_path) == ["run_2.pth", "run_checkpoint.pth"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_unusable_settings(trainer):
    with pytest.raises(UserError, match="needs a GPU"):
        trainer(amp="fp16")
    with pytest.raises(ConfigError, match=r"data\.crop"):
        trainer(data__crop=40)
    with pytest.raises(ConfigError, match="do not fill one batch"):
        trainer(batch_size=64)


def test_bf16_trains_on_a_cpu(trainer):
    run = trainer(files=False, amp="bf16", channels_last=True, iterations=2)
    assert run.run() == 2
