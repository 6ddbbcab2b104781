"""`stmask` without a command, and `stmask download`."""

import pytest
import torch

from stmask import cli
from stmask.checkpoint import save_network
from stmask.commands import download
from stmask.config import get_config
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from vidseg_common.errors import CheckpointError, DownloadError, UserError

SETTINGS = NetworkSettings(stem_width=4, fpn_channels=8, temporal_channels=(8, 8, 8))


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """A small file that takes the place of a published one."""
    sizes = {"stem_width": 4, "fpn_channels": 8, "temporal_channels": [8, 8, 8]}
    small = {"network_sizes": sizes}
    monkeypatch.setattr(download, "get_config", lambda name: get_config(name).copy(small))
    path = tmp_path / "fetched.pth"
    save_network(STMask(SETTINGS), path)
    return path


def run(name, path, output):
    return download.main([name, "--from-file", str(path), "-o", str(output)])


def test_released_file_is_put_in_place(fetched, tmp_path, capsys):
    for name in ("STMask_plus_resnet50", "STMask_r50_FCA+TF"):
        assert run(name, fetched, tmp_path / "weights") == 0
        assert (tmp_path / f"weights/{name}.pth").is_file()
        assert "loads strictly" in capsys.readouterr().out


def test_file_of_another_model_is_refused(fetched, tmp_path):
    with pytest.raises(CheckpointError, match="STMask_plus_base_ali") as caught:
        run("STMask_plus_base_ali", fetched, tmp_path / "weights")
    # By the name that the user gave, not by that of a copy.
    assert str(caught.value).startswith(f"{fetched}: ")
    assert "unchecked" not in str(caught.value)
    assert not list((tmp_path / "weights").iterdir())


def test_web_page_in_place_of_the_file_is_told_by_its_name(tmp_path):
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(DownloadError, match=r"web page instead of STMask_plus_base\.pth"):
        run("STMask_plus_base", page, tmp_path / "weights")
    assert not list((tmp_path / "weights").iterdir())


def test_starting_point(fetched, tmp_path, capsys):
    state = torch.load(fetched, weights_only=True)
    kept = {k: v for k, v in state.items() if not k.startswith("prediction_layers")}
    torch.save(kept, fetched)
    assert run("yolact_plus_resnet50_54_800000", fetched, tmp_path) == 0
    assert (tmp_path / "pretrained_models_coco/yolact_plus_resnet50_54_800000.pth").is_file()
    assert "ready to start" in capsys.readouterr().out


def test_one_source_is_needed(tmp_path):
    with pytest.raises(DownloadError, match="--from-file"):
        download.main(["STMask_plus_base", "-o", str(tmp_path)])


def test_overview_and_unknown_command(capsys):
    assert cli.dispatch(["--help"]) == 0
    assert "predict" in capsys.readouterr().out
    with pytest.raises(UserError, match="did you mean download"):
        cli.dispatch(["downlod"])
