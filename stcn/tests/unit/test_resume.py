import pytest
import torch

from stcn.engine import RunFolder, Trainer
from vidseg_common.distributed import DistInfo
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
    for number, moments in mine["state"].items():
        assert_same(moments, other["state"][number])
    assert a.scheduler.state_dict() == b.scheduler.state_dict()
    assert a.scaler.state_dict() == b.scaler.state_dict()


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_training_goes_on_bit_for_bit(trainer, logged, tmp_path, workers):
    settings = {"data__num_workers": workers, "report_every": 3}
    straight = trainer("straight", **settings)
    assert straight.run() == 6
    # Killed between two reports, so that the running averages have to survive too.
    trainer("first", iterations=4, **settings).run()
    resumed = trainer(
        "second", load_model=tmp_path / "saves/first/first_checkpoint.pth", **settings
    )
    assert resumed.run() == 6
    assert_same_training(straight, resumed)
    assert logged(straight)[6] == logged(resumed)[6]


def test_loss_scaler_survives(trainer, tmp_path, monkeypatch):
    real = torch.amp.GradScaler

    def on_cpu(device, enabled):
        return real("cpu", init_scale=1024.0, growth_interval=2)

    monkeypatch.setattr(torch.amp, "GradScaler", on_cpu)
    straight = trainer("straight")
    straight.run()
    assert straight.scaler.get_scale() == 8192.0
    trainer("first", iterations=3).run()
    resumed = trainer("second", load_model=tmp_path / "saves/first/first_checkpoint.pth")
    assert resumed.scaler.get_scale() == 2048.0
    resumed.run()
    assert_same_training(straight, resumed)


@pytest.fixture
def resume_file(trainer, tmp_path):
    """Path and content of a resume file after three iterations."""
    trainer("old", iterations=3).run()
    path = tmp_path / "saves/old/old_checkpoint.pth"
    return path, torch.load(path, weights_only=True)


def test_resumes_a_file_of_the_original_form(trainer, resume_file):
    path, state = resume_file
    entries = ("it", "network", "optimizer", "scheduler")
    original = {name: state[name] for name in entries}
    original["network"] = {f"module.{n}": v for n, v in state["network"].items()}
    torch.save(original, path)
    straight, resumed = trainer("straight", files=False), trainer("new", load_model=path)
    straight.run()
    resumed.run()
    assert_same_training(straight, resumed)


def test_resumed_schedule_wins_and_says_so(trainer, resume_file, capsys):
    run = trainer(load_model=resume_file[0], lr=1.0, steps=(5,), seed=4, batch_size=1)
    assert run.optimiser.param_groups[0]["lr"] == pytest.approx(1e-3)
    text = capsys.readouterr().out
    assert "lr stays 0.001 as in the file; 1.0 is not used" in text
    assert "steps stays (4,) as in the file; (5,) is not used" in text
    assert "iterations per epoch: 5 before, 10 now" in text
    assert "data seed: 14159265 before, 4 now" in text


def test_nothing_left_to_resume(trainer, resume_file, capsys):
    run = trainer(load_model=resume_file[0], iterations=3)
    assert run.run() == 3
    assert "all 3 iterations are done already" in capsys.readouterr().out


def test_resume_refuses_weights_alone(trainer, resume_file, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(resume_file[1]["network"], path)
    with pytest.raises(CheckpointError, match=r"lacks it, network.*--load_network"):
        trainer(load_model=path)


class Harmful:
    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def test_resume_refuses_code(trainer, tmp_path):
    path = tmp_path / "code.pth"
    torch.save({"it": 1, "network": Harmful()}, path)
    with pytest.raises(CheckpointError, match="exec"):
        trainer(load_model=path)
    assert list(tmp_path.iterdir()) == [path]


def test_resume_refuses_another_variant(trainer, resume_file):
    with pytest.raises(CheckpointError, match=r"do not fit STCN[\s\S]*attention"):
        trainer(load_model=resume_file[0], network__cbam=False)


def test_resume_refuses_the_optimiser_of_another_network(trainer, resume_file):
    path, state = resume_file
    state["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(CheckpointError, match="optimiser belongs to another network"):
        trainer(load_model=path)


def test_truncated_resume_file(trainer, resume_file):
    path, _ = resume_file
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match="truncated"):
        trainer(load_model=path)


def test_next_stage_widens_the_mask_convolution(trainer, resume_file, tmp_path):
    weights = dict(resume_file[1]["network"])
    key = "value_encoder.conv1.weight"
    weights[key] = weights[key][:, :4].clone()
    path = tmp_path / "stage0.pth"
    torch.save(weights, path)
    loaded = trainer(files=False, load_network=path).network.state_dict()
    assert torch.equal(loaded[key][:, :4], weights[key])
    extra = loaded[key][:, 4].flatten(1)
    assert torch.allclose(extra @ extra.T, torch.eye(len(extra)), atol=1e-5)
    assert_same({**loaded, key: weights[key]}, weights)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_fp16_resumes_on_a_gpu(train_config, tmp_path):
    info = DistInfo(device=torch.device("cuda", 0))
    folder = RunFolder("run", tmp_path, None)
    Trainer(train_config(amp="auto", iterations=3), info, folder).run()
    resumed = Trainer(train_config(amp="auto"), info, folder, load_model=folder.checkpoint())
    assert resumed.scaler.is_enabled()
    assert resumed.run() == 6
