"""Sizes, clips and training samples, beyond the recorded cases."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from devis.data.clip_sample import clip_sample, crop, flip, resize
from devis.data.clip_target import clip_target
from devis.data.clips import bounce, clips_of_video, training_starts
from devis.data.resize import pad_batch, preprocess, target_size
from devis.inference.selection import paste_masks, select_clip, select_images
from vidseg_common import rle
from vidseg_common.errors import DatasetError


@given(st.integers(1, 60), st.integers(2, 12), st.data())
@settings(max_examples=60, deadline=None)
def test_clips_cover_a_video_in_order(length, num_frames, data):
    stride = data.draw(st.integers(1, num_frames - 1))
    video = clips_of_video(length, num_frames, stride)
    assert all(len(clip) == num_frames for clip in video.clips)
    shown = list(video.clips[0][: video.real_length])
    overlap = num_frames - stride
    for number, clip in enumerate(video.clips[1:], 1):
        start = video.last_start if number == len(video.clips) - 1 else 0
        assert clip[start : start + overlap] == shown[-overlap:]
        shown += clip[start + overlap :]
    assert shown == list(range(length))


def test_a_single_frame_is_repeated():
    assert clips_of_video(1, 6, 4).clips == [[0] * 6]
    assert bounce(1, 0, 4) == [0] * 4 and training_starts(1, 6, each_frame=True) == [0]
    for function in (lambda: clips_of_video(0, 6, 4), lambda: training_starts(0, 6, each_frame=0)):
        with pytest.raises(DatasetError, match="no frames"):
            function()


def test_sizes():
    assert target_size(480, 640, 480, 640) == (480, 640)
    assert target_size(720, 1280, 360, 640) == (360, 640)
    assert target_size(100, 1000, 50, 200) == (20, 200)
    assert target_size(30, 40, 60, None) == (60, 80)


def test_an_image_of_the_right_size_is_only_normalised():
    image = np.zeros((48, 60, 3), np.uint8)
    got = preprocess(image, 48, 80)
    assert got.shape == (3, 48, 60) and got[0, 0, 0] == pytest.approx(-0.485 / 0.229)


def test_an_image_alone_has_no_padding():
    padded = pad_batch([torch.ones(3, 4, 5)])
    assert padded.images.shape == (1, 3, 4, 5) and not padded.mask.any()


def annotation(boxes, category=1, size=(20, 30), **more):
    masks = []
    for box in boxes:
        mask = np.zeros(size, bool)
        if box:
            x, y, w, h = box
            mask[y : y + h, x : x + w] = True
        masks.append(rle.encode(mask) if box else None)
    return {"id": 5, "category_id": category, "bboxes": boxes, "segmentations": masks} | more


def frames(number, size=(20, 30)):
    return [np.full((*size, 3), 10 * t, np.uint8) for t in range(number)]


def test_gaps_take_the_box_of_the_nearest_frame():
    boxes = [None, [2, 4, 10, 6], None, [12, 4, 10, 6], None]
    sample = clip_sample(frames(5), [annotation(boxes, 3)], range(5))
    target = clip_target(sample, boxes_from_masks=False)
    assert target.valid.tolist() == [0, 1, 0, 1, 0] and target.labels.tolist() == [2] * 5
    centre = [float(x) for x in target.boxes[:, 0] * 30]
    assert centre == pytest.approx([7, 7, 7, 17, 17])
    assert target.boxes[[0, 2, 4], 2:].unique().tolist() == pytest.approx([1e-6])
    assert target.masks.sum((1, 2)).tolist() == [0, 60, 0, 60, 0] == target.area.tolist()


def test_later_annotations_cover_earlier_ones_and_crowds_are_left_out():
    first, second = annotation([[0, 0, 10, 10]]), annotation([[5, 0, 10, 10]], 2)
    crowd = annotation([[0, 0, 30, 20]], 3, iscrowd=1)
    target = clip_target(clip_sample(frames(1), [first, crowd, second], [0]), boxes_from_masks=True)
    assert target.area.tolist() == [50, 100] and target.labels.tolist() == [0, 1]
    torch.testing.assert_close(target.boxes[0], torch.tensor([2 / 30, 4.5 / 20, 4 / 30, 9 / 20]))


def test_instances_that_the_crop_leaves_out_are_dropped():
    sample = clip_sample(frames(2), [annotation([[0, 0, 5, 5]] * 2)], [0, 1])
    kept = clip_target(crop(sample, 2, 3, 10, 20), boxes_from_masks=True)
    assert kept.size == (10, 20) and kept.area.tolist() == [6, 6]
    none = clip_target(crop(sample, 6, 6, 10, 20), boxes_from_masks=True)
    assert none.boxes.shape == (0, 4) and none.masks.shape == (0, 10, 20)
    assert none.centroids.shape == (0, 2)


def test_no_annotations_at_all():
    target = clip_target(clip_sample(frames(3), [], range(3)), boxes_from_masks=True)
    assert len(target.labels) == 0 and target.masks.shape == (0, 20, 30)


def test_two_flips_change_nothing():
    sample = clip_sample(frames(2), [annotation([[3, 2, 8, 9], None])], [0, 1])
    twice = flip(flip(sample))
    assert np.array_equal(twice.boxes, sample.boxes)
    assert np.array_equal(twice.numbers[0], sample.numbers[0])


def test_resizing_to_the_same_size_keeps_the_sample():
    sample = clip_sample(frames(1), [annotation([[3, 2, 8, 9]])], [0])
    assert resize(sample, 20, None) is sample
    larger = resize(sample, 40, None)
    assert larger.size == (40, 60) and larger.boxes[0, 0].tolist() == [6, 4, 22, 22]


def test_masks_of_another_size_are_named():
    with pytest.raises(DatasetError, match=r"annotation 5, frame 0: .*\(10, 30\)"):
        clip_sample(frames(1), [annotation([[0, 0, 4, 4]], size=(10, 30))], [0])


def test_more_instances_than_a_byte_can_number():
    boxes = [[[x % 30, x // 30 % 20, 1, 1]] for x in range(300)]
    sample = clip_sample(frames(1), [annotation(box) for box in boxes], [0])
    assert sample.numbers[0].max() == 300


def test_every_query_once_without_top_k():
    logits, boxes = torch.randn(1, 12, 4), torch.rand(1, 12, 4)
    kept = select_clip(
        logits, boxes, num_frames=2, real_frames=2, size=(9, 9), num_out=3, top_k=False
    )
    assert sorted(kept.queries.tolist()) == list(range(6))
    mean = kept.scores.mean(0)
    assert (mean[:-1] >= mean[1:]).all()
    images = select_images(logits, boxes, [(5, 5)], 3, top_k=False)
    assert images.scores.shape == (1, 12)
    unique, inverse = kept.distinct()
    assert torch.equal(unique[inverse], kept.queries)


def test_more_predictions_asked_for_than_there_are():
    kept = select_images(torch.randn(1, 2, 3), torch.rand(1, 2, 4), [(5, 5)], 100)
    assert kept.scores.shape == (1, 6)
    assert paste_masks(torch.zeros(1, 0, 2, 2), (8, 8), [(8, 8)], [(5, 5)])[0].shape == (0, 1, 5, 5)
