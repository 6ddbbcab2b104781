import shutil

import numpy as np
import pytest
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import mask_folder
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.errors import DatasetError
from vidseg_common.masks import read_mask, write_binary_mask, write_mask

SIZE = (6, 8)


def id_map(seed, *values):
    rng = np.random.default_rng(seed)
    return rng.choice(np.array([0, *values], np.uint8), SIZE)


def images(root, name, length, suffix=".jpg", size=SIZE):
    for t in range(length):
        path = root / name / f"{t:05d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size[::-1]).save(path)


def davis(root, folder="Annotations", values=(1, 2), names=("bear", "camel"), length=3):
    maps = {}
    for k, name in enumerate(names):
        images(root / "JPEGImages/480p", name, length)
        maps[name] = [id_map(10 * k + t, *values) for t in range(length)]
        for t, ids in enumerate(maps[name]):
            write_mask(root / folder / "480p" / name / f"{t:05d}.png", ids)
    (root / "ImageSets/2017").mkdir(parents=True, exist_ok=True)
    (root / "ImageSets/2017/val.txt").write_text("".join(f"{name}\n" for name in names))
    return maps


def decoded(clip):
    """(T, H, W) id maps of a clip whose masks do not overlap."""
    ids = np.zeros((clip.video.num_frames, clip.video.height, clip.video.width), int)
    for track in clip.tracks:
        for t, mask in enumerate(track.segmentations):
            if mask is not None:
                ids[t][rle.decode(mask)] = track.id
    return ids


def text_of(problems):
    return "\n".join(map(str, problems))


def test_davis2017_reads_every_mask_lazily(tmp_path):
    maps = davis(tmp_path, values=(1, 2, 255))
    data = mask_folder.read(tmp_path, form="davis2017")
    assert [video.name for video in data.videos] == ["bear", "camel"]
    assert data.videos[0].file_names[2] == "bear/00002.jpg"
    assert data.image_path(data.videos[0], 2) == tmp_path / "JPEGImages/480p/bear/00002.jpg"
    assert data.categories == (Category(1, "object"),)
    for video, clip in zip(data.videos, data.clips(), strict=True):
        want = np.stack(maps[video.name]).astype(int)
        assert (decoded(clip) == np.where(want == 255, 0, want)).all()
        assert clip.ignore is None
        assert clip.labelled is None
    (tmp_path / "Annotations/480p/bear/00001.png").write_bytes(b"broken")
    with pytest.raises(DatasetError, match=r"video bear.*\n.*00001.png"):
        data.load(0)
    data.load(1)


def test_davis2019_has_void(tmp_path):
    maps = davis(tmp_path, "Annotations_unsupervised", values=(1, 2, 255))
    data = mask_folder.read(tmp_path, form="davis2019")
    for video, clip in zip(data.videos, data.clips(), strict=True):
        assert [track.id for track in clip.tracks] == [1, 2]
        for t, ids in enumerate(maps[video.name]):
            assert (rle.decode(clip.ignore[t]) == (ids == 255)).all()
    out = tmp_path / "out"
    assert mask_folder.write(data, out, form="davis2019") == []
    assert (
        read_mask(out / "Annotations_unsupervised/480p/bear/00001.png") == maps["bear"][1]
    ).all()
    notes = mask_folder.write(data, out, form="davis2017")
    assert notes == ["2 x videos whose ignore regions became background"]


def test_davis2016_is_one_object(tmp_path):
    davis(tmp_path, values=(1, 2))
    write_binary_mask(tmp_path / "Annotations/480p/bear/00000.png", id_map(0, 1))
    (tmp_path / "ImageSets/480p").mkdir()
    (tmp_path / "ImageSets/480p/val.txt").write_text(
        "/JPEGImages/480p/bear/00000.jpg /Annotations/480p/bear/00000.png\n"
    )
    data = mask_folder.read(tmp_path, form="davis2016")
    (clip,) = data.clips()
    assert [track.id for track in clip.tracks] == [1]
    assert (decoded(clip)[0] == id_map(0, 1)).all()
    out = tmp_path / "out"
    assert mask_folder.write(data, out, form="davis2016", split="train") == []
    assert (out / "ImageSets/2016/train.txt").read_text() == "bear\n"
    pairs = (out / "ImageSets/480p/train.txt").read_text().splitlines()
    assert pairs[1] == "/JPEGImages/480p/bear/00001.jpg /Annotations/480p/bear/00001.png"
    assert set(np.unique(read_mask(out / "Annotations/480p/bear/00000.png"))) == {0, 255}
    again = mask_folder.read(out, form="davis2016")
    assert again.load(0).tracks == clip.tracks
    assert again.image_root is None


def test_davis_round_trip_without_images(tmp_path):
    maps = davis(tmp_path)
    data = mask_folder.read(tmp_path, form="davis2017")
    out = tmp_path / "out"
    assert mask_folder.write(data, out, form="davis2017") == []
    again = mask_folder.read(out, form="davis2017")
    assert list(again.clips()) == list(data.clips())
    with Image.open(out / "Annotations/480p/camel/00002.png") as image:
        assert image.mode == "P"
        assert image.getpalette()[3:6] == [128, 0, 0]
        assert (np.array(image) == maps["camel"][2]).all()
    assert mask_folder.validate(out, form="davis2017") == []
    assert mask_folder.validate(tmp_path, form="davis2017") == []


def test_hidden_splits(tmp_path):
    davis(tmp_path, names=("girl",))
    (tmp_path / "ImageSets/2017/val.txt").rename(tmp_path / "ImageSets/2017/test-dev.txt")
    for t in (1, 2):
        (tmp_path / f"Annotations/480p/girl/{t:05d}.png").unlink()
    clip = mask_folder.read(tmp_path, form="davis2017").load(0)
    assert clip.labelled == frozenset({0})
    assert clip.tracks[0].segmentations[1] is None
    (tmp_path / "ImageSets/2019").mkdir()
    (tmp_path / "ImageSets/2019/test-dev.txt").write_text("girl\n")
    data = mask_folder.read(tmp_path, form="davis2019", split="test-dev")
    assert not data.has_annotations
    assert (data.videos[0].height, data.videos[0].width) == SIZE
    assert data.load(0) == Clip(data.videos[0], [], None, frozenset())
    (tmp_path / "Annotations/480p/girl/00000.png").unlink()
    with pytest.raises(DatasetError, match=r"girl/00000.png: mask not found"):
        mask_folder.read(tmp_path, form="davis2017", split="test-dev")


def test_all_problems_of_davis_are_listed(tmp_path):
    davis(tmp_path, values=(1, 3))
    folder = tmp_path / "Annotations/480p/bear"
    (folder / "00001.png").unlink()
    write_mask(folder / "00002.png", np.ones((3, 3), np.uint8))
    write_mask(folder / "00009.png", id_map(0, 1))
    (folder / "notes.txt").write_text("")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "Annotations/480p/camel/00000.png")
    (tmp_path / "ImageSets/2017/val.txt").write_text("bear\ngone\ncamel\n")
    text = text_of(mask_folder.validate(tmp_path, form="davis2017"))
    for words in (
        "bear/00001.png: mask not found",
        "bear/00002.png: mask of 3x3 in a video of 6x8",
        "bear/00009.png: video bear has no frame of this name",
        "notes.txt: not a mask",
        "gone: folder of images not found",
        "camel/00000.png: ",
        "mode RGB",
        "video camel, id: ids must be 1, 2, ... without gaps, not 1, 3",
    ):
        assert words in text, (words, text)
    with pytest.raises(DatasetError) as caught:
        mask_folder.read(tmp_path, form="davis2017")
    assert "00001.png" in str(caught.value)
    assert "gone" in str(caught.value)
    assert "not found" in mask_folder.validate(tmp_path / "nowhere")[0].message


def test_which_split_must_be_clear(tmp_path):
    davis(tmp_path)
    for name in ("train", "trainval"):
        (tmp_path / f"ImageSets/2017/{name}.txt").write_text("bear\n")
    assert len(mask_folder.read(tmp_path, form="davis2017").videos) == 2
    (tmp_path / "ImageSets/2017/val.txt").unlink()
    with pytest.raises(DatasetError, match="train, trainval; name one"):
        mask_folder.read(tmp_path, form="davis2017")
    assert len(mask_folder.read(tmp_path, form="davis2017", split="train").videos) == 1
    (tmp_path / "Annotations/480p").rename(tmp_path / "Annotations/Full-Resolution")
    (tmp_path / "JPEGImages/480p").rename(tmp_path / "JPEGImages/Full-Resolution")
    data = mask_folder.read(tmp_path, form="davis2017", split="train")
    assert data.image_root == tmp_path / "JPEGImages/Full-Resolution"


def test_a_part_of_davis_without_lists_and_some_images(tmp_path):
    davis(tmp_path)
    (tmp_path / "ImageSets/2017/val.txt").unlink()
    shutil.rmtree(tmp_path / "JPEGImages/480p/camel")
    for form in ("davis2016", "davis2017"):
        data = mask_folder.read(tmp_path, form=form)
        assert [video.num_frames for video in data.videos] == [3, 3]
        text = text_of(mask_folder.validate(tmp_path, form=form))
        assert text.endswith("JPEGImages/480p/camel: folder of images not found")
    with pytest.raises(DatasetError, match="blackswan"):
        mask_folder.read(tmp_path, form="davis2016", split="val")


def test_any_folder(tmp_path):
    write_mask(tmp_path / "b/frame10.png", id_map(1, 1, 255))
    write_mask(tmp_path / "b/frame9.png", id_map(2, 7))
    write_mask(tmp_path / "a/x.png", id_map(3, 2))
    data = mask_folder.read(tmp_path)
    assert [video.name for video in data.videos] == ["a", "b"]
    assert data.videos[1].file_names == ("b/frame9.jpg", "b/frame10.jpg")
    assert (decoded(data.load(1))[1] == id_map(1, 1, 255)).all()
    (alone,) = mask_folder.read(tmp_path / "b").videos
    assert alone.name == "b"
    images(tmp_path / "out/JPEGImages", "a", 2)
    assert mask_folder.write(data, tmp_path / "out") == []
    assert "no frame of this name" in text_of(mask_folder.validate(tmp_path / "out"))
    with pytest.raises(DatasetError, match="list of sequences not found"):
        mask_folder.read(tmp_path, split="val")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="no video"):
        mask_folder.read(tmp_path / "empty")
    assert "no video" in text_of(mask_folder.validate(tmp_path / "empty"))


def test_frames_without_masks_are_unlabelled(tmp_path):
    images(tmp_path / "JPEGImages", "a", 3)
    images(tmp_path / "JPEGImages", "b", 1)
    write_mask(tmp_path / "Annotations/a/00001.png", id_map(1, 4))
    data = mask_folder.read(tmp_path)
    assert [clip.labelled for clip in data.clips()] == [frozenset({1}), frozenset()]
    mask_folder.write(data, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.png")] == ["00001.png"]


def test_smoothed_masks_are_refused(tmp_path):
    ramp = np.tile(np.arange(0, 200, 2, dtype=np.uint8), (10, 1))
    (tmp_path / "a").mkdir()
    Image.fromarray(ramp).save(tmp_path / "a/00000.png")
    with pytest.raises(DatasetError, match="smoothed"):
        mask_folder.read(tmp_path).load(0)


def results(tmp_path, maps):
    for name, ids in maps.items():
        for t, frame in enumerate(ids):
            write_mask(tmp_path / "results" / name / f"{t:05d}.png", frame)
    return tmp_path / "results"


def test_results(tmp_path):
    maps = davis(tmp_path)
    truth = mask_folder.read(tmp_path, form="davis2017")
    folder = results(tmp_path, maps)
    data = mask_folder.read_results(folder, truth)
    assert list(data.clips()) == list(truth.clips())
    assert mask_folder.validate_results(folder, truth) == []
    assert mask_folder.write_results(data, tmp_path / "again") == []
    again = mask_folder.read_results(tmp_path / "again")
    assert list(again.clips()) == list(truth.clips())


def test_results_of_davis2016_are_merged(tmp_path):
    maps = davis(tmp_path, names=("bear",))
    folder = results(tmp_path, maps)
    truth = mask_folder.read(tmp_path, form="davis2017")
    single = mask_folder.write(truth, tmp_path / "single", form="davis2016")
    assert single == ["1 x objects merged with others of their video"]
    truth = mask_folder.read(tmp_path / "single", form="davis2016")
    assert mask_folder.read_results(folder, truth).load(0).tracks == truth.load(0).tracks


def test_all_problems_of_results_are_listed(tmp_path):
    maps = davis(tmp_path)
    truth = mask_folder.read(tmp_path, form="davis2017")
    folder = results(tmp_path, {**maps, "other": [id_map(0, 1)]})
    (folder / "bear/00000.png").unlink()
    write_mask(folder / "bear/00077.png", id_map(0, 1))
    write_mask(folder / "camel/00001.png", id_map(0, 1, 9))
    with pytest.raises(DatasetError, match=r"bear/00000.png: mask not found"):
        mask_folder.read_results(folder, truth)
    text = text_of(mask_folder.validate_results(folder, truth))
    for words in (
        "bear/00000.png: mask not found",
        "bear/00077.png: video bear has no frame of this name",
        "other: the data set has no video of this name",
        "camel/00001.png: video camel, id: id 9, but the first annotation has ids up to 2",
    ):
        assert words in text, (words, text)
    assert "not found" in text_of(mask_folder.validate_results(tmp_path / "gone", truth))


def test_more_than_20_proposals(tmp_path):
    maps = davis(tmp_path, "Annotations_unsupervised", names=("bear",))
    truth = mask_folder.read(tmp_path, form="davis2019")
    maps["bear"][1] = id_map(5, 3, 21)
    folder = results(tmp_path, maps)
    with pytest.raises(DatasetError, match="id 21 is above the largest allowed, 20"):
        mask_folder.read_results(folder, truth).load(0)
    assert "id 21" in text_of(mask_folder.validate_results(folder, truth))
    assert "id 21" in text_of(mask_folder.validate_results(folder))
    clip = truth.load(0)
    many = [Track(i, 1, clip.tracks[0].segmentations) for i in range(1, 22)]
    wide = annotations_of([Clip(clip.video, many)], truth.categories)
    with pytest.raises(DatasetError, match="bear has 21 objects, the format holds at most 20"):
        mask_folder.write_results(wide, tmp_path / "out")


def test_what_masks_cannot_hold(tmp_path):
    left = np.zeros(SIZE, bool)
    left[:, :5] = True
    right = np.zeros(SIZE, bool)
    right[:, 4:] = True
    tracks = [
        Track(301, 1, [rle.encode(left)], score=0.9, is_crowd=True),
        Track(302, 2, [rle.encode(right)], score=0.3, amodal=[rle.encode(right)]),
    ]
    clip = Clip(Video(1, "a", *SIZE, ("a/0.jpg",)), tracks)
    data = annotations_of([clip], [Category(1, "cat"), Category(2, "dog")])
    notes = mask_folder.write(data, tmp_path)
    assert notes == [
        "2 x names of categories",
        "2 x scores of tracks",
        "1 x crowd flags of tracks",
        "1 x amodal masks of tracks",
        "1 x videos whose objects were numbered anew from 1",
        "6 x pixels of overlapping masks, which went to the higher score, or to the later track",
    ]
    assert (read_mask(tmp_path / "Annotations/a/0.png") == np.where(left, 1, 2)).all()
    assert "1 x objects merged" in text_of(mask_folder.write(data, tmp_path, form="davis2016"))


def test_names_that_cannot_be_folders(tmp_path):
    for names in (["../a"], ["/a"], [""], ["a", "a"]):
        clips = [Clip(Video(1, name, *SIZE, ("0.jpg",)), []) for name in names]
        with pytest.raises(DatasetError, match=r"folder|another video"):
            mask_folder.write(annotations_of(clips, []), tmp_path)
    with pytest.raises(DatasetError, match="no video"):
        mask_folder.write(annotations_of([], []), tmp_path)
    with pytest.raises(DatasetError, match="size"):
        mask_folder.write(annotations_of([Clip(Video(1, "a", 0, 0, ("0.jpg",)), [])], []), tmp_path)
    many = [Track(i, 1, [None]) for i in range(1, 257)]
    clip = Clip(Video(1, "a", *SIZE, ("0.jpg",)), many)
    with pytest.raises(DatasetError, match="256 objects, the format holds at most 255"):
        mask_folder.write(annotations_of([clip], []), tmp_path)
