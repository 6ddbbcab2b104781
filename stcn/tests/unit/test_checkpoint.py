"""Every container that weights come in, and every way in which they do not fit."""

import json
import pickle
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stcn.checkpoint import (
    MASK_CONV,
    add_others_channel,
    export,
    infer_config,
    load_for_training,
    load_network,
    load_state,
)
from stcn.model.network import STCN, NetworkConfig
from vidseg_common.checkpoint import read_safetensors_metadata
from vidseg_common.errors import CheckpointError


def same_weights(network, state):
    own = network.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[k], state[k]) for k in state)


def hollow_state(config):
    """A state dict of full size that takes no space: every tensor is one repeated number."""
    with torch.device("meta"):
        shapes = {k: (v.shape, v.dtype) for k, v in STCN(config).state_dict().items()}
    return {k: torch.zeros((), dtype=dtype).expand(shape) for k, (shape, dtype) in shapes.items()}


CONTAINERS = {
    "bare": lambda state: state,
    "checkpoint": lambda state: {
        "it": 7,
        "network": state,
        "optimizer": {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 1e-5}]},
        "scheduler": {"last_epoch": 7},
    },
    "state_dict": lambda state: {"state_dict": state},
    "module prefix": lambda state: {f"module.{key}": value for key, value in state.items()},
    "checkpoint with prefix": lambda state: {
        "network": {f"module.{key}": value for key, value in state.items()}
    },
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=list(CONTAINERS))
def test_containers(tmp_path, network, wrap):
    path = tmp_path / "stcn_checkpoint.pth"
    torch.save(wrap(network.state_dict()), path)
    loaded = load_network(path)
    assert same_weights(loaded, network.state_dict())
    assert not loaded.training
    assert loaded.config == network.config


def test_legacy_file_format(tmp_path, network):
    path = tmp_path / "old.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    assert same_weights(load_network(path), network.state_dict())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"cbam": False},
        {"key_block": "bottleneck"},
        {"key_depths": (2, 3, 1), "value_depths": (1, 2, 3)},
        {"value_dim": 48, "thin_dim": 24, "key_dim": 8, "decoder_widths": (40, 20, 10)},
        {"key_stem": 4, "key_widths": (4, 8, 12), "value_widths": (6, 10, 14)},
    ],
)
def test_structure_is_read_off_the_file(make_network, tiny_config, tmp_path, changes):
    config = replace(tiny_config, **changes)
    network = make_network(config)
    assert infer_config(network.state_dict()) == config
    path = tmp_path / "w.pth"
    torch.save(network.state_dict(), path)
    assert same_weights(load_network(path), network.state_dict())
    assert load_network(path, config=config).config == config


@pytest.mark.parametrize(
    "config", [NetworkConfig(), NetworkConfig(cbam=False), NetworkConfig(others_channel=False)]
)
def test_structure_of_published_files(config):
    assert infer_config(hollow_state(config)) == config


def test_stage0_file_gets_a_channel_of_zeros(make_network, tiny_config, tmp_path):
    single = make_network(replace(tiny_config, others_channel=False))
    path = tmp_path / "s0.pth"
    torch.save(single.state_dict(), path)
    network = load_network(path)
    assert network.config == tiny_config
    weight = network.state_dict()[MASK_CONV]
    assert torch.equal(weight[:, :4], single.state_dict()[MASK_CONV])
    assert not weight[:, 4].any()
    frame, masks = torch.randn(1, 3, 32, 32), torch.rand(2, 1, 32, 32)
    f16 = single.encode_key(frame).f16
    torch.testing.assert_close(
        network.encode_value(frame, f16, masks), single.encode_value(frame, f16, masks)
    )


def test_stage0_file_as_it_is(make_network, tiny_config, tmp_path):
    config = replace(tiny_config, others_channel=False)
    single = make_network(config)
    path = tmp_path / "s0.pth"
    torch.save(single.state_dict(), path)
    assert same_weights(load_network(path, config=config), single.state_dict())


def test_stage0_weights_to_train_with(make_network, tiny_config, tmp_path):
    single = make_network(replace(tiny_config, others_channel=False))
    path = tmp_path / "s0.pth"
    torch.save(single.state_dict(), path)
    network = STCN(tiny_config)
    load_for_training(network, path)
    weight = network.state_dict()[MASK_CONV]
    assert torch.equal(weight[:, :4], single.state_dict()[MASK_CONV])
    extra = weight[:, 4].flatten(1)
    torch.testing.assert_close(extra @ extra.T, torch.eye(len(extra)), atol=1e-5, rtol=0)
    again = STCN(replace(tiny_config, others_channel=False))
    load_for_training(again, path)
    assert same_weights(again, single.state_dict())


def test_states_of_several_objects_are_not_widened(network):
    state = network.state_dict()
    assert add_others_channel(state, init="zeros") is state


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("dtype", [None, torch.float16, torch.bfloat16])
def test_export_and_back(network, tmp_path, suffix, dtype):
    path = tmp_path / f"export{suffix}"
    export(network, path, dtype=dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = load_network(path)
    assert loaded.config == network.config
    for key, value in network.state_dict().items():
        stored = loaded.state_dict()[key]
        assert stored.dtype == value.dtype
        wanted = value if dtype is None or not value.is_floating_point() else value.to(dtype)
        assert torch.equal(stored, wanted.to(value.dtype))


def test_half_precision_export_is_half_as_large_and_segments_alike(network, tmp_path):
    export(network, tmp_path / "full.safetensors")
    export(network, tmp_path / "half.safetensors", dtype=torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.75 * sizes[1]
    frame = torch.randn(1, 3, 32, 32)
    half = load_network(tmp_path / "half.safetensors")
    wanted = network.encode_key(frame).key
    assert (half.encode_key(frame).key - wanted).abs().max() < 0.01 * wanted.abs().max()


def test_export_carries_the_structure(network, tmp_path):
    export(network, tmp_path / "w.safetensors")
    metadata = read_safetensors_metadata(tmp_path / "w.safetensors")
    assert metadata["method"] == "stcn"
    assert json.loads(metadata["network"])["key_widths"] == [8, 8, 16]


def message_of(path, **more):
    with pytest.raises(CheckpointError) as caught:
        load_network(path, **more)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_files(network, tmp_path, suffix, part):
    path = tmp_path / f"w{suffix}"
    export(network, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    assert "download it again" in message_of(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<!DOCTYPE html><html>Quota exceeded</html>", "web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "PNG image"),
        (b"hello, these are no weights", "not a checkpoint"),
        (bytes(5000), "not a checkpoint"),
    ],
)
def test_foreign_files(tmp_path, content, says):
    path = tmp_path / "stcn.pth"
    path.write_bytes(content)
    assert says in message_of(path)


def test_missing_file_and_folder(tmp_path):
    assert "no such file" in message_of(tmp_path / "gone.pth")
    assert "is a folder" in message_of(tmp_path)


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.write_text, (Path(self.target), "caught")


@pytest.mark.parametrize("how", ["torch", "legacy", "plain pickle", "inside a checkpoint"])
def test_code_is_refused_and_named_and_does_not_run(network, tmp_path, how):
    path, sprung = tmp_path / "w.pth", tmp_path / "sprung"
    trap = Trap(str(sprung))
    if how == "plain pickle":
        path.write_bytes(pickle.dumps({"network": trap}))
    else:
        content = {**network.state_dict(), "note": trap} if how == "torch" else {"it": trap}
        torch.save(content, path, _use_new_zipfile_serialization=how != "legacy")
    message = message_of(path)
    assert "refused" in message
    assert "Path" in message
    assert not sprung.exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {},
        {"epoch": 3, "lr": 0.1},
        {1: torch.zeros(2)},
        {"network": {}},
        torch.zeros(3),
        {"model": {"w": torch.zeros(2)}},
    ],
    ids=repr,
)
def test_other_contents(tmp_path, content):
    path = tmp_path / "w.pth"
    torch.save(content, path)
    message_of(path)


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7), "fc.bias": torch.zeros(1000)}, path)
    message = message_of(path)
    assert "405 missing from the file" in message
    assert "2 unknown to the model" in message
    assert "fits none of the known variants" in message


def test_missing_key_is_named(network, tmp_path):
    state = network.state_dict()
    del state["decoder.pred.bias"]
    torch.save(state, tmp_path / "w.pth")
    message = message_of(tmp_path / "w.pth")
    assert "1 missing from the file" in message
    assert "decoder.pred.bias" in message


def test_mis_shaped_key_is_named(network, tmp_path):
    state = {**network.state_dict(), "key_encoder.bn1.bias": torch.zeros(3)}
    torch.save(state, tmp_path / "w.pth")
    message = message_of(tmp_path / "w.pth")
    assert "key_encoder.bn1.bias" in message
    assert "file 3, needs 8" in message


@pytest.mark.parametrize(
    ("stored", "wanted", "says"),
    [
        ({}, {"cbam": False}, "fits the variant official (several objects)"),
        ({"cbam": False}, {}, "fits the variant without CBAM"),
    ],
)
def test_wrong_variant_says_which_one_fits(tmp_path, stored, wanted, says):
    path = tmp_path / "w.pth"
    torch.save(hollow_state(NetworkConfig(**stored)), path)
    message = message_of(path, config=NetworkConfig(**wanted))
    assert "value_encoder.fuser.attention.ChannelGate.mlp.1.weight" in message
    assert "6 unknown to the model" in message or "6 missing from the file" in message
    assert says in message


def test_stage0_network_refuses_weights_of_several_objects(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(hollow_state(NetworkConfig()), path)
    message = message_of(path, config=NetworkConfig(others_channel=False))
    assert "file 64x5x7x7, needs 64x4x7x7" in message
    assert "fits the variant official" in message


def test_key_with_and_without_prefix(network, tmp_path):
    state = network.state_dict()
    state["module.decoder.pred.bias"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="with and without the prefix"):
        load_state(tmp_path / "w.pth")


def test_failed_export_leaves_the_old_file(network, tmp_path, monkeypatch):
    path = tmp_path / "w.pth"
    export(network, path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(CheckpointError, match="No space left"):
        export(network, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["w.pth"]
