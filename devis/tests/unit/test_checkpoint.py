"""Files of weights: containers of released files, foreign files, strict loading."""

import argparse
import os
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch

from devis.checkpoint import RELEASED, Checkpoint, load_weights, read_checkpoint, released_shapes
from devis.config import CONFIGS, load_config, model_settings
from devis.model import build
from vidseg_common.errors import CheckpointError

WEIGHTS = {"a.weight": torch.arange(3.0), "b": torch.ones(2, 2)}


class CfgNode(dict):
    """Like the one of yacs: a mapping with attributes."""

    def __init__(self, *args):
        super().__init__(*args)
        self.__dict__["__immutable__"] = True


class Harmful:
    def __reduce__(self):
        return os.system, ("exit 1",)


class Unknown:
    pass


@pytest.fixture
def yacs(monkeypatch):
    """Objects are pickled as if they came from the package."""
    module = types.ModuleType("yacs.config")
    module.CfgNode = CfgNode
    monkeypatch.setitem(sys.modules, "yacs", types.ModuleType("yacs"))
    monkeypatch.setitem(sys.modules, "yacs.config", module)
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")


@pytest.mark.parametrize("zipped", [False, True])
def test_released_files_are_read_without_their_packages(tmp_path, yacs, monkeypatch, zipped):
    path = tmp_path / "released.pth"
    cfg = CfgNode({"MODEL": CfgNode({"NUM_QUERIES": 60, "LIST": ["/32"]}), "SEED": 42})
    content = {
        "model": OrderedDict(WEIGHTS),
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]},
        "epoch": 9,
        "cfg": cfg,
        "best_val_stats": [np.float64(0.5), 0.25],
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    monkeypatch.delitem(sys.modules, "yacs.config")
    monkeypatch.delitem(sys.modules, "yacs")
    found = read_checkpoint(path)
    assert set(found.model) == set(WEIGHTS) and torch.equal(found.model["b"], WEIGHTS["b"])
    assert found.rest["epoch"] == 9
    assert type(found.rest["cfg"]) is OrderedDict
    assert found.rest["cfg"]["MODEL"]["NUM_QUERIES"] == 60


def test_files_of_the_detector_hold_their_arguments(tmp_path):
    path = tmp_path / "detr.pth"
    args = argparse.Namespace(lr=1e-4, backbone="resnet50")
    torch.save({"model": WEIGHTS, "args": args}, path, _use_new_zipfile_serialization=False)
    found = read_checkpoint(path)
    assert set(found.model) == set(WEIGHTS)
    assert not isinstance(found.rest["args"], argparse.Namespace)


def test_bare_weights_and_prefix_of_parallel_training(tmp_path):
    torch.save({f"module.{k}": v for k, v in WEIGHTS.items()}, tmp_path / "bare.pth")
    found = read_checkpoint(tmp_path / "bare.pth")
    assert set(found.model) == set(WEIGHTS) and found.rest == {}


@pytest.mark.parametrize("foreign", [Harmful(), Unknown()])
def test_code_is_refused_and_does_not_run(tmp_path, foreign):
    torch.save({"model": WEIGHTS, "cfg": foreign}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"bad\.pth: refused"):
        read_checkpoint(tmp_path / "bad.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds list"),
        ({}, "expected a mapping"),
        ({"model": {}}, "there are none"),
        ({"epoch": 3}, "'epoch' is no named tensor"),
        ({"model": {"a": 1}}, "'a' is no named tensor"),
    ],
)
def test_files_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(tmp_path / "x.pth")


def test_a_file_of_another_variant_is_named(tmp_path):
    with torch.device("meta"):
        network = build(model_settings(load_config("devis_R_50_OVIS")))
        other = build(model_settings(load_config("devis_R_50_YT-19")))
    state = {key: torch.empty_like(value) for key, value in other.state_dict().items()}
    with pytest.raises(CheckpointError, match="devis_R_50_YT-19") as caught:
        load_weights(network, Checkpoint(tmp_path / "x.pth", state))
    assert "class_embed" in str(caught.value)


def test_released_variants_differ():
    names = {path.stem for path in CONFIGS.rglob("*.yaml")}
    assert set(RELEASED) <= names
    assert len(released_shapes()) == len(RELEASED)
