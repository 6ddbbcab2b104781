import math

import pytest
import torch
from torchvision.models import resnet18, resnet50

from stcn.initialise import initialise
from stcn.model.network import STCN, NetworkConfig
from vidseg_common import hub_file as module
from vidseg_common.errors import CheckpointError, DownloadError, UserError

FILES = {"resnet50-0676ba61.pth": resnet50, "resnet18-f37072fd.pth": resnet18}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's cache of downloads, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(module, "download", no_download)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def no_download(target, *, url):
    raise DownloadError(f"{url}: no network in tests")


def fill(cache):
    """Puts files of the right form into the cache, without the counters that V1 files lack."""
    torch.manual_seed(1)
    states = {}
    for name, build in FILES.items():
        state = build().state_dict()
        for key, value in state.items():
            if value.is_floating_point() and ("running" in key or ".bn" in key):
                value.uniform_(0.5, 1.5)
        states[name] = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        torch.save(states[name], cache / name)
    return states


def assert_orthogonal(weight):
    """Rows (or columns, where there are more rows) are orthonormal."""
    flat = weight.detach().flatten(1)
    flat = flat if flat.shape[0] <= flat.shape[1] else flat.T
    assert torch.allclose(flat @ flat.T, torch.eye(len(flat)), atol=1e-4)


@pytest.mark.parametrize("others", [True, False])
def test_encoders_from_imagenet(cache, others):
    states = fill(cache)
    network = STCN(NetworkConfig(others_channel=others))
    initialise(network, pretrained=True)
    key, value = network.key_encoder.state_dict(), network.value_encoder.state_dict()
    deep, shallow = states["resnet50-0676ba61.pth"], states["resnet18-f37072fd.pth"]
    assert torch.equal(key["conv1.weight"], deep["conv1.weight"])
    assert torch.equal(key["res2.1.conv3.weight"], deep["layer1.1.conv3.weight"])
    assert torch.equal(key["layer3.5.bn2.running_var"], deep["layer3.5.bn2.running_var"])
    assert torch.equal(value["layer1.0.conv1.weight"], shallow["layer1.0.conv1.weight"])
    assert torch.equal(value["conv1.weight"][:, :3], shallow["conv1.weight"])
    assert_orthogonal(value["conv1.weight"][:, 3:])
    convolutions = [n for n in value if ".conv" in n or n.startswith("conv1")]
    biases = [n for n in convolutions if n.endswith("bias") and not n.startswith("fuser.")]
    assert "layer2.0.conv2.bias" in biases
    assert not any(value[name].any() for name in biases)
    assert not value["layer2.0.downsample.0.bias"].any()


def test_projection_is_orthogonal_and_the_rest_default(network):
    fresh = STCN(network.config)
    initialise(fresh, pretrained=False)
    assert_orthogonal(fresh.key_proj.key_proj.weight)
    assert not fresh.key_proj.key_proj.bias.any()
    assert fresh.decoder.pred.bias.any()
    assert fresh.value_encoder.fuser.block1.conv1.bias.any()
    assert fresh.value_encoder.fuser.attention.SpatialGate.spatial.conv.bias.any()


def test_value_encoder_without_imagenet():
    torch.manual_seed(0)
    network = STCN(NetworkConfig())
    initialise(network, pretrained=False)
    weight = network.value_encoder.layer3[1].conv2.weight.detach()
    assert float(weight.std()) == pytest.approx(math.sqrt(2 / (9 * 256)), rel=0.02)
    assert not network.value_encoder.layer3[1].conv2.bias.any()
    assert torch.equal(network.value_encoder.bn1.weight, torch.ones(64))


def test_other_structures_have_no_imagenet_weights(network):
    with pytest.raises(UserError, match="set pretrained to false"):
        initialise(STCN(network.config), pretrained=True)


def test_missing_file_is_fetched(cache):
    with pytest.raises(DownloadError, match="no network in tests"):
        initialise(STCN(), pretrained=True)


def test_foreign_file_in_the_cache(cache):
    fill(cache)
    torch.save({"conv1.weight": torch.zeros(3)}, cache / "resnet50-0676ba61.pth")
    with pytest.raises(CheckpointError, match="not the ImageNet weights needed here"):
        initialise(STCN(), pretrained=True)
