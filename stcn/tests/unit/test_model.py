"""Keys, shapes and shared computation of the network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stcn.model.blocks import CBAM, Fuser, ResBlock, conv_of_concat
from stcn.model.decoder import Decoder
from stcn.model.network import STCN, NetworkConfig

RECORDS = Path(__file__).parents[1] / "parity" / "records"
PUBLISHED = {
    "manifest_eval.json": (NetworkConfig(), 405, 54_434_180),
    "manifest_train_mo.json": (NetworkConfig(), 405, 54_434_180),
    "manifest_train_so.json": (NetworkConfig(others_channel=False), 405, 54_431_044),
    "manifest_no_cbam.json": (NetworkConfig(cbam=False), 399, 54_400_769),
}


@pytest.mark.parametrize("manifest", PUBLISHED)
def test_keys_shapes_and_order_are_those_of_the_published_files(manifest):
    config, num_entries, num_parameters = PUBLISHED[manifest]
    with torch.device("meta"):
        network = STCN(config)
    keys = json.loads((RECORDS / manifest).read_text())["keys"]
    wanted = [(key["name"], tuple(key["shape"])) for key in keys]
    assert [(k, tuple(v.shape)) for k, v in network.state_dict().items()] == wanted
    assert len(wanted) == num_entries
    assert sum(p.numel() for p in network.parameters()) == num_parameters


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_shapes_of_features(make_network, tiny_config, block):
    network = make_network(replace(tiny_config, key_block=block))
    expansion = 1 if block == "basic" else 4
    features = network.encode_key(torch.randn(2, 3, 32, 48))
    assert features.key.shape == (2, 16, 2, 3)
    assert features.thin.shape == (2, 16, 2, 3)
    assert features.f16.shape == (2, 16 * expansion, 2, 3)
    assert features.f8.shape == (2, 8 * expansion, 4, 6)
    assert features.f4.shape == (2, 8 * expansion, 8, 12)
    one = features.select(1)
    torch.testing.assert_close(one.f8[0], features.f8[1])
    value = network.encode_value(torch.randn(1, 3, 32, 48), one.f16, torch.rand(3, 1, 32, 48))
    assert value.shape == (3, 32, 2, 3)
    assert network.decode(value, one).shape == (3, 1, 32, 48)


def test_features_of_a_batch_are_those_of_its_frames(network):
    frames = torch.randn(2, 3, 32, 32)
    batch, second = network.encode_key(frames), network.encode_key(frames[1:])
    torch.testing.assert_close(batch.select(1).f16, second.f16, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(batch.select(1).key, second.key, rtol=1e-4, atol=1e-5)


def test_value_of_an_object_sees_the_others(network):
    frame = torch.randn(1, 3, 32, 32)
    features = network.encode_key(frame)
    masks = torch.rand(3, 1, 32, 32)
    values = network.encode_value(frame, features.f16, masks)
    others = masks.sum(0, keepdim=True) - masks
    for k in range(3):
        pair = torch.cat([masks[k : k + 1], others[k : k + 1]], 1)
        direct = network.value_encoder(frame, features.f16, pair)
        torch.testing.assert_close(values[k : k + 1], direct, rtol=1e-4, atol=1e-4)
    alone = network.encode_value(frame, features.f16, masks[:1])
    zero = torch.cat([masks[:1], torch.zeros(1, 1, 32, 32)], 1)
    torch.testing.assert_close(alone, network.value_encoder(frame, features.f16, zero))


def test_network_without_others_channel(make_network, tiny_config):
    network = make_network(replace(tiny_config, others_channel=False))
    frame = torch.randn(1, 3, 32, 32)
    features = network.encode_key(frame)
    assert network.encode_value(frame, features.f16, torch.rand(2, 1, 32, 32)).shape[0] == 2


@pytest.mark.parametrize("out_channels", [4, 6])
@pytest.mark.parametrize("num_objects", [1, 3])
def test_shared_part_of_a_block_is_exact(out_channels, num_objects):
    block = ResBlock(6, out_channels)
    own, shared = torch.randn(num_objects, 4, 5, 5), torch.randn(1, 2, 5, 5)
    joint = torch.cat([own, shared.expand(num_objects, -1, -1, -1)], 1)
    torch.testing.assert_close(block.forward_shared(own, shared), block(joint))


def test_convolution_of_concat():
    conv = torch.nn.Conv2d(5, 3, 3, padding=1)
    own, shared = torch.randn(2, 3, 4, 4), torch.randn(1, 2, 4, 4)
    joint = torch.cat([own, shared.expand(2, -1, -1, -1)], 1)
    torch.testing.assert_close(conv_of_concat(conv, own, shared), conv(joint))


def test_decoder_broadcasts_skip_features():
    decoder = Decoder(10, 3, 2, (4, 4, 3)).eval()
    readout, thin = torch.randn(3, 6, 2, 2), torch.randn(1, 4, 2, 2)
    f8, f4 = torch.randn(1, 3, 4, 4), torch.randn(1, 2, 8, 8)
    joint = torch.cat([readout, thin.expand(3, -1, -1, -1)], 1)
    wanted = decoder(joint, f8.expand(3, -1, -1, -1), f4.expand(3, -1, -1, -1))
    assert wanted.shape == (3, 1, 32, 32)
    torch.testing.assert_close(decoder.decode_objects(readout, thin, f8, f4), wanted)


def test_attention_gates_channels_then_positions():
    attention, x = CBAM(32), torch.randn(2, 32, 4, 5)
    mlp = attention.ChannelGate.mlp
    weight = torch.sigmoid(mlp(x.mean((2, 3))) + mlp(x.amax((2, 3))))
    gated = x * weight[:, :, None, None]
    pooled = torch.stack([gated.max(1).values, gated.mean(1)], 1)
    wanted = gated * torch.sigmoid(attention.SpatialGate.spatial.conv(pooled))
    torch.testing.assert_close(attention(x), wanted)


def test_fuser_without_attention():
    fuser, x, f16 = Fuser(4, 6, 32, cbam=False), torch.randn(1, 4, 3, 3), torch.randn(1, 6, 3, 3)
    assert not any("attention" in name for name in fuser.state_dict())
    torch.testing.assert_close(fuser(x, f16), fuser.block2(fuser.block1(torch.cat([x, f16], 1))))


def test_block_does_not_change_its_input():
    x = torch.randn(1, 6, 4, 4)
    before = x.clone()
    ResBlock(6, 6)(x)
    assert torch.equal(x, before)
