"""Results of YouTube-VIS and OVIS: exact round trips, the zip, and every wanted error."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vidseg_common import rle
from vidseg_common.datasets import youtube_vis
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.errors import DatasetError

PARITY = Path(__file__).parent / "parity"
HEIGHT, WIDTH = 6, 5
DELETE = object()


def _mask(*pixels):
    image = np.zeros((HEIGHT, WIDTH), bool)
    for y, x in pixels:
        image[y, x] = True
    return rle.encode(image)


def _save(tmp_path, content, name="results.json"):
    path = tmp_path / name
    path.write_text(json.dumps(content))
    return path


def _video(number, num_frames=3):
    names = tuple(f"v{number}/{t:05d}.jpg" for t in range(num_frames))
    return Video(number, f"v{number}", HEIGHT, WIDTH, names)


def _truth():
    clips = [Clip(_video(7), []), Clip(_video(3), [])]
    return annotations_of(clips, [Category(1, "person"), Category(2, "dog")])


def _one_track(**fields):
    track = Track(4, 1, [None, _mask((0, 0))], **fields)
    return annotations_of([Clip(_video(1, 2), [track])], [Category(1, "person")])


def _results():
    return [
        {
            "video_id": video,
            "score": score,
            "category_id": 1,
            "segmentations": [_mask((0, 1)), None, _mask((4, 4))],
        }
        for video, score in ((3, 0.5), (7, 0.25), (3, 1))
    ]


@pytest.mark.parametrize("name", ["results.json", "submission.zip"])
def test_results_there_and_back(tmp_path, name):
    truth = _truth()
    path = _save(tmp_path, _results(), "given.json")
    results = youtube_vis.read_results(path, truth)
    assert results.videos == truth.videos and results.categories == truth.categories
    assert [(t.id, t.score) for t in results.load(1).tracks] == [(1, 0.5), (3, 1.0)]
    assert youtube_vis.write_results(results, tmp_path / name) == []
    again = youtube_vis.read_results(tmp_path / name, truth)
    for clip, other in zip(results.clips(), again.clips(), strict=True):
        assert clip.video == other.video
        for track, read in zip(clip.tracks, other.tracks, strict=True):
            assert (track.segmentations, track.score) == (read.segmentations, read.score)
    assert youtube_vis.validate_results(tmp_path / name, truth) == []
    if name.endswith("zip"):
        content = (tmp_path / name).read_bytes()
        assert zipfile.ZipFile(tmp_path / name).namelist() == ["results.json"]
        youtube_vis.write_results(results, tmp_path / name)
        assert (tmp_path / name).read_bytes() == content
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_results_without_ground_truth(tmp_path):
    path = _save(tmp_path, _results())
    results = youtube_vis.read_results(path)
    assert [(v.id, v.height, v.width, v.num_frames) for v in results.videos] == [
        (3, HEIGHT, WIDTH, 3),
        (7, HEIGHT, WIDTH, 3),
    ]
    assert [category.id for category in results.categories] == [1]
    assert [len(clip.tracks) for clip in results.clips()] == [2, 1]


def test_an_empty_list_is_a_valid_result(tmp_path):
    path = _save(tmp_path, [])
    results = youtube_vis.read_results(path, _truth())
    assert [clip.tracks for clip in results.clips()] == [[], []]
    assert youtube_vis.validate_results(path, _truth()) == []


BAD_RESULTS = [
    ([0], 3, "result 1: expected an object"),
    ([0, "video_id"], 99, "result 1, video_id: 99 is not among the videos"),
    ([0, "video_id"], DELETE, "result 1, video_id: missing"),
    ([0, "video_id"], "3", "result 1, video_id: expected a whole number"),
    ([1, "category_id"], 1.0, "result 2, category_id: expected a whole number"),
    ([1, "category_id"], DELETE, "result 2, category_id: missing"),
    ([1, "score"], DELETE, "result 2, score: missing"),
    ([1, "score"], None, "result 2, score: expected a finite number, found None"),
    ([1, "score"], float("nan"), "result 2, score: expected a finite number, found nan"),
    ([1, "score"], float("inf"), "result 2, score: expected a finite number, found inf"),
    ([1, "score"], True, "result 2, score"),
    ([1, "segmentations"], DELETE, "result 2, segmentations: missing"),
    ([1, "segmentations"], [None], r"result 2 \(video 7\), segmentations: has 1 entries"),
    ([1, "segmentations", 0, "size"], [1, 1], r"result 2 \(video 7\), frame 0, .* is 1x1, the fra"),
]


@pytest.mark.parametrize(("place", "value", "message"), BAD_RESULTS)
def test_bad_results_are_refused_by_name(tmp_path, place, value, message):
    content = {"list": _results()}
    target = content["list"]
    for key in place[:-1]:
        target = target[key]
    if value is DELETE:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    path = _save(tmp_path, content["list"])
    truth = _truth()
    with pytest.raises(DatasetError, match=f"results.json(.|\n)*{message}"):
        youtube_vis.read_results(path, truth)
    (problem,) = youtube_vis.validate_results(path, truth)
    with pytest.raises(DatasetError, match=message):
        raise DatasetError(str(problem))


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("category_id", 41, "41 is not among the categories of the data set; not scored"),
        ("id", 3, "fields that no tool reads: id"),
        ("segmentations", [{"size": [6, 5], "counts": [30]}, None, None], "as a list"),
        ("segmentations", [[[0, 0, 3, 0, 3, 3]], None, None], "found polygons"),
    ],
)
def test_results_that_only_we_take(tmp_path, place, value, message):
    content = _results()
    content[0][place] = value
    path, truth = _save(tmp_path, content), _truth()
    assert len(youtube_vis.read_results(path, truth).load(1).tracks) == 2
    (problem,) = youtube_vis.validate_results(path, truth)
    assert message in problem.message


def test_recorded_corner_cases(tmp_path):
    cases = json.loads((PARITY / "vis_small.json").read_text())
    refused = {
        "duplicate_annotation_ids": r"the id \d+ occurs more than once",
        "short_prediction": "entries, the video 2 frames",
        "wrong_mask_size": r"result \d+ \(video 1\), frame 0.* the frame 30x40",
        "unknown_video": "is not among the videos",
    }
    for name, case in cases.items():
        truth, results = _save(tmp_path, case["gt"], "gt.json"), _save(tmp_path, case["pred"])
        if name not in refused:
            youtube_vis.read_results(results, youtube_vis.read(truth))
            continue
        with pytest.raises(DatasetError, match=refused[name]):
            youtube_vis.read_results(results, youtube_vis.read(truth))


def test_bad_files_of_results(tmp_path):
    path = tmp_path / "a.zip"
    with pytest.raises(DatasetError, match="file of results not found"):
        youtube_vis.read_results(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("sub/results.json", "[]")
    with pytest.raises(DatasetError, match=r"expected results.json at the root .*sub/results.json"):
        youtube_vis.read_results(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("results.json", json.dumps(_results()))
    data = bytearray(path.read_bytes())
    data[data.index(b"video_id")] ^= 1
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"cannot unpack results.json"):
        youtube_vis.read_results(path)
    assert "cannot unpack" in youtube_vis.validate_results(path)[0].message
    path = _save(tmp_path, {"videos": []})
    with pytest.raises(DatasetError, match="expected a list at the top"):
        youtube_vis.read_results(path)


@pytest.mark.parametrize("score", [None, float("nan")])
def test_results_need_scores(tmp_path, score):
    data = _one_track(score=score)
    for name in ("a.json", "a.zip"):
        with pytest.raises(DatasetError, match="video v1, track 4: results need a finite score"):
            youtube_vis.write_results(data, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_what_results_cannot_hold_is_told(tmp_path):
    data = _one_track(score=1, is_crowd=True, amodal=[None] * 2)
    warnings = youtube_vis.write_results(data, tmp_path / "a.json")
    assert len(warnings) == 2
