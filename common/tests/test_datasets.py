import json
import zipfile

import numpy as np
import pytest

from vidseg_common.datasets.davis import DAVIS2016_VAL, davis2016, davis2017
from vidseg_common.datasets.generic import generic_folder, image_mask_tree
from vidseg_common.datasets.records import list_images, read_name_list
from vidseg_common.datasets.youtube_vos import (
    categories_of,
    read_meta,
    write_submission,
    youtube_vos,
)
from vidseg_common.errors import DatasetError
from vidseg_common.masks import write_mask


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def frames(folder, numbers, suffix):
    return [f"{folder}/{number:05d}{suffix}" for number in numbers]


@pytest.fixture
def davis(tmp_path):
    for name in ("bear", "camel"):
        touch(tmp_path, *frames(f"JPEGImages/480p/{name}", range(4), ".jpg"))
        touch(tmp_path, *frames(f"Annotations/480p/{name}", range(4), ".png"))
    touch(tmp_path, *frames("JPEGImages/480p/girl", range(3), ".jpg"))
    touch(tmp_path, "Annotations/480p/girl/00000.png")
    (tmp_path / "ImageSets/2017").mkdir(parents=True)
    (tmp_path / "ImageSets/2017/val.txt").write_text("camel\nbear\n\n")
    (tmp_path / "ImageSets/2017/test-dev.txt").write_text("girl\n")
    return tmp_path


def test_name_list_takes_both_forms(tmp_path):
    path = tmp_path / "val.txt"
    path.write_text("# split\nb\n\na\nb\n")
    assert read_name_list(path) == ["b", "a"]
    path.write_text(
        "/JPEGImages/480p/x y/00000.jpg /Annotations/480p/x y/00000.png\n"
        "/JPEGImages/480p/x y/00001.jpg /Annotations/480p/x y/00001.png\n"
        "JPEGImages/480p/z/00000.jpg Annotations/480p/z/00000.png \n"
    )
    assert read_name_list(path) == ["x y", "z"]
    path.write_text("\n")
    with pytest.raises(DatasetError, match="empty"):
        read_name_list(path)
    with pytest.raises(DatasetError, match="not found"):
        read_name_list(tmp_path / "gone.txt")


def test_images_are_in_natural_order(tmp_path):
    touch(tmp_path, "f10.jpg", "f2.PNG", "f1.jpeg", ".hidden.jpg", "notes.txt")
    assert [path.name for path in list_images(tmp_path)] == ["f1.jpeg", "f2.PNG", "f10.jpg"]
    with pytest.raises(DatasetError, match="not found"):
        list_images(tmp_path / "gone")


def test_davis2017_val(davis):
    camel, bear = davis2017(davis)
    assert (camel.name, bear.name) == ("camel", "bear")
    assert camel.num_frames == 4
    assert sorted(camel.mask_paths) == [0, 1, 2, 3]
    assert camel.mask_paths[2] == davis / "Annotations/480p/camel/00002.png"
    assert camel.required is None
    assert camel.required_indices == (0, 1, 2, 3)


def test_davis2017_test_sets_have_the_first_annotation(davis):
    (girl,) = davis2017(davis, "test-dev")
    assert dict(girl.mask_paths) == {0: davis / "Annotations/480p/girl/00000.png"}
    with pytest.raises(DatasetError, match="test-challenge"):
        davis2017(davis, "test-challenge")


def test_unsupervised_sets(davis):
    touch(davis, *frames("Annotations_unsupervised/480p/bear", range(4), ".png"))
    (bear,) = davis2017(davis, names=["bear"], unsupervised=True)
    assert "Annotations_unsupervised" in str(bear.mask_paths[0])
    (davis / "ImageSets/2019").mkdir()
    (davis / "ImageSets/2019/test-dev.txt").write_text("girl\n")
    (girl,) = davis2017(davis, "test-dev", unsupervised=True)
    assert girl.mask_paths == {}


def test_all_problems_of_a_data_set_are_listed(davis):
    (davis / "Annotations/480p/camel/00002.png").unlink()
    with pytest.raises(DatasetError) as caught:
        davis2017(davis, names=["camel", "gone", "bear"])
    message = str(caught.value)
    assert "camel: 1 annotation(s) missing" in message
    assert "00002.png" in message
    assert "gone: folder of images not found" in message
    assert "bear:" not in message


def test_davis_later_annotations_may_be_missing(davis):
    (davis / "Annotations/480p/camel/00002.png").unlink(missing_ok=True)
    (camel,) = davis2017(davis, names=["camel"], first_only=True)
    assert 0 in camel.mask_paths
    assert 2 not in camel.mask_paths
    assert davis2016(davis, names=["camel"], first_only=True) == [camel]
    (davis / "Annotations/480p/camel/00000.png").unlink()
    with pytest.raises(DatasetError, match=r"camel: 1 annotation.s. missing"):
        davis2017(davis, names=["camel"], first_only=True)


def test_davis2016(davis):
    (bear,) = davis2016(davis, names=["bear"])
    assert len(bear.mask_paths) == 4
    (davis / "ImageSets/480p").mkdir(parents=True)
    (davis / "ImageSets/480p/val.txt").write_text(
        "/JPEGImages/480p/camel/00000.jpg /Annotations/480p/camel/00000.png\n"
    )
    assert [record.name for record in davis2016(davis)] == ["camel"]
    (davis / "ImageSets/480p/val.txt").unlink()
    with pytest.raises(DatasetError, match="blackswan"):
        davis2016(davis)
    with pytest.raises(DatasetError, match="no list of the split 'train'"):
        davis2016(davis, split="train")
    assert len(DAVIS2016_VAL) == 20


META = {
    "videos": {
        "aa": {
            "objects": {
                "1": {"category": "dog", "frames": ["00005", "00010"]},
                "3": {"category": "cat", "frames": ["00010"]},
            }
        },
        "bb": {"objects": {"2": {"category": "dog", "frames": ["00000", "00005"]}}},
    }
}


@pytest.fixture
def youtube(tmp_path):
    dense = "all_frames/valid_all_frames/JPEGImages"
    for name in ("aa", "bb"):
        touch(tmp_path, *frames(f"valid/JPEGImages/{name}", (0, 5, 10), ".jpg"))
        touch(tmp_path, *frames(f"{dense}/{name}", range(11), ".jpg"))
    touch(tmp_path, *frames("valid/Annotations/aa", (5, 10), ".png"))
    touch(tmp_path, "valid/Annotations/bb/00000.png")
    (tmp_path / "valid/meta.json").write_text(json.dumps(META))
    return tmp_path


def test_youtube_vos_all_frames(youtube):
    aa, bb = youtube_vos(youtube)
    assert aa.num_frames == 11
    assert sorted(aa.mask_paths) == [5, 10]
    assert aa.required == {5, 10}
    assert bb.required_indices == (0, 5)


def test_youtube_vos_six_fps(youtube):
    aa, _ = youtube_vos(youtube, all_frames=False)
    assert aa.num_frames == 3
    assert sorted(aa.mask_paths) == [1, 2]
    assert aa.required == {1, 2}
    (youtube / "valid/meta.json").unlink()
    assert youtube_vos(youtube, required_only=False)[0].required is None
    with pytest.raises(DatasetError, match=r"meta.json"):
        youtube_vos(youtube)


def test_youtube_video_without_masks_is_listed(youtube):
    dense = youtube / "all_frames/valid_all_frames/JPEGImages"
    touch(dense, "cc/00000.jpg")
    (youtube / "valid/Annotations/bb/00000.png").unlink()
    _, bb, cc = youtube_vos(youtube)
    assert (bb.mask_paths, bb.required_indices) == ({}, (0, 5))
    assert (cc.name, cc.mask_paths, cc.required_indices) == ("cc", {}, ())
    assert youtube_vos(youtube, required_only=False)[2].required is None


def test_youtube_vos_problems_are_listed(youtube):
    (youtube / "all_frames/valid_all_frames/JPEGImages/aa/00010.jpg").unlink()
    touch(youtube, "valid/Annotations/cc/00000.png")
    with pytest.raises(DatasetError) as caught:
        youtube_vos(youtube)
    assert "aa: no image" in str(caught.value)
    assert "frames 00010" in str(caught.value)
    assert "cc: not in" in str(caught.value)


def test_meta(youtube):
    meta = read_meta(youtube / "valid/meta.json")
    assert meta["aa"][3].category == "cat"
    assert meta["aa"][1].frames == ("00005", "00010")
    assert categories_of(meta) == {"dog", "cat"}


@pytest.mark.parametrize(
    "text", ["", "[]", '{"videos": {"a": {"objects": {"x": {}}}}}', '{"videos": {"a": []}}']
)
def test_foreign_meta_files_are_refused(tmp_path, text):
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(DatasetError, match="not a YouTube-VOS meta file"):
        read_meta(tmp_path / "meta.json")


def test_submission_holds_exactly_the_required_frames(youtube, tmp_path):
    records = youtube_vos(youtube)
    results = tmp_path / "results"
    for name, numbers in (("aa", range(5, 11)), ("bb", (0, 5))):
        for number in numbers:
            write_mask(results / name / f"{number:05d}.png", np.full((2, 2), number))
    path = write_submission(results, tmp_path / "out" / "sub.zip", records)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert sorted(archive.namelist()) == [
            "Annotations/aa/00005.png",
            "Annotations/aa/00010.png",
            "Annotations/bb/00000.png",
            "Annotations/bb/00005.png",
        ]
    (results / "aa/00010.png").unlink()
    (results / "bb/00000.png").unlink()
    with pytest.raises(DatasetError, match=r"2 required(.|\n)*aa/00010.png(.|\n)*bb/00000.png"):
        write_submission(results, tmp_path / "out" / "other.zip", records)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["sub.zip"]


def test_generic_folder(tmp_path):
    touch(tmp_path, "JPEGImages/v/f1.jpg", "JPEGImages/v/f2.png", "JPEGImages/v/f10.jpg")
    touch(tmp_path, "Annotations/v/f2.png", "Annotations/v/other.png")
    (record,) = generic_folder(tmp_path)
    assert [path.name for path in record.frame_paths] == ["f1.jpg", "f2.png", "f10.jpg"]
    assert list(record.mask_paths) == [1]
    assert record.required == {1, 2}
    touch(tmp_path, "Annotations/v/f1.png", "JPEGImages/w/0.jpg", "JPEGImages/x/0.jpg")
    touch(tmp_path, "JPEGImages/x/0.png", "Annotations/x/0.png")
    (tmp_path / "JPEGImages/y").mkdir()
    with pytest.raises(DatasetError) as caught:
        generic_folder(tmp_path)
    assert "y: no images" in str(caught.value)
    assert "x: several images" in str(caught.value)
    assert "w:" not in str(caught.value)


def test_generic_video_without_masks_is_listed(tmp_path):
    touch(tmp_path, "JPEGImages/v/0.jpg", "JPEGImages/w/0.jpg", "JPEGImages/w/1.jpg")
    with pytest.raises(DatasetError, match="Annotations"):
        generic_folder(tmp_path)
    touch(tmp_path, "Annotations/w/other.png")
    for record in generic_folder(tmp_path):
        assert not record.mask_paths
        assert record.required_indices == ()


def test_image_mask_tree_keeps_annotated_frames(tmp_path):
    touch(tmp_path, *frames("img/v", range(0, 6), ".jpg"), *frames("msk/v", (1, 3, 5), ".png"))
    touch(tmp_path, "img/only/00000.jpg", "msk/other/00000.png")
    (record,) = image_mask_tree(tmp_path / "img", tmp_path / "msk")
    assert [path.stem for path in record.frame_paths] == ["00001", "00003", "00005"]
    assert [record.mask_paths[i].stem for i in range(3)] == ["00001", "00003", "00005"]
    with pytest.raises(DatasetError, match="only"):
        image_mask_tree(tmp_path / "img", tmp_path / "msk", ["v", "only"])
    with pytest.raises(DatasetError, match="no video"):
        image_mask_tree(tmp_path / "img", tmp_path / "msk", [])
