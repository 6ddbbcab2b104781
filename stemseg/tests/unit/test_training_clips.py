"""Samples of video and image data sets."""

import random
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from stemseg.data.clip_arrays import ClipLabels, FrameArrays, make_sample
from stemseg.data.image_clips import (
    ImageClips,
    coco_rules,
    filter_images,
    limit_instances,
    mapillary_rules,
)
from stemseg.data.sampling import ClipLength
from stemseg.data.sequences import ImageFile, ImageRecord, VideoSequence
from stemseg.data.video_clips import (
    VideoClips,
    clip_sample,
    davis_rules,
    kitti_mots_rules,
    youtube_vis_rules,
)
from stemseg.inference.preprocess import InputRule
from vidseg_common import rle
from vidseg_common.datasets.category_maps import (
    COCO_TO_DAVIS,
    MAPILLARY_TO_KITTI_MOTS,
    CategoryMap,
)
from vidseg_common.errors import DatasetError
from vidseg_common.frame_augment import FrameAugmenter, Photometric
from vidseg_common.packed import PackedList

HEIGHT, WIDTH = 32, 48
PIXELS = InputRule(32, 48, (10.0, 20.0, 30.0), (1.0, 1.0, 1.0))


def box(left, top, right, bottom):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def counts(mask):
    return rle.encode(mask)["counts"]


@pytest.fixture
def sequence(tmp_path):
    """Four frames; instances 1 (class 5) and, from frame 1, 2 (class 3)."""
    (tmp_path / "v").mkdir()
    for t in range(4):
        image = np.full((HEIGHT, WIDTH, 3), 50 + 10 * t, np.uint8)
        cv2.imwrite(str(tmp_path / "v" / f"{t}.png"), image)
    one, two = counts(box(4, 4, 16, 20)), counts(box(20, 4, 30, 20))
    return VideoSequence(
        id="v",
        image_root=tmp_path,
        image_paths=tuple(f"v/{t}.png" for t in range(4)),
        image_dims=(HEIGHT, WIDTH),
        categories={1: 5, 2: 3},
        segmentations=({1: one}, *({1: one, 2: two} for _ in range(3))),
    )


def test_sample_of_a_video(sequence):
    sample = clip_sample(sequence, youtube_vis_rules(), PIXELS, random.Random(0))
    assert sample.images.shape == (4, 3, HEIGHT, WIDTH)
    assert sample.images[2, :, 0, 0].tolist() == [60, 50, 40]
    assert sample.masks.shape == (2, 4, HEIGHT, WIDTH)
    assert sample.masks.sum((2, 3)).tolist() == [[192] * 4, [0, 160, 160, 160]]
    assert not sample.ignore_masks.any()
    assert sample.category_ids.tolist() == [5, 3]
    assert (sample.name, sample.original_size) == ("v", (WIDTH, HEIGHT))


def test_davis_ignores_the_background(sequence):
    sample = clip_sample(sequence, davis_rules(), PIXELS, random.Random(0))
    assert sample.category_ids.tolist() == [1, 1]
    assert torch.equal(sample.ignore_masks, 1 - sample.masks.amax(0))


def test_single_instances_are_duplicated_with_their_class(sequence):
    alone = sequence.extract_subsequence([0])
    rules = youtube_vis_rules()
    sample = clip_sample(alone, rules, PIXELS, random.Random(0))
    assert sample.category_ids.tolist() == [5, 5]
    assert not (sample.masks[0] & sample.masks[1]).any()
    single = clip_sample(alone, replace(rules, duplicates=False), PIXELS, random.Random(0))
    assert single.category_ids.tolist() == [5]
    covered = clip_sample(alone, davis_rules(), PIXELS, random.Random(0))
    assert torch.equal(covered.ignore_masks, 1 - covered.masks.amax(0))


def test_class_3_is_the_ignore_region_of_kitti_mots(sequence):
    sample = clip_sample(sequence, kitti_mots_rules(), PIXELS, random.Random(0))
    assert sample.category_ids.tolist() == [5]
    assert sample.ignore_masks.sum((1, 2)).tolist() == [0, 160, 160, 160]
    with pytest.raises(DatasetError, match="kittimots, sequence v: no instance"):
        clip_sample(sequence.filter_categories({3}), kitti_mots_rules(), PIXELS, random.Random(0))


def test_channels_are_reversed_after_normalising(sequence):
    rule = replace(PIXELS, bgr=False, unit_scale=True, mean=(0.0, 0.1, 0.2))
    sample = clip_sample(sequence, youtube_vis_rules(), rule, random.Random(0))
    wanted = torch.tensor([50 / 255 - 0.2, 50 / 255 - 0.1, 50 / 255])
    torch.testing.assert_close(sample.images[0, :, 0, 0], wanted)


def test_augmented_clips_mirror_and_reverse(sequence):
    rules = youtube_vis_rules(augments=True)
    seen = set()
    for seed in range(30):
        sample = clip_sample(sequence, rules, PIXELS, random.Random(seed))
        visible = sample.masks[1].flatten(1).any(1).tolist()
        last = sample.masks[0].any(0).any(0).nonzero().max().item()
        seen.add((tuple(visible), last))
    assert seen == {
        ((first, True, True, not first), last) for first in (True, False) for last in (15, 43)
    }


def test_clips_of_a_set_are_drawn_once(sequence):
    def make():
        length = ClipLength(2, 1, 2)
        return VideoClips([sequence], 9, length, davis_rules(), PIXELS, random.Random(4))

    clips = make()
    assert len(clips) == 9
    assert clips.clips == make().clips
    assert clips[(3, 7)].images.shape[0] == 2
    first, second = clips[(3, 7)], make()[(3, 7)]
    assert torch.equal(first.images, second.images)


def test_too_short_videos_name_the_data_set(sequence):
    length = ClipLength(4, 4, 4)
    with pytest.raises(DatasetError, match="davis: none of the 1 sequences"):
        VideoClips([sequence], 9, length, davis_rules(), PIXELS, random.Random(4))


def test_what_comes_from_outside_is_the_mean_colour():
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    blank = np.zeros((HEIGHT, WIDTH), np.uint8)
    valid = box(0, 0, 24, HEIGHT)
    frame = FrameArrays(image, [], blank, valid)
    sample = make_sample([frame], ClipLabels("x", []), PIXELS)
    assert sample.images[0, :, 0, 0].tolist() == [80, 70, 60]
    assert sample.images[0, :, 0, -1].tolist() == [0, 0, 0]
    black = make_sample([replace(frame.blanked(), valid=None)], ClipLabels("x", []), PIXELS)
    assert black.images[0, :, 0, -1].tolist() == [-10, -20, -30]
    assert sample.masks.shape == (0, 1, HEIGHT, WIDTH)


def record(*instances, ignore=None, path="i.png"):
    """An image of (class, mask) pairs."""
    return ImageRecord(
        path,
        HEIGHT,
        WIDTH,
        tuple(category for category, _ in instances),
        tuple(counts(mask) for _, mask in instances),
        None if ignore is None else counts(ignore),
    )


@pytest.fixture
def image_root(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "i.png"), image)
    return tmp_path


def image_set(root: Path, *records, rules=None, num_frames=4):
    file = ImageFile(PackedList(records), root, {})
    return ImageClips(file, rules or coco_rules(COCO_TO_DAVIS), num_frames, PIXELS)


def test_clip_of_an_image(image_root):
    clips = image_set(image_root, record((1, box(8, 8, 20, 20)), (9, box(24, 8, 40, 28))))
    sample = clips.sample(0, random.Random(1))
    assert sample.images.shape == (4, 3, HEIGHT, WIDTH)
    assert sample.masks.shape == (2, 4, HEIGHT, WIDTH)
    assert sample.category_ids.tolist() == [1, 1]
    assert sample.name == "i.png"
    areas = sample.masks.sum((2, 3))
    assert (areas[0] == 144).any()
    assert (areas > 0).all()
    frames = {tuple(frame.flatten().tolist()) for frame in sample.images}
    assert len(frames) == 4


def test_the_image_itself_is_at_any_place(image_root):
    clips = image_set(image_root, record((1, box(8, 8, 20, 20))))
    image = clips.records[0].load_image(image_root).astype(np.float32) - (10, 20, 30)
    both = [torch.from_numpy(np.ascontiguousarray(v)).permute(2, 0, 1) for v in
            (image, image[:, ::-1])]  # fmt: skip
    places = set()
    for seed in range(100):
        images = clips.sample(0, random.Random(seed)).images
        found = [
            (t, flip) for t in range(4) for flip in (0, 1) if torch.equal(images[t], both[flip])
        ]
        assert len(found) == 1
        places.update(found)
    assert places == {(t, flip) for t in range(4) for flip in (0, 1)}


def test_same_seed_same_clip(image_root):
    clips = image_set(image_root, record((1, box(8, 8, 20, 20))))
    assert torch.equal(clips[(0, 5)].images, clips[(0, 5)].images)
    assert not torch.equal(clips[(0, 5)].images, clips[(0, 6)].images)


def test_void_regions_move_with_the_image(image_root):
    rules = replace(coco_rules(COCO_TO_DAVIS), augmenter=FrameAugmenter(Photometric(0, 0)))
    void = box(0, 0, 6, 6)
    sample = image_set(image_root, record((1, box(8, 8, 20, 20)), ignore=void), rules=rules).sample(
        0, random.Random(0)
    )
    assert sample.ignore_masks.sum((1, 2)).tolist() == [36] * 4


def test_images_without_a_kept_class_are_dropped(image_root):
    clips = image_set(image_root, record((90, box(0, 0, 9, 9))), record((1, box(0, 0, 9, 9))))
    assert len(clips) == 1
    with pytest.raises(DatasetError, match="coco: none of the 1 images has an instance"):
        image_set(image_root, record((90, box(0, 0, 9, 9))))


def test_small_instances_of_mapillary_are_dropped():
    rules = mapillary_rules(MAPILLARY_TO_KITTI_MOTS)
    small, large = box(0, 0, 5, 5), box(0, 0, 6, 5)
    kept = list(filter_images([record((56, small), (20, large), (21, large), (1, large)),
                               record((56, small)), record((21, large))], rules))  # fmt: skip
    assert [r.categories for r in kept] == [(20, 21)]


def test_masks_beyond_the_limit_are_ignored():
    rules = mapillary_rules(MAPILLARY_TO_KITTI_MOTS, max_instances=2)
    masks = [box(0, 0, 6, 6), box(10, 0, 20, 10), box(22, 0, 30, 8)]
    image = record(*zip((56, 21, 20), masks, strict=True), ignore=box(40, 20, 48, 32))
    left, ignore = limit_instances(image, rules)
    assert left.categories == (20,)
    np.testing.assert_array_equal(left.load_masks()[0], masks[2])
    np.testing.assert_array_equal(ignore, masks[0] | masks[1] | box(40, 20, 48, 32))


def test_more_than_127_instances(image_root):
    cells = [(t % 24 * 2, t // 24 * 2) for t in range(200)]
    masks = [box(x, y, x + 2, y + 2) for x, y in cells]
    rules = replace(coco_rules(CategoryMap({1: 1})), augmenter=FrameAugmenter(Photometric(0, 0)))
    clips = image_set(image_root, record(*((1, mask) for mask in masks)), rules=rules, num_frames=2)
    assert clips.sample(0, random.Random(0)).masks.sum((2, 3)).tolist() == [[4, 4]] * 200
