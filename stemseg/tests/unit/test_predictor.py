from __future__ import annotations

import numpy as np
import pytest
import torch

from stemseg.inference import predictor as module
from stemseg.inference.networks import PlainNetwork
from stemseg.inference.predictor import Predictor
from stemseg.inference.settings import Choices
from vidseg_common.errors import CheckpointError, ConfigError


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    """The network of the tests is no module that could be prepared for inference."""
    monkeypatch.setattr(module, "deploy", lambda network, _: PlainNetwork(network))


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


def test_more_tracks_than_ids_are_refused(fakes):
    with pytest.raises(ConfigError, match="at most 255 tracks of a video, not 256"):
        Predictor(fakes.ColorNetwork(), Choices(max_tracks=256))
    # The published limit of KITTI-MOTS is above it.
    assert Predictor(fakes.ColorNetwork("kittimots")).max_tracks == 255


def test_a_video_without_objects(fakes):
    frames = fakes.color_frames(fakes.color_masks(3, 0))
    prediction = Predictor(fakes.ColorNetwork()).predict(frames)
    assert prediction.objects == []
    assert not any(ids.any() for ids in prediction.id_maps())


def test_an_overlap_as_long_as_the_clip_is_refused(fakes):
    predictor = Predictor(fakes.ColorNetwork(), Choices(frame_overlap=16))
    with pytest.raises(ConfigError, match="below their 16 frames"):
        predictor.predict(fakes.color_frames(fakes.color_masks(3, 1)))


def test_the_public_names():
    import stemseg

    assert stemseg.Predictor is Predictor
    assert stemseg.Choices is Choices
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        stemseg.absent  # noqa: B018
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        stemseg.load("absent.pth")


def test_an_official_file_says_itself_what_it_is(tmp_path):
    import stemseg
    from stemseg.checkpoint import build_network
    from stemseg.config import load_config

    path = tmp_path / "model.pth"
    torch.save({"model": build_network(load_config("davis_2")).state_dict()}, path)
    network = stemseg.load(path)
    assert network.cfg.TRAINING.MODE == "davis"
    assert not network.training
