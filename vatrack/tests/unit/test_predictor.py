import numpy as np
import pytest
import torch

from vatrack.inference import InferenceSettings, Predictor, TrackerSettings
from vatrack.inference.preprocess import prepare
from vatrack.model import ModelSettings, build
from vatrack.model.deployed import DeployedNetwork
from vatrack.model.settings import KINDS
from vidseg_common import rle
from vidseg_common.errors import ConfigError, VideoError

SMALL = {"blocks": (1, 1, 1, 1), "stem_channels": 8, "fpn_channels": 32, "fc_channels": 32}
INFERENCE = InferenceSettings(img_scale=(96, 64), nms_pre=50, max_num=30, max_per_img=8)


def small(kind, **values):
    torch.manual_seed(0)
    network = build(ModelSettings(kind=kind, **SMALL, embed_dim=16, **values)).eval()
    with torch.no_grad():  # far from a decision, the classes are all alike
        for name, parameter in network.named_parameters():
            if "fc_cls.weight" in name or "conv_logits.weight" in name:
                parameter.mul_(30)
    return network


def frames(count, height=50, width=80):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("kind", KINDS)
def test_every_model_gives_its_boxes_and_masks(kind):
    results = list(Predictor(small(kind), INFERENCE).stream(frames(3)))
    assert any(len(result) for result in results)
    for result in results:
        n = len(result)
        assert result.boxes.shape == (n, 5) and result.labels.shape == (n,)
        assert len(set(result.ids.tolist())) == n
        assert (result.visible_masks is None) == (kind == "amodaltrack")
        assert (result.amodal_masks is None) == (kind == "qdtrack")
        assert (result.visible_boxes is None) == (kind != "vatrack2bbox")
        for masks in (result.visible_masks, result.amodal_masks):
            assert masks is None or [mask["size"] for mask in masks] == [[50, 80]] * n


def test_a_new_video_starts_anew():
    predictor, video = Predictor(small("vatrack"), INFERENCE), frames(2)
    first = [result.ids.tolist() for result in predictor.stream(video)]
    assert [result.ids.tolist() for result in predictor.stream(video)] == first


@pytest.mark.parametrize("kind", ["qdtrack", "vatrack2bbox"])
def test_a_frame_without_detections_is_not_shown_to_the_tracker(kind):
    settings = InferenceSettings(img_scale=(96, 64), score_thr=1.0)
    predictor = Predictor(small(kind), settings, with_detections=True)
    result = predictor.step(frames(1)[0])
    assert len(result) == 0 and result.visible_masks == [] and len(result.det_boxes) == 0
    assert predictor.tracker.state.tracks is None and predictor.frame_idx == 1


def test_no_proposals_are_no_error():
    network = small("vatrack2bbox")
    with torch.no_grad():
        network.rpn_head.rpn_reg.bias.fill_(float("nan"))
    assert len(Predictor(network, INFERENCE).step(frames(1)[0])) == 0


def test_masks_of_all_detections_hold_those_of_the_tracks():
    tracker = TrackerSettings(nms_class_iou_thr=0.2)
    settings = InferenceSettings(**{**vars(INFERENCE), "tracker": tracker})
    predictor = Predictor(small("qdtrack"), settings, with_detections=True)
    result = predictor.step(frames(1)[0])
    assert len(result.det_masks) == len(result.det_boxes) > len(result) > 0
    for box, mask in zip(result.boxes, result.visible_masks, strict=True):
        row = int(np.flatnonzero((result.det_boxes == box).all(1))[0])
        assert result.det_masks[row] == mask


def test_visible_masks_can_be_kept_within_amodal_ones():
    settings = InferenceSettings(**{**vars(INFERENCE), "visible_within_amodal": True})
    result = Predictor(small("vatrack"), settings).step(frames(1)[0])
    for pair in zip(result.visible_masks, result.amodal_masks, strict=True):
        visible, amodal = (rle.decode(mask) for mask in pair)
        assert not (visible & ~amodal).any()


@pytest.mark.parametrize("values", [{}, {"groups": 4, "base_width": 16, "stem_channels": 16}])
def test_the_deployed_form_is_the_network(values):
    network = small("vatrack2bbox", **{k: v for k, v in values.items() if k not in SMALL})
    runner = DeployedNetwork(network)
    with torch.no_grad():
        images = torch.randn(1, 3, 64, 96)
        levels = network.extract(images)
        for got, wanted in zip(runner.extract(images), levels, strict=True):
            torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
        rois = torch.tensor([[0, 3.0, 4, 60, 50], [0, 10, 10, 14, 30]])
        features = runner.box_features(levels, rois[:, 1:])
        plain = network.box_features(levels, rois)
        torch.testing.assert_close(runner.embed(features), network.roi_head.track_head(plain))
        for got, wanted in zip(
            runner.detect(features), network.roi_head.detector(plain), strict=True
        ):
            torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-4)
        labels, every = torch.tensor([3, 20]), torch.arange(2)
        wanted = network.roi_head.amodal_mask_head(network.mask_features(levels, rois))
        got = runner.mask_logits("amodal", runner.mask_features(levels, rois[:, 1:]), labels)
        torch.testing.assert_close(got, wanted[every, labels], atol=1e-3, rtol=1e-4)


def test_bfloat16_is_near_and_float16_needs_a_gpu():
    network, frame = small("vatrack"), frames(1)[0]
    exact, rough = (
        Predictor(network, INFERENCE, dtype=dtype).step(frame)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert abs(exact.scores[0] - rough.scores[0]) < 0.1
    with pytest.raises(ConfigError, match="float16"):
        Predictor(network, dtype=torch.float16)


def test_frames_are_fitted_and_checked():
    image, geometry = prepare(np.zeros((720, 1280, 3), np.uint8))
    assert image.shape == (3, 736, 1280) and geometry.img_hw == (720, 1280)
    image, geometry = prepare(np.zeros((100, 100, 3), np.uint8))
    assert geometry.img_hw == (800, 800) and image.shape == (3, 800, 800)
    for bad in (np.zeros((5, 5)), np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5, 3), np.float32)):
        with pytest.raises(VideoError, match="frame"):
            prepare(bad)
