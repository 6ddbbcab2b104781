"""Own videos: `stmask predict`, and the sources of eval that are no data set."""

import json
import threading
import time

import av
import cv2
import numpy as np
import pytest

from stmask import playback
from stmask.commands import eval as eval_command
from stmask.commands import predict
from vidseg_common import rle
from vidseg_common.errors import UserError, VideoError
from vidseg_common.masks import read_mask
from vidseg_common.video import VideoSink, list_images, open_source, read_image, write_image


@pytest.fixture
def clip(colors, tmp_path):
    """A folder of eleven frames with three objects; frame 10 sorts after 2 by number only."""
    masks = colors.color_masks(11, 3)
    for t, frame in enumerate(colors.color_frames(masks)):
        write_image(tmp_path / "clip" / f"f{t}.png", frame)
    return tmp_path / "clip"


def predict_words(weights, config, video, out, *words):
    fixed = [str(video), "-o", str(out), "--model", str(weights), "--config", str(config)]
    return [*fixed, "--device", "cpu", *words]


def test_own_video(weights, config, clip, seen, colors, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict.main(predict_words(weights, config, clip, out, "--web")) == 0
    masks = colors.color_masks(11, 3)
    expected = masks[0] * 1 + masks[1] * 2  # the third has too low a score
    for t, path in enumerate(list_images(out / "masks")):
        assert path.name == f"f{t}.png"
        assert (read_mask(path) == expected[t]).all()
    result = json.loads((out / "result.json").read_text())
    assert result["num_frames"] == len(result["frames"]) == 11
    assert [(o["id"], o["category"]) for o in result["objects"]] == [(1, "cat"), (2, "dog")]
    assert (rle.decode(result["objects"][1]["segmentations"][3]) == masks[1, 3]).all()
    left = int(np.flatnonzero(masks[0, 2].any(0))[0])
    assert result["frames"][2]["objects"]["1"]["bbox"] == [left, 2, 24, 12]
    assert result["weights"]["sha256"] and result["config"] == "tiny"
    with open_source(out / "overlay.mp4") as source:
        assert len(list(source)) == 11
    assert len(list_images(out / "web" / "images")) == 11
    web = json.loads((out / "web" / "dets" / "clip.json").read_text())
    assert [len(image["dets"]) for image in web["images"]] == [2] * 11
    printed = capsys.readouterr().out
    assert "11 frames, 2 objects" in printed and "stmask viewer" in printed


def test_own_video_with_the_real_network(weights, config, clip, tmp_path):
    out = tmp_path / "out"
    words = ["--no_overlay", "--max_frames", "3", "--score_threshold", "0"]
    assert predict.main(predict_words(weights, config, clip, out, *words)) == 0
    assert not (out / "overlay.mp4").exists()
    result = json.loads((out / "result.json").read_text())
    assert result["num_frames"] == 3 and result["objects"]
    assert all(len(o["segmentations"]) == 3 for o in result["objects"])


def test_a_single_frame_without_objects(weights, config, seen, colors, tmp_path, capsys):
    write_image(tmp_path / "one.png", np.full((20, 30, 3), colors.GREY, np.uint8))
    words = predict_words(weights, config, tmp_path / "one.png", tmp_path / "out")
    assert predict.main(words) == 0
    assert not read_mask(tmp_path / "out" / "masks" / "one.png").any()
    assert "no object was found" in capsys.readouterr().out


def test_a_narrow_video(weights, config, tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 5, 3), np.uint8)
    for t, frame in enumerate(frames):
        write_image(tmp_path / "narrow" / f"{t}.png", frame)
    words = predict_words(weights, config, tmp_path / "narrow", tmp_path / "out")
    assert predict.main(words) == 0
    assert read_mask(tmp_path / "out" / "masks" / "0.png").shape == (40, 5)


def test_overlapping_masks_go_to_the_best_score_and_large_ids_are_left_out():
    masks = np.ones((3, 2, 4), bool)
    masks[0, :, 2:] = False
    scores = np.array([0.9, 0.5, 0.99], np.float32)
    found = predict.FrameResult(
        np.array([1, 2, 256]), np.ones(3, np.int64), scores, np.zeros((3, 4), np.int64), masks
    )
    assert predict.id_map(found, (2, 4)).tolist() == [[1, 1, 2, 2]] * 2


def test_ids_beyond_those_of_a_mask_file_are_told(
    weights, config, clip, seen, colors, tmp_path, monkeypatch, capsys
):
    step = colors.ColorPredictor.step

    def high(self, frame):
        found = step(self, frame)
        found.ids[:] = found.ids + 254
        return found

    monkeypatch.setattr(colors.ColorPredictor, "step", high)
    out = tmp_path / "out"
    predict.main(predict_words(weights, config, clip, out, "--max_frames=2", "--no_overlay"))
    assert "warning: 1 objects are in result.json, but not in masks/" in capsys.readouterr().err
    assert len(json.loads((out / "result.json").read_text())["objects"]) == 2


def test_videos_that_cannot_be_read_are_told(weights, config, seen, tmp_path):
    with pytest.raises(VideoError, match="no such video"):
        predict.main(predict_words(weights, config, tmp_path / "absent.mp4", tmp_path / "out"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="no frames"):
        predict.main(predict_words(weights, config, tmp_path / "empty", tmp_path / "out"))


def run(weights, config, *words):
    fixed = [f"--trained_model={weights}", f"--config={config}", "--device=cpu"]
    return eval_command.main(
        [*fixed, f"--mask_det_file={config.parent / 'res' / 'r.json'}", *words]
    )


def test_one_image(weights, config, clip, seen, tmp_path):
    assert run(weights, config, f"--image={clip / 'f3.png'}:{tmp_path / 'x.png'}") == 0
    assert read_image(tmp_path / "x.png").shape == (48, 80, 3)
    assert run(weights, config, f"--image={clip / 'f3.png'}", "--mask_proto_debug") == 0
    drawn = tmp_path / "res" / "out"
    assert sorted(p.name for p in drawn.iterdir()) == ["f3.png", "f3_proto.png"]
    assert (read_image(drawn / "f3.png") == read_image(tmp_path / "x.png")).all()


def test_a_folder_is_one_video_in_the_order_of_numbers(
    weights, config, clip, seen, colors, tmp_path
):
    write_image(clip / "f2.png", np.zeros((30, 20, 3), np.uint8))
    assert run(weights, config, f"--images={clip}:{tmp_path / 'drawn'}", "--display_fps") == 0
    assert len(list_images(tmp_path / "drawn")) == 11
    (predictor,) = seen
    assert predictor.num_resets == 1
    assert [i for i, size in enumerate(predictor.sizes) if size == (30, 20)] == [2]


def test_colours_are_not_exchanged(weights, config, clip, seen, tmp_path):
    words = ["--display_bboxes=false", "--display_text=false", "--display_masks=false"]
    run(weights, config, f"--images={clip}:{tmp_path / 'drawn'}", *words)
    assert (read_image(tmp_path / "drawn" / "f3.png") == read_image(clip / "f3.png")).all()


def test_a_video_file(weights, config, clip, seen, colors, tmp_path, capsys):
    source = tmp_path / "in.mp4"
    with VideoSink(source, 20) as sink:
        for path in list_images(clip):
            sink.write(read_image(path))
    words = ["--max_images=5", "--video_multiframe=3", "--mask_proto_debug"]
    assert run(weights, config, f"--video={source}:{tmp_path / 'out.mp4'}", *words) == 0
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(20)
    with open_source(tmp_path / "out.mp4") as frames:
        assert len(list(frames)) == 5
    assert len(list((tmp_path / "out").glob("*_proto.png"))) == 5
    assert "5 frames in" in capsys.readouterr().out


def test_playback_in_real_time(weights, config, clip, seen, tmp_path):
    start = time.monotonic()
    words = ["--emulate_playback", "--max_images=7"]
    run(weights, config, f"--video={clip}:{tmp_path / 'out.mp4'}", *words)
    assert time.monotonic() - start > 6 / 24


def test_a_webcam_that_is_not_there_is_told(weights, config, seen, tmp_path, capfd):
    with pytest.raises(VideoError, match="webcam 97: cannot be opened"):
        run(weights, config, f"--video=97:{tmp_path / 'out.mp4'}")
    assert "VIDEOIO" not in capfd.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


class Camera:
    """Stands for `cv2.VideoCapture`: blue-green-red frames until it is unplugged."""

    count = 4
    is_released = False

    def __init__(self, number: int) -> None:
        self.left = self.count

    def isOpened(self):  # noqa: N802
        return True

    def get(self, _name):
        return 0.0

    def read(self):
        self.left -= 1
        if self.left < 0:
            return False, None
        return True, np.full((48, 80, 3), (20, 20, 230), np.uint8)

    def release(self):
        Camera.is_released = True


def test_a_webcam(weights, config, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert run(weights, config, f"--video=0:{tmp_path / 'out.mp4'}") == 0
    with open_source(tmp_path / "out.mp4") as frames:
        assert len(list(frames)) == 4
    assert Camera.is_released
    assert seen[0].detections.ids.tolist() == [0]  # red


def test_the_video_of_a_webcam_is_finished_on_ctrl_c(weights, config, seen, tmp_path, monkeypatch):
    def read(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return True, np.zeros((48, 80, 3), np.uint8)

    monkeypatch.setattr(cv2, "VideoCapture", type("Stopped", (Camera,), {"read": read}))
    assert run(weights, config, f"--video=0:{tmp_path / 'out.mp4'}") == 0
    with open_source(tmp_path / "out.mp4") as frames:
        assert len(list(frames)) == 4


def test_a_dead_webcam_is_told(weights, config, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", type("Dead", (Camera,), {"count": 0}))
    with pytest.raises(VideoError, match="webcam 0: gives no frames"):
        run(weights, config, f"--video=0:{tmp_path / 'out.mp4'}")


def test_without_a_screen_a_file_is_needed(weights, config, clip, seen, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(playback.sys, "platform", "linux")
    with pytest.raises(UserError, match=r"no window can be shown here.*--video=IN:OUT"):
        run(weights, config, f"--video={clip}")


@pytest.mark.parametrize(("keys", "count"), [([-1, -1, 27], 3), ([-1] * 20, 11)])
def test_a_window_shows_the_video_until_escape(
    weights, config, clip, seen, monkeypatch, capsys, keys, count
):
    shown = []
    monkeypatch.setattr(playback, "check_screen", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image), raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda _: keys[len(shown) - 1], raising=False)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0, raising=False)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None, raising=False)
    assert run(weights, config, f"--video={clip}", "--display_masks=false") == 0
    assert len(shown) == count
    assert f"{count} frames" in capsys.readouterr().out


def test_sources_that_are_not_there_are_told(weights, config, seen, tmp_path):
    for flag, message in (("image", "no such image"), ("images", "no such folder of images"),
                          ("video", "no such video")):  # fmt: skip
        with pytest.raises(VideoError, match=message):
            run(weights, config, f"--{flag}={tmp_path / 'absent'}:{tmp_path / 'x.mp4'}")


@pytest.mark.parametrize("name", ["", "drawn", "drawn.txt"])
def test_a_picture_without_a_format_is_told(weights, config, clip, seen, tmp_path, name):
    source = list_images(clip)[0]
    with pytest.raises(UserError, match=r"must end in one of \.png, \.jpg"):
        run(weights, config, f"--image={source}:{tmp_path / name}")
    assert not list(tmp_path.glob("drawn*"))


def test_pairs_of_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert playback.split_pair("a.png") == ("a.png", None)
    assert playback.split_pair("a.png:b.png") == ("a.png", playback.Path("b.png"))
    assert playback.split_pair("a.png:") == ("a.png", None)
    (tmp_path / "12:30.png").touch()
    assert playback.split_pair("12:30.png") == ("12:30.png", None)


def test_no_thread_is_left(weights, config, clip, seen, tmp_path):
    before = threading.active_count()
    run(weights, config, f"--video={clip}:{tmp_path / 'out.mp4'}", "--max_images=2")
    assert threading.active_count() <= before
