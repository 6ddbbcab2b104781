"""Folded batch norm and the deployed form against the network as trained."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from stcn.model.deployed import DeployedSTCN
from stcn.model.fold import fold_batch_norm

VARIANTS = {
    "tiny": {},
    "bottleneck": {"key_block": "bottleneck"},
    "deep": {"key_depths": (2, 1, 2), "value_depths": (2, 1, 1)},
    "without CBAM": {"cbam": False},
    "without others": {"others_channel": False},
    "no shortcut convolutions": {"value_dim": 32, "thin_dim": 16, "decoder_widths": (48, 48, 48)},
    "shortcut convolutions": {"value_dim": 48, "decoder_widths": (24, 16, 8)},
}


def outputs(network, num_objects):
    generator = torch.Generator().manual_seed(5)
    frame = torch.randn(1, 3, 32, 48, generator=generator)
    masks = torch.rand(num_objects, 1, 32, 48, generator=generator)
    features = network.encode_key(frame)
    value = network.encode_value(frame, features.f16, masks)
    logits = network.decode(value, features)
    return {
        "key": features.key,
        "thin": features.thin,
        "f4": features.f4,
        "value": value,
        "logits": logits,
    }


@pytest.mark.parametrize("num_objects", [1, 3])
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=list(VARIANTS))
@pytest.mark.parametrize("form", [fold_batch_norm, DeployedSTCN])
def test_same_function(make_network, tiny_config, form, changes, num_objects):
    network = make_network(replace(tiny_config, **changes))
    with torch.inference_mode():
        wanted, got = outputs(network, num_objects), outputs(form(network), num_objects)
    for name, value in wanted.items():
        scale = float(value.std())
        torch.testing.assert_close(got[name], value, rtol=0, atol=2e-5 * scale, msg=name)


def test_folded_copy_has_no_batch_norm_and_leaves_the_original(make_network, tiny_config):
    network = make_network(tiny_config)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    folded = fold_batch_norm(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    after = network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_deployed_in_bfloat16_agrees(network):
    with torch.inference_mode():
        wanted = outputs(network, 2)
        got = outputs(DeployedSTCN(network, torch.bfloat16), 2)
    assert got["value"].dtype == torch.bfloat16
    assert got["logits"].dtype == got["key"].dtype == torch.float32
    for name, value in wanted.items():
        error = (got[name].float() - value).abs().mean() / value.std()
        assert error < 0.05, name


def test_deployed_takes_changing_sizes(network):
    deployed = DeployedSTCN(network)
    with torch.inference_mode():
        for size in ((32, 48), (64, 16), (32, 48)):
            frame = torch.randn(1, 3, *size)
            torch.testing.assert_close(
                deployed.encode_key(frame).f16,
                network.encode_key(frame).f16,
                rtol=1e-4,
                atol=1e-4,
            )
