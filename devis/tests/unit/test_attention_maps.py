"""Recorded attention: sums of weights, references, files of figures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from devis.config import load_config, model_settings
from devis.inference.attention import AttentionRecorder, grid_of
from devis.inference.predictor import Predictor
from devis.inference.results import finish
from devis.model import build
from devis.outputs.attention_pictures import CELL_WIDTH, GAP, Shown, figure
from vidseg_common.errors import ConfigError

TINY = Path(__file__).parents[1] / "tiny_train.yaml"
WORDS = ["MODEL.DEVIS.NUM_FRAMES", 3, "MODEL.NUM_QUERIES", 6]


def network_of(*words):
    cfg = load_config(TINY, [*WORDS, *words])
    torch.manual_seed(0)
    return build(model_settings(cfg)).eval(), cfg


def recorded(layer, length=3, *words):
    network, cfg = network_of(*words)
    recorder = AttentionRecorder(network, layer)
    found = []
    frames = [np.full((48, 64, 3), 40 * t, np.uint8) for t in range(length)]
    with recorder.listening(), torch.inference_mode():
        Predictor(network, cfg).run(
            frames, lambda clip: found.append((clip, recorder.of_clip(clip)))
        )
    return found[0], frames, cfg


def test_weights_gather_at_the_nearest_cell():
    locations = torch.tensor([[0.5, 0.5], [0.5, 0.5], [-3.0, 0.0], [9.0, 9.0]])
    grid = grid_of(locations, torch.tensor([1.0, 2.0, 4.0, 8.0]), (3, 4))
    assert grid[2, 2] == 3  # 1.5 and 2 rounded to the even number
    assert (grid[0, 0], grid[2, 3], grid.sum()) == (4, 8, 15)


@pytest.mark.parametrize("layer", [0, 1])
def test_weights_of_a_query_sum_to_one_in_every_head(layer):
    (clip, attention), _, _ = recorded(layer)
    heads = attention.samples.weights.shape[2]
    for frame in range(3):
        slot = int(clip.slots[0])
        merged = attention.seen_from(frame, slot, 0, 1)
        assert merged.shape == (3, *attention.shapes[0])
        assert merged.sum().item() == pytest.approx(heads, rel=1e-5)
        levels = [attention.seen_from(frame, slot, None, level) for level in range(4)]
        assert sum(x.sum().item() for x in levels) == pytest.approx(heads, rel=1e-5)
        assert levels[2].shape == (3, *attention.shapes[2])


def test_own_points_stand_on_the_diagonal():
    (clip, attention), _, _ = recorded(1)
    slot = int(clip.slots[0])
    own = attention.samples.weights[2, slot].sum().item()
    assert attention.seen_from(2, slot, 0, 1)[2].sum().item() == pytest.approx(own, rel=1e-5)


def test_references_are_those_before_the_layer():
    (clip, first), _, _ = recorded(0)
    assert len(first.reference(0, 1, 0)) == 2
    initial = clip.detections.decoded.initial[0].view(3, -1, 2)
    assert first.reference(0, 1, 1) == pytest.approx(initial[1, 1].tolist())
    (clip, second), _, _ = recorded(1)
    boxes = clip.detections.decoded.references[0][0].view(3, -1, 4)
    assert second.reference(0, 1, 1) == pytest.approx(boxes[1, 1].tolist())
    own = "MODEL.DEVIS.DEFORMABLE_ATTENTION.INSTANCE_AWARE_ATTENTION"
    (clip, other), _, _ = recorded(1, 3, own, False)
    boxes = clip.detections.decoded.references[0][0].view(3, -1, 4)
    assert other.reference(0, 1, 1) == pytest.approx(boxes[0, 1].tolist())


@pytest.mark.parametrize(("length", "merge"), [(3, None), (3, 2), (2, None), (1, 0)])
def test_figures_have_a_row_for_every_real_frame(length, merge):
    (clip, attention), frames, cfg = recorded(1, length)
    tracks = finish(clip.seen, cfg.TEST.CLIP_TRACKING)
    shown = [Shown(track, int(clip.slots[track.number]), "x") for track in tracks]
    assert len(shown) > 1
    picture = figure(frames, shown, attention, merge=merge, level=1)
    height = round(48 * CELL_WIDTH / 64)
    assert picture.shape == (
        GAP + (length + 1) * (height + GAP),
        GAP + length * (CELL_WIDTH + GAP),
        3,
    )
    assert picture.dtype == np.uint8 and picture.std() > 0


def test_what_cannot_be_shown():
    network, _ = network_of()
    with pytest.raises(ConfigError, match="layers 0 to 1"):
        AttentionRecorder(network, 5)
    key = "MODEL.DEVIS.DEFORMABLE_ATTENTION.DISABLE_TEMPORAL_CONNECTIONS"
    network, _ = network_of(key, True)
    with pytest.raises(ConfigError, match=key):
        AttentionRecorder(network, 0)
