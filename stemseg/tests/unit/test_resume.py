import pytest
import torch

from stemseg.resume import checkpoints, latest_checkpoint, remove_old
from vidseg_common.errors import CheckpointError


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def assert_same_training(a, b):
    """Weights, optimiser, schedule and scaler are equal bit for bit."""
    assert a.iteration == b.iteration
    assert_same(a.network.state_dict(), b.network.state_dict())
    mine, other = a.optimiser.state_dict(), b.optimiser.state_dict()
    assert mine["param_groups"] == other["param_groups"]
    assert mine["state"].keys() == other["state"].keys()
    for number, moments in mine["state"].items():
        for name, value in moments.items():
            assert torch.equal(
                torch.as_tensor(value), torch.as_tensor(other["state"][number][name])
            )
    assert a.scheduler.state_dict() == b.scheduler.state_dict()
    assert a.scaler.state_dict() == b.scaler.state_dict()


@pytest.mark.parametrize(
    "settings",
    [
        {"num_workers": 0},
        {"num_workers": 2},
        {"TRAINING__OPTIMIZER": "Adam", "TRAINING__LR_DECAY_TYPE": "exponential"},
    ],
    ids=["alone", "workers", "adam"],
)
def test_resumed_training_goes_on_bit_for_bit(trainer, logged, tmp_path, settings):
    straight = trainer("straight", **settings)
    assert straight.run() == 6
    first = trainer("first", save_interval=4, **settings)
    # Killed after the save of iteration 4 and the step that followed it.
    feed = first.feed.batches(0, 6)
    for _ in range(4):
        first._iterate(feed)
    first.save()
    first._iterate(feed)
    resumed = trainer("second", session=tmp_path / "first/000004.pth", **settings)
    assert resumed.run() == 6
    assert_same_training(straight, resumed)
    curve = logged(resumed)
    assert list(curve) == [5, 6]
    assert curve == {step: logged(straight)[step] for step in curve}


def test_resumed_training_ends_at_its_iterations(trainer, tmp_path, capsys):
    trainer("old", TRAINING__MAX_ITERATIONS=3).run()
    path = tmp_path / "old/000003.pth"
    done = trainer("old", session=path, TRAINING__MAX_ITERATIONS=3)
    assert done.run() == 3
    assert "all 3 iterations are done already" in capsys.readouterr().out
    assert trainer("old", session=path, TRAINING__MAX_ITERATIONS=4).run() == 4


def test_loss_scaler_survives(trainer, tmp_path, monkeypatch):
    real = torch.amp.GradScaler

    def on_cpu(device, enabled):
        return real("cpu", init_scale=1024.0, growth_interval=2)

    monkeypatch.setattr(torch.amp, "GradScaler", on_cpu)
    straight = trainer("straight")
    straight.run()
    assert straight.scaler.get_scale() == 8192.0
    trainer("first", TRAINING__MAX_ITERATIONS=3).run()
    resumed = trainer("second", session=tmp_path / "first/000003.pth")
    assert resumed.scaler.get_scale() == 2048.0
    resumed.run()
    assert_same_training(straight, resumed)


@pytest.fixture
def session(trainer, tmp_path):
    """Path and content of a checkpoint after three iterations."""
    trainer("old", TRAINING__MAX_ITERATIONS=3).run()
    path = tmp_path / "old/000003.pth"
    return path, torch.load(path, weights_only=True)


def test_resumes_a_file_of_the_original_form(trainer, session):
    path, state = session
    original = {name: state[name] for name in ("model", "optimizer", "iterations")}
    original["model"] = {f"module.{n}": v for n, v in state["model"].items()}
    original["lr_scheduler"] = {"gamma": 0.5, "last_epoch": 3}
    original["logger"] = {"start": 1.0}
    torch.save(original, path)
    straight = trainer(files=False)
    resumed = trainer(files=False, session=path)
    straight.run()
    resumed.run()
    assert_same_training(straight, resumed)


def test_schedule_is_that_of_the_configuration(trainer, session):
    run = trainer(
        files=False, session=session[0], TRAINING__INITIAL_LR=1.0, TRAINING__LR_DECAY_STEPS=[2, 3]
    )
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(0.01)


def test_other_samples_are_said(trainer, session, capsys):
    trainer(files=False, session=session[0], seed=7, TRAINING__BATCH_SIZE=4)
    text = capsys.readouterr().out
    assert "other samples than before: batch size was 2, is 4" in text
    assert "other samples than before: seed was 42, is 7" in text


def test_resume_refuses_weights_alone(trainer, session, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": session[1]["model"]}, path)
    with pytest.raises(CheckpointError, match=r"lacks optimizer.*--initial_ckpt"):
        trainer(session=path)


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_resume_refuses_code(trainer, tmp_path):
    path = tmp_path / "code.pth"
    torch.save({"iterations": 1, "model": Harmful()}, path)
    with pytest.raises(CheckpointError, match="exec"):
        trainer(session=path)


def test_resume_refuses_another_network(trainer, session):
    with pytest.raises(CheckpointError, match="semseg_head"):
        trainer(session=session[0], MODEL__USE_SEMSEG_HEAD=False)


def test_resume_refuses_the_optimiser_of_another_network(trainer, session):
    path, state = session
    state["optimizer"]["state"][0]["momentum_buffer"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="optimiser belongs to another network"):
        trainer(session=path)
    with pytest.raises(CheckpointError, match="is of another kind"):
        trainer(session=path, TRAINING__OPTIMIZER="Adam")


def test_truncated_checkpoint(trainer, session):
    path, _ = session
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="truncated"):
        trainer(session=path)


def test_second_stage_starts_from_the_weights_of_the_first(trainer, session):
    """More frames, frozen backbone: the same keys."""
    run = trainer(
        files=False,
        weights=session[0],
        INPUT__NUM_FRAMES=4,
        TRAINING__FREEZE_BACKBONE=True,
    )
    assert run.iteration == 0
    assert_same(run.network.state_dict(), session[1]["model"])


def test_checkpoints_by_number(tmp_path):
    for name in ("1000000.pth", "000500.pth", "999999.pth", "best.pth"):
        (tmp_path / name).touch()
    names = [path.name for path in checkpoints(tmp_path)]
    assert names == ["000500.pth", "999999.pth", "1000000.pth"]
    assert latest_checkpoint(tmp_path).name == "1000000.pth"
    remove_old(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1000000.pth", "best.pth"]


def test_last_of_other_names(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).touch()
    assert latest_checkpoint(tmp_path).name == "b.pth"
