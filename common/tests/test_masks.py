import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from vidseg_common.errors import MaskError
from vidseg_common.masks import (
    DAVIS_PALETTE,
    from_one_hot,
    object_ids,
    open_indices,
    read_indices,
    read_mask,
    read_mask_and_palette,
    resolve_overlaps,
    to_one_hot,
    write_binary_mask,
    write_mask,
)
from vidseg_common.png_plain import decode_plain

RECORD = json.loads((Path(__file__).parent / "parity" / "expected_rle.json").read_text())

small_maps = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))


@pytest.fixture
def scene():
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:40] = 3
    mask[35:50, 20:60] = 17
    return mask


def save(path, array, mode=None):
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def test_palette_is_the_official_one():
    assert hashlib.sha256(DAVIS_PALETTE.tobytes()).hexdigest() == RECORD["palette_sha256"]
    assert DAVIS_PALETTE[:24].tolist() == RECORD["palette_first_24"]


@given(mask=small_maps)
@settings(max_examples=30, deadline=None)
def test_write_then_read(mask, tmp_path_factory):
    path = tmp_path_factory.mktemp("masks") / "a.png"
    write_mask(path, mask)
    image = Image.open(path)
    assert image.mode == "P"
    assert bytes(image.getpalette()) == DAVIS_PALETTE.tobytes()
    assert (read_mask(path) == mask).all()
    assert (read_indices(path) == mask).all()


def test_own_palette_comes_back(tmp_path, scene):
    palette = np.roll(DAVIS_PALETTE, 5, axis=0)
    write_mask(tmp_path / "a.png", scene, palette)
    mask, stored = read_mask_and_palette(tmp_path / "a.png")
    assert (mask == scene).all()
    assert (stored == palette).all()
    write_binary_mask(tmp_path / "b.png", scene > 0)
    assert read_mask_and_palette(tmp_path / "b.png")[1] is None


def test_binary_mask_is_grey_0_255(tmp_path, scene):
    write_binary_mask(tmp_path / "a.png", scene == 3)
    assert Image.open(tmp_path / "a.png").mode == "L"
    assert (read_mask(tmp_path / "a.png") == np.where(scene == 3, 255, 0)).all()


@given(mask=small_maps, level=st.sampled_from([0, 1, 9]))
@settings(max_examples=30, deadline=None)
def test_plain_palette_files_are_read_the_short_way(mask, level):
    buffer = io.BytesIO()
    image = Image.fromarray(mask)
    image.putpalette(DAVIS_PALETTE.tobytes())
    image.save(buffer, "PNG", compress_level=level, bits=8)
    assert (np.asarray(decode_plain(buffer.getvalue())) == mask).all()


def test_short_way_leaves_other_and_damaged_files_to_pillow(scene):
    buffer = io.BytesIO()
    Image.fromarray(scene).save(buffer, "PNG")
    assert decode_plain(buffer.getvalue()) is None
    buffer = io.BytesIO()
    image = Image.fromarray(scene)
    image.putpalette(DAVIS_PALETTE.tobytes())
    image.save(buffer, "PNG")
    good = buffer.getvalue()
    assert (np.asarray(decode_plain(good)) == scene).all()
    for length in (0, 4, 20, len(good) // 2, len(good) - 20):
        assert decode_plain(good[:length]) is None
    place = good.index(b"IDAT") + 12
    assert decode_plain(good[:place] + bytes([good[place] ^ 8]) + good[place + 1 :]) is None


def test_two_level_and_16_bit_files(tmp_path, scene):
    save(tmp_path / "one.png", (scene > 0).astype(np.uint8) * 255, "1")
    assert (read_mask(tmp_path / "one.png") == (scene > 0)).all()
    assert np.asarray(open_indices(tmp_path / "one.png")).max() == 1
    save(tmp_path / "wide.png", scene.astype(np.uint16))
    assert (read_mask(tmp_path / "wide.png") == scene).all()
    save(tmp_path / "mots.png", scene.astype(np.uint16) * 1000)
    with pytest.raises(MaskError, match=r"mots.png: object id 17000"):
        read_mask(tmp_path / "mots.png")


@pytest.mark.parametrize("ids", [[256], [-1], [300]])
def test_ids_that_do_not_fit_are_refused(tmp_path, ids):
    with pytest.raises(MaskError, match="does not fit"):
        write_mask(tmp_path / "a.png", np.array([ids]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("array", [np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2)), np.zeros(3)])
def test_what_is_no_mask_is_refused(tmp_path, array):
    with pytest.raises(MaskError, match="two-dimensional"):
        write_mask(tmp_path / "a.png", array)


def test_unreadable_files_are_named(tmp_path, scene):
    with pytest.raises(MaskError, match=r"not found: .*gone.png"):
        read_mask(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(MaskError, match=r"text.png: not an image"):
        read_mask(tmp_path / "text.png")
    write_mask(tmp_path / "a.png", np.random.default_rng(0).integers(0, 9, (60, 80)))
    data = (tmp_path / "a.png").read_bytes()
    for length in (900, len(data) // 2):
        (tmp_path / "cut.png").write_bytes(data[:length])
        with pytest.raises(MaskError, match=r"cut.png: damaged or cut off"):
            read_mask(tmp_path / "cut.png")
        with pytest.raises(MaskError, match=r"cut.png: damaged or cut off"):
            read_indices(tmp_path / "cut.png")


def test_colour_masks_are_refused_unless_asked(tmp_path, scene):
    path = save(tmp_path / "rgb.png", DAVIS_PALETTE[scene])
    with pytest.raises(MaskError, match=r"rgb.png is a colour picture.*snap"):
        read_mask(path)
    with pytest.raises(MaskError, match="colour picture"):
        read_indices(path)
    assert (read_mask(path, rgb="snap") == scene).all()


@given(mask=small_maps)
@settings(max_examples=20, deadline=None)
def test_any_palette_colours_snap_back(mask, tmp_path_factory):
    mask = mask % 64
    path = save(tmp_path_factory.mktemp("masks") / "a.png", DAVIS_PALETTE[mask])
    assert (read_mask(path, rgb="snap") == mask).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_smoothed_colour_masks_keep_their_ids(tmp_path, scene, suffix):
    large = Image.fromarray(DAVIS_PALETTE[scene]).resize((200, 150), Image.Resampling.BICUBIC)
    large.save(tmp_path / f"a{suffix}", quality=90)
    expected = np.array(Image.fromarray(scene).resize((200, 150), Image.Resampling.NEAREST))
    mask = read_mask(tmp_path / f"a{suffix}", rgb="snap")
    assert set(np.unique(mask)) == {0, 3, 17}
    assert (mask == expected).mean() > 0.98


def test_other_colours_get_ids_that_agree_between_files(tmp_path, scene):
    colors = np.zeros((*scene.shape, 3), np.uint8)
    colors[scene == 3] = (250, 20, 30)
    colors[scene == 17] = (10, 200, 60)
    ids = {}
    first = read_mask(save(tmp_path / "a.png", colors), rgb="snap", color_ids=ids)
    assert ids == {(10, 200, 60): 1, (250, 20, 30): 2}
    assert (first == np.select([scene == 17, scene == 3], [1, 2])).all()
    colors[scene == 17] = 0
    second = read_mask(save(tmp_path / "b.png", colors), rgb="snap", color_ids=ids)
    assert (second == np.where(scene == 3, 2, 0)).all()


def test_invisible_pixels_are_background(tmp_path, scene):
    rgba = np.dstack([DAVIS_PALETTE[scene], np.where(scene == 3, 0, 255).astype(np.uint8)])
    mask = read_mask(save(tmp_path / "a.png", rgba), rgb="snap")
    assert (mask == np.where(scene == 3, 0, scene)).all()


def test_photographs_and_masks_without_background_are_refused(tmp_path, scene):
    noise = np.random.default_rng(1).integers(0, 255, (60, 80, 3), np.uint8)
    with pytest.raises(MaskError, match=r"noise.png: .*photograph"):
        read_mask(save(tmp_path / "noise.png", noise), rgb="snap")
    blocks = np.kron(noise[:20, :20], np.ones((4, 4, 1), np.uint8))
    with pytest.raises(MaskError, match="more than 64 full colours"):
        read_mask(save(tmp_path / "blocks.png", blocks), rgb="snap")
    white = np.full((20, 20, 3), 255, np.uint8)
    with pytest.raises(MaskError, match="black background"):
        read_mask(save(tmp_path / "white.png", white), rgb="snap")


def test_smoothed_grey_masks(tmp_path, scene):
    binary = Image.fromarray((scene == 3).astype(np.uint8) * 255)
    binary.resize((201, 153), Image.Resampling.BICUBIC).save(tmp_path / "a.png")
    with pytest.raises(MaskError, match=r"a.png has \d+ different grey values.*snap"):
        read_mask(tmp_path / "a.png")
    assert set(np.unique(read_mask(tmp_path / "a.png", rgb="snap"))) == {0, 255}


def test_many_real_ids_in_grey_are_accepted(tmp_path):
    mask = np.kron(np.arange(100, dtype=np.uint8).reshape(10, 10), np.ones((4, 4), np.uint8))
    assert (read_mask(save(tmp_path / "a.png", mask)) == mask).all()


def test_object_ids():
    mask = np.array([[0, 7], [255, 2]], np.uint8)
    assert object_ids(mask) == [2, 7, 255]
    assert object_ids(mask, void=255) == [2, 7]
    assert object_ids(mask.astype(np.int32) * 300) == [600, 2100, 76500]
    assert object_ids(np.zeros((2, 2), np.uint8)) == []


@given(mask=small_maps)
@settings(deadline=None)
def test_one_hot_and_back(mask):
    ids = object_ids(mask)
    stack = to_one_hot(mask, ids)
    assert stack.shape == (len(ids), *mask.shape)
    assert (from_one_hot(stack, ids) == mask).all()
    assert (resolve_overlaps(stack, [0.5] * len(ids), ids) == mask).all()


def test_one_hot_order_and_absent_ids():
    stack = to_one_hot(np.array([[1, 5]], np.uint8), [5, 9])
    assert stack.tolist() == [[[False, True]], [[False, False]]]


def test_from_one_hot_refuses_overlaps_and_bad_ids():
    both = np.ones((2, 3, 3), bool)
    with pytest.raises(MaskError, match="overlap"):
        from_one_hot(both, [1, 2])
    for ids in ([1, 1], [0, 1], [1, 256], [1]):
        with pytest.raises(MaskError):
            from_one_hot(np.zeros((2, 3, 3), bool), ids)


def test_overlap_goes_to_the_highest_score_then_the_first():
    masks = np.array([[[1, 1, 0]], [[0, 1, 1]], [[0, 1, 1]]], bool)
    assert resolve_overlaps(masks, [0.2, 0.9, 0.9]).tolist() == [[1, 2, 2]]
    assert resolve_overlaps(masks, [0.95, 0.1, 0.2], [7, 8, 9]).tolist() == [[7, 7, 9]]
    with pytest.raises(MaskError, match="scores"):
        resolve_overlaps(masks, [1.0])
    with pytest.raises(MaskError, match="scores"):
        resolve_overlaps(masks, [1.0, float("nan"), 0.0])


@given(scores=st.permutations([0.1, 0.2, 0.3]))
@settings(deadline=None)
def test_every_set_pixel_is_given_to_one_mask(scores):
    masks = np.random.default_rng(3).random((3, 8, 8)) < 0.5
    joined = resolve_overlaps(masks, scores)
    assert ((joined > 0) == masks.any(axis=0)).all()
    for k in range(3):
        assert masks[k][joined == k + 1].all()
