import json

import numpy as np
import pytest

from stmask.inference.postprocess import FrameResult
from stmask.outputs.drawing import DrawOptions, color_of, draw_instances, label_of
from stmask.outputs.web import WebWriter, detections_of
from vidseg_common import rle

NAMES = ("cat", "dog")
PLAIN = DrawOptions(boxes=False, text=False)


def result(num: int = 2, size: tuple[int, int] = (80, 120)) -> FrameResult:
    masks = np.zeros((num, *size), bool)
    boxes = np.zeros((num, 4), np.int64)
    for i in range(num):
        boxes[i] = (10 + 30 * i, 40, 40 + 30 * i, 70)
        masks[i, 40:70, 10 + 30 * i : 40 + 30 * i] = True
    scores = np.linspace(0.5, 0.9, num).astype(np.float32)
    return FrameResult(np.arange(num), np.arange(num) % 2 + 1, scores, boxes, masks)


def grey(size: tuple[int, int] = (80, 120)) -> np.ndarray:
    return np.full((*size, 3), 100, np.uint8)


def test_colors_are_those_of_the_original():
    assert color_of(0) == (244, 67, 54)
    assert color_of(1) == (33, 150, 243)  # the fifth after it
    assert color_of(19) == color_of(0)
    assert color_of(-1) == color_of(18)


def test_masks_are_mixed_in_at_45_percent():
    found = result()
    drawn = draw_instances(grey(), found, NAMES, PLAIN)
    expected = np.round(0.55 * 100 + 0.45 * np.array(color_of(0)))
    assert (drawn[50, 15] == expected).all()
    assert (drawn[~found.masks.any(0)] == 100).all()


def test_the_image_is_not_changed():
    image = grey()
    draw_instances(image, result(), NAMES)
    assert (image == 100).all()


def test_only_the_best_are_drawn():
    found = result()
    for options in (DrawOptions(1, boxes=False, text=False), DrawOptions(100, 0.8, True, False)):
        drawn = draw_instances(grey(), found, NAMES, options)
        assert (drawn[50, 15] == 100).all()
        assert (drawn[50, 60] != 100).any()


def test_boxes_and_texts():
    found = result()
    with_box = draw_instances(grey(), found, NAMES, DrawOptions(masks=False, text=False))
    assert (with_box[50, 10] == color_of(0)).all()
    with_text = draw_instances(grey(), found, NAMES, DrawOptions(masks=False, boxes=False))
    assert (with_text != 100).any() and (with_text[50] == 100).all()
    assert label_of("dog", 0.934, 2) == "dog: 0.93: 2"
    assert label_of("dog", None, 2) == "dog: 2"


def test_texts_stay_inside_of_small_frames():
    found = FrameResult(
        np.array([3]), np.array([9]), np.ones(1, np.float32), np.array([[0, 0, 7, 7]]),
        np.ones((1, 8, 8), bool),
    )  # fmt: skip
    assert draw_instances(grey((8, 8)), found, NAMES, fps=12.0).shape == (8, 8, 3)


def test_frames_without_instances_are_copied():
    assert (draw_instances(grey(), result(0), NAMES) == 100).all()
    assert (draw_instances(grey(), result(0), NAMES, fps=9.5) != 100).any()


def test_results_without_masks_are_drawn_as_boxes():
    found = result()
    boxes = FrameResult(
        found.ids, found.classes, found.scores, found.boxes, np.zeros((2, 0, 0), bool)
    )
    assert (draw_instances(grey(), boxes, NAMES)[50, 10] == color_of(0)).all()
    assert "mask" not in detections_of(boxes, NAMES)[0]


def test_masks_of_another_size_are_refused():
    with pytest.raises(ValueError, match="masks are"):
        draw_instances(grey((81, 120)), result(), NAMES)


def test_web_detections():
    first, second = detections_of(result(), NAMES)
    assert first["score"] > second["score"]
    assert (first["category"], first["id"], first["bbox"]) == ("dog", 1, [40, 40, 30, 30])
    assert (rle.decode(first["mask"]) == result().masks[1]).all()


def test_web_file(tmp_path):
    path = tmp_path / "dets" / "run.json"
    with WebWriter(path, {"name": "run", "top": [1, 2]}, NAMES) as writer:
        assert writer.add(result(), "clip/0.jpg") == 0
        assert writer.add(result(0)) == 1
        assert not path.exists()
    content = json.loads(path.read_text())
    assert content["info"] == {"Config": {"name": "run", "top": [1, 2]}}
    assert [image["image_id"] for image in content["images"]] == [0, 1]
    assert content["images"][0]["file_name"] == "clip/0.jpg"
    assert content["images"][1] == {"image_id": 1, "dets": []}


def test_a_web_file_of_a_failed_run_does_not_appear(tmp_path):
    with pytest.raises(KeyError), WebWriter(tmp_path / "run.json", {}, NAMES):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_an_empty_web_file_is_json(tmp_path):
    with WebWriter(tmp_path / "run.json", {}, NAMES):
        pass
    assert json.loads((tmp_path / "run.json").read_text())["images"] == []
