"""Training and validation sets: what they give, and what they say about files that are wrong."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from devis.config import load_config
from devis.data.build import (
    ClipItem,
    ImageItem,
    SampleKey,
    to_target,
    train_dataset,
    val_images,
    val_videos,
)
from devis.data.clip_augment import ClipAugmenter, Distortion
from devis.data.clip_sample import ClipSample
from devis.data.image_augment import ImageAugmenter
from devis.data.image_sample import ImageSample, crop, flip, image_target, resize
from devis.data.resize import to_picture
from devis.data.sizes import Window, clip_window, image_window
from vidseg_common import rle
from vidseg_common.background import write_image
from vidseg_common.datasets.category_names import standard_categories
from vidseg_common.errors import ConfigError, DatasetError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout

SIZE = (48, 64)
SMALL = ["INPUT.SCALE_FACTOR_TRAIN", 0.1]
JOINT = ["DATASETS.DEVIS.COCO_JOINT_TRAINING", True]


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Two videos of 8 frames, once as videos and once as images, for training and validation."""
    root = tmp_path_factory.mktemp("devis-data")
    for split in ("train", "val"):
        for layout, name in (("ytvis", "Youtube_VIS-2021"), ("coco", "COCO")):
            write_layout(layout, generate_videos(3, 2, 8, *SIZE, 2), root / name, split=split)
    return root


@pytest.fixture
def root(made, tmp_path):
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def config(root, name="devis_R_50_YT-21", *opts):
    return load_config(name, ["DATASETS.DATA_PATH", str(root), *SMALL, *opts])


def images_config(root, *opts):
    return config(root, "deformable_mask_head_R_50", *opts)


def annotations_of(root, kind="videos", part="train"):
    names = {
        "videos": "Youtube_VIS-2021/train/instances.json",
        "images": f"COCO/annotations/instances_{part}2017.json",
    }
    return root / names[kind]


def change(file, function):
    content = json.loads(file.read_text())
    function(content)
    file.write_text(json.dumps(content))


# Clips of videos


def test_clips_of_videos(made):
    dataset = train_dataset(config(made))
    assert len(dataset) == 2 * 3  # 8 frames, 6 in a clip
    item = dataset[SampleKey(1, 5)]
    assert isinstance(item, ClipItem) and item.start == 1
    frames, channels, *size = item.images.shape
    assert (frames, channels) == (6, 3) and item.images.dtype == torch.float32
    target = to_target(item.target)
    assert len(target.labels) == len(target.valid) and len(target.labels) % 6 == 0
    assert target.masks.shape == (len(target.labels), *size)
    assert target.boxes.min() >= 0 and target.boxes.max() <= 1
    names = {dataset.category_names[label + 1] for label in target.labels.tolist()}
    assert names <= set(dataset.category_names.values())


def test_a_key_tells_all_of_a_sample(made):
    first, second = (train_dataset(config(made))[SampleKey(2, 9)] for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.target.boxes, second.target.boxes)
    others = [train_dataset(config(made))[SampleKey(2, seed)].images for seed in range(4)]
    assert any(
        other.shape != first.images.shape or other.ne(first.images).any() for other in others
    )


def test_red_and_blue_change_places(made):
    both = [
        train_dataset(config(made, "devis_R_50_YT-21", "INPUT.DEVIS.BGR_TRAIN", is_bgr))
        for is_bgr in (False, True)
    ]
    for dataset in both:
        augmenter = dataset.rules.augmenter
        assert augmenter.distortion.bgr == dataset.rules.bgr
        dataset.rules = replace(dataset.rules, augmenter=replace(augmenter, distortion=None))
    first, second = (to_picture(dataset[SampleKey(0, 1)].images[0]) for dataset in both)
    assert np.array_equal(first, second[..., ::-1]) and not np.array_equal(first, second)


def test_every_frame_may_start_a_clip(made):
    opts = ["INPUT.DEVIS.SAMPLE_EACH_FRAME", True]
    assert len(train_dataset(config(made, "devis_R_50_YT-21", *opts))) == 2 * 8


def test_videos_of_one_frame_and_without_instances(root):
    def spoil(content):
        first = content["videos"][0]
        first |= {"length": 1, "file_names": first["file_names"][:1]}
        for entry in content["annotations"]:
            if entry["video_id"] == first["id"]:
                for name in ("segmentations", "areas", "bboxes"):
                    entry[name] = entry[name][:1]
        content["annotations"] = [
            entry for entry in content["annotations"] if entry["video_id"] == first["id"]
        ]

    change(annotations_of(root), spoil)
    dataset = train_dataset(config(root))
    assert len(dataset) == 1 + 3
    single, empty = dataset[SampleKey(0, 1)], dataset[SampleKey(1, 1)]
    target = to_target(single.target)
    assert len(single.images) == 6 and len(target.labels)
    if target.valid.all():
        assert torch.equal(target.masks[0], target.masks[5])
    assert len(to_target(empty.target).labels) == 0
    assert empty.target.masks.shape[1:] == empty.images.shape[2:]


def test_crowds_are_no_instances(root):
    change(
        annotations_of(root),
        lambda content: [entry.update(iscrowd=1) for entry in content["annotations"]],
    )
    assert len(to_target(train_dataset(config(root))[SampleKey(0, 0)].target).labels) == 0


def test_the_two_crowded_videos_are_left_out(root):
    def rename(content):
        number = content["videos"][0]["id"]
        content["videos"][0]["id"] = 2975
        for entry in content["annotations"]:
            entry["video_id"] = 2975 if entry["video_id"] == number else entry["video_id"]

    change(annotations_of(root), rename)
    name = "yt_vis_train_21_wo_2975_2359"
    opts = ["devis_Swin_L_YT-21", "DATASETS.TRAIN_DATASET", name]
    assert len(train_dataset(config(root, *opts))) == 3
    shutil.copy(annotations_of(root), annotations_of(root).with_name("instances_wo_2975_2359.json"))
    assert len(train_dataset(config(root, *opts))) == 6  # the file as it is


# Images


def test_images_of_training(made):
    dataset = train_dataset(images_config(made))
    item = dataset[SampleKey(3, 4)]
    assert len(dataset) == 16 and isinstance(item, ImageItem)
    assert item.original_size == SIZE and item.image.shape[1:] == item.target.size
    target = to_target(item.target)
    assert target.valid is None and target.masks.shape[1:] == item.image.shape[1:]
    assert torch.equal(item.image, dataset[SampleKey(3, 4)].image)


def test_images_without_annotations_are_dropped_and_groups_are_no_instances(root):
    def spoil(content):
        first, second = content["images"][0]["id"], content["images"][1]["id"]
        content["images"].reverse()
        content["annotations"] = [e for e in content["annotations"] if e["image_id"] != first]
        for entry in content["annotations"]:
            entry["iscrowd"] = int(entry["image_id"] == second)

    for part in ("train", "val"):
        change(annotations_of(root, "images", part), spoil)
    cfg = images_config(root, "INPUT.MIN_SIZE_TEST", 30)
    images = val_images(cfg)
    assert len(train_dataset(cfg)) == len(images) == 15
    numbers = [images[i].image_id for i in range(15)]
    assert numbers == sorted(numbers)
    assert len(images[0].target.labels) == 0 and len(images[1].target.labels) > 0
    assert images[0].target.masks.shape == (0, 30, 40)


def test_boxes_without_area_are_dropped_and_others_cut(root):
    def spoil(content):
        image = content["images"][0]
        mine = [e for e in content["annotations"] if e["image_id"] == image["id"]]
        mine[0]["bbox"] = [3, 3, 0, 5]
        mine[1]["bbox"] = [-4, 40, 200, 100]

    change(annotations_of(root, "images", "val"), spoil)
    target = val_images(images_config(root))[0].target
    assert target.boxes.tolist() == [pytest.approx([0.5, 44 / 48, 1, 8 / 48], abs=1e-6)]
    assert len(target.masks) == len(target.labels) == 1


def test_boxes_alone_where_masks_are_not_trained(root):
    def remove(content):
        for entry in content["annotations"]:
            del entry["segmentation"]

    change(annotations_of(root, "images"), remove)
    with pytest.raises(DatasetError, match=r"annotation \d+: field segmentation: missing"):
        train_dataset(images_config(root))
    item = train_dataset(images_config(root, "MODEL.MASK_ON", False))[SampleKey(0, 0)]
    assert item.target.masks is None and to_target(item.target).masks is None


def test_validation_images_have_the_size_of_the_test(made):
    images = val_images(images_config(made, "INPUT.MIN_SIZE_TEST", 36))
    assert images[0].image.shape == (3, 36, 48)
    hidden = val_images(images_config(made, "MODEL.MASK_ON", False))
    assert hidden[0].target.masks is None


def test_validation_videos(made):
    first = val_videos(config(made))[0]
    assert (first.height, first.width) == SIZE and len(first.files) == 8
    assert all(file.is_file() for file in first.files) and first.files[0].parent.name == first.name


# Images and videos together


def test_clips_of_images_come_before_clips_of_videos(made):
    cfg = config(made, "devis_R_50_YT-21", *JOINT)
    dataset = train_dataset(cfg)
    images, videos = dataset.parts
    assert len(dataset) == len(images) + 6 and len(images) > 0
    item = dataset[SampleKey(0, 3)]
    assert item.images.shape[:2] == (6, 3) and item.start == 0
    first = dataset[SampleKey(len(images), 3)]
    assert torch.equal(first.images, videos[SampleKey(0, 3)].images)
    allowed = set(images.categories.kept.values())
    found = {
        label + 1 for i in range(4) for label in dataset[SampleKey(i, i)].target.labels.tolist()
    }
    assert found and found <= allowed


def test_the_list_of_the_published_models_is_preferred(root):
    def keep_one(content):
        content["images"] = content["images"][:1]
        number = content["images"][0]["id"]
        content["annotations"] = [e for e in content["annotations"] if e["image_id"] == number]

    own = root / "COCO/annotations/coco_keepfor_ytvis19.json"
    shutil.copy(annotations_of(root, "images"), own)
    change(own, keep_one)
    cfg = config(root, "devis_R_50_YT-21", *JOINT)
    assert len(train_dataset(cfg)) == 1 + 6


def test_crowded_images_make_no_clips(root):
    def crowd(content):
        entry = content["annotations"][0]
        content["annotations"] += [{**entry, "id": 1000 + i} for i in range(25)]

    cfg = config(root, "devis_R_50_YT-21", *JOINT)
    before = len(train_dataset(cfg))
    change(annotations_of(root, "images"), crowd)
    assert len(train_dataset(cfg)) == before - 1


def test_sets_whose_classes_are_not_those_of_coco(made):
    with pytest.raises(ConfigError, match="the classes of ovis_train are not those of COCO"):
        train_dataset(config(made, "devis_R_50_OVIS", *JOINT))


# Files that are wrong


@pytest.mark.parametrize("make", [config, images_config])
def test_a_missing_file_is_named(tmp_path, make):
    with pytest.raises(
        DatasetError, match=r"no annotation file .*train.*\.json; DATASETS.DATA_PATH"
    ):
        train_dataset(make(tmp_path))


def test_missing_images_are_named_at_once(root):
    shutil.rmtree(root / "Youtube_VIS-2021/train/JPEGImages")
    shutil.rmtree(root / "COCO/train2017")
    with pytest.raises(DatasetError, match=r"2 image\(s\) do not exist.*\n.*video \w+: no image"):
        train_dataset(config(root))
    with pytest.raises(DatasetError, match=r"16 image\(s\) .*(.*\n)+.*and 6 more"):
        train_dataset(images_config(root))


def test_a_missing_or_damaged_frame_is_named(root):
    dataset = train_dataset(config(root))
    video = dataset.videos[0]
    frame = dataset.images / video.files[2]
    frame.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=rf"video {video.name}, frame 2: .*{frame.name}"):
        dataset[SampleKey(0, 0)]
    frame.unlink()
    with pytest.raises(DatasetError, match=rf"video {video.name}, frame 2: no such image"):
        dataset[SampleKey(0, 0)]


def test_a_frame_of_another_size_is_named(root):
    dataset = train_dataset(config(root))
    video = dataset.videos[0]
    write_image(dataset.images / video.files[0], np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(DatasetError, match="30 x 20 pixels, the annotations say 64 x 48"):
        dataset[SampleKey(0, 0)]


@pytest.mark.parametrize(("make", "kind"), [(config, "videos"), (images_config, "images")])
def test_a_file_without_annotations(root, make, kind):
    change(annotations_of(root, kind), lambda content: content.pop("annotations"))
    with pytest.raises(DatasetError, match="field annotations: missing"):
        train_dataset(make(root))


def test_annotations_without_masks(root):
    def empty(content):
        for entry in content["annotations"]:
            entry["segmentations"] = [None] * 8

    change(annotations_of(root), empty)
    with pytest.raises(DatasetError, match="no annotation has a mask"):
        train_dataset(config(root))
    change(annotations_of(root), lambda content: content["annotations"][0].pop("segmentations"))
    with pytest.raises(DatasetError, match="annotation 1, segmentations"):
        train_dataset(config(root))


def test_boxes_follow_from_masks_where_the_file_has_none(root):
    def remove(content):
        for entry in content["annotations"]:
            del entry["bboxes"]

    expected = train_dataset(config(root)).videos[0].annotations
    change(annotations_of(root), remove)
    assert train_dataset(config(root)).videos[0].annotations == expected


@pytest.mark.parametrize(("make", "kind"), [(config, "videos"), (images_config, "images")])
def test_classes_beyond_those_of_the_data_set(root, make, kind):
    number = 41 if kind == "videos" else 92

    def add(content):
        content["categories"].append({"id": number, "name": "sloth"})

    change(annotations_of(root, kind), add)
    with pytest.raises(
        DatasetError, match=rf"the numbers 1 to {number - 1}, found {number} \(sloth"
    ):
        train_dataset(make(root))


def test_the_file_of_another_data_set(root):
    def rename(content):
        content["categories"] = [vars(c) for c in standard_categories("ytvis2019")]

    change(annotations_of(root), rename)
    with pytest.raises(
        DatasetError, match=r"categories of YouTube-VIS 2019, but yt_vis_train_21 is"
    ):
        train_dataset(config(root))


def test_files_of_the_other_kind_are_told_in_a_few_lines(root):
    videos, images = annotations_of(root), annotations_of(root, "images")
    shutil.copy(videos, root / "other.json")
    shutil.copy(images, videos)
    shutil.copy(root / "other.json", images)
    change(images, lambda content: content["annotations"].extend(content["annotations"] * 9))
    for make, text in (
        (config, "is not one of YouTube-VIS"),
        (images_config, "no image has the id"),
    ):
        with pytest.raises(DatasetError, match=text) as caught:
            train_dataset(make(root))
        lines = str(caught.value).splitlines()
        assert len(lines) == 12 and lines[-1].endswith("more; `vidseg validate` lists all")


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_are_the_same_in_any_process(made, workers):
    dataset = train_dataset(config(made, "devis_R_50_YT-21", *JOINT))
    keys = [SampleKey(i, 7 * i) for i in (0, 3, len(dataset) - 1)]
    loader = DataLoader(
        dataset,
        sampler=keys,
        batch_size=None,
        num_workers=workers,
        multiprocessing_context="spawn" if workers else None,
    )
    for key, item in zip(keys, loader, strict=True):
        assert torch.equal(item.images, dataset[key].images)
        assert torch.equal(item.target.masks, dataset[key].target.masks)


def test_a_training_set_of_other_classes_than_the_validation_set(made):
    opts = ["DATASETS.TRAIN_DATASET", "ovis_train"]
    with pytest.raises(ConfigError, match=r"ovis_train has 25 classes, .* yt_vis_val_21 has 40"):
        train_dataset(config(made, "devis_R_50_YT-21", *opts))


def test_no_videos(root):
    change(annotations_of(root), lambda content: content.update(videos=[], annotations=[]))
    with pytest.raises(DatasetError, match="field videos: expected at least one"):
        train_dataset(config(root))


# Random changes


def blank_clip(size, frames=2):
    numbers = np.zeros(size, np.uint16)
    numbers[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 1
    box = [size[1] // 4, size[0] // 4, size[1] // 2, size[0] // 2]
    return ClipSample(
        frames=[np.repeat(numbers[..., None] * 200, 3, 2).astype(np.uint8)] * frames,
        numbers=[numbers] * frames,
        boxes=np.array([[box]] * frames, np.float32),
        labels=np.array([1]),
        valid=np.ones((frames, 1), bool),
    )


@given(st.integers(0, 2**31), st.booleans())
@settings(max_examples=40, deadline=None)
def test_frames_maps_and_boxes_of_clips_move_together(seed, multi_scale):
    augmenter = ClipAugmenter(multi_scale, 0.25)
    changed = augmenter.apply(blank_clip((90, 160)), random.Random(seed))
    height, width = changed.size
    longest = 192 if multi_scale else 135
    assert max(height, width) <= longest and len({frame.shape for frame in changed.frames}) == 1
    for frame, numbers in zip(changed.frames, changed.numbers, strict=True):
        # Nearest and bilinear interpolation differ by up to a pixel, up to three times.
        assert ((frame[..., 0] > 100) != (numbers > 0)).mean() < 0.06
        rows, columns = np.nonzero(numbers)
        if len(rows):
            ends = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            np.testing.assert_allclose(changed.boxes[0, 0], ends, atol=4)


def test_sizes_of_clips_are_those_of_the_paper():
    shorter = {
        min(ClipAugmenter().apply(blank_clip((360, 640), 1), random.Random(seed)).size)
        for seed in range(60)
    }
    assert shorter <= {*range(280, 513)} and {288, 320, 352, 392} <= shorter
    fixed = ClipAugmenter(multi_scale=False)
    sizes = {fixed.apply(blank_clip((360, 640), 1), random.Random(s)).size for s in range(20)}
    assert all(min(size) <= 300 and max(size) <= 540 for size in sizes)
    assert all(min(size) == 300 or max(size) >= 539 for size in sizes)


@given(st.integers(0, 2**31), st.integers(20, 90), st.integers(20, 90))
@settings(max_examples=60, deadline=None)
def test_windows_of_clips(seed, height, width):
    window = clip_window((height, width), 0.1, random.Random(seed))
    if min(height, width) < 38:
        assert window is None
        return
    assert 38 <= window.height <= min(height, 60) and 38 <= window.width <= min(width, 60)
    assert 0 <= window.top <= height - window.height + 1
    assert 0 <= window.left <= width - window.width + 1


@given(st.integers(0, 2**31), st.integers(20, 90), st.integers(20, 90))
@settings(max_examples=60, deadline=None)
def test_windows_of_images(seed, height, width):
    window = image_window((height, width), 0.1, random.Random(seed))
    assert min(38, width) <= window.width <= width and min(60, height) <= window.height <= height
    assert 0 <= window.top <= height - window.height and 0 <= window.left <= width - window.width


def test_colours_stay_in_range_and_differ_from_frame_to_frame():
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    rng = random.Random(0)
    changed = [Distortion().apply(noise, rng) for _ in range(40)]
    assert all(image.dtype == np.uint8 and image.shape == noise.shape for image in changed)
    assert len({image.tobytes() for image in changed}) > 25
    assert any(np.array_equal(image, noise) for image in changed)
    white = np.full((4, 4, 3), 255, np.uint8)
    assert all(Distortion().apply(white, rng).min() > 120 for _ in range(40))  # none wraps around


def test_the_order_of_channels_decides_what_hue_is():
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 200
    for seed in range(30):
        for_rgb = Distortion().apply(red, random.Random(seed))
        for_bgr = Distortion(bgr=True).apply(red[..., ::-1].copy(), random.Random(seed))
        # The six orders are drawn alike; only they do not know of red and blue.
        assert np.array_equal(np.sort(for_rgb, axis=2), np.sort(for_bgr, axis=2))


def image_sample(size=(40, 60), with_masks=True):
    masks = np.zeros((2, *size), np.uint8)
    masks[0, 5:15, 10:30] = 1
    masks[1, 10:35, 20:50] = 1  # overlaps the first
    boxes = np.array([[10, 5, 30, 15], [20, 10, 50, 35]], np.float32)
    image = np.zeros((*size, 3), np.uint8)
    return ImageSample(image, boxes, np.array([3, 1]), masks if with_masks else None)


@given(st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_masks_and_boxes_of_images_move_together(seed):
    changed = ImageAugmenter(0.1).apply(image_sample(), random.Random(seed))
    assert len(changed.boxes) == len(changed.masks) == len(changed.labels)
    assert changed.masks.shape[1:] == changed.size and max(changed.size) <= 133
    for box, mask in zip(changed.boxes, changed.masks, strict=True):
        x, y, w, h = rle.to_bbox(rle.encode(mask.astype(bool)))
        np.testing.assert_allclose(box, [x, y, x + w, y + h], atol=3)


def test_what_a_crop_leaves_of_an_image():
    sample = image_sample()
    cut = crop(sample, Window(20, 30, 20, 30))
    assert cut.labels.tolist() == [1] and cut.boxes.tolist() == [[0, 0, 20, 15]]
    assert cut.size == (20, 30) and cut.masks.sum() == 15 * 20
    alone = crop(image_sample(with_masks=False), Window(20, 30, 20, 30))
    assert alone.labels.tolist() == [1] and alone.masks is None
    nothing = resize(crop(sample, Window(36, 0, 4, 8)), 10, None)
    target = image_target(nothing)
    assert target.boxes.shape == (0, 4) and target.masks.shape == (0, 10, 20)


def test_two_flips_of_an_image_change_nothing():
    sample = image_sample()
    twice = flip(flip(sample))
    assert np.array_equal(twice.masks, sample.masks) and np.array_equal(twice.boxes, sample.boxes)
    assert flip(image_sample(with_masks=False)).masks is None


def test_pictures_of_normalised_images(made):
    images = val_images(images_config(made, "INPUT.MIN_SIZE_TEST", SIZE[0]))
    _, sample = images.images.load(0)
    assert np.array_equal(to_picture(images[0].image), sample.image)
