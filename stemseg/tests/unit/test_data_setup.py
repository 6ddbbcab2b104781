import json
import pickle

import pytest

from stemseg.config import load_config
from stemseg.data.setup import build_dataset, build_single, dataset_shares
from stemseg.feed import BatchPlan, TrainingFeed
from vidseg_common.errors import ConfigError, DatasetError

SMALL = ["INPUT.NUM_FRAMES", "4", "INPUT.MIN_DIM", "32", "INPUT.MAX_DIM", "64"]
GAPS = [
    word
    for section in ("DAVIS", "YOUTUBE_VIS", "KITTI_MOTS")
    for side in ("LOWER", "UPPER")
    for word in (f"DATA.{section}.FRAME_GAP_{side}", "4")
]


def config(name, *opts):
    return load_config(name, opts=[*SMALL, *GAPS, *opts])


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("davis_1", {"coco": 10, "ytvis": 14, "davis": 12, "pascalvoc": 4}),
        ("youtube_vis", {"coco": 12, "pascalvoc": 4, "ytvis": 24}),
        ("kitti_mots_1", {"mapillary": 40}),
        ("kitti_mots_2", {"kittimots": 40}),
    ],
)
def test_every_stage_builds(training_data, name, parts):
    cfg = config(name)
    assert dataset_shares(cfg, 40) == parts
    mixture = build_dataset(cfg, 40)
    assert len(mixture) == 40
    assert [part.name for part in mixture.parts] == list(parts)
    for index in (0, 15, 30, 39):
        sample = mixture[(index, index)]
        assert sample.images.shape[:2] == (4, 3)
        assert len(sample.category_ids) == len(sample.masks) > 0
        assert 1 <= int(sample.category_ids.min()) <= int(sample.category_ids.max()) <= 40


def test_classes_of_the_trainings(training_data):
    def classes(name, dataset):
        clips = build_single(config(name), dataset)
        ids = {int(i) for k in range(len(clips)) for i in clips[(k, 0)].category_ids}
        assert ids <= set(clips.category_names)
        return ids

    assert classes("davis_1", "ytvis") == classes("davis_1", "coco") == {1}
    assert classes("youtube_vis", "ytvis") == {1, 3, 5}
    assert classes("youtube_vis", "coco") == {1, 6, 28}
    assert classes("kitti_mots_1", "mapillary") == classes("kitti_mots_2", "kittimots") == {1, 2}


def test_the_feed_takes_it(training_data):
    feed = TrainingFeed(build_dataset(config("davis_1"), 40), BatchPlan(2, 2), num_workers=0)
    (batch,) = feed.batches(3, 4)
    assert batch.images.shape[:3] == (2, 4, 3)
    (again,) = feed.batches(3, 4)
    assert again.names == batch.names


def test_same_clips_in_every_process(training_data):
    first, second = (build_dataset(config("davis_1"), 40) for _ in range(2))
    assert first.parts[1].clips == second.parts[1].clips
    other = build_dataset(config("davis_1"), 40, seed=43)
    assert first.parts[1].clips != other.parts[1].clips


def test_data_sets_travel_to_spawned_workers(training_data):
    mixture = build_dataset(config("davis_1"), 40)
    copy = pickle.loads(pickle.dumps(mixture))
    assert all(copy[(i, 1)].images.equal(mixture[(i, 1)].images) for i in (0, 12, 25, 39))


def test_unset_variable(training_data, monkeypatch):
    monkeypatch.delenv("COCO_TRAIN_IMAGES_DIR")
    with pytest.raises(ConfigError, match="COCO_TRAIN_IMAGES_DIR is not set"):
        build_dataset(config("davis_1"), 40)
    # Only what is used has to be there.
    assert len(build_dataset(config("kitti_mots_1"), 40)) == 40


def test_missing_annotation_file(training_data, monkeypatch, tmp_path):
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(tmp_path))
    with pytest.raises(DatasetError, match=r"kittimots_train\.json: no such annotation file"):
        build_dataset(config("kitti_mots_2"), 40)


def test_missing_frame_is_named(training_data, monkeypatch, tmp_path):
    for part in training_data.rglob("00000.jpg"):
        copy = tmp_path / part.parent.name / part.name
        copy.parent.mkdir()
        copy.write_bytes(part.read_bytes())
    # The first images are there, so only reading a clip can tell.
    monkeypatch.setenv("DAVIS_BASE_DIR", str(tmp_path))
    clips = build_single(config("davis_1"), "davis")
    with pytest.raises(DatasetError, match=r"sequence \w+, frame \d+: no such image: .*\.jpg"):
        clips[(0, 0)]


def test_sequences_that_are_too_short(training_data):
    cfg = config("kitti_mots_2", "DATA.KITTI_MOTS.FRAME_GAP_LOWER", "11",
                 "DATA.KITTI_MOTS.FRAME_GAP_UPPER", "11")  # fmt: skip
    with pytest.raises(DatasetError, match="kittimots: none of the 3 sequences has the 13"):
        build_dataset(cfg, 40)


def test_gaps_shorter_than_clips(training_data):
    opts = ("DATA.YOUTUBE_VIS.FRAME_GAP_LOWER", "3", "DATA.YOUTUBE_VIS.FRAME_GAP_UPPER", "3")
    with pytest.raises(ConfigError, match=r"DATA\.YOUTUBE_VIS\.FRAME_GAP_LOWER is 3"):
        build_dataset(config("youtube_vis", *opts), 40)
    opts = ("DATA.DAVIS.FRAME_GAP_LOWER", "2", "DATA.DAVIS.FRAME_GAP_UPPER", "2")
    with pytest.raises(ConfigError, match=r"^DATA\.DAVIS\.FRAME_GAP_LOWER is 2"):
        build_single(config("davis_1", *opts), "davis")


def test_weights_that_do_not_sum_to_one():
    with pytest.raises(ConfigError, match=r"DATA\.DAVIS: .*sum to 1"):
        dataset_shares(config("davis_1", "DATA.DAVIS.COCO_WEIGHT", "0.5"), 40)


def test_data_set_of_another_mode(training_data):
    with pytest.raises(ConfigError, match="kitti_mots, which does not use coco"):
        build_single(config("kitti_mots_1"), "coco")
    with pytest.raises(ConfigError, match="no data set 'cocoa'"):
        build_single(config("davis_1"), "cocoa")


def test_file_of_another_kind(training_data, monkeypatch, tmp_path):
    (tmp_path / "mapillary.json").write_text(json.dumps({"meta": {"category_labels": {}},
                                                         "sequences": []}))  # fmt: skip
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(tmp_path))
    with pytest.raises(DatasetError, match="expected a list 'images'"):
        build_dataset(config("kitti_mots_1"), 40)
