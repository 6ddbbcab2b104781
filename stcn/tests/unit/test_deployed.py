import copy

import pytest
import torch

from stcn.model import deployed
from stcn.model.deployed import DeployedSTCN
from stcn.model.network import STCN, NetworkConfig


def _outputs(network, num_objects: int):
    gen = torch.Generator().manual_seed(3)
    frame = torch.randn(1, 3, 64, 80, generator=gen)
    masks = torch.rand(num_objects, 1, 64, 80, generator=gen)
    with torch.inference_mode():
        features = network.encode_key(frame)
        value = network.encode_value(frame, features.f16, masks)
        logits = network.decode(value, features)
    return features.key, value, logits


@pytest.mark.parametrize("num_objects", [1, 3])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("cbam", [True, False])
def test_equals_the_network(make_network, tiny_config, monkeypatch, num_objects, fused, cbam):
    config = NetworkConfig(**{**tiny_config.__dict__, "cbam": cbam})
    network = make_network(config)
    if not fused:
        monkeypatch.setattr(deployed, "has_fused_convolution", lambda: False)
    for got, want in zip(
        _outputs(DeployedSTCN(network), num_objects), _outputs(network, num_objects), strict=True
    ):
        assert got.shape == want.shape
        assert torch.allclose(got, want, atol=2e-4 * float(want.abs().max()))


def test_published_structure_uses_winograd_and_bottlenecks(monkeypatch):
    torch.manual_seed(0)
    network = STCN().eval().requires_grad_(False)
    fast = DeployedSTCN(network)
    assert fast.compress.conv2.winograd is not None
    assert fast.key_proj.winograd is None
    for got, want in zip(_outputs(fast, 2), _outputs(network, 2), strict=True):
        assert float((got - want).abs().max()) < 1e-3 * float(want.abs().max())


def test_bf16_is_close_and_keys_are_float32(network):
    fast = DeployedSTCN(network, torch.bfloat16)
    key, value, logits = _outputs(fast, 2)
    want = _outputs(network, 2)
    assert key.dtype == torch.float32 and value.dtype == torch.bfloat16
    assert float((logits - want[2]).abs().mean()) < 0.1 * float(want[2].std())


def test_bf16_rounds_on_the_mask_side_alone():
    torch.manual_seed(0)
    network = STCN().eval().requires_grad_(False)
    fast = DeployedSTCN(network, torch.bfloat16)
    assert fast.compress.conv2.winograd is not None and fast.key_comp.winograd is not None
    assert fast.key_proj.winograd is None and fast.fuse2.conv1.winograd is None
    key, value, logits = _outputs(fast, 2)
    wanted = _outputs(network, 2)
    for got, want, limit in zip((key, value, logits), wanted, (0.02, 0.02, 0.05), strict=True):
        assert float((got - want).abs().mean()) < limit * float(want.std())


def test_several_sizes_through_one_network(network):
    fast = DeployedSTCN(network)
    for size in ((32, 48), (64, 64), (48, 32)):
        frame = torch.randn(2, 3, *size)
        got = fast.encode_key(frame)
        want = network.encode_key(frame)
        assert torch.allclose(got.f16, want.f16, atol=1e-4 * float(want.f16.abs().max()))


def test_the_original_is_not_changed(network):
    before = copy.deepcopy(network.state_dict())
    DeployedSTCN(network, torch.bfloat16)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
