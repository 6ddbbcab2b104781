"""SAIL-VOS annotations of every kind, per-video ground truth and results files."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common import rle
from vidseg_common.datasets import sailvos
from vidseg_common.datasets.annotations import (
    AnnotationSet,
    Category,
    Clip,
    Track,
    Video,
    annotations_of,
)
from vidseg_common.datasets.safe_pickle import load_pickle
from vidseg_common.datasets.sailvos_kinds import KINDS, annotation_path, detect_kind, kind_of
from vidseg_common.errors import DatasetError, UserError

RECORDS = Path(__file__).parent / "parity" / "vatrack"
H, W = 6, 8
CATEGORIES = [Category(1, "person", "person"), Category(2, "car", "vehicle")]
kinds = st.sampled_from(KINDS)


def make_set(seed: int, num_frames: tuple[int, ...] = (3, 1)) -> AnnotationSet:
    """Random videos; objects come and go and are hidden partly, at times wholly."""
    rng = np.random.default_rng(seed)
    clips, instance = [], 0
    for number, length in enumerate(num_frames, 1):
        tracks = []
        for _ in range(rng.integers(0, 4)):
            instance += 1
            amodal = [_blob(rng) if rng.random() < 0.8 else None for _ in range(length)]
            if not any(mask is not None for mask in amodal):
                continue
            visible = [
                None if m is None or rng.random() < 0.1 else m & (rng.random((H, W)) < 0.7)
                for m in amodal
            ]
            tracks.append(
                Track(
                    id=instance,
                    category_id=int(rng.integers(1, 3)),
                    segmentations=[
                        None if m is None or not m.any() else rle.encode(m) for m in visible
                    ],
                    amodal=[None if m is None else rle.encode(m) for m in amodal],
                )
            )
        names = tuple(f"v{number}__9/images/{i:06d}.png" for i in range(length))
        clips.append(Clip(Video(number, f"v{number}__9", H, W, names), tracks))
    return annotations_of(clips, CATEGORIES, info={"models": [{"id": 7, "category_id": 1}]})


def _blob(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    top, left = rng.integers(0, H - 1), rng.integers(0, W - 1)
    mask[top : top + rng.integers(1, 4), left : left + rng.integers(1, 4)] = True
    return mask


def written(annotations: AnnotationSet, path: Path, **options: Any) -> Any:
    sailvos.write(annotations, path, **options)
    return json.loads(path.read_text())


def small_file(path: Path, kind: str = "joint", bbox: str | None = None) -> dict[str, Any]:
    """A sound file of one video with two frames and one object in both."""
    masks = [rle.encode(np.eye(H, W, dtype=bool)), rle.encode(np.ones((H, W), bool))]
    track = Track(1, 1, segmentations=masks, amodal=[masks[1], masks[1]])
    clip = Clip(Video(1, "a__1", H, W, ("a__1/images/0.png", "a__1/images/1.png")), [track])
    return written(annotations_of([clip], CATEGORIES), path, kind=kind, bbox=bbox)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_fields_of_each_kind(tmp_path: Path, kind: Any) -> None:
    annotation = small_file(tmp_path / "a.json", kind.name, kind.bbox or None)["annotations"][0]
    amodal, visible = [0, 0, W, H], [0, 0, H, H]
    boxes = {"amdl": amodal, "visb": visible, "both": [amodal, visible]}
    assert annotation["bbox"] == boxes.get(kind.bbox, visible if kind.name == "visible" else amodal)
    assert annotation["bbox_visible"] == visible
    assert ("area" in annotation) == (kind.name != "joint")
    assert ("invisible_mask" in annotation) == (kind.name != "joint")
    assert ("bbox_amodal" in annotation) == (
        kind.name == "visible" or kind.bbox in ("visb", "both")
    )
    assert ("amodal_mask" in annotation) == (kind.name != "amodal")
    assert isinstance(annotation["segmentation"], list) == (kind.name == "joint")
    assert annotation["occlude_rate"] == pytest.approx(1 - 6 / 48)
    assert detect_kind(annotation) == kind


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), kinds, kinds)
def test_kinds_turn_into_each_other(tmp_path_factory: Any, seed: int, a: Any, b: Any) -> None:
    folder = tmp_path_factory.mktemp("kinds")
    made = make_set(seed)
    direct = written(made, folder / "direct.json", kind=b.name, bbox=b.bbox or None)
    written(made, folder / "a.json", kind=a.name, bbox=a.bbox or None)
    by_way = sailvos.read(folder / "a.json", kind=a.name, bbox=a.bbox or None)
    assert written(by_way, folder / "b.json", kind=b.name, bbox=b.bbox or None) == direct
    again = sailvos.read(folder / "b.json")
    assert written(again, folder / "c.json") == direct
    assert sailvos.validate(folder / "b.json") == []


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), kinds)
def test_tracks_survive(tmp_path_factory: Any, seed: int, kind: Any) -> None:
    path = tmp_path_factory.mktemp("tracks") / "a.json"
    made = make_set(seed)
    sailvos.write(made, path, kind=kind.name, bbox=kind.bbox or None)
    for before, after in zip(made.clips(), sailvos.read(path).clips(), strict=True):
        assert (before.video.id, before.video.file_names) == (
            after.video.id,
            after.video.file_names,
        )
        found = {track.id: track for track in after.tracks}
        assert found.keys() == {track.id for track in before.tracks}
        for track in before.tracks:
            other = found[track.id]
            assert (other.segmentations, other.amodal) == (track.segmentations, track.amodal)
            assert other.category_id == track.category_id


def test_unequal_files_stay_as_they_are(tmp_path: Path) -> None:
    file = small_file(tmp_path / "a.json", "joint", "both")
    file["annotations"][0] |= {"id": 70, "obj_id": 3, "model_id": 9, "occlu_depth": 2}
    file["annotations"][1] |= {"id": 80, "invisible_mask": rle.encode(np.zeros((H, W)))}
    file["images"][0] |= {"id": 0, "depth": "x"}
    file["annotations"][0]["image_id"] = 0
    file["videos"][0]["num_objs"] = 4
    file |= {"models": [{"id": 9, "category_id": 1}], "info": {"year": 2021}}
    path = tmp_path / "b.json"
    path.write_text(json.dumps(file))
    assert written(sailvos.read(path), tmp_path / "c.json") == file


def test_lists_before_what_they_refer_to(tmp_path: Path) -> None:
    file = small_file(tmp_path / "a.json")
    path = tmp_path / "b.json"
    path.write_text(json.dumps(dict(sorted(file.items()))))
    assert written(sailvos.read(path), tmp_path / "c.json") == file


def test_official_tree(tmp_path: Path) -> None:
    made = make_set(1)
    sailvos.write(made, tmp_path, split="val", kind="joint", bbox="both")
    sailvos.write(made, tmp_path, split="train", kind="visible")
    assert (tmp_path / "joint" / "valid(bbox=both_bbox).json").is_file()
    assert annotation_path(tmp_path, "train", kind_of("visible")).is_file()
    read = sailvos.read(tmp_path, split="valid", kind="joint", bbox="both", images=tmp_path / "png")
    assert read.image_path(read.videos[0], 1) == tmp_path / "png/v1__9/images/000001.png"
    with pytest.raises(DatasetError, match="has the kinds visible, joint"):
        sailvos.read(tmp_path)
    with pytest.raises(UserError, match="no SAIL-VOS annotation kind 'joint with bbox=x'"):
        kind_of("joint", "x")
    with pytest.raises(UserError, match="visible"):
        kind_of("seen")


def test_what_the_format_cannot_hold_is_said(tmp_path: Path) -> None:
    mask = rle.encode(np.ones((H, W)))
    track = Track(1, 1, [mask], score=0.5, occlusion=["no_occlusion"])
    clip = Clip(Video(1, "a", H, W, ("a/0.png",)), [track], ignore=[mask], labelled=frozenset())
    warnings = sailvos.write(annotations_of([clip], CATEGORIES), tmp_path / "a.json")
    for word in ("scores", "occlusion levels", "ignore regions", "labels", "amodal"):
        assert any(word in warning for warning in warnings), word
    assert sailvos.validate(tmp_path / "a.json") == []


def change(path: Path, **changes: Any) -> Path:
    """Writes a joint file with changed fields of its first annotation; None removes one."""
    file = small_file(path)
    for name, value in changes.items():
        if value is None:
            del file["annotations"][0][name]
        else:
            file["annotations"][0][name] = value
    path.write_text(json.dumps(file))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_id": 99}, "annotation 1, image_id: no image 99"),
        ({"video_id": 2}, "annotation 1, video_id: 2, but image 1 is of 1"),
        ({"category_id": 5}, "annotation 1, category_id: no category 5"),
        ({"id": 2}, "annotation 2, id: occurs twice"),
        ({"image_id": 2}, "instance_id: 1 twice in image 2"),
        ({"category_id": 2}, "had (2, 0) before"),
        ({"instance_id": None}, "instance_id: expected a whole number, it is missing"),
        ({"occlude_rate": 1.5}, "occlude_rate: expected a number in 0..1, found 1.5"),
        ({"bbox": [1, 2, 3]}, "bbox_amodal: expected a box"),
        ({"bbox_visible": [1, 2, 3, float("nan")]}, "bbox_visible: expected a box"),
        ({"segmentation": {}}, "segmentation: expected the two masks"),
        ({"amodal_mask": {"size": [1, 1], "counts": "1"}}, "amodal_mask: differs from"),
        ({"area_visible": -1}, "area_visible: expected a number of pixels"),
        ({"iscrowd": 3}, "iscrowd: expected 0 or 1"),
    ],
)
def test_faults_of_annotations(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = change(tmp_path / "a.json", **changes)
    problems = sailvos.validate(path, kind="joint")
    assert any(message in str(problem) for problem in problems), problems
    with pytest.raises(DatasetError) as error:
        sailvos.read(path, kind="joint")
    assert message in str(error.value)


def test_faults_of_the_first_annotation_do_not_hide_the_kind(tmp_path: Path) -> None:
    path = tmp_path / "joint.json"
    sailvos.write(make_set(1), path, kind="joint", bbox="both")
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = None
    content["annotations"][1]["id"] = content["annotations"][0]["id"]
    path.write_text(json.dumps(content))
    found = [(problem.field, problem.message) for problem in sailvos.validate(path)]
    assert found == [
        ("segmentation", "expected the two masks [amodal, visible] of a joint file"),
        ("id", "occurs twice"),
    ]


def test_another_kind_than_asked_is_one_problem(tmp_path: Path) -> None:
    small_file(tmp_path / "a.json", "joint", "both")
    (problem,) = sailvos.validate(tmp_path / "a.json", kind="amodal")
    assert problem.message == "the annotations are of the kind joint(bbox=both_bbox), not amodal"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_tracks_are_the_same_whatever_the_kind(tmp_path: Path, kind: Any) -> None:
    small_file(tmp_path / "a.json", kind.name, kind.bbox or None)
    (track,) = sailvos.read(tmp_path / "a.json").load(0).tracks
    assert track.areas == [6, 48]
    assert track.bboxes == [[0, 0, H, H], [0, 0, W, H]]
    assert [frame["bbox_amodal"] for frame in track.extra["frames"]] == [[0, 0, W, H]] * 2


def test_faults_of_lists_are_all_listed(tmp_path: Path) -> None:
    file = small_file(tmp_path / "a.json")
    file["images"][1] |= {"frame_id": 5, "width": 3}
    file["images"].append({"id": 2, "video_id": 1, "file_name": "x", "frame_id": 7})
    file["images"].append({"id": 3, "video_id": 9, "file_name": "x", "frame_id": 0})
    file["images"].append("nothing")
    file["videos"].append({"id": 2, "name": 5, "width": 1, "height": 1})
    file["categories"].append({"id": 1, "name": "again"})
    file["annotations"].append(4)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(file))
    text = "\n".join(map(str, sailvos.validate(path)))
    for message in (
        "video 1, frame_id: expected 0..1, found [0, 5]",
        "image 2, width, height: 3x6, its video 8x6",
        "images[2], id: 2 occurs twice",
        "image 3, video_id: no video 9",
        "images[4]: expected an object",
        "videos[1], name: expected a text, found 5",
        "categories[2], id: 1 occurs twice",
        "annotations[2]: expected an object",
    ):
        assert message in text


def test_faults_of_masks_come_with_the_video(tmp_path: Path) -> None:
    file = small_file(tmp_path / "a.json", "visible")
    bad = {"size": [H, W], "counts": "1"}
    file["annotations"][0] |= {"visible_mask": bad, "segmentation": bad}
    file["annotations"][1]["amodal_mask"] = {"size": [W, H], "counts": "0"}
    path = tmp_path / "b.json"
    path.write_text(json.dumps(file))
    problems = [str(problem) for problem in sailvos.validate(path)]
    assert len(problems) == 2
    assert "annotation 1: visible_mask: RLE runs add up to 1" in problems[0]
    assert "annotation 2: amodal_mask: size [8, 6], the video has 6x8" in problems[1]
    annotations = sailvos.read(path)
    with pytest.raises(DatasetError, match="masks that cannot be used"):
        annotations.load(0)


def test_missing_frames_and_files(tmp_path: Path) -> None:
    small_file(tmp_path / "a.json")
    (tmp_path / "a__1/images").mkdir(parents=True)
    (tmp_path / "a__1/images/0.png").touch()
    (problem,) = sailvos.validate(tmp_path / "a.json", images=tmp_path)
    assert "a__1/images/1.png" in str(problem)
    (problem,) = sailvos.validate(tmp_path / "b.json")
    assert "not found" in str(problem)
    (tmp_path / "c.json").write_text('{"videos": [}')
    with pytest.raises(DatasetError, match="line 1"):
        sailvos.read(tmp_path / "c.json")


def test_file_without_annotations(tmp_path: Path) -> None:
    file = small_file(tmp_path / "a.json")
    del file["annotations"]
    (tmp_path / "a.json").write_text(json.dumps(file))
    read = sailvos.read(tmp_path / "a.json")
    assert not read.has_annotations
    assert read.load(0).tracks == []
    assert written(read, tmp_path / "b.json") == file


def test_counts_as_lists_are_read(tmp_path: Path) -> None:
    runs = {"size": [H, W], "counts": [0, H * W]}
    path = change(
        tmp_path / "a.json", segmentation=[runs, runs], visible_mask=runs, amodal_mask=runs
    )
    track = sailvos.read(path).load(0).tracks[0]
    assert track.segmentations[0] == rle.encode(np.ones((H, W)))


# ---------------------------------------------------------------- per-video ground truth


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["visible", "amodal"]))
def test_per_video_holds_what_is_not_hidden(tmp_path_factory: Any, seed: int, masks: Any) -> None:
    folder = tmp_path_factory.mktemp("per-video")
    file = written(make_set(seed), folder / "a.json", kind="joint")
    sailvos.write_per_video(sailvos.read(folder / "a.json"), folder / "b.json", masks=masks)
    got = json.loads((folder / "b.json").read_text())
    frame_of = {image["id"]: image["frame_id"] for image in file["images"]}
    wanted: dict[tuple[int, int], dict[int, Any]] = {}
    for a in file["annotations"]:
        if a["occlude_rate"] <= 0.75:
            frames = wanted.setdefault((a["video_id"], a["instance_id"]), {})
            frames[frame_of[a["image_id"]]] = a
    assert [a["id"] for a in got["annotations"]] == list(range(1, len(wanted) + 1))
    for entry, (key, frames) in zip(got["annotations"], sorted(wanted.items()), strict=True):
        assert entry["video_id"] == key[0]
        for f, mask in enumerate(entry["segmentations"]):
            found = [mask, entry["areas"][f], entry["occlude_rate"][f]]
            a = frames.get(f)
            if a is None:
                assert found == [None] * 3
            else:
                assert found == [a[f"{masks}_mask"], a[f"area_{masks}"], a["occlude_rate"]]
    again = sailvos.read_per_video(folder / "b.json", masks=masks)
    assert sum(len(clip.tracks) for clip in again.clips()) == len(wanted)


def test_per_video_faults(tmp_path: Path) -> None:
    record = json.loads((RECORDS / "evaluation_input.json").read_text())["per_video_visible"]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(record))
    annotations = sailvos.read_per_video(path)
    assert [len(clip.tracks) for clip in annotations.clips()] == [6, 6]
    record["annotations"][0]["areas"].pop()
    path.write_text(json.dumps(record))
    with pytest.raises(DatasetError, match="different lengths"):
        sailvos.read_per_video(path)
    record["annotations"] = [record["annotations"][1] | {"video_id": 9}]
    path.write_text(json.dumps(record))
    with pytest.raises(DatasetError, match=r"not listed: \[9\]"):
        sailvos.read_per_video(path)


# ---------------------------------------------------------------- results


def results_like(annotations: AnnotationSet, seed: int) -> list[list[dict[int, Any]]]:
    """Joint tracks of every frame as the original tool writes them."""
    rng = np.random.default_rng(seed)
    frames = []
    for video in annotations.videos:
        for _ in range(video.num_frames):
            entry: list[dict[int, Any]] = [{}, {}]
            for i in rng.permutation(4)[: rng.integers(0, 4)]:
                corner = np.sort(rng.random((2, 2)) * 5, axis=0).reshape(-1)
                boxes = [np.array([*(corner + k), 0.25 + i / 8], np.float32) for k in (0, 1)]
                for part, box in zip(entry, boxes, strict=True):
                    mask = rle.encode(_blob(rng))
                    segm = {"size": mask["size"], "counts": mask["counts"].encode()}
                    part[np.int64(i)] = {"bbox": box, "label": int(i) % 2, "segm": segm}
            frames.append(entry)
    return frames


def test_results_round_trip(tmp_path: Path) -> None:
    truth = make_set(3, (3, 2))
    frames = results_like(truth, 0)
    path, again = tmp_path / "a.pkl", tmp_path / "b.pkl"
    path.write_bytes(pickle.dumps({"track_result": frames}, protocol=2))
    read = sailvos.read_results(path, truth)
    assert sailvos.write_results(read, again) == []
    got = load_pickle(again)
    assert list(got) == [
        *("bbox_result", "segm_result", "track_result"),
        *("segm_result_a", "segm_result_v", "track_result_a", "track_result_v"),
    ]
    for before, after in zip(frames, got["track_result"], strict=True):
        for one, other in zip(before, after, strict=True):
            assert one.keys() == other.keys()
            for i, track in one.items():
                assert np.array_equal(track["bbox"], other[i]["bbox"])
                assert other[i]["bbox"].dtype == np.float32
                assert (track["label"], track["segm"]) == (other[i]["label"], other[i]["segm"])
    boxes = [sum(len(b) for b in frame) for frame in got["bbox_result"]]
    assert boxes == [len(frame[0]) for frame in frames]
    track = read.load(0).tracks[0]
    scores = [score for score in track.extra["frame_scores"] if score is not None]
    assert track.score == pytest.approx(np.mean(scores))


@pytest.mark.parametrize("masks", ["visible", "amodal"])
def test_results_with_one_kind_of_masks(tmp_path: Path, masks: Any) -> None:
    truth = make_set(3, (3, 2))
    frames = [frame[0] for frame in results_like(truth, 1)]
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"track_result": frames}))
    read = sailvos.read_results(path, truth, masks=masks)
    sailvos.write_results(read, path)
    got = load_pickle(path)
    assert list(got) == ["bbox_result", "segm_result", "track_result"]
    assert [sorted(frame) for frame in got["track_result"]] == [sorted(map(int, f)) for f in frames]
    assert sum(len(m) for m in got["segm_result"][0]) == len(frames[0])
    assert sailvos.validate_results(path, truth) == []


def test_faults_of_results(tmp_path: Path) -> None:
    truth = make_set(3, (1, 1))
    (amodal, visible), second = results_like(truth, 7)[:2]
    mask = rle.encode(np.ones((H, W)))
    good = {"bbox": np.zeros(5, np.float32), "label": 1, "segm": mask}
    amodal.clear()
    visible.clear()
    amodal |= {
        0: {**good, "bbox": np.zeros(4)},
        1: {**good, "label": 2},
        2: {**good, "segm": {"size": [W, H], "counts": "0`1"}},
        3: good,
        4: "track",
        5: {**good, "segm": None},
    }
    visible |= {3: {**good, "label": 0}}
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"track_result": [[amodal, visible], second]}))
    text = "\n".join(map(str, sailvos.validate_results(path, truth)))
    for message in (
        "video 1, frame 0, track 0, bbox: expected the numbers",
        "track 1, label: expected a class index from 0, below 2, found 2",
        "track 2, segm: size [8, 6], the video has [6, 8]",
        "track 4: expected a dictionary",
        "track 5, segm: expected an RLE",
        "amodal and visible tracks have other ids",
        "track 3, label: 1 for the amodal mask, 0 for the visible one",
    ):
        assert message in text, message
    with pytest.raises(DatasetError, match="results that cannot be used"):
        sailvos.read_results(path, truth)
    with pytest.raises(UserError, match="annotation file"):
        sailvos.read_results(path, None)
    path.write_bytes(pickle.dumps({"track_result": [[{}, {}]]}))
    assert "1 frames, the data set has 2" in str(sailvos.validate_results(path, truth)[0])
    assert sailvos.validate_results(path) == []
    path.write_bytes(pickle.dumps({"track_result": [[{}, {}], {}]}))
    assert "some frames" in str(sailvos.validate_results(path, truth)[0])
    path.write_bytes(pickle.dumps([1]))
    assert "expected a dictionary" in str(sailvos.validate_results(path, truth)[0])


def test_results_without_scores_or_classes(tmp_path: Path) -> None:
    made = make_set(5)
    with pytest.raises(UserError, match="no score"):
        sailvos.write_results(made, tmp_path / "a.pkl")
    clip = Clip(made.videos[1], [Track(1, 9, [rle.encode(np.ones((H, W)))], score=1.0)])
    with pytest.raises(UserError, match=r"unlisted categories \[9\]"):
        sailvos.write_results(annotations_of([clip], CATEGORIES), tmp_path / "a.pkl")


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_pickles_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps({"track_result": [_Evil()]}))
    (problem,) = sailvos.validate_results(path)
    assert "mkdir" in str(problem)
    assert not (tmp_path / "evil").exists()
    path.write_bytes(pickle.dumps({"a": np.arange(3)})[:-8])
    with pytest.raises(DatasetError, match="not a pickle"):
        load_pickle(path)
    with pytest.raises(DatasetError, match="not found"):
        load_pickle(tmp_path / "b.pkl")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickled_arrays_of_every_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    value = {np.int64(3): np.arange(4, dtype=np.float32), "b": np.float64(0.5), "c": b"\x00\xff"}
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    got = load_pickle(path)
    assert np.array_equal(got[3], value[np.int64(3)])
    assert (got["b"], got["c"]) == (0.5, b"\x00\xff")


# ---------------------------------------------------------------- official sample


def _sample(bbox: str) -> Path:
    folder = os.environ.get("VIDSEG_SAILVOS_SAMPLE")
    if not folder:
        pytest.skip("VIDSEG_SAILVOS_SAMPLE names no folder with the official sample files")
    return Path(folder) / f"new_joint_one_video_overtrain(bbox={bbox}_bbox).json"


@pytest.mark.parametrize("bbox", ["amdl", "visb", "both"])
def test_official_sample(tmp_path: Path, bbox: str) -> None:
    path = _sample(bbox)
    read = sailvos.read(path)
    assert sailvos.validate(path) == []
    assert [category.name for category in read.categories] == list(sailvos.CLASS_NAMES)
    assert written(read, tmp_path / "a.json") == json.loads(path.read_text())
    for other in ("amdl", "visb", "both"):
        made = written(read, tmp_path / "b.json", kind="joint", bbox=other)
        assert made == json.loads(_sample(other).read_text())
    (clip,) = read.clips()
    assert (clip.video.num_frames, len(clip.tracks)) == (53, 4)
    (kept,) = sailvos.without_hidden(read).clips()
    annotated = [sum(m is not None for t in c.tracks for m in t.amodal or ()) for c in (clip, kept)]
    assert annotated == [163, 154]
