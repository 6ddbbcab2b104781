"""STEm-Seg's JSON of videos and images, read, written and checked (spec stemseg section 3)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import stemseg_json
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.datasets.category_maps import CATEGORY_MAPS
from vidseg_common.errors import DatasetError

RECORDS = json.loads((Path(__file__).parent / "parity" / "stemseg_datasets.json").read_text())
FILTERS = RECORDS["dataset_image_filters"]
LEAST_PIXELS = {"pascal_voc": 50, "mapillary": 30}


def square(y: int, x: int, side: int = 4, size: tuple[int, int] = (12, 16)) -> rle.RLE:
    mask = np.zeros(size, bool)
    mask[y : y + side, x : x + side] = True
    return rle.encode(mask)


def area_of(mask: rle.RLE | None) -> int:
    return 0 if mask is None else rle.area(mask)


def video_content() -> dict:
    a, b = square(0, 0)["counts"], square(2, 2)["counts"]
    return {
        "meta": {"category_labels": {"1": "car", "2": "pedestrian"}},
        "sequences": [
            {
                "id": 7,
                "height": 12,
                "width": 16,
                "image_paths": ["s/0.png", "s/1.png"],
                "categories": {"4": 1, "2": 2},
                "segmentations": [{"4": a}, {"4": b, "2": a}],
            }
        ],
    }


def image_content() -> dict:
    a, b = square(0, 0)["counts"], square(5, 5)["counts"]
    entry = {
        "image_path": "a/x.jpg",
        "height": 12,
        "width": 16,
        "categories": [1, "2"],
        "segmentations": [a, b],
        "ignore": square(9, 9, 2)["counts"],
    }
    return {"meta": {"category_labels": {"1": "car", "2": "dog"}}, "images": [entry]}


def save(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "in.json"
    path.write_text(json.dumps(content))
    return path


def test_recorded_video_file(tmp_path: Path) -> None:
    data = stemseg_json.read(save(tmp_path, RECORDS["dataset_parse"]["inputs"]["dataset"]))
    parsed = [
        {
            "id": clip.video.extra["id"],
            "len": clip.video.num_frames,
            "dims": [clip.video.height, clip.video.width],
            "instance_ids": [track.id for track in clip.tracks],
            "category_labels": [track.category_id for track in clip.tracks],
            "mask_areas": [
                [
                    0 if (m := track.segmentations[t]) is None else rle.area(m)
                    for track in clip.tracks
                ]
                for t in range(clip.video.num_frames)
            ],
        }
        for clip in data.clips()
    ]
    assert parsed == RECORDS["dataset_parse"]["expected"]["parsed"]
    assert data.category_names() == {1: "car", 2: "person", 3: "ignore"}
    visible = [
        {
            "id": clip.video.name,
            "image_paths": [
                name
                for t, name in enumerate(clip.video.file_names)
                if any(track.is_visible(t) for track in clip.tracks)
            ],
        }
        for clip in data.clips()
    ]
    assert visible == RECORDS["dataset_parse"]["expected"]["filtered"]


def test_recorded_run_lengths() -> None:
    record = RECORDS["rle"]
    for rows, expected in zip(record["inputs"], record["expected"], strict=True):
        mask = np.array([[int(character) for character in row] for row in rows])
        encoded = rle.encode(mask)
        assert encoded["counts"] == expected["counts"]
        assert rle.area(encoded) == expected["area"]


@pytest.mark.parametrize(
    ("source", "target", "maps"),
    [
        ("coco", "davis", "davis"),
        ("coco", "ytvis", "youtube-vis"),
        ("pascal_voc", "davis", "davis"),
        ("pascal_voc", "ytvis", "youtube-vis"),
        ("mapillary", "kittimots", "kitti-mots"),
    ],
)
def test_recorded_category_filters(tmp_path: Path, source: str, target: str, maps: str) -> None:
    table = CATEGORY_MAPS[source.replace("_", "-"), maps]
    data = stemseg_json.read(save(tmp_path, FILTERS["inputs"][source]), kind="image")
    found = []
    for clip in data.clips():
        big = [
            track.category_id
            for track in clip.tracks
            if (mask := track.segmentations[0]) and rle.area(mask) >= LEAST_PIXELS.get(source, 0)
        ]
        fates = [table.fate(i) for i in big]
        stay = [i for i, fate in zip(big, fates, strict=True) if fate != "dropped"]
        if "kept" in fates:
            mapped = [table.kept.get(i) for i in stay]
            found.append({"image": clip.video.file_names[0], "categories": stay, "mapped": mapped})
    assert found == FILTERS["expected"][f"{source}/{target}"]


@pytest.mark.parametrize("content", [video_content(), image_content()])
def test_written_again_the_file_is_equal(tmp_path: Path, content: dict) -> None:
    kind = "video" if "sequences" in content else "image"
    data = stemseg_json.read(save(tmp_path, content), kind=kind)
    assert stemseg_json.write(data, tmp_path / "out.json", kind=kind) == []
    written = json.loads((tmp_path / "out.json").read_text())
    for entry in content.get("images", ()):
        entry["categories"] = [int(i) for i in entry["categories"]]
    for entry in written.get("sequences", ()):
        assert list(entry["categories"]) == ["4", "2"], "the order of instances stays"
    content["meta"]["category_labels"].update({"3": "ignore"} if kind == "video" else {})
    assert written == content


@pytest.mark.parametrize("name", ["dataset_parse", "coco", "pascal_voc", "mapillary"])
def test_recorded_files_survive_a_round_trip(tmp_path: Path, name: str) -> None:
    is_video = name == "dataset_parse"
    content = RECORDS[name]["inputs"]["dataset"] if is_video else FILTERS["inputs"][name]
    kind, key = ("video", "sequences") if is_video else ("image", "images")
    data = stemseg_json.read(save(tmp_path, content))
    stemseg_json.write(data, tmp_path / "out.json", kind=kind)
    written = json.loads((tmp_path / "out.json").read_text())
    expected = json.loads(json.dumps(content))
    for entry in expected.get("images", ()):
        entry["categories"] = [int(i) for i in entry["categories"]]
    assert written[key] == expected[key]
    assert written["meta"] == expected["meta"]


def test_numbers_and_names_of_sequences(tmp_path: Path) -> None:
    content = video_content()
    numbered = stemseg_json.read(save(tmp_path, content), images="root")
    assert [(v.id, v.name) for v in numbered.videos] == [(7, "s")]
    assert numbered.image_path(numbered.videos[0], 1) == Path("root/s/1.png")
    content["sequences"].append({**content["sequences"][0], "id": "0002"})
    mixed = stemseg_json.read(save(tmp_path, content))
    assert [(v.id, v.name) for v in mixed.videos] == [(1, "s"), (2, "0002")]
    assert [v.extra["id"] for v in mixed.videos] == [7, "0002"]
    stemseg_json.write(mixed, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())["sequences"]
    assert [entry["id"] for entry in written] == [7, "0002"]


@pytest.mark.parametrize(
    ("ids", "num_classes", "expected"),
    [("number", 1, 5), ("name", 9, "clip"), ("auto", 2, "clip"), ("auto", 9, 5)],
)
def test_ids_of_sequences_from_other_formats(
    tmp_path: Path, ids: str, num_classes: int, expected: object
) -> None:
    video = Video(5, "clip", 12, 16, ("clip/0.jpg",))
    categories = [Category(i, f"class {i}") for i in range(1, num_classes + 1)]
    data = annotations_of([Clip(video, [Track(1, 1, [square(0, 0)])])], categories)
    stemseg_json.write(data, tmp_path / "o.json", ids=ids, image_prefix="train/JPEGImages")
    entry = json.loads((tmp_path / "o.json").read_text())["sequences"][0]
    assert entry["id"] == expected and type(entry["id"]) is type(expected)
    assert entry["image_paths"] == ["train/JPEGImages/clip/0.jpg"]


def test_a_test_set_has_no_annotations(tmp_path: Path) -> None:
    content = video_content()
    del content["sequences"][0]["segmentations"], content["sequences"][0]["categories"]
    data = stemseg_json.read(save(tmp_path, content))
    assert not data.has_annotations
    assert data.load(0).tracks == [] and data.load(0).labelled == frozenset()
    stemseg_json.write(data, tmp_path / "out.json")
    written = json.loads((tmp_path / "out.json").read_text())["sequences"]
    assert written == content["sequences"]


def test_ignore_region_is_a_pseudo_instance_of_kitti_mots_alone(tmp_path: Path) -> None:
    video = Video(1, "0002", 12, 16, ("0002/0.png", "0002/1.png"))
    region = square(8, 8)
    clip = Clip(video, [Track(1001, 1, [square(0, 0), None])], ignore=[None, region])
    mots = annotations_of([clip], [Category(1, "car"), Category(2, "pedestrian")])
    assert stemseg_json.write(mots, tmp_path / "mots.json") == []
    written = json.loads((tmp_path / "mots.json").read_text())
    assert written["meta"]["category_labels"]["3"] == "ignore"
    assert written["sequences"][0]["categories"] == {"1001": 1, "10000": 3}
    assert written["sequences"][0]["segmentations"][1] == {"10000": region["counts"]}
    davis = annotations_of([clip], [Category(1, "object")])
    assert stemseg_json.write(davis, tmp_path / "davis.json") == [
        "1 x sequence lost its ignore region and crowds"
    ]


def test_crowds_of_images_join_the_ignore_region(tmp_path: Path) -> None:
    video = Video(1, "x", 12, 16, ("x.jpg",))
    crowd = Track(2, 1, [square(8, 8)], is_crowd=True)
    box = Track(3, 1, [None], bboxes=[[0, 0, 2, 2]], extra={"box_only": True})
    clip = Clip(video, [Track(1, 1, [square(0, 0)], score=0.5), crowd, box])
    data = annotations_of([clip], [Category(1, "person")])
    warnings = stemseg_json.write(data, tmp_path / "o.json", kind="image")
    assert warnings == [
        "1 x score was not written",
        "1 x object that has a box but no mask was left out",
        "1 x crowd became part of the ignore region",
    ]
    entry = json.loads((tmp_path / "o.json").read_text())["images"][0]
    assert entry["categories"] == [1]
    assert entry["ignore"] == square(8, 8)["counts"]


def test_frames_of_videos_become_images(tmp_path: Path) -> None:
    data = stemseg_json.read(save(tmp_path, video_content()))
    stemseg_json.write(data, tmp_path / "o.json", kind="image")
    images = json.loads((tmp_path / "o.json").read_text())["images"]
    assert [entry["image_path"] for entry in images] == ["s/0.png", "s/1.png"]
    assert [entry["categories"] for entry in images] == [[1], [1, 2]]


def broken(change: str) -> dict:
    content = video_content()
    sequence = content["sequences"][0]
    exec(change, {"s": sequence, "c": content})
    return content


@pytest.mark.parametrize(
    ("change", "where", "field"),
    [
        ("del s['id']", "item 1", "id"),
        ("s['id'] = 1.5", "sequence 1.5", "id"),
        ("c['sequences'].append(s)", "sequence 7", "id"),
        ("s['height'] = 0", "sequence 7", "height"),
        ("s['width'] = '16'", "sequence 7", "width"),
        ("s['image_paths'] = []", "sequence 7", "image_paths"),
        ("s['image_paths'][0] = None", "sequence 7", "image_paths"),
        ("s['segmentations'].pop()", "sequence 7", "segmentations"),
        ("s['segmentations'][0] = None", "sequence 7, frame 0", "segmentations"),
        ("s['segmentations'][0]['4'] = None", "sequence 7, frame 0, instance 4", "segmentations"),
        ("s['segmentations'][1]['2'] = '1'", "sequence 7, frame 1, instance 2", "segmentations"),
        ("s['segmentations'][1]['2'] = '~'", "sequence 7, frame 1, instance 2", "segmentations"),
        ("s['segmentations'][0]['9'] = s['segmentations'][0]['4']", "sequence 7", "categories"),
        ("s['categories']['9'] = 1", "sequence 7", "segmentations"),
        ("s['categories']['4'] = None", "sequence 7, instance 4", "categories"),
        ("s['categories'] = [1]", "sequence 7", "categories"),
        ("del s['categories']", "sequence 7", "categories"),
        ("s['categories']['x'] = 1; s['segmentations'][0]['x'] = '`6'", "sequence 7", "categories"),
        ("c['meta'] = {}", "", "meta.category_labels"),
        ("c['meta']['category_labels']['a'] = 'b'", "", "meta.category_labels"),
        ("c['sequences'] = {}", "", "sequences"),
        ("c['images'] = [1]", "", "images"),
        ("c['sequences'][0] = 3", "item 1", ""),
        ("c['sequences'].append({**s, 'id': 8}); del c['sequences'][1]['segmentations']",
         "sequence 8", "segmentations"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(tmp_path: Path, change: str, where: str, field: str) -> None:
    path = save(tmp_path, broken(change))
    problems = stemseg_json.validate(path)
    assert (where, field) in [(p.where, p.field) for p in problems], problems
    with pytest.raises(DatasetError) as error:
        stemseg_json.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ("s['categories'] = [1]", "categories"),
        ("s['categories'] = [1, 'x']", "categories"),
        ("s['segmentations'][1] = None", "segmentations"),
        ("s['ignore'] = '0'", "ignore"),
        ("s['image_path'] = ''", "image_path"),
    ],
)
def test_what_is_wrong_with_images_is_told(tmp_path: Path, change: str, field: str) -> None:
    content = image_content()
    exec(change, {"s": content["images"][0]})
    path = save(tmp_path, content)
    assert field in [p.field for p in stemseg_json.validate(path)]
    with pytest.raises(DatasetError):
        stemseg_json.read(path)


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    content = broken("s['height'] = 0; s['id'] = None; c['meta'] = 3")
    assert len(stemseg_json.validate(save(tmp_path, content))) == 3


def test_files_of_the_other_kind_and_broken_files(tmp_path: Path) -> None:
    path = save(tmp_path, video_content())
    assert [p.message for p in stemseg_json.validate(path, kind="image")] == [
        "expected a list 'images'"
    ]
    with pytest.raises(DatasetError, match="images"):
        stemseg_json.read(path, kind="image")
    path.write_text('{"sequences": [')
    assert "cut off" in stemseg_json.validate(path)[0].message
    assert "not found" in stemseg_json.validate(tmp_path / "none.json")[0].message


def test_images_are_checked_where_their_folder_is_named(tmp_path: Path) -> None:
    path = save(tmp_path, video_content())
    (tmp_path / "s").mkdir()
    Image.new("RGB", (16, 12)).save(tmp_path / "s" / "0.png")
    problems = stemseg_json.validate(path, images=tmp_path)
    assert [p.where for p in problems] == ["sequence 7"] and "1.png" in problems[0].message
    Image.new("RGB", (16, 13)).save(tmp_path / "s" / "1.png")
    assert "13x16" in stemseg_json.validate(path, images=tmp_path)[0].message


def test_classes_without_name_are_told_but_read(tmp_path: Path) -> None:
    content = video_content()
    content["sequences"][0]["categories"]["4"] = 11
    path = save(tmp_path, content)
    assert [p.where for p in stemseg_json.validate(path)] == ["category 11"]
    data = stemseg_json.read(path)
    assert data.category_names()[11] == ""
    stemseg_json.write(replace(data, info={}), tmp_path / "o.json")
    assert "11" not in json.loads((tmp_path / "o.json").read_text())["meta"]["category_labels"]
