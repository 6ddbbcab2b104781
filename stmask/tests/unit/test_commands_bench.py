"""`stmask bench` prints the speed of every part."""

import json

import pytest

from stmask.checkpoint import save_network
from stmask.commands import bench
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from vidseg_common.errors import CheckpointError

SMALL = {"stem_width": 4, "fpn_channels": 8, "temporal_channels": (8, 8, 8)}


def test_a_checkpoint_is_measured(tmp_path, capsys):
    path, config = tmp_path / "small.pth", tmp_path / "small.yaml"
    save_network(STMask(NetworkSettings(**SMALL)), path)
    config.write_text(f"base: STMask_plus_resnet50_config\nnetwork_sizes: {json.dumps(SMALL)}\n")
    words = ["--model", str(path), "--config", str(config), "--frames", "2"]
    assert bench.main([*words, "--height", "72", "--width", "128", "--device", "cpu"]) == 0
    lines = capsys.readouterr().out
    assert "2 frames 128x72" in lines and "frames per second" in lines


def test_missing_weights(tmp_path):
    with pytest.raises(CheckpointError, match="absent"):
        bench.main(["--model", str(tmp_path / "absent.pth")])
