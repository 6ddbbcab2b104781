import json

import pytest

from stcn import weights as weights_module
from stcn.cli import dispatch
from stcn.weights import SHIPPED, find_weights
from vidseg_common.errors import CheckpointError, UserError


@pytest.mark.slow
def test_demo_writes_everything(tmp_path, weights):
    out = tmp_path / "demo"
    dispatch(["demo", "-o", str(out), "--model", str(weights)])
    for name in ("report.html", "overlay.mp4", "overlay.gif", "result.json", "score.json"):
        assert (out / name).stat().st_size > 0
    score = json.loads((out / "score.json").read_text())
    assert 0 <= score["J&F"] <= 1
    assert score["J&F"] == pytest.approx((score["J"] + score["F"]) / 2)
    assert len(list((out / "masks").iterdir())) == 40
    page = (out / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_own_video_needs_both(tmp_path):
    with pytest.raises(UserError, match="--video and --mask"):
        dispatch(["demo", "--video", "clip.mp4", "-o", str(tmp_path)])


def test_shipped_weights_are_small_and_load():
    assert SHIPPED.stat().st_size <= 8_000_000
    chosen = find_weights("demo")
    assert chosen.path == SHIPPED and chosen.size is not None
    import stcn

    assert stcn.load("demo").config.others_channel


def test_official_weights_are_preferred(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_weights().path == SHIPPED
    with pytest.raises(CheckpointError, match="make weights-stcn"):
        find_weights("official")
    (tmp_path / "saves").mkdir()
    (tmp_path / "saves/stcn.pth").write_bytes(b"x")
    assert find_weights().path == weights_module.OFFICIAL_PLACES[0]


def test_missing_weights_are_named():
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        find_weights("nowhere.pth")
