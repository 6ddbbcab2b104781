import pytest
import torch
from torchvision.models import resnet50

from devis.backbone_start import BODY, start_backbone
from devis.model import build
from devis.model.settings import ModelSettings
from devis.model.swin import Swin
from devis.training_start import local_file, start_network
from vidseg_common.errors import CheckpointError, ConfigError

SMALL = {"enc_layers": 1, "dec_layers": 2, "num_queries": 4, "dim_feedforward": 16}


def detector(backbone):
    return build(ModelSettings(backbone=backbone, hidden_dim=128, mask_layers=(), **SMALL))


def fresh(state):
    gen = torch.Generator().manual_seed(3)
    return {
        k: torch.rand(v.shape, generator=gen) if v.is_floating_point() else v
        for k, v in state.items()
    }


def body(network):
    state = network.state_dict()
    return {k.removeprefix(BODY): v for k, v in state.items() if k.startswith(BODY)}


def test_resnet_takes_every_tensor(tmp_path):
    state = fresh(resnet50().state_dict())
    torch.save(state, tmp_path / "r50.pth")
    network = detector("resnet50")
    line = start_backbone(network, "resnet50", tmp_path / "r50.pth")
    assert line.startswith("backbone: 265 tensors of ")
    for name, value in body(network).items():
        assert torch.equal(value, state[name]), name


def test_swin_keeps_its_output_norms(tmp_path):
    state = fresh(Swin("swin_t_p4w7").state_dict())
    file = {k: v for k, v in state.items() if not k.startswith("norm")} | {
        "norm.weight": torch.rand(768),
        "head.bias": torch.rand(1000),
    }
    torch.save({"model": file}, tmp_path / "swin.pth")
    network = detector("swin_t_p4w7")
    start_backbone(network, "swin_t_p4w7", tmp_path / "swin.pth")
    for name, value in body(network).items():
        if name.startswith("norm"):
            assert torch.equal(value, torch.full_like(value, "weight" in name)), name
        else:
            assert torch.equal(value, state[name]), name


def test_foreign_files_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"not the weights of this backbone: conv1\.weight"):
        start_backbone(detector("resnet50"), "resnet50", path)
    torch.save([1], path)
    with pytest.raises(CheckpointError, match="expected a mapping"):
        start_backbone(detector("resnet50"), "resnet50", path)


def test_small_backbone_has_no_weights():
    with pytest.raises(ConfigError, match="--backbone-weights none"):
        start_backbone(detector("swin_n_p4w7"), "swin_n_p4w7")


def test_backbone_is_not_read_where_there_are_weights(tiny, tmp_path):
    cfg = tiny()
    missing = tmp_path / "missing.pth"
    with pytest.raises(CheckpointError, match=r"missing\.pth: no such file"):
        start_network(torch.nn.Identity(), cfg, missing)
    with pytest.raises(CheckpointError, match=r"weights\.pth: no such file"):
        start_network(
            torch.nn.Identity(), tiny("MODEL.WEIGHTS", str(tmp_path / "weights.pth")), missing
        )


def test_address_is_a_file_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    kept = tmp_path / "hub" / "checkpoints" / "own.pth"
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert local_file("https://host.example/models/own.pth") == kept
    assert local_file(str(kept)) == kept
