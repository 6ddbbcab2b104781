"""YouTube-VIS and OVIS files: exact round trips, every wanted error, results and their zip."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vidseg_common import rle
from vidseg_common.datasets import youtube_vis
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.datasets.category_names import CATEGORY_NAMES, standard_categories, title_of
from vidseg_common.datasets.json_masks import parse_polygons, parse_rle, parse_segmentation
from vidseg_common.datasets.youtube_vis_entries import OCCLUSION_LEVELS
from vidseg_common.errors import DatasetError, MaskError, UserError

PARITY = Path(__file__).parent / "parity"
HEIGHT, WIDTH = 6, 5


def _mask(*pixels):
    image = np.zeros((HEIGHT, WIDTH), bool)
    for y, x in pixels:
        image[y, x] = True
    return rle.encode(image)


def _content():
    """A small file with every field of the format."""
    first, second = _mask((0, 0), (1, 1)), _mask((2, 3))
    uncompressed = {"size": [HEIGHT, WIDTH], "counts": rle.counts_of(second).tolist()}
    return {
        "info": {"year": 2019},
        "licenses": [{"id": 1}],
        "videos": [
            {
                "id": number,
                "width": WIDTH,
                "height": HEIGHT,
                "length": 3,
                "file_names": [f"v{number}/{t:05d}.jpg" for t in range(3)],
                "license": 1,
                "coco_url": "",
            }
            for number in (7, 3)
        ],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "object"},
            {"id": 2, "name": "dog", "supercategory": "object"},
        ],
        "annotations": [
            {
                "id": number,
                "video_id": video,
                "category_id": 1 + number % 2,
                "iscrowd": number % 2,
                "height": HEIGHT,
                "width": WIDTH,
                "length": 1,
                "segmentations": [first, uncompressed, None],
                "areas": [2, 1.5, None],
                "bboxes": [[0.0, 0, 2, 2], [3, 2, 1, 1], None],
                "occlusion": [*OCCLUSION_LEVELS[:2], None],
                "more": "kept",
            }
            for number, video in ((5, 3), (9, 7), (2, 3))
        ],
    }


def _save(tmp_path, content, name="instances.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return path


def _changed(place, value):
    """The small file with one value replaced; DELETE as value removes it."""
    content = _content()
    target = content
    for key in place[:-1]:
        target = target[key]
    if value is DELETE:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    return content


DELETE = object()


def _same(first, second):
    assert list(first.videos) == list(second.videos)
    assert list(first.categories) == list(second.categories)
    assert dict(first.info) == dict(second.info)
    assert first.has_annotations == second.has_annotations
    assert list(first.clips()) == list(second.clips())


def test_reads_every_field(tmp_path):
    path = _save(tmp_path, _content())
    data = youtube_vis.read(path, images=tmp_path / "JPEGImages")
    assert [(video.id, video.name, video.num_frames) for video in data.videos] == [
        (7, "v7", 3),
        (3, "v3", 3),
    ]
    assert data.videos[0].extra == {"license": 1, "coco_url": ""}
    assert data.categories[1] == Category(2, "dog", "object")
    assert data.info == {"year": 2019, "licenses": [{"id": 1}]}
    assert data.image_path(data.videos[1], 2) == tmp_path / "JPEGImages/v3/00002.jpg"
    tracks = data.load(1).tracks
    assert [track.id for track in tracks] == [5, 2], "the order of the file"
    track = tracks[0]
    assert track.segmentations == [_mask((0, 0), (1, 1)), _mask((2, 3)), None]
    assert (track.category_id, track.is_crowd, track.score) == (2, True, None)
    assert track.areas == [2, 1.5, None]
    assert track.bboxes == [[0.0, 0, 2, 2], [3, 2, 1, 1], None]
    assert track.occlusion == ["no_occlusion", "slight_occlusion", None]
    assert track.extra == {"more": "kept"}
    assert youtube_vis.validate(path) == []


@pytest.mark.parametrize("counts", ["string", "list"])
def test_round_trip_is_exact(tmp_path, counts):
    data = youtube_vis.read(_save(tmp_path, _content()))
    assert youtube_vis.write(data, tmp_path / "again.json", counts=counts) == []
    _same(data, youtube_vis.read(tmp_path / "again.json"))
    written = json.loads((tmp_path / "again.json").read_text())["annotations"][0]["segmentations"]
    assert isinstance(written[0]["counts"], str if counts == "string" else list)


@pytest.mark.parametrize("order", [["annotations", "categories", "videos"], ["videos"]])
def test_the_order_of_the_keys_does_not_matter(tmp_path, order):
    content = _content()
    shuffled = {key: content.pop(key) for key in order} | content
    data = youtube_vis.read(_save(tmp_path, shuffled))
    _same(data, youtube_vis.read(_save(tmp_path, _content(), "b.json")))


def test_recorded_files(tmp_path):
    path = PARITY / "vis_gt.json"
    data = youtube_vis.read(path)
    content = json.loads(path.read_text())
    read = {track.id: (clip, track) for clip in data.clips() for track in clip.tracks}
    assert len(read) == len(content["annotations"])
    for entry in content["annotations"]:
        clip, track = read[entry["id"]]
        assert clip.video.id == entry["video_id"]
        assert track.areas == entry["areas"]
        for mask, value in zip(track.segmentations, entry["segmentations"], strict=True):
            if isinstance(value, dict):
                assert np.array_equal(rle.decode(mask), rle.decode(value))
            elif value is not None:
                size = clip.video.height, clip.video.width
                assert mask == rle.from_polygons(value, *size)
    youtube_vis.write(data, tmp_path / "a.json")
    _same(data, youtube_vis.read(tmp_path / "a.json"))
    results = youtube_vis.read_results(PARITY / "vis_pred.json", data)
    predictions = json.loads((PARITY / "vis_pred.json").read_text())
    tracks = sorted((t for clip in results.clips() for t in clip.tracks), key=lambda t: t.id)
    assert [(t.id, t.score, t.category_id) for t in tracks] == [
        (i, p["score"], p["category_id"]) for i, p in enumerate(predictions, start=1)
    ]
    assert [t.segmentations for t in tracks] == [p["segmentations"] for p in predictions]


@pytest.mark.parametrize("value", [None, DELETE])
def test_a_file_without_annotations(tmp_path, value):
    path = _save(tmp_path, _changed(["annotations"], value))
    data = youtube_vis.read(path)
    assert not data.has_annotations
    assert [clip.tracks for clip in data.clips()] == [[], []]
    assert youtube_vis.validate(path) == []
    youtube_vis.write(data, tmp_path / "b.json")
    assert json.loads((tmp_path / "b.json").read_text())["annotations"] is None
    empty = youtube_vis.read(_save(tmp_path, _changed(["annotations"], []), "c.json"))
    assert empty.has_annotations, "an empty list says that there is no object"


BAD = [
    (["videos"], DELETE, r"videos: missing"),
    (["videos"], {"a": 1}, "videos: expected a list"),
    (["categories"], DELETE, "categories: missing"),
    (["annotations"], 3, "annotations: expected a list or null"),
    (["videos", 0], 4, "item 0 of videos: expected an object"),
    (["videos", 0, "id"], 3, "item 1 of videos, id: the id 3 occurs more than once"),
    (["videos", 0, "id"], "7", "item 0 of videos, id: expected a whole number, found '7'"),
    (["videos", 0, "id"], True, "expected a whole number, found True"),
    (["videos", 0, "height"], 0, "video 7, height: expected a positive whole number, found 0"),
    (["videos", 0, "width"], DELETE, "video 7, width: .*found nothing"),
    (["videos", 0, "length"], 4, "video 7, length: is 4, but file_names has 3 names"),
    (["videos", 0, "file_names"], [], "video 7, file_names: expected a list"),
    (["videos", 0, "file_names", 1], None, "video 7, file_names: expected names"),
    (["videos", 0, "file_names", 1], "../a.jpg", "leads out of the folder"),
    (["videos", 0, "file_names", 1], "/a.jpg", "leads out of the folder"),
    (["categories", 1, "id"], 1, "item 1 of categories, id: the id 1 occurs more"),
    (["categories", 1, "name"], 3, "category 2, name: expected a name, found 3"),
    (["annotations", 1, "id"], 5, "item 1 of annotations, id: the id 5 occurs more than once"),
    (["annotations", 1], None, "item 1 of annotations: expected an object"),
    (["annotations", 0, "video_id"], 4, "annotation 5, video_id: 4 is not among the videos"),
    (["annotations", 0, "video_id"], [3], "annotation 5, video_id"),
    (["annotations", 0, "category_id"], 3, "annotation 5, category_id: 3 is not among the categ"),
    (["annotations", 0, "category_id"], DELETE, "annotation 5, category_id: None"),
    (["annotations", 0, "iscrowd"], 2, "annotation 5, iscrowd: expected 0 or 1, found 2"),
    (["annotations", 0, "segmentations"], None, "annotation 5, segmentations: .*found None"),
    (["annotations", 0, "segmentations"], [None], "has 1 entries, the video 3 frames"),
    (["annotations", 0, "segmentations", 1], 3, "annotation 5, frame 1, segmentations: expected"),
    (["annotations", 0, "segmentations", 1], [], "no polygon"),
    (["annotations", 0, "segmentations", 1], [[1, 2, 3, 4]], "a polygon needs 3"),
    (["annotations", 0, "segmentations", 1], [[1, 2, 3, 4, 5, float("nan")]], "finite numbers"),
    (["annotations", 0, "segmentations", 1], [[1, 2, 3, 4, 5, 1e9]], "far outside"),
    (["annotations", 0, "segmentations", 1], [1, 2, 3, 4, 5, 6], "list of finite numbers"),
    (["annotations", 0, "segmentations", 0, "size"], [5, 6], "the mask is 5x6, the frame 6x5"),
    (["annotations", 0, "segmentations", 0, "size"], None, r"has a size \[height, width\]"),
    (["annotations", 0, "segmentations", 0, "counts"], "012", "add up to"),
    (["annotations", 0, "segmentations", 0, "counts"], "~", "outside '0'..'o'"),
    (["annotations", 0, "segmentations", 0, "counts"], "é", "ASCII string"),
    (["annotations", 0, "segmentations", 0, "counts"], DELETE, "found null"),
    (["annotations", 0, "segmentations", 1, "counts"], [30.0], "whole numbers"),
    (["annotations", 0, "segmentations", 1, "counts"], [[30]], "whole numbers"),
    (["annotations", 0, "segmentations", 1, "counts"], [1, [29]], "whole numbers"),
    (["annotations", 0, "segmentations", 1, "counts"], [10**400], "whole numbers"),
    (["annotations", 0, "segmentations", 1, "counts"], [31, -1], "add up to 30"),
    (["annotations", 0, "areas"], [1, None], "annotation 5, areas: has 2 entries"),
    (["annotations", 0, "areas", 0], -1, "annotation 5, frame 0, areas: expected a number"),
    (["annotations", 0, "areas", 0], float("nan"), "areas: expected a number.*found nan"),
    (["annotations", 0, "bboxes", 0, 2], float("nan"), "annotation 5, frame 0, bboxes: expected"),
    (["annotations", 0, "bboxes", 0, 2], 10**400, "bboxes: expected a box"),
    (["annotations", 0, "bboxes", 0], [1, 2, 3], "bboxes: expected a box"),
    (["annotations", 0, "occlusion", 0], "some", "annotation 5, frame 0, occlusion: expected no"),
    (["annotations", 0, "occlusion"], [None], "occlusion: has 1 entries"),
]


@pytest.mark.parametrize(("place", "value", "message"), BAD)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, place, value, message):
    path = _save(tmp_path, _changed(place, value))
    with pytest.raises(DatasetError, match=f"instances.json(.|\n)*{message}"):
        youtube_vis.read(path)
    problems = "\n".join(map(str, youtube_vis.validate(path)))
    assert "instances.json: " in problems
    with pytest.raises(DatasetError, match=message):
        raise DatasetError(problems)


ODD = [
    (["videos", 0, "length"], DELETE, "video 7, length: missing"),
    (["videos", 0, "file_names", 1], "v7/00000.jpg", "listed more than once"),
    (["categories", 1, "name"], "person", "'person' is used twice"),
    (["annotations", 0, "id"], 0, "annotation 0, id: is 0"),
    (["annotations", 0, "iscrowd"], DELETE, "annotation 5, iscrowd: missing"),
    (["annotations", 0, "width"], 9, "annotation 5, width: is 9, the video has 5"),
    (["annotations", 0, "areas"], DELETE, "annotation 5, areas: missing"),
    (["annotations", 0, "areas", 0], None, "frame 0, areas: null, but there is a mask"),
    (["annotations", 0, "areas", 2], 1, "frame 2, areas: a value, but there is no mask"),
    (["annotations", 0, "bboxes", 0], [4, 0, 3, 1], "frame 0, bboxes: the box .* reaches out"),
    (["annotations", 0, "segmentations"], [None] * 3, "visible in no frame"),
    (["annotations", 0, "segmentations", 1], [[3, 0, 8, 0, 8, 3]], "frame 1.* a polygon reaches"),
    (["annotations", 0, "segmentations", 1], [[7, 8, 9, 8, 9, 9]], "frame 1.* has no pixel"),
    (["annotations", 0, "segmentations", 0, "counts"], "n0", "frame 0.* has no pixel"),
]


@pytest.mark.parametrize(("place", "value", "message"), ODD)
def test_what_is_only_odd_is_read_and_told(tmp_path, place, value, message):
    path = _save(tmp_path, _changed(place, value))
    youtube_vis.read(path)
    with pytest.raises(DatasetError, match=message):
        raise DatasetError("\n".join(map(str, youtube_vis.validate(path))))


def test_masks_of_both_kinds_in_one_track_are_fine(tmp_path):
    polygon = [[0.0, 0, 3, 0, 3, 3]]
    path = _save(tmp_path, _changed(["annotations", 0, "segmentations", 1], polygon))
    track = youtube_vis.read(path).load(1).tracks[0]
    assert track.segmentations[1] == rle.from_polygons(polygon, HEIGHT, WIDTH)
    assert youtube_vis.validate(path) == []


def test_all_problems_are_listed_at_once(tmp_path):
    content = _content()
    content["videos"][0]["width"] = -1
    content["annotations"][0]["areas"][0] = "x"
    content["annotations"][2]["segmentations"][0] = {"size": [1, 1], "counts": "1"}
    path = _save(tmp_path, content)
    with pytest.raises(DatasetError) as caught:
        youtube_vis.read(path)
    assert len(str(caught.value).splitlines()) == 4
    assert len(youtube_vis.validate(path)) == 3, "annotations of the bad video raise no more"


@pytest.mark.parametrize(
    ("field", "value"), [("category_id", 99), ("category_id", None), ("id", 6)]
)
def test_what_cannot_be_used_is_looked_at_as_well(tmp_path, field, value):
    content = _content()
    for entry in content["annotations"][:2]:
        entry[field] = value
        entry["segmentations"] = entry["segmentations"][:1]
    fields = [problem.field for problem in youtube_vis.validate(_save(tmp_path, content))]
    assert fields.count("segmentations") == 2 and field in fields


def test_a_cut_or_missing_file(tmp_path):
    path = _save(tmp_path, _content())
    path.write_text(path.read_text()[:-200])
    with pytest.raises(DatasetError, match=r"line 1, column .*cut off"):
        youtube_vis.read(path)
    (problem,) = (p for p in youtube_vis.validate(path) if "cut off" in p.message)
    assert str(problem).count(str(path)) == 1
    assert youtube_vis.validate(tmp_path / "no.json")[0].message.startswith("JSON file not found")


def test_missing_images_are_listed(tmp_path):
    path = _save(tmp_path, _content())
    root = tmp_path / "JPEGImages"
    (problem,) = youtube_vis.validate(path, images=root)
    assert "folder of images is missing" in problem.message
    for number, t in ((3, 0), (3, 1), (3, 2), (7, 1)):
        (root / f"v{number}").mkdir(parents=True, exist_ok=True)
        (root / f"v{number}/{t:05d}.jpg").touch()
    where = [problem.where for problem in youtube_vis.validate(path, images=root)]
    assert where == ["video 7, frame 0", "video 7, frame 2"]


def test_names_of_videos(tmp_path):
    content = _content()
    content["videos"][0]["file_names"] = ["v3/a.jpg", "v3/b.jpg", "v3/c.jpg"]
    content["videos"].append(content["videos"][0] | {"id": 8, "file_names": ["a", "b", "c"]})
    content["videos"].append(content["videos"][0] | {"id": 9, "name": "given"})
    path = _save(tmp_path, content)
    data = youtube_vis.read(path)
    assert [video.name for video in data.videos] == ["v3-7", "v3-3", "8", "given"]
    youtube_vis.write(data, tmp_path / "b.json")
    _same(data, youtube_vis.read(tmp_path / "b.json"))


def _clip(number=1, tracks=(), **fields):
    video = Video(number, f"v{number}", HEIGHT, WIDTH, tuple(f"v{number}/{t}.png" for t in (0, 1)))
    return Clip(video, list(tracks), **fields)


def _set(*clips):
    return annotations_of(clips, [Category(1, "person")])


def test_areas_boxes_and_ids_follow_where_they_are_not_stated(tmp_path):
    def tracks():
        return [Track(i, 1, [None, _mask((2, 1), (3, 2))]) for i in (1, 2)]

    path = tmp_path / "a.json"
    assert youtube_vis.write(_set(_clip(1, tracks()), _clip(2, tracks())), path) == []
    data = youtube_vis.read(path)
    assert [[track.id for track in clip.tracks] for clip in data.clips()] == [[1, 2], [3, 4]]
    assert data.load(0).tracks[0].areas == [None, 2]
    assert data.load(0).tracks[0].bboxes == [None, [1, 2, 2, 2]]
    assert youtube_vis.validate(path) == []


def test_what_the_format_cannot_hold_is_told(tmp_path):
    track = Track(1, 1, [None, _mask((0, 0))], score=0.5, amodal=[None] * 2, occlude_rates=[0] * 2)
    clip = _clip(1, [track], ignore=[_mask((1, 1)), None], labelled=frozenset([1]))
    warnings = "\n".join(youtube_vis.write(_set(clip), tmp_path / "a.json"))
    for word in ("scores", "amodal", "hidden", "ignore", "1 x frames without annotation"):
        assert word in warnings
    assert youtube_vis.read(tmp_path / "a.json").load(0).tracks[0].score is None


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        ([_clip(1), _clip(1)], "several videos have the id 1"),
        ([_clip(1, [Track(4, 2, [None] * 2)])], "video v1, track 4: there is no category 2"),
        ([_clip(1, [Track(4, 1, [None])])], "track 4: 1 masks, the video has 2 frames"),
        ([_clip(1, [Track(4, 1, [None, rle.encode(np.ones((2, 2)))])])], "frame 1: the mask has"),
    ],
)
def test_what_no_reader_would_take_is_not_written(tmp_path, clips, message):
    path = tmp_path / "a.json"
    with pytest.raises(DatasetError, match=message):
        youtube_vis.write(_set(*clips), path)
    assert not list(tmp_path.iterdir())


masks = st.none() | hnp.arrays(np.bool_, (HEIGHT, WIDTH)).map(rle.encode)
drawn_tracks = st.builds(
    lambda segmentations, crowd: (segmentations, crowd),
    st.lists(masks, min_size=2, max_size=2),
    st.booleans(),
)


@given(
    drawn=st.lists(st.lists(drawn_tracks, max_size=3), min_size=1, max_size=3),
    counts=st.sampled_from(["string", "list"]),
)
@settings(max_examples=40, deadline=None)
def test_any_tracks_there_and_back(tmp_path_factory, drawn, counts):
    path = tmp_path_factory.mktemp("vis") / "a.json"
    number = 0
    clips = []
    for i, of_video in enumerate(drawn, start=1):
        tracks = []
        for segmentations, crowd in of_video:
            number += 1
            areas = [None if m is None else int(rle.decode(m).sum()) for m in segmentations]
            boxes = [None if m is None else rle.to_bbox(m) for m in segmentations]
            track = Track(number, 1, segmentations, is_crowd=crowd, areas=areas, bboxes=boxes)
            tracks.append(track)
        clips.append(_clip(i, tracks))
    youtube_vis.write(_set(*clips), path, counts=counts)
    _same(_set(*clips), youtube_vis.read(path))


def test_category_lists():
    assert [len(names) for names in CATEGORY_NAMES.values()] == [40, 40, 25]
    assert CATEGORY_NAMES["ytvis2019"][39] == "earless_seal"
    assert CATEGORY_NAMES["ytvis2021"][14] == "flying_disc"
    assert CATEGORY_NAMES["ovis"][13] == "Giant_panda"
    assert title_of(standard_categories("ytvis2021")) == "YouTube-VIS 2021"
    assert title_of([Category(1, "x")]) is None
    with pytest.raises(UserError, match="did you mean ytvis20"):
        standard_categories("ytvis2018")


@given(hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)))
@settings(deadline=None)
def test_any_form_of_a_mask_becomes_the_same_string(mask):
    encoded = rle.encode(mask)
    as_list = encoded | {"counts": rle.counts_of(encoded).tolist()}
    assert parse_rle(as_list) == parse_segmentation(encoded, *mask.shape) == encoded


def test_polygons_of_a_frame():
    assert parse_polygons([[0, 0, 2, 0, 2, 2, 0, 2]], 4, 4) == rle.from_polygons(
        [[0, 0, 2, 0, 2, 2, 0, 2]], 4, 4
    )
    with pytest.raises(MaskError, match="finite"):
        parse_polygons([[0, 0, 2, None, 2, 2]], 4, 4)
