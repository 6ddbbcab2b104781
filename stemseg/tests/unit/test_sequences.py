import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from stemseg.data import sequences
from stemseg.data.environment import VARIABLES, annotation_file, folder_of, video_set_files
from stemseg.data.sequences import (
    VideoSequence,
    open_image_set,
    open_video_set,
    read_image_records,
    read_sequences,
)
from vidseg_common import rle
from vidseg_common.errors import ConfigError, DatasetError

SIZE = (6, 8)


def square(row, column):
    mask = np.zeros(SIZE, np.uint8)
    mask[row : row + 2, column : column + 2] = 1
    return mask


def counts(mask):
    return rle.encode(mask)["counts"]


def make_sequence(root=Path(), name="a", num_frames=5):
    """Instance 7 (class 2) in frames 1 to 3, instance 3 (class 1) in frame 3."""
    visible = [{}, *({7: counts(square(1, t))} for t in range(1, 4)), {}]
    visible[3][3] = counts(square(3, 5))
    return VideoSequence(
        id=name,
        image_root=root,
        image_paths=tuple(f"{name}/{t}.png" for t in range(num_frames)),
        image_dims=SIZE,
        categories={7: 2, 3: 1},
        segmentations=tuple(visible[:num_frames]),
    )


def test_masks_come_by_frame_and_instance():
    sequence = make_sequence()
    assert (sequence.instance_ids, sequence.category_labels, len(sequence)) == ([7, 3], [2, 1], 5)
    masks = sequence.load_masks([3, 0])
    np.testing.assert_array_equal(masks[0][0], square(1, 3))
    np.testing.assert_array_equal(masks[0][1], square(3, 5))
    assert not np.any(masks[1])
    assert masks[0][0].dtype == np.uint8


def test_frames_without_instances_are_dropped():
    left = make_sequence().filter_zero_instance_frames()
    assert left.image_paths == ("a/1.png", "a/2.png", "a/3.png")
    assert left.instance_ids == [7, 3]


def test_a_subsequence_keeps_what_is_visible():
    sequence = make_sequence()
    part = sequence.extract_subsequence([2, 0, 1])
    assert (part.id, part.image_paths) == ("a", ("a/0.png", "a/1.png", "a/2.png"))
    assert (part.instance_ids, part.category_labels) == ([7], [2])
    assert sequence.extract_subsequence([3], "new").id == "new"


def test_category_filter_compares_categories():
    left = make_sequence().filter_categories({1})
    assert left.instance_ids == [3]
    assert [len(visible) for visible in left.annotations()] == [0, 0, 0, 1, 0]


def test_test_sets_have_no_masks(tmp_path):
    entry = {"id": 4, "height": 6, "width": 8, "image_paths": ["a/0.png"]}
    path = tmp_path / "test.json"
    path.write_text(json.dumps({"meta": {"category_labels": {}}, "sequences": [entry]}))
    (sequence,) = read_sequences(path, [tmp_path]).sequences
    assert (sequence.id, sequence.segmentations) == (4, None)
    with pytest.raises(DatasetError, match="sequence 4: has no segmentations"):
        sequence.load_masks()


def test_images_are_blue_green_red(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "2.png"), image)
    np.testing.assert_array_equal(make_sequence(tmp_path).load_images([2])[0], image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"sequence a, frame 1: no such image: .*a/1\.png"),
        (b"", r"sequence a, frame 1: cannot be read as an image: .*a/1\.png"),
        (b"no image", r"sequence a, frame 1: cannot be read as an image: .*a/1\.png"),
    ],
)
def test_unusable_images_are_named(tmp_path, content, message):
    (tmp_path / "a").mkdir()
    if content is not None:
        (tmp_path / "a" / "1.png").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        make_sequence(tmp_path).load_images([1])


def test_images_of_another_size_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "1.png"), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"has 5 x 4 pixels, its annotations say 8 x 6"):
        make_sequence(tmp_path).load_images([1])


def write_images(path, **changes):
    entry = {
        "image_path": "x.png",
        "height": 6,
        "width": 8,
        "categories": [3, "17"],
        "segmentations": [counts(square(0, 0)), counts(square(2, 2))],
        **changes,
    }
    path.write_text(json.dumps({"meta": {"category_labels": {"3": "c"}}, "images": [entry]}))
    return path


def test_image_records(tmp_path):
    file = read_image_records(write_images(tmp_path / "i.json"), tmp_path)
    (record,) = file.records
    assert (record.categories, record.mask_areas()) == ((3, 17), [4, 4])
    np.testing.assert_array_equal(record.load_masks()[1], square(2, 2))
    assert record.load_ignore_mask() is None
    with pytest.raises(DatasetError, match=r"image x\.png: no such image"):
        record.load_image(tmp_path)


def test_void_region_of_an_image(tmp_path):
    path = write_images(tmp_path / "i.json", ignore=counts(square(4, 4)))
    (record,) = read_image_records(path, tmp_path).records
    np.testing.assert_array_equal(record.load_ignore_mask(), square(4, 4))


def test_images_without_masks_cannot_be_trained_on(tmp_path):
    entry = {"image_path": "x.png", "height": 6, "width": 8}
    path = tmp_path / "i.json"
    path.write_text(json.dumps({"meta": {"category_labels": {}}, "images": [entry]}))
    with pytest.raises(DatasetError, match="no segmentations"):
        read_image_records(path, tmp_path)


def test_broken_annotation_files_name_the_entry(tmp_path):
    path = write_images(tmp_path / "i.json", segmentations=["n11", "!!"])
    with pytest.raises(DatasetError, match=r"image x\.png, instance 1"):
        read_image_records(path, tmp_path)


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("value", [None, " "])
def test_unset_variables_are_named(monkeypatch, variable, value):
    monkeypatch.delenv(variable, raising=False)
    if value is not None:
        monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable} is not set; it has to name"):
        folder_of(variable)


def test_missing_folders_and_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DAVIS_BASE_DIR", str(tmp_path / "gone"))
    with pytest.raises(DatasetError, match=r"DAVIS_BASE_DIR=.*gone: no such folder"):
        folder_of("DAVIS_BASE_DIR")
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(tmp_path))
    with pytest.raises(DatasetError, match=r"davis_val\.json: no such annotation file"):
        annotation_file("davis_val.json")
    monkeypatch.delenv("STEMSEG_JSON_ANNOTATIONS_DIR")
    with pytest.raises(ConfigError, match=r"ANNOTATIONS_DIR is not set; .*; needed for davis_val"):
        annotation_file("davis_val.json")


def test_files_whose_images_do_not_exist_are_refused(training_data, tmp_path, monkeypatch):
    for name, open_set in (("davis", open_video_set), ("coco", open_image_set)):
        variable = {"davis": "DAVIS_BASE_DIR", "coco": "COCO_TRAIN_IMAGES_DIR"}[name]
        monkeypatch.setenv(variable, str(tmp_path))
        with pytest.raises(DatasetError) as caught:
            open_set(*(("davis", "train") if name == "davis" else ("coco",)))
        head, *listed = str(caught.value).splitlines()
        assert re.search(rf"{name}\w*\.json: (\d+) of \1 images looked for do not exist", head)
        assert variable in head
        assert all("no image" in line for line in listed[:10])
        assert len(listed) <= 11


@pytest.mark.parametrize("number", [0, 1, 999, 1000, 1001, 118287])
def test_images_that_are_looked_for_are_from_everywhere(number):
    chosen = sequences._some(range(number))
    assert len(chosen) <= 1000
    assert len(chosen) >= min(number, 500)
    assert number - 2 * (number // 500 + 1) < max(chosen, default=0) + 1


@pytest.mark.parametrize(
    ("folders", "chosen"), [(["val"], "val"), (["valid"], "valid"), (["val", "valid"], "valid")]
)
def test_both_names_of_the_validation_folder(monkeypatch, tmp_path, folders, chosen):
    for name in folders:
        (tmp_path / name).mkdir()
    (tmp_path / "youtube_vis_val.json").touch()
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(tmp_path))
    monkeypatch.setenv("YOUTUBE_VIS_BASE_DIR", str(tmp_path))
    _, roots = video_set_files("ytvis", "val")
    assert roots[0] == tmp_path / chosen


def test_youtube_vis_without_its_folder(monkeypatch, tmp_path):
    (tmp_path / "youtube_vis_val.json").touch()
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(tmp_path))
    monkeypatch.setenv("YOUTUBE_VIS_BASE_DIR", str(tmp_path))
    with pytest.raises(DatasetError, match="has no folder valid or val"):
        video_set_files("ytvis", "val")


@pytest.mark.parametrize("prefix", ["", "JPEGImages/", "train/JPEGImages/"])
def test_image_paths_from_anywhere_in_youtube_vis(monkeypatch, training_data, tmp_path, prefix):
    source = training_data / "annotations" / "youtube_vis_train.json"
    text = source.read_text().replace("train/JPEGImages/", prefix)
    (tmp_path / "youtube_vis_train.json").write_text(text)
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(tmp_path))
    sequence = open_video_set("ytvis", "train").sequences[0]
    assert sequence.load_images([0])[0].shape == (48, 64, 3)
    assert sequence.id == 1


def test_all_sets_open(training_data):
    assert [s.id for s in open_video_set("davis", "train").sequences] != [1, 2, 3]
    assert open_video_set("kittimots", "train").category_names[1] == "car"
    file = open_image_set("coco")
    assert len(file.records) == 36
    assert file.records[5].load_image(file.image_root).shape == (48, 64, 3)
