import random

import numpy as np
import pytest

from stemseg.data.duplicate import duplicate_instance

HEIGHT, WIDTH = 60, 100


def make_clip(boxes):
    """A bright rectangle per frame: (left, top, right, bottom) or None."""
    images, masks = [], []
    for box in boxes:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        if box is not None:
            left, top, right, bottom = box
            mask[top:bottom, left:right] = 1
        masks.append(mask)
        ramp = np.arange(WIDTH, dtype=np.uint8)[None, :, None]
        images.append(np.where(mask[..., None] > 0, 100 + ramp, 20).astype(np.uint8).repeat(3, 2))
    return images, masks


def centre(mask):
    return np.argwhere(mask).mean(0)[::-1]


def test_the_copy_is_pasted_over_image_and_mask():
    images, masks = make_clip([(40, 20, 60, 40)] * 3)
    clip = duplicate_instance(images, masks, random.Random(0))
    assert clip is not None
    for t in range(3):
        assert clip.copy[t].any()
        assert not np.any(clip.copy[t] & clip.original[t])
        assert (clip.images[t][clip.copy[t] > 0] >= 90).mean() > 0.9
        outside = (clip.copy[t] == 0) & (masks[t] == 0)
        assert (clip.images[t][outside] == 20).all()
        assert not np.any(clip.original[t] & ~masks[t].astype(bool))
    assert masks[0].sum() == 400  # inputs stay as they were


@pytest.mark.parametrize(
    ("box", "direction"),
    [((0, 20, 15, 40), 1), ((84, 20, 99, 40), -1), ((55, 20, 100, 40), 1), ((0, 20, 45, 40), -1)],
    ids=["narrow left", "narrow right", "wide at right", "wide at left"],
)
def test_direction_follows_the_place(box, direction):
    images, masks = make_clip([box] * 2)
    for seed in range(6):
        clip = duplicate_instance(images, masks, random.Random(seed))
        assert clip is not None
        visible = [mask for mask in clip.copy if mask.any()]
        assert all(np.sign(centre(m)[0] - centre(masks[0])[0]) == direction for m in visible)


def test_both_directions_are_drawn():
    images, masks = make_clip([(40, 20, 60, 40)])
    signs = {
        tuple(np.sign(centre(duplicate_instance(images, masks, random.Random(s)).copy[0])
                      - centre(masks[0])))
        for s in range(30)
    }  # fmt: skip
    assert {sign[0] for sign in signs} == {-1, 1}
    assert {sign[1] for sign in signs} >= {-1, 1}


def test_no_room_in_a_frame_spanned_from_left_to_right():
    images, masks = make_clip([(0, 20, 30, 40), (70, 20, 100, 40)])
    assert duplicate_instance(images, masks, random.Random(0)) is None


def test_no_vertical_shift_from_top_to_bottom():
    images, masks = make_clip([(40, 0, 55, 60)])
    clip = duplicate_instance(images, masks, random.Random(0))
    assert centre(clip.copy[0])[1] == pytest.approx(centre(masks[0])[1])


def test_frames_without_the_instance_pass():
    images, masks = make_clip([(40, 20, 60, 40), None])
    clip = duplicate_instance(images, masks, random.Random(0))
    np.testing.assert_array_equal(clip.images[1], images[1])
    assert not clip.original[1].any()
    assert not clip.copy[1].any()


def test_mirrored_copies_occur():
    images, masks = make_clip([(40, 20, 60, 40)])
    slopes = set()
    for seed in range(20):
        clip = duplicate_instance(images, masks, random.Random(seed))
        row = clip.images[0][np.argwhere(clip.copy[0])[0][0], :, 0].astype(int)
        columns = np.flatnonzero(clip.copy[0].any(0))[2:-2]
        slopes.add(int(np.sign(np.diff(row[columns]).sum())))
    assert slopes == {-1, 1}
