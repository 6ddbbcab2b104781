"""Pascal VOC segmentation, read, written and checked (spec stemseg sections 3.2 and 3.3)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import coco, pascal_voc, stemseg_json
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.errors import DatasetError
from vidseg_common.masks import read_indices, write_mask

SIZE = (6, 8)


def ids(rows: list[str]) -> np.ndarray:
    """Image of numbers from characters."""
    values = {".": 0, "1": 1, "2": 2, "3": 3, "c": 12, "f": 15, "v": 255}
    return np.array([[values[character] for character in row] for row in rows], np.uint8)


OBJECTS = ids(["11v22...", "11v22...", "vvv.....", "........", "33......", "........"])
CLASSES = ids(["ffvcc...", "ffvcc...", "vvv.....", "........", "ff......", "........"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("ImageSets/Segmentation", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("2007_b\n2007_a\n")
    for name in ("2007_a", "2007_b"):
        write_mask(root / "SegmentationObject" / f"{name}.png", OBJECTS)
        write_mask(root / "SegmentationClass" / f"{name}.png", CLASSES)
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{name}.jpg")
    return root


def test_twenty_classes() -> None:
    names = {c.id: c.name for c in pascal_voc.PASCAL_VOC_CATEGORIES}
    assert list(names) == list(range(1, 21))
    assert (names[1], names[12], names[15], names[20]) == (
        "aeroplane",
        "dog",
        "person",
        "tvmonitor",
    )


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_split_is_read(tree: Path, above: int) -> None:
    root = (tree, tree.parent, tree.parent.parent)[above]
    data = pascal_voc.read(root)
    assert [(v.id, v.name, v.height, v.width) for v in data.videos] == [
        (1, "2007_b", *SIZE),
        (2, "2007_a", *SIZE),
    ]
    assert data.image_path(data.videos[0], 0) == tree / "JPEGImages" / "2007_b.jpg"
    clip = data.load(0)
    assert [(t.id, t.category_id) for t in clip.tracks] == [(1, 15), (2, 12), (3, 15)]
    for track in clip.tracks:
        mask = track.segmentations[0]
        assert mask is not None
        np.testing.assert_array_equal(rle.decode(mask), track.id == OBJECTS)
    assert clip.ignore is not None and clip.ignore[0] is not None
    np.testing.assert_array_equal(rle.decode(clip.ignore[0]), OBJECTS == 255)
    assert pascal_voc.validate(root) == []


def test_the_largest_split_is_the_default(tree: Path) -> None:
    (tree / "ImageSets/Segmentation/trainval.txt").write_text("2007_a\n")
    assert [v.name for v in pascal_voc.read(tree).videos] == ["2007_a"]
    assert len(pascal_voc.read(tree, split="val").videos) == 2


def test_the_test_split_has_no_annotations(tree: Path) -> None:
    (tree / "ImageSets/Segmentation/test.txt").write_text("2007_a\n")
    (tree / "SegmentationObject/2007_a.png").unlink()
    data = pascal_voc.read(tree, split="test")
    assert not data.has_annotations and data.load(0).labelled == frozenset()
    assert (data.videos[0].height, data.videos[0].width) == SIZE
    assert pascal_voc.validate(tree, split="test") == []


def test_written_again_the_files_are_equal(tree: Path, tmp_path: Path) -> None:
    data = pascal_voc.read(tree)
    assert pascal_voc.write(data, tmp_path / "out") == []
    for name in ("2007_a", "2007_b"):
        found = tmp_path / "out" / "SegmentationObject" / f"{name}.png"
        np.testing.assert_array_equal(read_indices(found), OBJECTS)
        found = tmp_path / "out" / "SegmentationClass" / f"{name}.png"
        np.testing.assert_array_equal(read_indices(found), CLASSES)
    again = pascal_voc.read(tmp_path / "out")
    assert list(again.clips()) == list(data.clips())


def test_into_other_formats(tree: Path, tmp_path: Path) -> None:
    data = pascal_voc.read(tree)
    assert stemseg_json.write(data, tmp_path / "s.json", kind="image") == []
    other = stemseg_json.read(tmp_path / "s.json")
    assert [c.tracks[0].segmentations for c in other.clips()] == [
        c.tracks[0].segmentations for c in data.clips()
    ]
    assert [c.ignore for c in other.clips()] == [c.ignore for c in data.clips()]
    assert coco.write(data, tmp_path / "c.json") == ["2 x image lost its ignore region"]
    assert coco.validate(tmp_path / "c.json") == []


@pytest.mark.parametrize(
    ("objects", "classes", "message"),
    [
        (OBJECTS, np.where(OBJECTS == 1, 0, CLASSES), "not [0]"),
        (OBJECTS, np.where(OBJECTS == 1, 21, CLASSES), "not [21]"),
        (OBJECTS[:5], CLASSES, "objects are (5, 8), classes (6, 8) in size"),
    ],
)
def test_what_is_wrong_is_told(
    tree: Path, objects: np.ndarray, classes: np.ndarray, message: str
) -> None:
    write_mask(tree / "SegmentationObject/2007_b.png", objects)
    write_mask(tree / "SegmentationClass/2007_b.png", classes.astype(np.uint8))
    problems = pascal_voc.validate(tree)
    assert any(message in p.message for p in problems), problems
    with pytest.raises(DatasetError, match="2007_b"):
        list(pascal_voc.read(tree).clips())


def test_a_second_class_within_an_object_is_told_but_read(tree: Path) -> None:
    classes = CLASSES.copy()
    classes[0, 0] = 3
    write_mask(tree / "SegmentationClass/2007_b.png", classes)
    assert "not [3, 15]" in pascal_voc.validate(tree)[0].message
    assert pascal_voc.read(tree).load(0).tracks[0].category_id == 15


def test_all_missing_files_are_listed(tree: Path) -> None:
    (tree / "SegmentationObject/2007_b.png").unlink()
    (tree / "SegmentationClass/2007_a.png").write_text("no image")
    (tree / "JPEGImages/2007_a.jpg").unlink()
    problems = pascal_voc.validate(tree)
    assert [p.where for p in problems] == ["2007_b", "2007_a", "2007_a"]
    with pytest.raises(DatasetError) as error:
        pascal_voc.read(tree)
    assert "2007_a" in str(error.value) and "2007_b" in str(error.value)


def test_colour_masks_and_missing_lists(tree: Path) -> None:
    Image.new("RGB", (8, 6)).save(tree / "SegmentationObject/2007_b.png")
    assert "colour picture" in pascal_voc.validate(tree)[0].message
    assert "not found" in pascal_voc.validate(tree, split="train")[0].message
    with pytest.raises(DatasetError, match=r"train\.txt"):
        pascal_voc.read(tree, split="train")


def square(x: int, width: int = 2) -> rle.RLE:
    mask = np.zeros(SIZE, bool)
    mask[1:3, x : x + width] = True
    return rle.encode(mask)


def test_overlaps_and_classes_that_have_no_place(tmp_path: Path) -> None:
    video = Video(4, "im", *SIZE, ("im.jpg",))
    tracks = [
        Track(1, 1, [square(0, 3)], score=0.9),
        Track(2, 2, [square(2, 3)], score=0.1),
        Track(900, 3, [square(6)], score=0.5),
        Track(5, 2, [square(5)], is_crowd=True),
    ]
    categories = [Category(1, "Person"), Category(2, "TV monitor"), Category(3, "giraffe")]
    warnings = pascal_voc.write(annotations_of([Clip(video, tracks)], categories), tmp_path)
    assert warnings == [
        "3 x score was not written",
        "1 x crowd became part of the ignore region",
        "1 x object of a class that Pascal VOC does not have was left out",
        "1 x frame with overlapping masks: each pixel went to one of them",
    ]
    objects = read_indices(tmp_path / "SegmentationObject/im.png")
    np.testing.assert_array_equal(objects[1], [1, 1, 1, 2, 2, 255, 255, 0])
    classes = read_indices(tmp_path / "SegmentationClass/im.png")
    np.testing.assert_array_equal(classes[1], [15, 15, 15, 20, 20, 255, 255, 0])


def test_without_scores_the_later_object_wins(tmp_path: Path) -> None:
    video = Video(4, "im", *SIZE, ("im.jpg",))
    tracks = [Track(700, 1, [square(0, 3)]), Track(3, 1, [square(0, 4)])]
    warnings = pascal_voc.write(
        annotations_of([Clip(video, tracks)], [Category(1, "dog")]), tmp_path
    )
    assert "1 x object that others cover completely was lost" in warnings
    objects = read_indices(tmp_path / "SegmentationObject/im.png")
    assert set(np.unique(objects)) == {0, 2}, "ids that do not fit are counted anew"


def test_two_images_of_one_name(tmp_path: Path) -> None:
    clips = [Clip(Video(i, "im", *SIZE, ("im.jpg",)), []) for i in (1, 2)]
    with pytest.raises(DatasetError, match="two images are called im"):
        pascal_voc.write(annotations_of(clips, []), tmp_path)


@settings(max_examples=40, deadline=None)
@given(objects=arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 2, 3, 254, 255])))
def test_any_image_reads_as_by_hand(tmp_path_factory, objects: np.ndarray) -> None:
    root = tmp_path_factory.mktemp("voc")
    table = np.zeros(256, np.uint8)
    table[[1, 2, 3, 254, 255]] = [4, 20, 1, 7, 255]
    write_mask(root / "SegmentationObject/x.png", objects)
    write_mask(root / "SegmentationClass/x.png", table[objects])
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/val.txt").write_text("x\n")
    data = pascal_voc.read(root)
    clip = data.load(0)
    assert {t.id: t.category_id for t in clip.tracks} == {
        int(i): int(table[i]) for i in np.unique(objects) if i not in (0, 255)
    }
    pascal_voc.write(data, root / "out")
    np.testing.assert_array_equal(read_indices(root / "out/SegmentationObject/x.png"), objects)
