from __future__ import annotations

import numpy as np
import pytest

from stemseg.inference.predictor import Predictor
from stemseg.inference.settings import Choices
from vidseg_common.errors import ConfigError


def test_objects_masks_and_classes_of_a_video(fakes):
    masks = fakes.color_masks(11, 3)
    prediction = Predictor(fakes.ColorNetwork("kittimots")).predict(fakes.color_frames(masks))
    assert prediction.num_frames == 11
    assert prediction.num_dropped == 0
    assert [found.id for found in prediction.objects] == [1, 2, 3]
    assert all((x.first_frame, x.last_frame) == (0, 10) for x in prediction.objects)
    ids = np.stack(list(prediction.id_maps()))
    for mask in masks:
        # Enlarging rounds the corners off.
        number = np.bincount(ids[mask]).argmax()
        both = (ids == number) & mask
        assert both.sum() / ((ids == number) | mask).sum() > 0.95
    # The first object is red, which this network takes for class 1.
    red = int(np.bincount(ids[masks[0]]).argmax())
    kinds = {x.id: x.category_id for x in prediction.objects}
    assert {number for number, kind in kinds.items() if kind == 1} == {red}
    assert set(prediction.masks(4)) == {1, 2, 3}


def test_the_limit_of_tracks_is_told(fakes):
    frames = fakes.color_frames(fakes.color_masks(5, 3))
    prediction = Predictor(fakes.ColorNetwork(), Choices(max_tracks=2)).predict(frames)
    assert len(prediction.objects) == 2
    assert prediction.num_dropped == 1
    assert max(ids.max() for ids in prediction.id_maps()) == 2


def test_a_video_without_objects(fakes):
    frames = fakes.color_frames(fakes.color_masks(3, 0))
    prediction = Predictor(fakes.ColorNetwork()).predict(frames)
    assert prediction.objects == []
    assert not any(ids.any() for ids in prediction.id_maps())


def test_an_overlap_as_long_as_the_clip_is_refused(fakes):
    predictor = Predictor(fakes.ColorNetwork(), Choices(frame_overlap=16))
    with pytest.raises(ConfigError, match="below their 16 frames"):
        predictor.predict(fakes.color_frames(fakes.color_masks(3, 1)))
