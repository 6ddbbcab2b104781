"""Containers that weights come in, detectors' backbones, and files that do not fit."""

import json
from pathlib import Path

import pytest
import torch

from stemseg import checkpoint
from stemseg.checkpoint import (
    build_network,
    convert_detector,
    convert_detector_file,
    load_backbone,
    load_network,
    load_state,
    variant_shapes,
)
from stemseg.commands import download
from stemseg.config import Config, merge
from stemseg.model.fpn import Backbone
from vidseg_common.checkpoint import save_safetensors
from vidseg_common.errors import CheckpointError, ConfigError, DownloadError

RECORDS = Path(__file__).parents[1] / "parity" / "records"


@pytest.fixture(scope="module")
def network(tiny_config):
    torch.manual_seed(3)
    return build_network(tiny_config())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("variant", ["davis", "youtube_vis", "kitti_mots"])
def test_keys_and_shapes_are_those_of_the_released_files(variant):
    manifest = json.loads((RECORDS / f"manifest_{variant}.json").read_text())
    expected = {key["name"]: tuple(key["shape"]) for key in manifest["keys"]}
    shapes = variant_shapes()[variant]
    assert list(shapes.items()) == list(expected.items())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"model": state, "iterations": 7, "optimizer": {"state": {}}},
        lambda state: state,
        lambda state: {"model": {f"module.{key}": value for key, value in state.items()}},
    ],
    ids=["official", "bare", "module prefix"],
)
def test_containers(tmp_path, network, wrap):
    torch.save(wrap(network.state_dict()), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    loaded = load_network(tmp_path / "a.pth", network.cfg)
    assert same(loaded.state_dict(), network.state_dict())
    assert not loaded.training


def test_safetensors(tmp_path, network):
    save_safetensors(network.state_dict(), tmp_path / "a.safetensors")
    loaded = load_network(tmp_path / "a.safetensors", network.cfg)
    assert same(loaded.state_dict(), network.state_dict())


def test_file_of_another_model_is_refused_with_the_one_that_fits(tmp_path, network):
    with torch.device("meta"):
        shapes = variant_shapes()["youtube_vis"]
    state = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    torch.save({"model": state}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="fits the variant youtube_vis"):
        load_network(tmp_path / "a.pth", network.cfg)


def test_missing_key_is_told(tmp_path, network):
    state = dict(network.state_dict())
    del state["embedding_head.time_scale"]
    torch.save({"model": state}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"embedding_head\.time_scale"):
        load_network(tmp_path / "a.pth", network.cfg)


@pytest.mark.parametrize("content", [[1, 2], {"model": {"a": 3}}, {}])
def test_foreign_content_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        load_state(tmp_path / "a.pth")


def test_impossible_configuration_names_the_key(tiny_config):
    cfg = tiny_config()
    cfg = merge(cfg, {"MODEL": {"EMBEDDINGS": {"GN_NUM_GROUPS": 3}}})
    with pytest.raises(ConfigError, match="GN_NUM_GROUPS"):
        build_network(cfg)


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.backbone.", "module."])
def test_backbone_of_a_detector(tmp_path, network, prefix):
    expected = network.backbone.state_dict()
    state = {f"{prefix}{key}": value + 1 for key, value in expected.items()}
    state[f"{prefix.removesuffix('backbone.')}rpn.head.conv.weight"] = torch.zeros(1)
    torch.save({"model": state}, tmp_path / "a.pth")
    other = build_network(network.cfg)
    load_backbone(tmp_path / "a.pth", other)
    assert same(other.backbone.state_dict(), {key: value + 1 for key, value in expected.items()})


def test_file_without_backbone_is_refused():
    with pytest.raises(CheckpointError, match="no backbone"):
        convert_detector({"head.weight": torch.zeros(1)})


def test_backbone_of_another_depth_is_refused(tmp_path, network):
    torch.save(network.backbone.state_dict(), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="backbone R-50-FPN"):
        convert_detector_file(tmp_path / "a.pth", tmp_path / "b.pth")
    assert not (tmp_path / "b.pth").exists()


def test_resnet_50_backbone_loads(tmp_path):
    cfg = merge(Config(), {"MODEL": {"BACKBONE": {"TYPE": "R-50-FPN"}}})
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in Backbone(cfg.MODEL).state_dict().items()}
    state = {f"backbone.{k}": torch.zeros(()).expand(shape) for k, shape in shapes.items()}
    torch.save(state, tmp_path / "detector.pth")
    target = tmp_path / "mask_rcnn_R_50_FPN_backbone.pth"
    assert convert_detector_file(tmp_path / "detector.pth", target) == len(shapes)
    assert load_state(target).keys() == shapes.keys()


def test_weights_are_put_in_place_once_they_fit(tmp_path, network, monkeypatch, capsys):
    torch.save({"model": network.state_dict()}, tmp_path / "fetched.pth")
    monkeypatch.setattr(download, "load_config", lambda name: network.cfg)
    argv = ["davis", "--from-file", str(tmp_path / "fetched.pth"), "-o", str(tmp_path / "saves")]
    assert download.main(argv) == 0
    assert "loads strictly" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "saves").iterdir()] == ["davis.pth"]


def test_weights_that_do_not_fit_are_not_put_in_place(tmp_path, network):
    torch.save({"model": network.state_dict()}, tmp_path / "fetched.pth")
    argv = ["davis", "--from-file", str(tmp_path / "fetched.pth"), "-o", str(tmp_path / "saves")]
    with pytest.raises(CheckpointError):
        download.main(argv)
    assert not list((tmp_path / "saves").iterdir())


def test_download_needs_a_source():
    with pytest.raises(DownloadError, match="--from-file"):
        download.main(["davis"])


def test_fitting_file_needs_no_list_of_variants(tmp_path, network, monkeypatch):
    torch.save({"model": network.state_dict()}, tmp_path / "a.pth")
    monkeypatch.setattr(checkpoint, "variant_shapes", lambda: pytest.fail("not needed"))
    load_network(tmp_path / "a.pth", network.cfg)
