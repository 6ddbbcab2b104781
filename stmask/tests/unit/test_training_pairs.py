import copy
import json
import pickle
import random
import warnings

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from stmask.config import get_dataset
from stmask.data.annotations import MaskStore, read_videos
from stmask.data.collate import collate
from stmask.data.pairs import PairDataset, PairRules, SampleKey
from stmask.data.setup import build_dataset, pair_rules
from vidseg_common import rle
from vidseg_common.errors import ConfigError, DatasetError

HEIGHT, WIDTH, NUM_FRAMES = 20, 40, 5


def mask_of(x, y, w, h):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def annotation(number, boxes, category=7, **changes):
    """One object; None where it is not in a frame."""
    return {
        "id": number,
        "video_id": 1,
        "category_id": category,
        "iscrowd": 0,
        "bboxes": boxes,
        "areas": [box and box[2] * box[3] for box in boxes],
        "segmentations": [box and rle.encode(mask_of(*box)) for box in boxes],
    } | changes


BOX, SECOND = [4, 2, 10, 6], [20, 8, 12, 8]


@pytest.fixture
def content():
    names = [f"a/{t:05d}.png" for t in range(NUM_FRAMES)]
    video = {"id": 1, "width": WIDTH, "height": HEIGHT, "length": NUM_FRAMES, "file_names": names}
    moving = [[4 + t, 2, 10, 6] for t in range(NUM_FRAMES)]
    return {
        "videos": [video],
        "categories": [{"id": 9, "name": "cat"}, {"id": 7, "name": "ape"}],
        "annotations": [annotation(31, moving), annotation(32, [SECOND] * NUM_FRAMES, 9)],
    }


def write(folder, content):
    """The file, and frames whose pixels tell their number."""
    (folder / "a").mkdir(exist_ok=True)
    for t in range(NUM_FRAMES):
        image = np.full((HEIGHT, WIDTH, 3), 50 * t, np.uint8)
        image[:, : WIDTH // 2, 2] = 255  # the left half is red
        cv2.imwrite(str(folder / f"a/{t:05d}.png"), image)
    file = folder / "train.json"
    file.write_text(json.dumps(content))
    return file


def dataset(folder, content, **rules):
    return PairDataset(read_videos(write(folder, content), folder), PairRules(**rules))


# --- annotations ----------------------------------------------------------------------------------


def test_labels_are_ranks_and_boxes_include_their_last_pixel(tmp_path, content):
    data = read_videos(write(tmp_path, content), tmp_path)
    video = data.videos[0]
    assert video.labels.tolist() == [1, 2] and data.category_names == ("ape", "cat")
    assert video.ids.tolist() == [31, 32]
    assert video.boxes[0].tolist() == [[4, 2, 13, 7], [20, 8, 31, 15]]
    mask = data.store.decode(video.masks[1, 0], video.size)
    assert np.array_equal(mask, mask_of(5, 2, 10, 6)) and mask.dtype == np.uint8


def test_what_cannot_be_used_is_skipped(tmp_path, content):
    first = content["annotations"][0]
    first["bboxes"][0] = None
    first["areas"][1] = 0
    first["bboxes"][2] = [4, 2, 0.5, 6]
    first["segmentations"][3] = None
    video = read_videos(write(tmp_path, content), tmp_path).videos[0]
    assert [video.objects_in(t).tolist() for t in range(NUM_FRAMES)] == [[1]] * 4 + [[0, 1]]


def test_a_crowd_does_not_shift_masks_against_boxes(tmp_path, content):
    content["annotations"].insert(0, annotation(30, [[0, 0, 40, 20]] * NUM_FRAMES, iscrowd=1))
    sample = dataset(tmp_path, content).sample(0, random.Random(0))
    for target in sample.targets:
        assert target.ids.tolist() == [31, 32]
        for box, mask in zip(target.boxes, target.masks, strict=True):
            x1, y1, x2, y2 = (box * torch.tensor([640, 384, 640, 384])).round().int().tolist()
            assert mask[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2].all()


def test_boxes_and_areas_follow_from_masks_where_the_file_lacks_them(tmp_path, content):
    whole = read_videos(write(tmp_path, content), tmp_path).videos[0]
    for entry in content["annotations"]:
        del entry["bboxes"], entry["areas"]
    bare = read_videos(write(tmp_path, content), tmp_path).videos[0]
    assert np.array_equal(bare.boxes, whole.boxes) and np.array_equal(bare.masks, whole.masks)


def test_file_without_annotations_or_objects(tmp_path, content):
    with pytest.raises(DatasetError, match=r"no such|not found|missing"):
        read_videos(tmp_path / "no.json", tmp_path)
    bare = {k: v for k, v in content.items() if k != "annotations"}
    with pytest.raises(DatasetError, match=r"train\.json.*annotations"):
        read_videos(write(tmp_path, bare), tmp_path)
    content["annotations"] = []
    with pytest.raises(DatasetError, match=r"train\.json: no frame"):
        dataset(tmp_path, content)


def test_an_error_names_the_annotation(tmp_path, content):
    content["annotations"][1]["video_id"] = 5
    with pytest.raises(DatasetError, match=r"annotation 32.*video_id"):
        read_videos(write(tmp_path, content), tmp_path)


def test_store_of_masks():
    masks = [mask_of(1, 1, 3, 4), mask_of(0, 0, 0, 0), mask_of(5, 5, 2, 2)]
    store = pickle.loads(pickle.dumps(MaskStore(rle.encode(mask)["counts"] for mask in masks)))
    assert len(store) == 3
    for number, mask in enumerate(masks):
        assert np.array_equal(store.decode(number, (HEIGHT, WIDTH)), mask)


# --- pairs ----------------------------------------------------------------------------------------


def pairs_of(data, index):
    return {data.draw_pair(index, random.Random(seed))[1:] for seed in range(80)}


def test_the_other_frame_is_near_and_has_objects(tmp_path, content):
    for entry in content["annotations"]:
        entry["bboxes"][3] = None
    data = dataset(tmp_path, content)
    assert len(data) == 4
    assert pairs_of(data, 1) == {(0, 1), (1, 2)}  # frame 3 has no object
    assert pairs_of(data, 2) == {(0, 2), (1, 2), (2, 4)}
    assert pairs_of(dataset(tmp_path, content, stride=2), 0) == {(0, 2), (0, 4)}


def test_a_frame_without_neighbours_is_its_own(tmp_path, content):
    for entry in content["annotations"]:
        entry["bboxes"] = [None, None, entry["bboxes"][2], None, None]
    data = dataset(tmp_path, content)
    assert len(data) == 1 and pairs_of(data, 0) == {(2, 2)}
    first, second = data.sample(0, random.Random(0)).targets
    assert torch.equal(first.boxes, second.boxes)


def test_a_sample_is_normalised_padded_and_decided_by_its_key(tmp_path, content):
    data = dataset(tmp_path, content, flip_ratio=0.0)
    sample = data[SampleKey(0, 5)]
    assert sample.images.shape == (2, 3, 384, 640) and sample.images.dtype == torch.float32
    assert not sample.images[:, :, 360:].any()
    assert sample.name.startswith("a, frames 0 and ")
    red = (255 - 123.675) / 58.395
    assert sample.images[0, 0, 0, 0].item() == pytest.approx(red)  # red is first
    again = data[SampleKey(0, 5)]
    assert torch.equal(sample.images, again.images) and sample.name == again.name
    target = sample.targets[0]
    assert target.masks.shape == (2, 384, 640) and target.masks.dtype == torch.uint8
    want = [4 * 16 / 640, 2 * 18 / 384, 13 * 16 / 640, 7 * 18 / 384]
    assert target.boxes[0].tolist() == pytest.approx(want)


def test_both_frames_are_mirrored_or_none(tmp_path, content):
    plain = dataset(tmp_path, content, flip_ratio=0.0)[SampleKey(2, 9)]
    mirrored = dataset(tmp_path, content, flip_ratio=1.0)[SampleKey(2, 9)]
    assert torch.equal(mirrored.images, plain.images.flip(-1))
    for one, other in zip(plain.targets, mirrored.targets, strict=True):
        assert torch.equal(other.masks, one.masks.flip(-1))
        assert torch.allclose(other.boxes[:, 0], 639 / 640 - one.boxes[:, 2], atol=1e-6)
    half = dataset(tmp_path, content)
    seen = {half[SampleKey(0, n)].images[0, 0, 0, 0].item() > 0 for n in range(12)}
    assert seen == {True, False}


def test_objects_of_no_area_are_left_out(tmp_path, content):
    content["annotations"][0] = annotation(31, [[4, 2, 1, 6]] * NUM_FRAMES)
    for target in dataset(tmp_path, content).sample(0, random.Random(0)).targets:
        assert target.ids.tolist() == [32] and len(target.masks) == 1


def test_sizes():
    rules, rng = PairRules(sizes=((100, 50), (200, 100))), random.Random(0)
    drawn = [rules.draw_size((1280, 720), rng) for _ in range(50)]
    assert min(drawn)[0] < 120 and max(drawn)[0] > 180
    assert all(abs(w - 2 * h) <= 1 for w, h in drawn)
    rules = PairRules(sizes=((640, 360),), keep_ratio=True)
    assert rules.draw_size((100, 100), rng) == (360, 360)


@pytest.mark.parametrize("fault", ["missing", "damaged", "size"])
def test_an_image_that_cannot_be_used_is_named(tmp_path, content, fault):
    data = dataset(tmp_path, content)
    for path in (tmp_path / "a").iterdir():
        if fault == "missing":
            path.unlink()
        elif fault == "damaged":
            path.write_bytes(path.read_bytes()[:60])
        else:
            cv2.imwrite(str(path), np.zeros((5, 6, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"video a, frame \d: .*a/0000\d\.png"):
        data.sample(0, random.Random(0))


# --- batches --------------------------------------------------------------------------------------


def test_frames_of_a_pair_are_next_to_each_other(tmp_path, content):
    data = dataset(tmp_path, content, sizes=((64, 32),))
    samples = [data[SampleKey(n, n)] for n in (0, 4)]
    batch = collate(samples)
    assert len(batch) == 2 and batch.images.shape == (2, 2, 3, 32, 64)
    assert torch.equal(batch.frames[3], samples[1].images[1])
    assert torch.equal(batch.targets[3].boxes, samples[1].targets[1].boxes)
    assert batch.to("cpu").names == batch.names == tuple(s.name for s in samples)


def test_pairs_of_different_sizes_are_padded(tmp_path, content):
    small = dataset(tmp_path, content, sizes=((64, 32),), flip_ratio=0.0)[SampleKey(0, 1)]
    large = dataset(tmp_path, content, sizes=((96, 64),), flip_ratio=0.0)[SampleKey(0, 1)]
    batch = collate([small, large])
    assert batch.images.shape == (2, 2, 3, 64, 96)
    assert torch.equal(batch.images[0, :, :, :32, :64], small.images)
    assert not batch.images[0, :, :, 32:].any()
    grown = batch.targets[0].boxes * torch.tensor([96, 64, 96, 64])
    assert torch.allclose(grown, small.targets[0].boxes * torch.tensor([64, 32, 64, 32]))
    assert batch.targets[0].masks.shape == (2, 64, 96)
    assert batch.targets[0].masks.sum() == small.targets[0].masks.sum()


def test_workers_give_the_same_samples(tmp_path, content):
    data = pickle.loads(pickle.dumps(dataset(tmp_path, content, sizes=((64, 32),))))
    keys = [[SampleKey(n, n) for n in (0, 1)], [SampleKey(n, n) for n in (2, 3)]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a process with threads forks
        loader = DataLoader(data, batch_sampler=keys, num_workers=1, collate_fn=collate)
        for batch, part in zip(loader, keys, strict=True):
            want = collate([data[key] for key in part])
            assert torch.equal(batch.images, want.images) and batch.names == want.names


# --- configuration --------------------------------------------------------------------------------


def config(file, **changes):
    base = get_dataset("train_YouTube_VOS_dataset")
    return base.copy({"ann_file": str(file), "img_prefix": str(file.parent)} | changes)


def test_data_set_of_a_configuration(tmp_path, content):
    file = write(tmp_path, content)
    data = build_dataset(config(file), num_classes=41)
    assert len(data) == NUM_FRAMES and data.rules == PairRules()
    changed = config(file, img_scale=[[64, 32]], extra_aug={"expand": {"ratio_range": [1, 2]}})
    sample = build_dataset(changed, 3)[SampleKey(0, 0)]
    assert sample.images.shape == (2, 3, 32, 64)


def test_missing_annotations_tell_where_data_sets_are_looked_for(tmp_path):
    with pytest.raises(DatasetError, match=r"no annotation file .*absent\.json .*STMASK_DATA_ROOT"):
        build_dataset(config(tmp_path / "absent.json"), num_classes=41)


def test_more_categories_than_classes(tmp_path, content):
    with pytest.raises(DatasetError, match=r"train\.json.*categories.*2.*1"):
        build_dataset(config(write(tmp_path, content)), num_classes=2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("flip_ratio", 1.5),
        ("img_scale", []),
        ("img_scale", [[640, 360, 3]]),
        ("size_divisor", 0),
        ("clip_frames", 0),
        ("img_norm_cfg", {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0], "to_rgb": True}),
        ("extra_aug", {"expnd": {}}),
    ],
)
def test_values_that_do_not_fit(key, value):
    changed = copy.deepcopy(get_dataset("train_OVIS_dataset"))
    setattr(changed, key, value)
    with pytest.raises(ConfigError, match=key):
        pair_rules(changed)
