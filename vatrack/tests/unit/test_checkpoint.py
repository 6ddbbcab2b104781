"""Files of weights: the container, loading by shapes, wrong and foreign files."""

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from vatrack.checkpoint import (
    guess_settings,
    load_network,
    load_weights,
    make_meta,
    read_checkpoint,
    variants,
    write_checkpoint,
)
from vatrack.config import load_config, model_settings
from vatrack.model import ModelSettings, build
from vatrack.parity import RECORDS
from vidseg_common.errors import CheckpointError

TINY = ModelSettings(
    "vatrack2bbox", blocks=(1, 1, 1, 1), stem_channels=8, fpn_channels=32, fc_channels=16
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small network and its file."""
    torch.manual_seed(0)
    network = build(TINY)
    path = tmp_path_factory.mktemp("weights") / "epoch_3.pth"
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1).state_dict()
    meta = make_meta(epoch=3, iteration=30, config="a = 1\n", seed=7)
    write_checkpoint(path, network, meta, optimizer=optimizer, rest={"state": [1, 2]})
    return network, path


@pytest.mark.parametrize("path", sorted(RECORDS.glob("manifest_*.json")), ids=lambda p: p.stem)
def test_networks_have_the_keys_of_the_published_files(path):
    """In their order, with their shapes; the cases of a network load them through this loader."""
    manifest = json.loads(path.read_text())
    kind = manifest["method"].replace("amodaltrack", "qdtrack")
    _, shapes = variants()[f"{kind}_{manifest['backbone']}"]
    assert list(shapes.items()) == [(k["name"], tuple(k["shape"])) for k in manifest["keys"]]


def test_a_file_holds_what_was_written(tiny):
    network, path = tiny
    checkpoint = read_checkpoint(path)
    assert checkpoint.meta["epoch"] == 3 and checkpoint.meta["iter"] == 30
    assert checkpoint.meta["mmcv_version"] == "1.2.7" and checkpoint.meta["config"] == "a = 1\n"
    assert {"time", "env_info", "pcan_version", "seed"} <= checkpoint.meta.keys()
    assert checkpoint.classes[0] == "person" and len(checkpoint.classes) == 24
    assert checkpoint.optimizer["param_groups"][0]["lr"] == 0.1
    assert checkpoint.rest == {"state": [1, 2]}
    loaded = load_network(path, TINY)
    assert not loaded.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_the_raw_container_is_the_published_one(tiny):
    content = torch.load(tiny[1], weights_only=True)
    assert {"meta", "state_dict", "optimizer"} <= content.keys()
    assert not any(name.startswith("module.") for name in content["state_dict"])


def test_prefixes_of_parallel_training_and_bare_mappings(tiny, tmp_path):
    network, _ = tiny
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    for content in ({"state_dict": state, "meta": {"epoch": 1}}, state):
        torch.save(content, tmp_path / "a.pth")
        load_weights(build(TINY), read_checkpoint(tmp_path / "a.pth"))


def test_notes_may_hold_numbers_of_numpy(tiny, tmp_path):
    meta = {"epoch": 1, "best_score": np.float64(0.5), "CLASSES": "person"}
    torch.save({"state_dict": tiny[0].state_dict(), "meta": meta}, tmp_path / "a.pth")
    checkpoint = read_checkpoint(tmp_path / "a.pth")
    assert checkpoint.meta["best_score"] == 0.5 and checkpoint.classes is None
    assert checkpoint.optimizer is None


def test_the_published_variant_is_told_by_the_weights(tmp_path):
    settings = model_settings(load_config("QDbasedVATrack_SAILVOScut", backbone="r50"))
    with torch.device("meta"):
        state = build(settings).state_dict()
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    assert guess_settings(read_checkpoint(tmp_path / "a.pth")) == settings
    del state["mu0"]
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="nearest is vatrack_r50, with 1 keys"):
        guess_settings(read_checkpoint(tmp_path / "a.pth"))


def test_the_wrong_network_is_told_with_a_table(tiny):
    with pytest.raises(CheckpointError, match="unknown to the model") as caught:
        load_network(tiny[1], replace(TINY, kind="vatrack"))
    assert "amodal_bbox_head" in str(caught.value)


class Harmful:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": 3}}, "'a' is no named tensor"),
        ({"state_dict": {}}, "there are none"),
        ([1], "holds list"),
        ({"state_dict": {"a": torch.zeros(1)}, "meta": Harmful()}, r"(?s)refused.*print"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, capsys, content, message):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


def test_files_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"state_dict": 1})[:5])
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_checkpoint(tmp_path / "a.pth")
