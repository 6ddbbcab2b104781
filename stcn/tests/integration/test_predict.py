import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from stcn.cli import dispatch
from vidseg_common.errors import UserError
from vidseg_common.masks import read_mask, write_mask
from vidseg_common.video import VideoSink, open_source, write_image


@pytest.fixture
def clip(tmp_path, make_video):
    """A folder of frames, an MP4 of them, and masks of frames 0 and 4."""
    frames, labels = make_video(6, 48, 64, (1, 5))
    for t, frame in enumerate(frames):
        write_image(tmp_path / "frames" / f"{t:05d}.jpg", frame)
    with VideoSink(tmp_path / "clip.mp4", 10) as sink:
        for frame in frames:
            sink.write(frame)
    write_mask(tmp_path / "first.png", np.where(labels[0] == 1, 1, 0))
    write_mask(tmp_path / "later.png", np.where(labels[4] == 5, 5, 0))
    return tmp_path


def _predict(clip, weights, *words):
    out = clip / "out"
    dispatch(["predict", *map(str, words), "-o", str(out), "--model", str(weights), "--size", "0"])
    return out, json.loads((out / "result.json").read_text())


@pytest.mark.parametrize("source", ["frames", "clip.mp4"])
def test_writes_masks_overlay_and_result(clip, weights, source):
    out, result = _predict(clip, weights, clip / source, "--mask", clip / "first.png")
    masks = sorted((out / "masks").iterdir())
    assert len(masks) == 6 == result["num_frames"]
    assert np.array_equal(read_mask(masks[0]), read_mask(clip / "first.png"))
    assert Image.open(masks[3]).mode == "P"
    with open_source(out / "overlay.mp4") as overlay:
        assert (overlay.height, overlay.width) == (48, 64)
        assert len(list(overlay)) == 6
    assert result["frames"][0]["objects"]["1"]["area"] == (read_mask(masks[0]) == 1).sum()


def test_later_mask_adds_an_object_and_a_correction_replaces_one(clip, weights):
    correction = np.zeros((48, 64), np.uint8)
    correction[30:40, 40:60] = 1
    write_mask(clip / "fixed.png", correction)
    out, result = _predict(
        clip,
        weights,
        clip / "frames",
        *("--mask", clip / "first.png"),
        *("--mask", f"2={clip / 'fixed.png'}"),
        *("--mask", f"4={clip / 'later.png'}"),
    )
    assert set(result["object_ids"]) == {1, 5}
    assert not result["frames"][3]["objects"].get("5")
    assert np.array_equal(read_mask(out / "masks/00002.png") == 1, correction == 1)
    given = read_mask(clip / "later.png") == 5
    assert (read_mask(out / "masks/00004.png")[given] == 5).all()


def test_bidirectional_fills_the_frames_before(clip, weights):
    words = (clip / "clip.mp4", "--mask", f"4={clip / 'later.png'}")
    _, forward = _predict(clip, weights, *words)
    assert not any(frame["objects"] for frame in forward["frames"][:4])
    _, both = _predict(clip, weights, *words, "--bidirectional")
    assert any(frame["objects"] for frame in both["frames"][:4])
    assert both["num_frames"] == 6


def test_folder_of_masks_is_matched_by_name(clip, weights):
    (clip / "given").mkdir()
    (clip / "first.png").rename(clip / "given/00000.png")
    (clip / "later.png").rename(clip / "given/00004.png")
    _, result = _predict(clip, weights, clip / "frames", "--mask", clip / "given")
    assert result["given_masks"] == [0, 4]
    (clip / "given/00004.png").rename(clip / "given/77.png")
    with pytest.raises(UserError, match=r"77\.png.*fits no frame"):
        _predict(clip, weights, clip / "frames", "--mask", clip / "given")


def _one_frame(clip):
    for path in sorted((clip / "frames").iterdir())[1:]:
        path.unlink()


def _no_frame(clip):
    for path in (clip / "frames").iterdir():
        path.unlink()


def _wrong_size(clip):
    write_mask(clip / "first.png", np.ones((40, 64), np.uint8))


def _empty(clip):
    write_mask(clip / "first.png", np.zeros((48, 64), np.uint8))


def _rgb(clip):
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(clip / "first.png")


def _unreadable_frame(clip):
    (clip / "frames/00003.jpg").write_bytes(b"not an image")


def _missing_mask(clip):
    (clip / "first.png").unlink()


def test_a_size_too_small_is_refused(clip, capsys):
    with pytest.raises(SystemExit):
        dispatch(["predict", "frames", "--mask", "first.png", "-o", "out", "--size", "8"])
    assert "--size: must be 0 or a whole number from 16 on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_frame, "one frame only"),
        (_no_frame, "frames"),
        (_wrong_size, "mask is 64x40, the video is 64x48"),
        (_empty, "first.png: the mask is empty"),
        (_rgb, "first.png"),
        (_unreadable_frame, "00003.jpg"),
        (_missing_mask, "first.png"),
    ],
)
def test_bad_input_gives_one_line_and_no_result(clip, weights, spoil, message):
    spoil(clip)
    command = [sys.executable, "-m", "stcn", "predict", "frames", "--mask", "first.png"]
    done = subprocess.run(
        [*command, "-o", "out", "--model", str(weights), "--size", "0"],
        cwd=clip,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert len(lines) == 1 and message in lines[0]
    assert "Traceback" not in done.stderr
    assert not (clip / "out/result.json").exists()
    assert not (clip / "out/overlay.mp4").exists()


def test_truncated_video_names_the_file(clip, weights):
    data = (clip / "clip.mp4").read_bytes()
    (clip / "clip.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"clip\.mp4"):
        _predict(clip, weights, clip / "clip.mp4", "--mask", clip / "first.png")
