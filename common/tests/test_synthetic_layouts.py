"""The same synthetic videos in every layout hold the same objects, read back by the formats."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg_common import rle, synthetic_cli
from vidseg_common.datasets.annotations import AnnotationSet, Clip, Track
from vidseg_common.errors import ConfigError, DatasetError, UserError
from vidseg_common.formats import find_format
from vidseg_common.synthetic import CLASS_NAMES, SyntheticVideo
from vidseg_common.synthetic_annotations import CATEGORIES, clip_of, occlusion_level
from vidseg_common.synthetic_cli import generate_videos, main
from vidseg_common.synthetic_layouts import (
    LAYOUT_NAMES,
    MOTS_CLASSES,
    SAILVOS_CLASSES,
    write_layout,
)

NUM_FRAMES = 6
FILES = {
    "ytvis": ("ytvis2021", "train/instances.json", "train/JPEGImages"),
    "ovis": ("ovis", "annotations_train.json", "train"),
    "kitti-mots": ("kitti-mots-png", "", "training/image_02"),
    "sailvos": ("sailvos", "sailvos_cut_json/joint/train(bbox=both_bbox).json", "sailvos_cut_png"),
    "coco": ("coco", "annotations/instances_train2017.json", "train2017"),
    "stemseg": ("stemseg-video", "annotations/davis_train.json", "train/JPEGImages"),
}
#: Layouts with other classes than the videos.
CLASSES = {"kitti-mots": MOTS_CLASSES, "sailvos": SAILVOS_CLASSES}


def make_videos() -> Iterator[SyntheticVideo]:
    return generate_videos(3, 3, NUM_FRAMES, 48, 64, 3)


@pytest.fixture(scope="module")
def videos() -> list[SyntheticVideo]:
    return list(make_videos())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every layout, each drawn anew from the seed."""
    folder = tmp_path_factory.mktemp("layouts")
    for layout in (*FILES, "davis"):
        written = write_layout(layout, make_videos(), folder / layout, split="train")
        assert written.warnings == ()
        assert len(written.names) == 3
    return folder


def read(root: Path, layout: str) -> AnnotationSet:
    name, file, images = FILES[layout]
    place = root / layout / file
    problems = find_format(name).validate(place, images=root / layout / images)
    assert problems == []
    return find_format(name).read(place, images=root / layout / images)


def visible_map(clip: Clip, t: int) -> np.ndarray:
    """Ids of a frame; those of KITTI-MOTS without the class in front."""
    ids = np.zeros((clip.video.height, clip.video.width), np.uint8)
    for track in clip.tracks:
        mask = track.segmentations[t]
        if mask is not None:
            assert not ids[rle.decode(mask)].any()
            ids[rle.decode(mask)] = track.id % 1000
    return ids


def true_class(video: SyntheticVideo, object_id: int) -> int:
    return CLASS_NAMES.index(video.classes[video.object_ids.index(object_id)]) + 1


@pytest.mark.parametrize("layout", ["ytvis", "ovis", "kitti-mots", "sailvos", "stemseg"])
def test_every_layout_of_videos_holds_the_same_objects(
    layout: str, root: Path, videos: list[SyntheticVideo]
) -> None:
    data = read(root, layout)
    assert len(data.videos) == len(videos)
    for clip, video in zip(data.clips(), videos, strict=True):
        assert clip.video.num_frames == NUM_FRAMES
        # Formats may number objects over the whole file, in their order.
        ids = [object_id for object_id in video.object_ids if (video.visible == object_id).any()]
        tracks = sorted(clip.tracks, key=lambda track: track.id % 1000)
        for track, object_id in zip(tracks, ids, strict=True):
            check_track(track, video, object_id)
            expected = true_class(video, object_id)
            assert track.category_id == CLASSES.get(layout, {}).get(expected, expected)


def check_track(track: Track, video: SyntheticVideo, object_id: int) -> None:
    """Every frame, with all that the layout knows of hidden parts."""
    whole = video.amodal[video.object_ids.index(object_id)]
    for t in range(NUM_FRAMES):
        mask, visible = track.segmentations[t], video.visible[t] == object_id
        assert (mask is not None) == visible.any() or (mask is not None and not rle.area(mask))
        if mask is not None:
            assert (rle.decode(mask) == visible).all()
        rate = 1 - visible.sum() / whole[t].sum() if whole[t].any() else None
        if track.amodal is not None and rate is not None:
            assert (rle.decode(track.amodal[t]) == whole[t]).all()
            assert track.occlude_rates[t] == pytest.approx(rate, abs=1e-12)
        if track.occlusion is not None:
            level = occlusion_level(rate) if visible.any() else None
            assert track.occlusion[t] == level


def test_only_the_layouts_that_know_hidden_parts_have_them(root: Path) -> None:
    for layout, amodal, levels in (("ytvis", 0, 0), ("ovis", 0, 1), ("sailvos", 1, 0)):
        tracks = [track for clip in read(root, layout).clips() for track in clip.tracks]
        assert [track.amodal is not None for track in tracks] == [bool(amodal)] * len(tracks)
        assert [track.occlusion is not None for track in tracks] == [bool(levels)] * len(tracks)


def test_images_of_coco_are_the_frames(root: Path, videos: list[SyntheticVideo]) -> None:
    data = read(root, "coco")
    frames = [(video, t) for video in videos for t in range(NUM_FRAMES)]
    assert [c.name for c in data.categories] == list(CLASS_NAMES)
    for clip, (video, t) in zip(data.clips(), frames, strict=True):
        found = [(rle.decode(track.segmentations[0]), track.category_id) for track in clip.tracks]
        ids = [i for i in video.object_ids if (video.visible[t] == i).any()]
        assert len(found) == len(ids)
        for (mask, class_id), object_id in zip(found, ids, strict=True):
            assert (mask == (video.visible[t] == object_id)).all()
            assert class_id == true_class(video, object_id)


def test_davis_masks_are_those_of_the_other_layouts(root: Path) -> None:
    davis = find_format("davis2017").read(root / "davis", split="train")
    by_name = {clip.video.name: clip for clip in read(root, "stemseg").clips()}
    for clip in davis.clips():
        other = by_name[clip.video.name]
        for t in range(NUM_FRAMES):
            assert (visible_map(clip, t) == visible_map(other, t)).all()


@pytest.mark.parametrize("layout", FILES)
def test_images_are_where_the_annotations_say(
    layout: str, root: Path, videos: list[SyntheticVideo]
) -> None:
    data = read(root, layout)
    frames = [frame for video in videos for frame in video.frames]
    paths = [
        data.image_path(video, t) for video in data.videos for t in range(len(video.file_names))
    ]
    for path, frame in zip(paths, frames, strict=True):
        assert path is not None
        pixels = np.asarray(Image.open(path)).astype(int)
        assert np.abs(pixels - frame).mean() < (0.001 if path.suffix == ".png" else 12)


def test_kitti_in_both_forms_is_equal(root: Path) -> None:
    png, txt = (
        find_format(f"kitti-mots-{form}").read(root / "kitti-mots", split="train")
        for form in ("png", "txt")
    )
    assert [video.name for video in png.videos] == ["0000", "0001", "0002"]
    for one, other in zip(png.clips(), txt.clips(), strict=True):
        assert [t.id for t in one.tracks] == [t.id for t in other.tracks]
        assert [t.segmentations for t in one.tracks] == [t.segmentations for t in other.tracks]


def test_stemseg_has_videos_of_two_data_sets_and_images(root: Path) -> None:
    folder = root / "stemseg" / "annotations"
    assert sorted(path.name for path in folder.iterdir()) == [
        "coco.json",
        "davis_train.json",
        "youtube_vis_train.json",
    ]
    for name, base in (("youtube_vis", root / "stemseg"), ("davis", "train/JPEGImages")):
        sequence = json.loads((folder / f"{name}_train.json").read_text())["sequences"][0]
        assert (root / "stemseg" / base / sequence["image_paths"][0]).is_file()


def test_hidden_shares_follow_from_the_masks() -> None:
    visible = np.zeros((4, 10, 20), np.uint8)
    whole = np.zeros((2, 4, 10, 20), bool)
    whole[0, :3, :, :10] = True
    for t, columns in enumerate((10, 9, 5, 0)):
        visible[t, :, :columns] = 1
    visible[3] = 0
    frames = np.zeros((4, 10, 20, 3), np.uint8)
    video = SyntheticVideo("v", frames, visible, whole, (1, 2), ("bird", "bush"), (0, 1, 2, 3))
    clip = clip_of(video, 7, [f"{t}.jpg" for t in range(4)], name="other")
    (track,) = clip.tracks  # The second one is never visible.
    assert track.occlude_rates == pytest.approx([0, 0.1, 0.5, None])
    assert track.occlusion == ["no_occlusion", "slight_occlusion", "severe_occlusion", None]
    assert track.segmentations[3] is None is track.amodal[3]
    assert (clip.video.id, clip.video.name, track.category_id) == (7, "other", 7)


def test_classes_are_eight_and_all_have_a_place_in_mots() -> None:
    assert len(CLASS_NAMES) == 8
    assert [category.id for category in CATEGORIES] == list(range(1, 9))
    names = {c.name: MOTS_CLASSES[c.id] for c in CATEGORIES}
    assert (names["vehicle"], names["cycle"], names["person"]) == (1, 1, 2)
    assert set(names.values()) == {1, 2}


def test_wrong_requests_are_refused(videos: list[SyntheticVideo], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean ytvis"):
        write_layout("ytvos21", videos, tmp_path)
    with pytest.raises(ConfigError, match="train, val, not 'test'"):
        write_layout("ovis", videos, tmp_path, split="test")
    with pytest.raises(DatasetError, match=videos[0].name):
        write_layout("ytvis", [videos[0], videos[0]], tmp_path)
    with pytest.raises(DatasetError, match="no video"):
        write_layout("coco", [], tmp_path)


def test_videos_are_taken_one_by_one(videos: list[SyntheticVideo], tmp_path: Path) -> None:
    def stream() -> Iterator[SyntheticVideo]:
        yield videos[0]
        assert (tmp_path / "train/JPEGImages" / videos[0].name / "00005.jpg").is_file()
        yield videos[1]

    assert len(write_layout("ytvis", stream(), tmp_path).names) == 2


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_command(layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    flags = ["--layout", layout, "--videos", "1", "--frames", "2", "--size", "32x48", "--quiet"]
    assert main([str(out), *flags, "--split", "val"], prog="vidseg synth") == 0
    captured = capsys.readouterr()
    assert "1 video of 2 frames" in captured.out
    assert captured.err == ""
    assert any(out.rglob("*.jpg")) or any(out.rglob("*.png"))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    with pytest.raises(ConfigError, match="one folder"):
        main(flags)
    with pytest.raises(ConfigError, match="one folder"):
        main([str(out), "--out", str(out), *flags])


def test_a_folder_that_holds_something_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    words = [str(out), *("--videos", "1", "--frames", "2", "--size", "32x48", "--quiet")]
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"out is not empty; .*--overwrite"):
        main(words)

    def stop(*_: object, **__: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(synthetic_cli, "write_layout", stop)
        with pytest.raises(OSError, match="disk full"):
            main([*words, "--overwrite"])
    assert (out / "notes.txt").read_text() == "mine"
    assert main([*words, "--overwrite"]) == 0
    assert not (out / "notes.txt").exists() and (out / "ImageSets").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
