"""Overlays and contact sheets."""

from __future__ import annotations

import numpy as np
import pytest

from vidseg_common.masks import DAVIS_PALETTE
from vidseg_common.visualize import color_for_id, contact_sheet, overlay, side_by_side


def photo(height: int = 60, width: int = 80) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def boxes(dtype: type = np.uint8, first: int = 1, second: int = 2) -> np.ndarray:
    """Two touching boxes on background; the second one touches the right border."""
    mask = np.zeros((60, 80), dtype)
    mask[10:50, 20:40] = first
    mask[10:50, 40:80] = second
    return mask


def test_colors_are_those_of_the_davis_palette() -> None:
    assert color_for_id(0) == (0, 0, 0)
    assert color_for_id(1) == (128, 0, 0)
    assert color_for_id(5) == (128, 0, 128)
    assert color_for_id(255) == tuple(DAVIS_PALETTE[255])
    assert color_for_id(256) == color_for_id(1)
    assert color_for_id(1002) == color_for_id((1002 - 1) % 255 + 1)
    assert all(color_for_id(i) != (0, 0, 0) for i in range(1, 600))
    with pytest.raises(ValueError, match="-1"):
        color_for_id(-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint16])
@pytest.mark.parametrize("ids", [(1, 2), (7, 200), (255, 3)])
def test_fill_is_the_blend_of_photo_and_color(dtype: type, ids: tuple[int, int]) -> None:
    image, mask = photo(), boxes(dtype, *ids)
    result = overlay(image, mask, alpha=0.3, contours=False)
    expected = image.astype(float)
    for object_id in ids:
        area = mask == object_id
        expected[area] = 0.3 * np.array(color_for_id(object_id)) + 0.7 * image[area]
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 0.5 + 1e-6
    np.testing.assert_array_equal(result[mask == 0], image[mask == 0])


def test_ids_beyond_a_byte() -> None:
    image = photo()
    mask = boxes(np.int32, 1001, 70_000)
    result = overlay(image, mask, alpha=1.0, contours=False)
    assert tuple(result[30, 30]) == color_for_id(1001)
    assert tuple(result[30, 60]) == color_for_id(70_000)


def test_more_ids_than_a_byte_can_number() -> None:
    mask = np.arange(1, 60 * 80 + 1, dtype=np.int32).reshape(60, 80)
    result = overlay(photo(), mask, alpha=1.0, contours=False)
    for row, column in ((0, 0), (3, 70), (59, 79)):
        assert tuple(result[row, column]) == color_for_id(int(mask[row, column]))
    assert overlay(photo(), mask).shape == (60, 80, 3)


def test_a_color_depends_on_the_id_alone() -> None:
    image = photo()
    alone, both = boxes(second=0), boxes()
    here = (slice(15, 45), slice(22, 38))
    np.testing.assert_array_equal(overlay(image, alone)[here], overlay(image, both)[here])


def test_contours_lie_inside_and_between_touching_objects() -> None:
    image, mask = np.zeros((60, 80, 3), np.uint8), boxes()
    changed = (overlay(image, mask) != overlay(image, mask, contours=False)).any(axis=2)
    assert not changed[mask == 0].any()
    assert changed[10, 20:80].all() and changed[49, 20:80].all() and changed[10:50, 20].all()
    assert changed[30, 39] and changed[30, 40]
    assert not changed[30, 30] and not changed[30, 60]
    # The object goes on outside the frame: there is no contour along the border.
    assert not changed[20:40, 79].any()


def test_contours_grow_with_the_picture() -> None:
    mask = np.zeros((1080, 1920), np.uint8)
    mask[200:800, 500:1500] = 1
    image = np.zeros((1080, 1920, 3), np.uint8)
    lines = overlay(image, mask) != overlay(image, mask, contours=False)
    assert 3 <= int(lines[200:500, 1000].any(axis=1).sum()) <= 6


def test_labels_are_inside_their_object() -> None:
    mask = np.zeros((200, 300), np.uint8)
    mask[20:180, 20:280] = 12
    mask[60:180, 90:210] = 0  # a bridge: its centre of mass is outside
    image = np.zeros((200, 300, 3), np.uint8)
    labelled = overlay(image, mask, labels=True)
    changed = (labelled != overlay(image, mask)).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert len(rows) > 30
    assert mask[int(rows.mean()), int(columns.mean())] == 12
    assert (labelled == 255).all(axis=2).any()


def test_void_is_not_painted() -> None:
    image, mask = photo(), boxes(second=255)
    with_void = overlay(image, mask, void=255)
    np.testing.assert_array_equal(with_void[mask == 255], image[mask == 255])
    np.testing.assert_array_equal(with_void, overlay(image, boxes(second=0)))
    wide = boxes(np.int32, 300, 500)
    np.testing.assert_array_equal(
        overlay(image, wide, void=500), overlay(image, boxes(np.int32, 300, 0))
    )


def test_empty_and_boolean_masks() -> None:
    image = photo()
    empty = overlay(image, np.zeros((60, 80), np.uint8))
    np.testing.assert_array_equal(empty, image)
    assert empty is not image
    mask = boxes() == 1
    np.testing.assert_array_equal(overlay(image, mask), overlay(image, mask.astype(np.uint8)))


def test_input_is_not_changed() -> None:
    image, mask = photo(), boxes()
    before = image.copy(), mask.copy()
    overlay(image, mask, labels=True)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])
    flipped = overlay(image[:, ::-1], mask[:, ::-1])
    np.testing.assert_array_equal(flipped, overlay(image, mask)[:, ::-1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(60, 81\).*\(60, 80\)"):
        overlay(photo(), np.zeros((60, 81), np.uint8))
    with pytest.raises(ValueError, match="uint8 image"):
        overlay(photo()[..., 0], boxes())
    with pytest.raises(ValueError, match="float"):
        overlay(photo(), boxes(np.float32))
    with pytest.raises(ValueError, match="alpha"):
        overlay(photo(), boxes(), alpha=1.5)
    with pytest.raises(ValueError, match="not negative"):
        overlay(photo(), boxes(np.int16, -3))


def test_contact_sheet_holds_all_images() -> None:
    images = [np.full((20 + i, 30, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = contact_sheet(images, 3)
    assert sheet.dtype == np.uint8
    assert sheet.shape == (2 * (24 + 6) + 6, 3 * (30 + 6) + 6, 3)
    for value in (0, 40, 80, 120, 160):
        assert (sheet == value).all(axis=2).sum() >= 20 * 30
    assert (sheet[:, -6:] == 255).all()


def test_captions_take_a_line_below() -> None:
    images = [np.full((40, 120, 3), 100, np.uint8)] * 2
    plain, told = contact_sheet(images, 2), contact_sheet(images, 2, captions=["first", "Δ" * 99])
    assert told.shape[0] > plain.shape[0] + 10
    below = told[6 + 40 : -6]
    assert (below[:, 6:126] < 128).any() and (below[:, 132:252] < 128).any()
    assert (told[:, 126:132] == 255).all(), "a caption ran into the next cell"


def test_contact_sheet_scales_down() -> None:
    sheet = contact_sheet([photo(60, 80), photo(60, 20)], 5, cell_width=40)
    assert sheet.shape == (60 + 12, 2 * 46 + 6, 3)


def test_side_by_side_is_one_row() -> None:
    images = [photo(), photo()]
    np.testing.assert_array_equal(side_by_side(images), contact_sheet(images, 2))


def test_bad_contact_sheets() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 2)
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([])
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        contact_sheet([photo(), photo()], 2, captions=["one"])
