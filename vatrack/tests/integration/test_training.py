"""The training command on a synthetic SAIL-VOS: from files to checkpoints, and on from there."""

import json

import pytest
import torch

from vatrack.checkpoint import load_network, read_checkpoint
from vatrack.commands import train
from vatrack.config import DATA_VARIABLE, load_config
from vidseg_common.errors import CheckpointError, ConfigError, DatasetError, UserError
from vidseg_common.synthetic import generate_video
from vidseg_common.synthetic_layouts import write_layout

SMALL = [
    "total_epochs=2",
    "data.samples_per_gpu=2",
    "evaluation.interval=2",
    "log_config.interval=1",
]
SMALL += ["lr_config.step=[2]", "checkpoint_config.interval=1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("sailvos")
    clips = [generate_video(seed, 3, 64, 96, 2) for seed in (14, 18)]
    for split in ("train", "valid"):
        write_layout("sailvos", clips, root, split=split)
    return root


@pytest.fixture
def run(data, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(data))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def command(*words, options=()):
        flags = ["--config", "overfit", "--device", "cpu", "--cfg-options", *SMALL, *options]
        return train.main([*flags, *map(str, words)])

    return command


@pytest.mark.slow
def test_train_evaluate_and_go_on(run, tmp_path, capsys):
    assert run("--work-dir", tmp_path / "whole") == 0
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert {"epoch_1.pth", "epoch_2.pth", "epoch_2.txt", "latest.pth", "overfit.py"} <= names
    assert "Epoch(val) [2]" in capsys.readouterr().out
    # The dumped configuration is the one that was used, and the file says all there is to load it.
    dumped = load_config(tmp_path / "whole" / "overfit.py")
    assert dumped.get("total_epochs") == 2
    final = read_checkpoint(tmp_path / "whole" / "latest.pth")
    assert load_network(final, dumped).settings.kind == "vatrack"

    part = tmp_path / "part"
    assert run("--work-dir", part, "--max-iters", 2, "--no-validate") == 0
    assert (part / "latest.pth").resolve().name == "iter_2.pth"
    assert run("--work-dir", part, "--resume-from", part / "latest.pth", "--no-validate") == 0
    resumed = read_checkpoint(part / "latest.pth")
    assert all(torch.equal(v, resumed.state[k]) for k, v in final.state.items())


def test_start_from_weights_of_another_training(run, tmp_path, capsys):
    run("--work-dir", tmp_path / "a", "--max-iters", 1, "--no-validate")
    weights = tmp_path / "a" / "latest.pth"
    capsys.readouterr()
    run("--work-dir", tmp_path / "b", "--max-iters", 1, "--no-validate", "--load-from", weights)
    assert "tensors taken" in capsys.readouterr().out


@pytest.mark.parametrize("amp", ["bf16"])
def test_half_precision(run, tmp_path, amp):
    assert run("--work-dir", tmp_path, "--max-iters", 1, "--no-validate", "--amp", amp) == 0
    (log,) = tmp_path.glob("*.log.json")
    values = json.loads(log.read_text().splitlines()[1])
    assert values["mode"] == "train" and values["loss"] > 0


@pytest.mark.parametrize(
    ("words", "options", "error", "message"),
    [
        (["--resume-from", "no.pth"], [], CheckpointError, "no.pth: no such file.*--resume-from"),
        (["--load-from", "no.pth"], [], CheckpointError, "no.pth: no such file.*--load-from"),
        (["--gpus", "2"], [], ConfigError, "torchrun --standalone --nproc_per_node=2"),
        (["--launcher", "slurm"], [], UserError, "SLURM_PROCID is not set; start with srun"),
        (["--launcher", "mpi"], [], UserError, "mpi is not supported"),
        ([], ["data.train.ann_file=no.json"], DatasetError, "no.json"),
        ([], ["optimiser.lr=1"], ConfigError, "optimizer"),
    ],
)
def test_bad_input_is_told(run, tmp_path, words, options, error, message):
    with pytest.raises(error, match=message):
        run("--work-dir", tmp_path, "--no-validate", *words, options=options)


def test_visible_masks_alone_do_not_train_a_joint_model(run, data, tmp_path):
    file = data / "sailvos_cut_json" / "visible" / "train.json"
    with pytest.raises(DatasetError, match="joint"):
        run("--work-dir", tmp_path, options=[f"data.train.ann_file={file}"])
