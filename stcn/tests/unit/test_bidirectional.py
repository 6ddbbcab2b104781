import numpy as np
import pytest
import torch

from stcn.inference.bidirectional import _forward_weight, propagate_bidirectional
from stcn.inference.predictor import Predictor


@pytest.mark.parametrize(
    ("frame", "frames", "weight"),
    [(0, [4], 0.0), (4, [4], 1.0), (9, [4], 1.0), (1, [0, 4], 0.75), (3, [0, 4], 0.25)],
)
def test_forward_weight(frame, frames, weight):
    assert _forward_weight(frame, frames) == weight


def _run(network, frames, masks, scratch):
    predictor = Predictor(network)
    return list(
        propagate_bidirectional(predictor, lambda i: frames[i], len(frames), masks, scratch)
    )


def test_frames_before_the_annotation_are_those_of_the_reversed_video(
    network, make_video, tmp_path
):
    frames, labels = make_video(6, 48, 64, (1, 2))
    results = _run(network, frames, {4: labels[4]}, tmp_path)
    assert [i for i, _ in results] == list(range(6))
    reverse = Predictor(network)
    reverse.step(frames[4], labels[4])
    for i in (3, 2, 1, 0):
        want = reverse.step(frames[i]).inner_prob
        got = results[i][1].inner_prob
        # Stored in 8 bits.
        assert torch.allclose(got, want, atol=2 / 255)
    ahead = Predictor(network)
    ahead.step(frames[4], labels[4])
    assert np.array_equal(results[5][1].mask, ahead.step(frames[5]).mask)


def test_between_two_annotations_both_count(network, make_video, tmp_path):
    frames, labels = make_video(5, 48, 64, (7,))
    results = _run(network, frames, {0: labels[0], 4: labels[4]}, tmp_path)
    forward, backward = Predictor(network), Predictor(network)
    forward.step(frames[0], labels[0])
    backward.step(frames[4], labels[4])
    ahead = {t: forward.step(frames[t]).inner_prob[1] for t in (1, 2, 3)}
    behind = {t: backward.step(frames[t]).inner_prob[1] for t in (3, 2, 1)}
    for t, weight in ((1, 0.75), (2, 0.5), (3, 0.25)):
        want = weight * ahead[t] + (1 - weight) * behind[t]
        assert torch.allclose(results[t][1].inner_prob[1], want, atol=2 / 255)
        assert torch.allclose(results[t][1].inner_prob.sum(0), torch.ones(48, 64), atol=1e-5)
    assert not list(tmp_path.iterdir()), "the stored pass is removed as it is used"


def test_without_later_annotations_it_is_the_forward_pass(network, make_video, tmp_path):
    frames, labels = make_video(4, 48, 64, (1,))
    results = _run(network, frames, {0: labels[0]}, tmp_path)
    predictor = Predictor(network)
    for t, (_, result) in enumerate(results):
        want = predictor.step(frames[t], labels[0] if t == 0 else None)
        assert np.array_equal(result.mask, want.mask)
