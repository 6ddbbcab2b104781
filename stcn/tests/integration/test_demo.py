import json

import numpy as np
import pytest

from stcn import weights as weights_module
from stcn.cli import dispatch
from stcn.weights import SHIPPED, find_weights
from vidseg_common.errors import CheckpointError, UserError
from vidseg_common.masks import write_mask
from vidseg_common.video import write_image


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


def test_truth_of_another_size_is_named_before_any_work(tmp_path):
    mask = np.ones((48, 64), np.uint8)
    for t in range(2):
        write_image(tmp_path / f"frames/{t:05d}.jpg", np.zeros((48, 64, 3), np.uint8))
    write_mask(tmp_path / "first.png", mask)
    write_mask(tmp_path / "truth/00001.png", mask[:, :-1])
    words = ["--video", str(tmp_path / "frames"), "--mask", str(tmp_path / "first.png")]
    with pytest.raises(UserError, match=r"00001\.png: the mask is 63x48, the video is 64x48"):
        dispatch(["demo", *words, "--truth", str(tmp_path / "truth"), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


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
