from __future__ import annotations

import numpy as np

from stemseg.drawing import annotate_instance, box_of, color_map, color_of, overlay_mask


def test_colours_are_those_of_pascal_voc():
    assert color_map()[:5].tolist() == [
        [0, 0, 0],
        [128, 0, 0],
        [0, 128, 0],
        [128, 128, 0],
        [0, 0, 128],
    ]
    assert color_map()[255].tolist() == [224, 224, 192]
    assert color_of(257) == color_of(1)


def test_boxes_end_after_the_mask():
    mask = np.zeros((10, 20), bool)
    assert box_of(mask) is None
    mask[2:5, 7:9] = True
    assert box_of(mask) == (7, 2, 9, 5)


def test_only_the_mask_is_painted():
    image = np.full((10, 20, 3), 100, np.uint8)
    mask = np.zeros((10, 20), np.uint8)
    mask[:5] = 1
    painted = overlay_mask(image, mask, (200, 0, 0))
    assert painted[0, 0].tolist() == [160, 40, 40]
    assert painted[9, 0].tolist() == [100, 100, 100]
    assert (image == 100).all()


def test_an_annotation_has_mask_box_and_text():
    image = np.zeros((60, 80, 3), np.uint8)
    mask = np.zeros((60, 80), bool)
    assert annotate_instance(image, mask, (0, 0, 255), "none") is image
    mask[30:50, 20:60] = True
    drawn = annotate_instance(image, mask, (0, 0, 255), "dog 1.00")
    assert drawn[40, 40].tolist() == [0, 0, 153]
    assert drawn[50, 30].tolist() == [0, 0, 255]
    assert (drawn[20:29, 20:60] == 255).all(-1).any()
    mask[:] = False
    mask[0, 0] = True
    assert (annotate_instance(image, mask, (0, 0, 255), "at the top") == 255).any()
