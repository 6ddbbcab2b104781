"""COCO instances and results, read, written and checked (spec common section 1.6)."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from vidseg_common import rle
from vidseg_common.datasets import coco
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Track,
    Video,
    annotations_of,
)
from vidseg_common.datasets.coco_categories import COCO_CATEGORIES
from vidseg_common.errors import DatasetError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")  # pycocotools

PARITY = Path(__file__).parent / "parity"
TRUTH = json.loads((PARITY / "coco_gt.json").read_text())
RESULTS = json.loads((PARITY / "coco_pred.json").read_text())


def content() -> dict:
    square = [[2.0, 2.0, 2.0, 8.0, 8.0, 8.0, 8.0, 2.0]]
    crowd = {"size": [12, 16], "counts": [0, 6, 186]}
    common = {"image_id": 5, "category_id": 18, "bbox": [2.0, 2.0, 6.0, 6.0], "area": 36.5}
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 1, "name": "x"}],
        "images": [
            {"id": 9, "width": 20, "height": 10, "file_name": "b/z.jpg", "license": 1},
            {"id": 5, "width": 16, "height": 12, "file_name": "a/y.jpg"},
        ],
        "annotations": [
            {**common, "id": 70, "iscrowd": 0, "segmentation": square, "note": "n"},
            {**common, "id": 900100000001, "iscrowd": 1, "segmentation": crowd},
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
    }


def results() -> list[dict]:
    mask = rle.encode(np.ones((12, 16), bool))
    first = {"image_id": 5, "category_id": 18, "score": 0.5, "segmentation": mask}
    box = {"image_id": 5, "category_id": 1, "score": 1, "bbox": [0, 1, 2, 3]}
    return [first, box]


def save(tmp_path: Path, value: object, name: str = "in.json") -> Path:
    path = tmp_path / name
    path.write_text(json.dumps(value))
    return path


def test_eighty_categories() -> None:
    ids = [category.id for category in COCO_CATEGORIES]
    assert len(ids) == 80 and ids == sorted(set(ids)) and ids[0] == 1 and ids[-1] == 90
    assert not {12, 26, 29, 30, 45, 66, 68, 69, 71, 83} & set(ids)
    assert {c.id: c.name for c in COCO_CATEGORIES}[74] == "mouse"


def test_recorded_file_as_the_official_library_reads_it() -> None:
    data = coco.read(PARITY / "coco_gt.json")
    official = COCO(str(PARITY / "coco_gt.json"))
    assert [v.id for v in data.videos] == [image["id"] for image in TRUTH["images"]]
    number = 0
    for clip in data.clips():
        entries = [a for a in TRUTH["annotations"] if a["image_id"] == clip.video.id]
        assert [track.id for track in clip.tracks] == [a["id"] for a in entries]
        for track, entry in zip(clip.tracks, entries, strict=True):
            mask = track.segmentations[0]
            assert mask is not None
            np.testing.assert_array_equal(rle.decode(mask), official.annToMask(entry) > 0)
            assert (track.areas, track.bboxes) == ([entry["area"]], [entry["bbox"]])
            assert track.is_crowd == bool(entry["iscrowd"])
            number += 1
    assert number == len(TRUTH["annotations"])


def test_recorded_results(tmp_path: Path) -> None:
    truth = coco.read(PARITY / "coco_gt.json")
    found = coco.read_results(PARITY / "coco_pred.json", truth)
    alone = coco.read_results(PARITY / "coco_pred.json")
    assert sum(len(clip.tracks) for clip in found.clips()) == len(RESULTS)
    by_image = {clip.video.id: clip.tracks for clip in found.clips()}
    assert {clip.video.id: clip.tracks for clip in alone.clips()} == {
        number: tracks for number, tracks in by_image.items() if tracks
    }
    assert coco.validate_results(PARITY / "coco_pred.json", truth) == []
    assert coco.write_results(found, tmp_path / "o.json") == []
    written = json.loads((tmp_path / "o.json").read_text())
    order = [video.id for video in truth.videos]
    assert written == sorted(RESULTS, key=lambda entry: order.index(entry["image_id"]))


def test_what_the_file_says_is_kept(tmp_path: Path) -> None:
    data = coco.read(save(tmp_path, content()), images="root")
    assert [(v.id, v.name, v.height, v.width) for v in data.videos] == [
        (9, "z", 10, 20),
        (5, "y", 12, 16),
    ]
    assert data.image_path(data.videos[1], 0) == Path("root/a/y.jpg")
    assert data.categories == [Category(18, "dog", "animal")]
    plain, crowd = data.load(1).tracks
    assert data.load(0).tracks == [] and data.load(0).labelled is None
    assert (plain.id, plain.areas, plain.extra) == (70, [36.5], {"note": "n"})
    assert (crowd.id, crowd.is_crowd) == (900100000001, True)
    assert data.info == {"year": 2017, "licenses": [{"id": 1, "name": "x"}]}


def test_written_again_the_file_says_the_same(tmp_path: Path) -> None:
    data = coco.read(save(tmp_path, content()))
    assert coco.write(data, tmp_path / "o.json") == []
    written = json.loads((tmp_path / "o.json").read_text())
    expected = content()
    expected["annotations"][0]["segmentation"] = data.load(1).tracks[0].segmentations[0]
    assert written == expected
    again = coco.read(tmp_path / "o.json")
    assert list(again.clips()) == list(data.clips())
    assert COCO(str(tmp_path / "o.json")).annToMask(written["annotations"][1]).sum() == 6


@pytest.mark.parametrize("first", ["annotations", "categories", "images"])
def test_any_order_of_the_lists(tmp_path: Path, first: str) -> None:
    expected = list(coco.read(save(tmp_path, content())).clips())
    turned = {first: content()[first], **content()}
    assert list(coco.read(save(tmp_path, turned)).clips()) == expected


@pytest.mark.parametrize("annotations", [None, "absent"])
def test_lists_of_images_without_annotations(tmp_path: Path, annotations: object) -> None:
    value = {**content(), "annotations": annotations}
    if annotations == "absent":
        del value["annotations"]
    data = coco.read(save(tmp_path, value))
    assert not data.has_annotations and data.load(0).labelled == frozenset()
    coco.write(data, tmp_path / "o.json")
    assert "annotations" not in json.loads((tmp_path / "o.json").read_text())


def test_images_without_objects_are_annotated(tmp_path: Path) -> None:
    data = coco.read(save(tmp_path, {**content(), "annotations": []}))
    assert data.has_annotations and data.load(0).labelled is None


def test_boxes_without_masks(tmp_path: Path) -> None:
    path = save(tmp_path, results())
    mask, box = coco.read_results(path).load(0).tracks
    assert "box_only" not in mask.extra and mask.bboxes is None and mask.score == 0.5
    assert box.extra == {"box_only": True} and box.segmentations == [None]
    assert box.bboxes == [[0.0, 1.0, 2.0, 3.0]]
    coco.write_results(coco.read_results(path), tmp_path / "o.json")
    written = json.loads((tmp_path / "o.json").read_text())
    assert written[0]["bbox"] == [0, 0, 16, 12] and "segmentation" not in written[1]
    value = content()
    del value["annotations"][0]["segmentation"]
    path = save(tmp_path, value)
    assert coco.read(path).load(1).tracks[0].extra["box_only"]
    assert [(p.where, p.field) for p in coco.validate(path)] == [("annotation 70", "segmentation")]
    coco.write(coco.read(path), tmp_path / "o.json")
    assert (
        json.loads((tmp_path / "o.json").read_text())["annotations"][0] == value["annotations"][0]
    )


def test_results_of_images_that_only_have_boxes(tmp_path: Path) -> None:
    path = save(tmp_path, results()[1:])
    assert [(v.height, v.width) for v in coco.read_results(path).videos] == [(0, 0)]
    assert coco.validate_results(path) == []


NAN_BOX = [0.0, 0.0, math.nan, 1.0]
CHANGES = [
    ("images[0].id = None", "image at position 1", "id"),
    ("images[0].id = 5", "image 5", "id"),
    ("images[0].width = 0", "image 9", "width"),
    ("images[0].file_name = ''", "image 9", "file_name"),
    ("categories[0].id = 'x'", "category at position 1", "id"),
    ("categories[0].name = None", "category 18", "name"),
    ("annotations[0].id = None", "annotation at position 1", "id"),
    ("annotations[0].id = 900100000001", "annotation 900100000001", "id"),
    ("annotations[0].image_id = 6", "annotation 70", "image_id"),
    ("annotations[0].image_id = []", "annotation 70", "image_id"),
    ("annotations[0].category_id = 19", "annotation 70", "category_id"),
    ("annotations[0].category_id = None", "annotation 70", "category_id"),
    ("annotations[0].iscrowd = 2", "annotation 70", "iscrowd"),
    ("annotations[0].area = -1", "annotation 70", "area"),
    ("annotations[0].bbox = NAN_BOX", "annotation 70", "bbox"),
    ("annotations[0].bbox = [1, 2, 3]", "annotation 70", "bbox"),
    ("annotations[0].bbox = [1, 2, -3, 4]", "annotation 70", "bbox"),
    ("annotations[0].segmentation = None", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = []", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = [[]]", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = [[1, 2, 3, 4]]", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = [[1, 2, 3, 4, 5, 6, 7]]", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = [[1, 2, 3, 4, 5, 'x']]", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = [NAN_BOX * 2]", "annotation 70", "segmentation"),
    ("annotations[0].segmentation = 'x'", "annotation 70", "segmentation"),
    ("annotations[1].segmentation.size = [16, 12]", "annotation 900100000001", "segmentation"),
    ("annotations[1].segmentation.counts = [1]", "annotation 900100000001", "segmentation"),
    ("annotations[1].segmentation.counts = None", "annotation 900100000001", "segmentation"),
    ("annotations[1].segmentation.counts = ['a']", "annotation 900100000001", "segmentation"),
    ("annotations[0] = 3", "annotation at position 1", ""),
    ("images = 3", "", "images"),
]


def change_of(value: dict, change: str) -> dict:
    """Applies a change written as `path = value`."""
    place, new = change.split(" = ")
    *path, last = place.replace("[", ".").replace("]", "").split(".")
    target = value
    for part in path:
        target = target[int(part)] if part.isdecimal() else target[part]
    target[int(last) if last.isdecimal() else last] = eval(new)
    return value


@pytest.mark.parametrize(("change", "where", "field"), CHANGES)
def test_what_is_wrong_is_told(tmp_path: Path, change: str, where: str, field: str) -> None:
    path = save(tmp_path, change_of(content(), change))
    problems = coco.validate(path)
    assert (where, field) in [(p.where, p.field) for p in problems], problems
    assert all(p.file == path for p in problems)
    with pytest.raises(DatasetError) as error:
        coco.read(path)
    assert field in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("annotations[0].bbox = [10, 2, 9, 6]", "10 to 19, its width is 16"),
        ("annotations[0].bbox = [2, -4, 9, 6]", "-4 to 2, its height is 12"),
        ("annotations[0].bbox = [2, 2, 0, 6]", "no area"),
        ("annotations[0].segmentation[0][2] = 30", "2 to 30, its width is 16"),
        ("annotations[1].segmentation.counts = [192]", "no pixel"),
    ],
)
def test_what_is_doubtful_is_told_but_read(tmp_path: Path, change: str, message: str) -> None:
    path = save(tmp_path, change_of(content(), change))
    problems = coco.validate(path)
    assert len(problems) == 1 and message in str(problems[0])
    assert len(coco.read(path).load(1).tracks) == 2


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    value = content()
    for change, *_ in (CHANGES[3], CHANGES[10], CHANGES[14], CHANGES[25]):
        change_of(value, change)
    path = save(tmp_path, value)
    assert len(coco.validate(path)) == 4
    with pytest.raises(DatasetError) as error:
        coco.read(path)
    assert str(error.value).count("\n") >= 3


def test_missing_lists_and_broken_files(tmp_path: Path) -> None:
    path = save(tmp_path, {})
    assert [p.field for p in coco.validate(path)] == ["images", "categories"]
    path.write_text('{"images": [{"id": 1')
    assert "cut off" in str(coco.validate(path)[0])
    assert "not found" in str(coco.validate_results(tmp_path / "none.json")[0])
    assert "list" in str(coco.validate_results(save(tmp_path, {}))[0])


def test_images_are_checked_where_their_folder_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, content())
    (tmp_path / "a").mkdir()
    Image.new("RGB", (16, 11)).save(tmp_path / "a" / "y.jpg")
    problems = coco.validate(path, images=tmp_path)
    assert [p.where for p in problems] == ["image 9", "image 5"]
    assert "not found" in problems[0].message and "11x16" in problems[1].message
    (tmp_path / "a" / "y.jpg").write_text("no image")
    assert "not a readable image" in coco.validate(path, images=tmp_path)[1].message


@pytest.mark.parametrize(
    ("change", "where", "field"),
    [
        ("r[0].score = None", "result 1 (image 5)", "score"),
        ("r[0].score = NAN_BOX[2]", "result 1 (image 5)", "score"),
        ("r[0].image_id = 3", "result 1 (image 3)", "image_id"),
        ("r[0].image_id = 'x'", "result 1", "image_id"),
        ("r[0].category_id = 3", "result 1", "category_id"),
        ("r[0].segmentation.size = [3, 3]", "result 1 (image 5)", "segmentation"),
        ("r[0].segmentation = None", "result 1 (image 5)", "segmentation"),
        ("r[0].bbox = NAN_BOX", "result 1 (image 5)", "bbox"),
        ("r[0] = 'x'", "result 1", ""),
    ],
)
def test_what_is_wrong_with_results_is_told(
    tmp_path: Path, change: str, where: str, field: str
) -> None:
    truth = coco.read(save(tmp_path, content(), "truth.json"))
    path = save(tmp_path, change_of({"r": results()[:1]}, change)["r"])
    problems = coco.validate_results(path, truth)
    assert [(p.where, p.field) for p in problems] == [(where, field)]
    with pytest.raises(DatasetError):
        coco.read_results(path, truth)


def test_results_of_videos_are_refused(tmp_path: Path) -> None:
    video = Video(5, "v", 12, 16, ("0.jpg", "1.jpg"))
    truth = annotations_of([Clip(video, [])], COCO_CATEGORIES)
    with pytest.raises(DatasetError, match="v is a video"):
        coco.read_results(save(tmp_path, results()), truth)


def small_set() -> AnnotationSet:
    def mask(x: int) -> rle.RLE:
        pixels = np.zeros((8, 8), bool)
        pixels[1:3, x : x + 2] = True
        return rle.encode(pixels)

    clips = [
        Clip(
            Video(1, "v", 8, 8, ("v/0.jpg", "v/1.jpg")),
            [Track(1, 1, [mask(0), None]), Track(2, 1, [mask(3), mask(4)])],
            ignore=[None, mask(6)],
            labelled=frozenset({0, 1}),
        ),
        Clip(Video(2, "w", 8, 8, ("w/0.jpg",)), [Track(2, 1, [mask(1)], score=0.5)]),
    ]
    return annotations_of(clips, [Category(1, "thing")])


def test_frames_of_videos_become_images_with_new_ids(tmp_path: Path) -> None:
    warnings = coco.write(small_set(), tmp_path / "o.json")
    assert warnings == ["1 x image lost its ignore region", "1 x score was not written"]
    written = json.loads((tmp_path / "o.json").read_text())
    assert [(i["id"], i["file_name"]) for i in written["images"]] == [
        (1, "v/0.jpg"),
        (2, "v/1.jpg"),
        (3, "w/0.jpg"),
    ]
    assert [(a["id"], a["image_id"]) for a in written["annotations"]] == [
        (1, 1),
        (2, 1),
        (3, 2),
        (4, 3),
    ]
    assert written["annotations"][0]["bbox"] == [0, 1, 2, 2]
    assert written["annotations"][0]["area"] == 4
    assert coco.validate(tmp_path / "o.json") == []


def test_results_need_scores(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="object 1 has no score"):
        coco.write_results(small_set(), tmp_path / "o.json")
    assert not (tmp_path / "o.json").exists()


@st.composite
def files(draw: st.DrawFn) -> dict:
    numbers = draw(st.lists(st.integers(1, 99), min_size=1, max_size=4, unique=True))
    images = [{"id": n, "width": 9, "height": 7, "file_name": f"{n}.jpg"} for n in numbers]
    ids = draw(st.lists(st.integers(1, 10**12), max_size=8, unique=True))
    coordinate = st.floats(0, 7, width=32)
    annotations = []
    for number in ids:
        points = draw(
            st.lists(coordinate, min_size=6, max_size=12).filter(lambda p: not len(p) % 2)
        )
        pixels = draw(st.lists(st.booleans(), min_size=63, max_size=63))
        mask = rle.encode(np.reshape(pixels, (7, 9)))
        runs = {"size": [7, 9], "counts": rle.counts_of(mask).tolist()}
        segmentation = draw(st.sampled_from([[points], mask, runs]))
        annotations.append(
            {
                "id": number,
                "image_id": draw(st.sampled_from(numbers)),
                "category_id": 1,
                "iscrowd": draw(st.integers(0, 1)),
                "bbox": draw(st.lists(coordinate, min_size=4, max_size=4)),
                "area": draw(st.floats(0, 99)),
                "segmentation": segmentation,
            }
        )
    categories = [{"id": 1, "name": "c", "supercategory": ""}]
    return {"images": images, "annotations": annotations, "categories": categories}


@settings(max_examples=60, deadline=None)
@given(value=files())
def test_any_file_reads_as_by_hand_and_survives_writing(tmp_path_factory, value: dict) -> None:
    folder = tmp_path_factory.mktemp("coco")
    data = coco.read(save(folder, value))
    for clip in data.clips():
        entries = [a for a in value["annotations"] if a["image_id"] == clip.video.id]
        assert [t.id for t in clip.tracks] == [a["id"] for a in entries]
        for track, entry in zip(clip.tracks, entries, strict=True):
            shape = entry["segmentation"]
            plain = rle.from_polygons(shape, 7, 9) if isinstance(shape, list) else shape
            mask = track.segmentations[0]
            assert mask is not None and (rle.decode(mask) == rle.decode(plain)).all()
            assert track.bboxes == [entry["bbox"]] and track.areas == [entry["area"]]
    coco.write(data, folder / "o.json")
    assert list(coco.read(folder / "o.json").clips()) == list(data.clips())
