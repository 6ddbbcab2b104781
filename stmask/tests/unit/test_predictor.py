from __future__ import annotations

import contextlib

import numpy as np
import pytest
import torch

import stmask
from stmask.config import get_config
from stmask.inference.candidates import filter_priors, select
from stmask.inference.plain_tracker import PlainTracker
from stmask.inference.postprocess import postprocess
from stmask.inference.predictor import Predictor
from stmask.inference.preprocess import prepare
from stmask.inference.settings import InferenceSettings, settings_of
from stmask.inference.tracker import Tracker
from stmask.model.network import STMask
from stmask.model.settings import NetworkSettings
from vidseg_common.errors import ConfigError, VideoError

SMALL = {
    "blocks": (1, 1, 1, 1),
    "stem_width": 8,
    "fpn_channels": 16,
    "temporal_channels": (16, 16, 16),
}
#: Everything counts: an untrained network is sure of nothing.
ANY = {"image_size": (80, 50), "nms_conf_thresh": 0.0, "eval_conf_thresh": -1.0}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return STMask(NetworkSettings(**SMALL)).eval()


def video(num_frames, size=(45, 70)):
    rng = np.random.default_rng(1)
    base = rng.integers(0, 200, (*size, 3))
    return [(base + rng.integers(0, 50, base.shape)).astype(np.uint8) for _ in range(num_frames)]


def same(a, b):
    names = ("ids", "classes", "scores", "boxes", "masks")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def near(a, b):
    """The same objects, by another order of summation."""
    scores = np.allclose(a.scores, b.scores, rtol=1e-3, atol=1e-7)
    alike = np.array_equal(a.ids, b.ids) and np.array_equal(a.classes, b.classes) and scores
    return alike and np.abs(a.boxes - b.boxes).max() <= 1 and (a.masks == b.masks).mean() > 0.999


def test_steps_are_the_parts_in_order(network):
    settings = InferenceSettings(**ANY)
    predictor, tracker = Predictor(network, settings), Tracker(network, settings)
    for frame in video(4):
        image, sizes = prepare(frame, (80, 50))
        assert image.shape == (3, 64, 96) and sizes.pad_hw == (64, 96)
        with torch.inference_mode():
            found = tracker.step(select(network(image[None]), 0, settings))
        expected = postprocess(found, sizes.pad_hw, sizes.img_hw, sizes.ori_hw, settings)
        result = predictor.step(frame)
        assert len(result) and near(result, expected)
        assert result.masks.shape == (len(result), 45, 70) and result.masks.dtype == np.bool_
        assert result.boxes.dtype == np.int64 and result.boxes.min() >= 0
        assert (result.boxes.max(0) <= [70, 45, 70, 45]).all()


def test_a_video_again_gives_the_same(network):
    predictor = Predictor(network, InferenceSettings(**ANY))
    first = list(predictor.stream(video(3)))
    predictor.step(video(1, (10, 90))[0])
    assert all(map(same, first, predictor.stream(video(3))))
    predictor.reset()
    assert predictor.detections is None
    assert same(predictor.step(video(1)[0]), first[0])


@pytest.mark.parametrize("size", [(1, 1), (33, 5), (3, 400)])
def test_frames_narrower_than_a_stride(network, size):
    predictor = Predictor(network, InferenceSettings(**ANY))
    for frame in video(2, size):
        assert predictor.step(frame).masks.shape[1:] == size


def test_an_input_narrower_than_a_stride(network):
    predictor = Predictor(network, InferenceSettings(**ANY | {"image_size": (7, 3)}))
    for frame in video(2):
        assert predictor.step(frame).masks.shape[1:] == (45, 70)


def test_many_frames_in_which_nothing_is_found(network):
    predictor = Predictor(network, InferenceSettings(**ANY | {"nms_conf_thresh": 1.0}))
    for frame in video(20):
        result = predictor.step(frame)
        assert len(result) == 0 and result.masks.shape == (0, 45, 70)
        assert result.boxes.shape == (0, 4)
    assert predictor.tracker.memory is None


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8)],
)
def test_what_is_no_frame_is_refused(network, frame):
    with pytest.raises(VideoError, match="expected RGB uint8"):
        Predictor(network).step(frame)


def test_a_frame_without_pixels_is_refused(network):
    with pytest.raises(VideoError, match="at least one pixel"):
        Predictor(network).step(np.zeros((0, 4, 3), np.uint8))


def test_stages_are_told_to_the_timer(network):
    names = []

    def timer(name):
        names.append(name)
        return contextlib.nullcontext()

    Predictor(network, InferenceSettings(**ANY), timer=timer).step(video(1)[0])
    network_parts = ["backbone", "fpn", "pred_heads", "makepriors", "proto"]
    after = ["Detect", "Track", "Postprocess"]
    assert names == ["Load Data", "Network Extra", *network_parts, *after]


def test_boxes_without_masks_and_results_of_the_stretched_size(network):
    boxes_only = Predictor(network, InferenceSettings(**ANY, eval_mask_branch=False))
    result = boxes_only.step(video(1)[0])
    assert len(result) and result.masks.shape == (len(result), 0, 0)
    stretched = Predictor(network, InferenceSettings(**ANY, preserve_aspect_ratio=False))
    assert stretched.step(video(1)[0]).masks.shape[1:] == (50, 80)


def test_masks_beyond_their_boxes(network):
    cropped, whole = (
        Predictor(network, InferenceSettings(**ANY, crop_masks=crop)).step(video(1)[0])
        for crop in (True, False)
    )
    assert (whole.masks | ~cropped.masks).all()
    assert whole.masks.sum() > cropped.masks.sum()


def test_half_precision_is_near(network):
    short = Predictor(network, InferenceSettings(**ANY), dtype=torch.bfloat16)
    assert len(short.step(video(1)[0])) == len(
        Predictor(network, InferenceSettings(**ANY)).step(video(1)[0])
    )
    with pytest.raises(ConfigError, match="float16 needs a GPU"):
        Predictor(network, dtype=torch.float16)


def test_a_network_in_training_is_left_alone():
    network = STMask(NetworkSettings(**SMALL)).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    Predictor(network, InferenceSettings(**ANY)).step(video(1)[0])
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_network_without_temporal_fusion():
    torch.manual_seed(0)
    network = STMask(NetworkSettings(**SMALL, temporal_fusion=False)).eval()
    assert isinstance(Predictor(network).tracker, PlainTracker)
    for fast, across in ((True, True), (True, False), (False, True)):
        settings = InferenceSettings(
            **ANY, temporal_fusion_module=False, fast_nms=fast, cross_class_nms=across
        )
        predictor = Predictor(network, settings)
        results = [predictor.step(frame) for frame in video(3)]
        assert all(len(result) for result in results)
        shown = predictor.detections.ids.tolist()
        assert min(shown) >= 0 and len(shown) == len(set(shown))
        assert set(results[-1].ids.tolist()) <= set(shown)


@torch.inference_mode()
def test_candidates_keep_their_rows(network):
    raw = network(torch.randn(2, 3, 64, 96))
    for changes in ({}, {"nms_as_miou": True}, {"cross_class_nms": False}):
        settings = InferenceSettings(nms_conf_thresh=0.0, **changes)
        found, kept = filter_priors(raw, 1, settings), select(raw, 1, settings)
        assert 0 < len(kept) <= settings.nms_top_k
        for box, coeff, score in zip(kept.boxes, kept.coeffs, kept.scores, strict=True):
            (row,) = (found.boxes == box).all(1).nonzero()[0].tolist()
            assert torch.equal(raw.mask_coeff[1, found.rows[row]], coeff)
            assert score in found.conf[row, 1:] * found.centerness[row]
        assert kept.scores.tolist() == sorted(kept.scores.tolist(), reverse=True)


def test_settings_of_configurations():
    settings = settings_of(get_config("STMask_plus_resnet50_OVIS_config"), nms_top_k=7)
    assert settings.image_size == (640, 360) and settings.size_divisor == 32
    assert settings.match_coeff == (0, 1, 2, 0) and settings.nms_top_k == 7
    assert not settings.preserve_aspect_ratio  # evaluation switches it on
    base = settings_of(get_config("YouTube_VOS_base_config"))
    assert base.nms_conf_thresh == 0.3 and base.match_coeff == (0, 1, 2, 0)
    assert settings_of(settings) == settings


def test_a_configuration_gives_results_of_the_size_of_frames(network):
    assert Predictor(network, get_config("STMask_base_config")).settings.preserve_aspect_ratio


def test_the_public_names():
    assert stmask.Predictor is Predictor
    with pytest.raises(AttributeError, match="no attribute 'absent'"):
        stmask.absent  # noqa: B018
