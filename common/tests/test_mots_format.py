import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vidseg_common import rle
from vidseg_common.datasets import mots, mots_files
from vidseg_common.datasets.annotations import Category, Clip, Track, Video, annotations_of
from vidseg_common.datasets.mots_files import (
    IGNORE_ID,
    read_id_map,
    read_seqmap,
    read_sequence,
    write_id_map,
)
from vidseg_common.errors import DatasetError, MaskError

PARITY = Path(__file__).parent / "parity"
KIT = PARITY / "mots"
EXPECTED = json.loads((PARITY / "expected_mots.json").read_text())
ID_MAPS = np.load(PARITY / "mots_idmaps.npz")["idmaps"]
LINES = (KIT / "gt" / "0000.txt").read_text().splitlines()
FIELDS = LINES[0].split()


@pytest.fixture
def pngs(tmp_path):
    for t, ids in enumerate(ID_MAPS):
        write_id_map(tmp_path / "instances" / "0005" / f"{t:06d}.png", ids)
    return tmp_path


def written(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def bad_lines(name):
    """The bad files of the kit, made from the first line as its README says."""
    frame, _, class_id, *rest = FIELDS
    changed = {
        "duplicate_id": [LINES[0], LINES[0]],
        "overlapping_masks": [LINES[0], " ".join([frame, "1009", class_id, *rest])],
        "unknown_class": [" ".join([*FIELDS[:2], "3", *FIELDS[3:]])],
        "frame_out_of_range": [" ".join(["99", *FIELDS[1:]])],
        "truncated_line": [" ".join(FIELDS[:4])],
    }[name]
    return [*LINES[1:], *changed]


BAD_WORDS = {
    "duplicate_id": "line 62, id: id 1001 is in frame 0 more than once",
    "overlapping_masks": "line 62, rle: masks of 1001 and 1009 overlap in frame 0",
    "unknown_class": "line 61, class: unknown class 3",
    "frame_out_of_range": r"line 61, frame: frame 99 is outside of the sequence \(0..13\)",
    "truncated_line": "line 61: 4 fields, expected 6: frame id class height width rle",
}


def test_16_bit_masks(tmp_path):
    write_id_map(tmp_path / "a.png", ID_MAPS[0])
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "I;16"
    assert (read_id_map(tmp_path / "a.png") == ID_MAPS[0]).all()
    with pytest.raises(MaskError, match="two dimensions"):
        write_id_map(tmp_path / "b.png", ID_MAPS)
    with pytest.raises(MaskError, match="70000"):
        write_id_map(tmp_path / "b.png", np.full((2, 2), 70000))
    Image.new("RGB", (4, 4)).save(tmp_path / "rgb.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    for name, words in (("rgb", "mode RGB"), ("cut", "cannot read"), ("gone", "not found")):
        with pytest.raises(MaskError, match=words):
            read_id_map(tmp_path / f"{name}.png")
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("name", sorted(EXPECTED["bad_files"]))
def test_bad_files_of_the_kit(tmp_path, name):
    assert EXPECTED["bad_files"][name]["wanted"].startswith("error")
    path = written(tmp_path / "0000.txt", bad_lines(name))
    with pytest.raises(DatasetError, match=BAD_WORDS[name]):
        read_sequence(path, num_frames=14)
    truth = mots.read(KIT / "gt", split="all")
    for other in sorted((KIT / "gt").glob("000[1-9].txt")):
        (tmp_path / other.name).write_text(other.read_text())
    results = mots.read_results(tmp_path, truth)
    with pytest.raises(DatasetError, match=BAD_WORDS[name]):
        results.load(0)
    results.load(1)
    assert any("0000.txt" in str(problem) for problem in mots.validate_results(tmp_path, truth))


def test_all_bad_lines_are_listed(tmp_path):
    path = written(tmp_path / "0000.txt", [
        "0 1001 1 4 4 0`0",
        "0 1002 1 4 5 d0",
        "-1 1002 1 4 5 d0",
        "0 1003 1 4 4 0`",
        "1 one 1 4 4 0`0",
        "1 1001 1 4 4 0`0 9",
    ])  # fmt: skip
    with pytest.raises(DatasetError) as caught:
        read_sequence(path)
    message = str(caught.value)
    assert all(f"line {number}" in message for number in (3, 4, 5, 6)), message
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not a text file"):
        read_sequence(path)
    with pytest.raises(DatasetError, match="not found"):
        read_sequence(tmp_path / "gone.txt")


def test_the_kit_reads_as_it_is():
    for side in ("gt", "pred"):
        data = mots.read(KIT / side, split="all")
        assert [(v.name, v.num_frames - 1) for v in data.videos] == read_seqmap(KIT / "all.seqmap")
        for i, video in enumerate(data.videos):
            clip = data.load(i)
            lines = (KIT / side / f"{video.name}.txt").read_text().splitlines()
            shown = sum(rle is not None for t in clip.tracks for rle in t.segmentations)
            ignored = sum(rle is not None for rle in clip.ignore or [])
            assert shown + ignored == len(lines)
            assert len({t.id for t in clip.tracks}) == len(clip.tracks)
    assert mots.validate(KIT / "gt", split="all") == []
    assert mots.validate_results(KIT / "pred", mots.read(KIT / "gt", split="all")) == []
    messages = list(map(str, mots.validate(KIT / "pred", split="all")))
    assert "id 11, id: id 11 of class 1: expected class * 1000 + n" in messages[0]


def test_an_empty_sequence():
    data = mots.read(KIT / "gt", split="all")
    (position,) = [i for i, v in enumerate(data.videos) if v.name == "0004"]
    assert data.videos[position].num_frames == 4
    clip = data.load(position)
    assert (clip.tracks, clip.ignore, clip.labelled) == ([], None, None)


def test_png_to_txt_is_that_of_the_converter(pngs, tmp_path):
    data = mots.read(pngs, form="png")
    assert mots.write(data, tmp_path / "out", form="txt") == []
    text = (tmp_path / "out/instances_txt/0005.txt").read_text()
    assert text.splitlines() == EXPECTED["txt_of_idmaps"]
    assert (tmp_path / "out/val.seqmap").read_text() == "0005 empty 000000 000002\n"


def test_txt_to_png_gives_the_id_maps(tmp_path):
    lines = EXPECTED["txt_of_idmaps"]
    written(tmp_path / "instances_txt" / "0005.txt", lines[::-1])
    data = mots.read(tmp_path)
    assert mots.write(data, tmp_path / "out", form="png") == []
    for t, ids in enumerate(ID_MAPS):
        got = read_id_map(tmp_path / f"out/instances/0005/{t:06d}.png")
        assert (got == ids).all()
    again = mots.read(tmp_path / "out", split="val")
    assert again.load(0) == data.load(0)


def test_text_round_trip_of_the_kit(tmp_path):
    data = mots.read(KIT / "gt", split="all")
    assert mots.write(data, tmp_path, form="txt", split="all") == []
    for video in data.videos:
        old = (KIT / "gt" / f"{video.name}.txt").read_text().splitlines()
        new = (tmp_path / "instances_txt" / f"{video.name}.txt").read_text().splitlines()
        assert new == sorted(old, key=lambda line: [int(word) for word in line.split()[:2]])
    assert (tmp_path / "all.seqmap").read_text().split() == (KIT / "all.seqmap").read_text().split()


def test_sequence_maps(tmp_path):
    path = tmp_path / "one.seqmap"
    path.write_text("5 empty 000000 000153\n")
    assert read_seqmap(path) == [("0005", 153)]
    path.write_text("dog empty 000000 000009\n")
    assert read_seqmap(path) == [("dog", 9)]
    path.write_text("0005 empty 000000\n0006 empty 000000 x\n")
    with pytest.raises(DatasetError) as caught:
        read_seqmap(path)
    assert "line 1" in str(caught.value)
    assert "line 2" in str(caught.value)
    path.write_text("\n")
    with pytest.raises(DatasetError, match="no sequence map"):
        read_seqmap(path)
    with pytest.raises(DatasetError, match="not found"):
        read_seqmap(tmp_path / "gone.seqmap")


def test_the_images_tell_length_and_size(tmp_path):
    written(tmp_path / "instances_txt" / "0002.txt", [])
    images = tmp_path / "training" / "image_02" / "0002"
    images.mkdir(parents=True)
    for t in (0, 1, 4):
        Image.new("RGB", (7, 5)).save(images / f"{t:06d}.png")
    data = mots.read(tmp_path)
    (video,) = data.videos
    assert (video.height, video.width, video.num_frames) == (5, 7, 5)
    assert data.image_path(video, 4) == images / "000004.png"
    assert video.file_names[3] == "0002/000003.png"
    (other,) = mots.read(tmp_path / "instances_txt", images=images.parent).videos
    assert other == video
    with pytest.raises(DatasetError, match="folder of images not found"):
        mots.read(tmp_path, images=tmp_path / "gone")


def test_official_parts_of_kitti(tmp_path):
    for name in ("0000", "0002", "0006", "0007", "0008", "0010", "0013", "0014", "0016"):
        written(tmp_path / "instances_txt" / f"{name}.txt", [])
    with pytest.raises(DatasetError, match=r"0018.txt: sequence 0018 not found"):
        mots.read(tmp_path, split="val")
    written(tmp_path / "instances_txt" / "0018.txt", [])
    data = mots.read(tmp_path, split="val")
    assert [v.name for v in data.videos][:2] == ["0002", "0006"]
    assert data.videos[0].num_frames == 233
    assert (
        sum(v.num_frames for v in data.videos)
        == 233 + 270 + 800 + 390 + 294 + 340 + 106 + 209 + 339
    )


def test_mots_challenge_tree(tmp_path):
    data = mots.read(KIT / "gt", split="all")
    assert mots.write(data, tmp_path, form="challenge", split="train") == []
    assert (tmp_path / "seqmaps/MOTS-train.txt").read_text().splitlines()[:2] == ["name", "0000"]
    first = (tmp_path / "MOTS-train/0000/gt/gt.txt").read_text().splitlines()[0]
    assert first == LINES[0].replace("0", "1", 1)
    back = mots.read(tmp_path, form="challenge", split="train")
    assert [v.num_frames for v in back.videos] == [v.num_frames for v in data.videos]
    assert back.videos[0].extra["first_frame"] == 1
    assert back.load(0).tracks == data.load(0).tracks
    assert mots.read(tmp_path / "MOTS-train", form="challenge").load(5) == back.load(5)
    assert mots.validate(tmp_path, form="challenge") == []
    written(tmp_path / "MOTS-train/0000/gt/gt.txt", LINES)
    with pytest.raises(DatasetError, match=r"line 1, frame: frame 0 is outside .*\(1..14\)"):
        mots.read(tmp_path, form="challenge").load(0)
    results = tmp_path / "tracker" / "data"
    for i, video in enumerate(back.videos):
        written(results / f"{video.name}.txt", [] if i else ["14" + LINES[0][1:]])
    assert mots.read_results(tmp_path / "tracker", back).load(0).tracks[0].is_visible(13)
    (tmp_path / "MOTS-train/0001/seqinfo.ini").write_text("[Sequence]\nname=0001\n")
    (tmp_path / "MOTS-train/0002/seqinfo.ini").unlink()
    messages = "\n".join(map(str, mots.validate(tmp_path, form="challenge")))
    assert "seqLength: not given" in messages
    assert "0002/seqinfo.ini: not found" in messages


def test_mots_challenge_images(tmp_path):
    mots.write(mots.read(KIT / "gt", split="all"), tmp_path, form="challenge")
    folder = tmp_path / "MOTS-val/0001/img1"
    folder.mkdir()
    Image.new("RGB", (121, 47)).save(folder / "000001.jpg")
    data = mots.read(tmp_path, form="challenge")
    assert data.image_path(data.videos[1], 0) == folder / "000001.jpg"


def test_missing_images_are_listed(tmp_path):
    mots.write(mots.read(KIT / "gt", split="all"), tmp_path, form="txt")
    assert mots.validate(tmp_path, form="txt") == []
    data = mots.read(tmp_path, form="txt")
    for video in data.videos[1:]:
        folder = tmp_path / "training/image_02" / video.name
        folder.mkdir(parents=True)
        for name in video.file_names:
            Image.new("RGB", (video.width or 1, video.height or 1)).save(folder.parent / name)
    assert data.videos[1].num_frames > 2
    (tmp_path / "training/image_02" / data.videos[1].file_names[1]).unlink()
    assert [str(problem).removeprefix(f"{tmp_path}/") for problem in mots.validate(tmp_path)] == [
        "training/image_02/0000: folder of images not found",
        "training/image_02/0001/000001.png: image not found",
    ]


def test_results_need_every_sequence(tmp_path):
    truth = mots.read(KIT / "gt", split="all")
    written(tmp_path / "0000.txt", LINES)
    with pytest.raises(DatasetError) as caught:
        mots.read_results(tmp_path, truth)
    assert all(f"no result of sequence 000{i}" in str(caught.value) for i in range(1, 8))
    written(tmp_path / "0099.txt", [])
    messages = list(map(str, mots.validate_results(tmp_path, truth)))
    assert any("0099.txt: the data set has no sequence" in message for message in messages)
    assert len(messages) == 8
    assert mots.validate_results(tmp_path / "gone", truth)[0].message.startswith(
        "folder of results"
    )


def test_results_round_trip(tmp_path):
    truth = mots.read(KIT / "gt", split="all")
    results = mots.read_results(KIT / "pred", truth)
    assert mots.write_results(results, tmp_path) == []
    again = mots.read_results(tmp_path, truth)
    assert all(again.load(i) == results.load(i) for i in range(len(truth.videos)))
    alone = mots.read_results(KIT / "pred")
    assert alone.load(0).tracks == results.load(0).tracks


def test_masks_of_the_wrong_size_and_missing_masks(pngs):
    folder = pngs / "instances" / "0005"
    write_id_map(folder / "000001.png", np.full((3, 3), 1001))
    write_id_map(folder / "000004.png", ID_MAPS[1])
    Image.new("P", (53, 29)).save(folder / "000003.png")
    Image.new("L", (53, 29)).save(folder / "note.png")
    messages = "\n".join(map(str, mots.validate(pngs)))
    assert "000001.png: id 1001, height: a mask of 3x3 among masks of 29x53" in messages
    assert "not mode P" in messages
    assert "note.png: the name of a mask is its frame number" in messages
    (folder / "000003.png").unlink()
    assert "000003.png: mask not found" in "\n".join(map(str, mots.validate(pngs)))
    (folder / "note.png").unlink()
    write_id_map(folder / "000001.png", ID_MAPS[1])
    assert mots.read(pngs).load(0).labelled == frozenset({0, 1, 2, 4})


def test_ids_of_another_class_are_named(tmp_path):
    written(tmp_path / "0000.txt", ["0 2001 1 4 4 0`0", "1 7 1 4 4 0`0"])
    assert len(mots.read(tmp_path).load(0).tracks) == 2
    assert "id 2001, id: id 2001 of class 1" in str(mots.validate(tmp_path)[1])
    written(tmp_path / "0000.txt", ["0 1001 1 4 4 0`0", "1 1001 2 4 4 0`0"])
    tracks = mots.read(tmp_path).load(0).tracks
    assert [(t.id, t.category_id) for t in tracks] == [(1001, 1), (3001, 2)]


def box(x, y, w, h, size=(10, 12)):
    mask = np.zeros(size, bool)
    mask[y : y + h, x : x + w] = True
    return rle.encode(mask)


def test_writing_other_data(tmp_path):
    video = Video(1, "street", 10, 12, ("street/a.jpg", "street/b.jpg"))
    tracks = [
        Track(1, 5, [box(0, 0, 4, 4), None], score=0.9),
        Track(2, 5, [box(2, 0, 4, 4), box(1, 1, 2, 2)], score=0.5),
        Track(1001, 7, [box(0, 8, 2, 2), None]),
        Track(4, 8, [box(3, 3, 1, 1), None]),
        Track(5, 7, [box(8, 8, 2, 2), None], is_crowd=True),
    ]
    categories = [Category(5, "Person"), Category(7, "car"), Category(8, "dog")]
    data = annotations_of([Clip(video, tracks, labelled=frozenset({0}))], categories)
    notes = mots.write(data, tmp_path, form="txt")
    assert len(notes) == 6
    for words in ("1 x tracks that are neither", "1 x crowds", "8 x pixels", "2 x scores",
                  "2 x tracks that got another id", "1 x frames without"):  # fmt: skip
        assert any(note.startswith(words) for note in notes), (words, notes)
    clip = mots.read(tmp_path).load(0)
    assert [(t.id, t.category_id) for t in clip.tracks] == [(1001, 1), (2001, 2), (2002, 2)]
    assert clip.tracks[1].segmentations[0] == tracks[0].segmentations[0]
    assert rle.area(clip.tracks[2].segmentations[0]) == 8
    assert clip.ignore[0] == tracks[4].segmentations[0]
    mots.write(data, tmp_path / "png", form="png")
    assert (read_id_map(tmp_path / "png/instances/street/000000.png") == IGNORE_ID).sum() == 4


def test_what_cannot_be_written(tmp_path):
    video = Video(1, "a", 4, 4, ("a/0.png",))
    clip = Clip(video, [Track(1, 1, [box(0, 0, 1, 1, (4, 4))])])
    with pytest.raises(DatasetError, match="the categories of the data set are: dog"):
        mots.write(annotations_of([clip], [Category(1, "dog")]), tmp_path)
    many = Clip(video, [Track(i, 1, [None]) for i in range(1, 1002)])
    with pytest.raises(DatasetError, match="too many objects of class 1"):
        mots.write(annotations_of([many], [Category(1, "car")]), tmp_path)
    empty = Clip(Video(1, "a", 4, 4, ()), [])
    with pytest.raises(DatasetError, match="no frames"):
        mots.write(annotations_of([empty], [Category(1, "car")]), tmp_path)
    with pytest.raises(DatasetError, match="no sequence of png or txt form"):
        mots.read(tmp_path)


def line_by_line(path, **more):
    """What reading gives, or the message, where no file is read all at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mots_files, "good_columns", lambda *_: None)
        return outcome(path, **more)


def outcome(path, **more):
    try:
        return read_sequence(path, **more)
    except DatasetError as error:
        return str(error)


@pytest.mark.parametrize("name", sorted(BAD_WORDS))
def test_reading_at_once_finds_all_that_reading_by_line_finds(tmp_path, name):
    path = written(tmp_path / "0000.txt", bad_lines(name))
    assert isinstance(outcome(path, num_frames=14), str)
    assert outcome(path, num_frames=14) == line_by_line(path, num_frames=14)


@pytest.mark.parametrize(
    "path", sorted(KIT.glob("*/*.txt")), ids=lambda p: f"{p.parent.name}{p.stem}"
)
def test_reading_at_once_gives_what_reading_by_line_gives(path, tmp_path):
    lines = path.read_text().splitlines()
    turned = written(tmp_path / path.name, [*lines[::-1], ""])
    assert read_sequence(path) == line_by_line(path) == read_sequence(turned)


@pytest.mark.parametrize("number", ["1" * 30, "-1", "1.0"])
def test_numbers_that_are_none_are_told_by_both_ways(tmp_path, number):
    path = written(tmp_path / "0000.txt", [" ".join([number, *FIELDS[1:]]), *LINES[1:]])
    assert isinstance(outcome(path, num_frames=14), str)
    assert outcome(path, num_frames=14) == line_by_line(path, num_frames=14)
