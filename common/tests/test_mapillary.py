"""Mapillary Vistas, read, written and checked (spec stemseg section 3.3)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import mapillary
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.datasets.category_maps import MAPILLARY_TO_KITTI_MOTS
from vidseg_common.datasets.mapillary_classes import LABELS
from vidseg_common.datasets.mots_files import read_id_map, write_id_map
from vidseg_common.errors import DatasetError

SIZE = (6, 8)
BIRD, PERSON, CAR, ON_RAILS, UNLABELED = 0, 19, 55, 58, 65


def pixels() -> np.ndarray:
    """A bird of number 0, two persons, a car of number 255, a railway and unlabeled rest."""
    values = np.full(SIZE, UNLABELED * 256)
    values[0, :2] = BIRD * 256
    values[1, :3] = PERSON * 256 + 1
    values[2, :3] = PERSON * 256 + 4
    values[3, 4:] = CAR * 256 + 255
    values[5] = ON_RAILS * 256
    return values


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for split, name in (("training", "b"), ("training", "a"), ("validation", "c")):
        write_id_map(tmp_path / split / "instances" / f"{name}.png", pixels())
        (tmp_path / split / "images").mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(tmp_path / split / "images" / f"{name}.jpg")
    return tmp_path


def test_sixty_six_classes() -> None:
    names = {c.id: c.name for c in mapillary.MAPILLARY_CATEGORIES}
    assert list(names) == list(range(1, 67))
    assert (names[20], names[56], names[66]) == ("Person", "Car", "Unlabeled")
    ignored = [names[i] for i in sorted(MAPILLARY_TO_KITTI_MOTS.ignored)]
    assert ignored == [
        *("Bicyclist", "Motorcyclist", "Other Rider", "Bicycle", "Bus", "Caravan", "Motorcycle"),
        *("On Rails", "Other Vehicle", "Trailer", "Truck", "Wheeled Slow"),
    ]
    assert sum(label.has_instances for label in LABELS) == 37


def test_a_split_is_read(tree: Path) -> None:
    data = mapillary.read(tree)
    assert [(v.id, v.name, v.height, v.width) for v in data.videos] == [
        (1, "a", *SIZE),
        (2, "b", *SIZE),
    ]
    assert data.image_path(data.videos[0], 0) == tree / "training/images/a.jpg"
    clip = data.load(0)
    assert [(t.id, t.category_id, t.extra) for t in clip.tracks] == [
        (1, BIRD + 1, {"instance": 0}),
        (2, PERSON + 1, {"instance": 1}),
        (3, PERSON + 1, {"instance": 4}),
        (4, CAR + 1, {"instance": 255}),
        (5, ON_RAILS + 1, {"instance": 0, "stuff": True}),
    ]
    for track in clip.tracks:
        mask = track.segmentations[0]
        value = (track.category_id - 1) * 256 + track.extra["instance"]
        assert mask is not None
        np.testing.assert_array_equal(rle.decode(mask), pixels() == value)
    assert clip.ignore is None
    assert mapillary.validate(tree) == []
    for name in ("val", "validation"):
        assert [v.name for v in mapillary.read(tree, split=name).videos] == ["c"]


def test_labels_of_the_configuration(tree: Path) -> None:
    labels = [{"name": f"x--{i}", "readable": f"X {i}", "instances": False} for i in range(56)]
    (tree / "config.json").write_text(json.dumps({"labels": labels}))
    data = mapillary.read(tree)
    assert data.categories[3] == Category(4, "X 3", "x")
    problems = mapillary.validate(tree)
    assert "label 58 is not among the 56" in problems[0].message
    with pytest.raises(DatasetError, match="label 65"):
        data.load(0)
    (tree / "config.json").write_text('{"labels": [{}]}')
    assert "expected labels" in mapillary.validate(tree)[0].message
    with pytest.raises(DatasetError, match="expected labels"):
        mapillary.read(tree)


def test_annotations_of_version_2_for_1_2(tree: Path) -> None:
    (tree / "training/v1.2").mkdir()
    (tree / "training/instances").rename(tree / "training/v1.2/instances")
    assert len(mapillary.read(tree).videos) == 2


def test_written_again_the_files_are_equal(tree: Path, tmp_path: Path) -> None:
    data = mapillary.read(tree, split="val")
    assert mapillary.write(data, tmp_path / "out") == []
    found = tmp_path / "out/validation/instances/c.png"
    np.testing.assert_array_equal(read_id_map(found), pixels())
    again = mapillary.read(tmp_path / "out")
    assert list(again.clips()) == list(data.clips())
    assert again.categories == data.categories


def test_all_problems_are_listed(tree: Path) -> None:
    (tree / "training/instances/a.png").write_text("no image")
    (tree / "training/images/b.jpg").unlink()
    Image.new("RGB", (8, 6)).save(tree / "training/images/d.jpg")
    problems = mapillary.validate(tree)
    assert [p.where for p in problems] == ["d", "a", "b"]
    with pytest.raises(DatasetError, match=r"a\.png"):
        mapillary.read(tree)
    assert "folder of images not found" in mapillary.validate(tree / "none")[0].message


def test_masks_of_eight_bits_are_refused(tree: Path) -> None:
    Image.new("L", (8, 6)).save(tree / "training/instances/a.png")
    assert "16 bits" in mapillary.validate(tree)[0].message
    with pytest.raises(DatasetError, match="16 bits"):
        mapillary.read(tree).load(0)


def test_the_test_split_has_no_annotations(tree: Path) -> None:
    (tree / "testing/images").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tree / "testing/images/t.jpg")
    data = mapillary.read(tree, split="test")
    assert not data.has_annotations and data.load(0).labelled == frozenset()


def test_from_other_formats(tmp_path: Path) -> None:
    def mask(x: int) -> rle.RLE:
        values = np.zeros(SIZE, bool)
        values[1:3, x : x + 3] = True
        return rle.encode(values)

    video = Video(4, "v", *SIZE, ("v/0.jpg", "v/1.jpg"))
    tracks = [
        Track(1, 1, [mask(0), None]),
        Track(2, 1, [mask(2), mask(3)]),
        Track(3, 2, [mask(5), None]),
    ]
    categories = [Category(1, "car"), Category(2, "giraffe")]
    data = annotations_of([Clip(video, tracks, ignore=[None, mask(0)])], categories)
    warnings = mapillary.write(data, tmp_path, split="train")
    assert warnings == [
        "1 x object of a class that Vistas does not have, or beyond 256 of one, was left out",
        "1 x frame with overlapping masks: each pixel went to one of them",
        "1 x ignore region became unlabeled",
    ]
    first = read_id_map(tmp_path / "training/instances/v_0.png")
    car = CAR * 256
    np.testing.assert_array_equal(first[1], [car, car, *[car + 1] * 3, *[UNLABELED * 256] * 3])
    assert (tmp_path / "training/instances/v_1.png").is_file()


@settings(max_examples=40, deadline=None)
@given(
    labels=arrays(np.uint8, SIZE, elements=st.sampled_from([0, 13, 19, 55, 65])),
    numbers=arrays(np.uint8, SIZE, elements=st.sampled_from([0, 1, 255])),
)
def test_any_image_survives_a_round_trip(tmp_path_factory, labels, numbers) -> None:
    root = tmp_path_factory.mktemp("vistas")
    # Unlabeled pixels belong to no object, so that a number there has no meaning.
    values = labels.astype(np.int32) * 256 + np.where(labels == UNLABELED, 0, numbers)
    write_id_map(root / "training/instances/x.png", values)
    data = mapillary.read(root)
    expected = [int(v) for v in np.unique(values) if v != UNLABELED * 256]
    found = [(t.category_id - 1) * 256 + t.extra["instance"] for t in data.load(0).tracks]
    assert found == expected
    mapillary.write(data, root / "out", split="train")
    np.testing.assert_array_equal(read_id_map(root / "out/training/instances/x.png"), values)
