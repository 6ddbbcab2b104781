import json

import numpy as np
import pytest
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import youtube_vos_annotations as ytvos
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.errors import DatasetError
from vidseg_common.masks import read_mask, write_mask

SIZE = (6, 8)
META = {
    "videos": {
        "0a": {
            "objects": {
                "1": {"category": "dog", "frames": ["00005", "00010"]},
                "3": {"category": "cat", "frames": ["00010"]},
            }
        },
        "0b": {"objects": {"2": {"category": "ape", "frames": ["00000", "00005", "00010"]}}},
    }
}
MASKS = {"0a": {"00005": (1,), "00010": (3,)}, "0b": {"00000": (2,)}}


def id_map(name, *values):
    rng = np.random.default_rng(len(values) + int(name))
    return rng.choice(np.array([0, *values], np.uint8), SIZE)


@pytest.fixture
def root(tmp_path):
    for video, masks in MASKS.items():
        for split, step in (("valid/JPEGImages", 5),
                            ("all_frames/valid_all_frames/JPEGImages", 1)):  # fmt: skip
            folder = tmp_path / split / video
            folder.mkdir(parents=True)
            for t in range(0, 11, step):
                Image.new("RGB", SIZE[::-1]).save(folder / f"{t:05d}.jpg")
        for name, values in masks.items():
            write_mask(tmp_path / f"valid/Annotations/{video}/{name}.png", id_map(name, *values))
    (tmp_path / "valid/meta.json").write_text(json.dumps(META))
    return tmp_path


def text_of(problems):
    return "\n".join(map(str, problems))


def test_read(root):
    data = ytvos.read(root)
    assert [(c.id, c.name) for c in data.categories] == [(1, "ape"), (2, "cat"), (3, "dog")]
    first, second = data.clips()
    assert first.video.file_names == ("0a/00000.jpg", "0a/00005.jpg", "0a/00010.jpg")
    assert first.video.extra["required"] == ["00005", "00010"]
    assert first.labelled == frozenset({1, 2})
    assert [(t.id, t.category_id, t.extra["frames"]) for t in first.tracks] == [
        (1, 3, ["00005", "00010"]),
        (3, 2, ["00010"]),
    ]
    assert (rle.decode(first.tracks[0].segmentations[1]) == (id_map("00005", 1) == 1)).all()
    assert [t.is_visible(2) for t in first.tracks] == [False, True]
    assert second.labelled == frozenset({0})
    assert data.image_path(second.video, 1) == root / "valid/JPEGImages/0b/00005.jpg"
    for same in (ytvos.read(root / "valid"), ytvos.read(root, split="val")):
        assert list(same.clips()) == [first, second]


def test_all_frames(root):
    data = ytvos.read(root, all_frames=True)
    clip = data.load(0)
    assert clip.video.num_frames == 11
    assert clip.labelled == frozenset({5, 10})
    assert clip.tracks[1].is_visible(10)
    with pytest.raises(DatasetError, match="30-fps"):
        ytvos.read(root / "valid/Annotations/..", all_frames=True)


def test_round_trip_gives_the_same_meta(root, tmp_path):
    data = ytvos.read(root)
    out = tmp_path / "out"
    assert ytvos.write(data, out, split="valid") == []
    assert json.loads((out / "valid/meta.json").read_text()) == META
    old, new = (sorted(p.relative_to(r) for p in r.rglob("*.png"))
                for r in (root / "valid/Annotations", out / "valid/Annotations"))  # fmt: skip
    assert old == new
    for name in old:
        assert (read_mask(out / "valid/Annotations" / name)
                == read_mask(root / "valid/Annotations" / name)).all()  # fmt: skip
    again = ytvos.read(out, images=root / "valid/JPEGImages")
    assert list(again.clips()) == list(data.clips())
    without = ytvos.read(out).load(0)
    assert without.video.file_names == ("0a/00005.jpg", "0a/00010.jpg")
    assert ytvos.validate(root) == []


def test_objects_without_category_or_mask(root):
    meta = json.loads(json.dumps(META))
    for video in meta["videos"].values():
        for entry in video["objects"].values():
            del entry["category"]
    meta["videos"]["0b"]["objects"]["9"] = {"frames": ["00010"]}
    (root / "valid/meta.json").write_text(json.dumps(meta))
    data = ytvos.read(root)
    assert [c.name for c in data.categories] == ["object"]
    assert [t.id for t in data.load(1).tracks] == [2, 9]
    ytvos.write(data, root / "out")
    assert json.loads((root / "out/valid/meta.json").read_text()) == meta
    assert "valid/meta.json: video 0b, objects: object 9 has no mask" in text_of(
        ytvos.validate(root)
    )


def full_data():
    masks = [rle.encode(id_map(str(t), 1) == 1) for t in range(3)]
    video = Video(1, "dogs", *SIZE, tuple(f"dogs/{t:05d}.jpg" for t in range(3)))
    tracks = [Track(400, 7, masks), Track(500, 7, [None, masks[1], masks[2]])]
    return annotations_of([Clip(video, tracks)], [Category(7, "dog")])


def test_writing_other_data(tmp_path):
    data = full_data()
    notes = text_of(ytvos.write(data, tmp_path, split="train"))
    assert "1 x videos whose objects were numbered anew" in notes
    assert "pixels of overlapping masks" in notes
    meta = json.loads((tmp_path / "train/meta.json").read_text())
    assert meta["videos"]["dogs"]["objects"] == {
        "1": {"category": "dog", "frames": ["00000", "00001", "00002"]},
        "2": {"category": "dog", "frames": ["00001", "00002"]},
    }
    clip = ytvos.read(tmp_path, split="train").load(0)
    assert clip.labelled is None
    assert [t.is_visible(0) for t in clip.tracks] == [True, False]
    (tmp_path / "train/Annotations/dogs/00001.png").unlink()
    with pytest.raises(DatasetError, match=r"dogs/00001.png: mask not found"):
        ytvos.read(tmp_path, split="train")


def test_valid_shows_objects_when_they_first_appear(tmp_path):
    notes = text_of(ytvos.write(full_data(), tmp_path))
    assert "3 x masks after the first of an object" in notes
    folder = tmp_path / "valid/Annotations/dogs"
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png"]
    assert set(np.unique(read_mask(folder / "00001.png"))) == {0, 2}


def test_all_problems_are_listed(root):
    folder = root / "valid/Annotations"
    write_mask(folder / "0a/00000.png", id_map("00000", 1, 5))
    write_mask(folder / "0a/00003.png", id_map("00000", 1))
    write_mask(folder / "0b/00005.png", np.ones((2, 2), np.uint8))
    write_mask(folder / "0c/00000.png", id_map("00000", 1))
    (folder / "0b/note.txt").write_text("")
    (root / "valid/JPEGImages/0b/00010.jpg").unlink()
    text = text_of(ytvos.validate(root))
    for words in (
        "0a/00000.png: video 0a, objects: object 5 is not in meta.json",
        "0a/00000.png: video 0a, frames: object 1 is shown, but meta.json does not list it",
        "0a/00003.png: video 0a has no frame of this name",
        "0b/00005.png: mask of 2x2 in a video of 6x8",
        "meta.json: videos: video 0c is missing",
        "note.txt: not a mask",
        "0b: no image of the frame 00010",
    ):
        assert words in text, (words, text)
    with pytest.raises(DatasetError, match="0c is missing"):
        ytvos.read(root)
    (root / "valid/meta.json").write_text("[]")
    assert "not a YouTube-VOS meta file" in text_of(ytvos.validate(root))
    with pytest.raises(DatasetError, match=r"no meta.json"):
        ytvos.read(root / "all_frames")


def write_all(folder, frames):
    for video, names in frames.items():
        for name in names:
            write_mask(folder / video / f"{name}.png", id_map(name, *MASKS[video].get(name, ())))


def test_results(root, tmp_path):
    truth = ytvos.read(root)
    folder = tmp_path / "results"
    frames = {"0a": ["00005", "00010"], "0b": ["00000", "00005", "00010"]}
    write_all(folder / "Annotations", frames)
    for path in (folder, folder / "Annotations"):
        data = ytvos.read_results(path, truth)
        assert data.load(0).labelled == frozenset({1, 2})
        assert ytvos.validate_results(path, truth) == []
    assert ytvos.write_results(data, tmp_path / "again") == []
    names = sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*.png"))
    assert [str(name) for name in names] == [
        f"Annotations/{video}/{name}.png" for video in frames for name in frames[video]
    ]
    assert len(ytvos.read_results(folder).videos) == 2
    (folder / "Annotations/0b/00005.png").unlink()
    write_mask(folder / "Annotations/0a/00010.png", id_map("00010", 1, 77))
    write_mask(folder / "Annotations/0z/00010.png", id_map("00010", 1))
    with pytest.raises(DatasetError, match=r"0b/00005.png: mask not found"):
        ytvos.read_results(folder, truth)
    text = text_of(ytvos.validate_results(folder, truth))
    for words in ("0b/00005.png: mask not found", "object 77 does not exist", "0z: the data set"):
        assert words in text
    assert "not found" in text_of(ytvos.validate_results(tmp_path / "gone", truth))
