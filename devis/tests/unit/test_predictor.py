"""Whole videos: shared frames are computed once, with the results of clips on their own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from devis.config import load_config, model_settings, update
from devis.data.clips import clips_of_video
from devis.data.resize import preprocess
from devis.inference.features import drop_unused, join, pick, tail
from devis.inference.predictor import Predictor
from devis.inference.results import finish
from devis.inference.selection import select_clip
from devis.inference.tracking import ClipOutput, ClipTracker
from devis.model import build
from vidseg_common.errors import VideoError

TINY = Path(__file__).parents[1] / "tiny_train.yaml"
FRAMES, STRIDE = 4, 3
WORDS = [
    *("MODEL.DEVIS.NUM_FRAMES", FRAMES, "MODEL.NUM_QUERIES", 3 * FRAMES),
    *("TEST.CLIP_TRACKING.STRIDE", STRIDE, "TEST.NUM_OUT", 4),
]


@pytest.fixture(scope="module")
def tiny():
    cfg = load_config(TINY, WORDS)
    torch.manual_seed(0)
    return build(model_settings(cfg)).eval(), cfg


def video(length, size=(48, 64)):
    rng = np.random.default_rng(length)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(length)]


def plain(network, cfg, frames):
    """Every clip on its own, all frames computed anew."""
    size = frames[0].shape[:2]
    tracker = ClipTracker(cfg.TEST.CLIP_TRACKING, FRAMES, size)
    cut = clips_of_video(len(frames), FRAMES, STRIDE)
    images = [preprocess(f, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) for f in frames]
    for numbers in cut.clips:
        detections = network.def_detr(torch.stack([images[i] for i in numbers]))
        real = cut.real_length or FRAMES
        kept = select_clip(
            detections.logits[-1],
            detections.boxes[-1],
            num_frames=FRAMES,
            real_frames=real,
            size=size,
            num_out=cfg.TEST.NUM_OUT,
        )
        slots, mask_of = kept.distinct()
        masks = network.masks(detections, [slots]).transpose(0, 1)[:real]
        output = ClipOutput(kept.scores, kept.labels, kept.centers, kept.boxes, masks, mask_of)
        tracker.step(output, cut.last_start if numbers == cut.clips[-1] else 0)
    return finish([track.frames for track in tracker.tracks], cfg.TEST.CLIP_TRACKING)


@pytest.mark.parametrize("length", [1, 3, 4, 5, 7, 9, 12])
def test_results_are_those_of_clips_on_their_own(tiny, length):
    network, cfg = tiny
    frames = video(length)
    found = Predictor(network, cfg).run(iter(frames))
    with torch.inference_mode():
        expected = plain(network, cfg, frames)
    assert (found.num_frames, found.size) == (length, (48, 64))
    assert len(found.tracks) == len(expected) == cfg.TEST.NUM_OUT
    for track, other in zip(found.tracks, expected, strict=True):
        assert track.score == pytest.approx(other.score, rel=1e-4)
        assert track.label == other.label
        assert len(track.frames) == length
        assert track.segmentations() == other.segmentations()


def test_backbone_sees_every_frame_once(tiny, monkeypatch):
    network, cfg = tiny
    seen, extract = [], network.def_detr.extract

    def counted(images, padding=None):
        seen.append(len(images))
        return extract(images, padding)

    monkeypatch.setattr(network.def_detr, "extract", counted)
    Predictor(network, cfg).run(video(11))
    assert seen == [FRAMES, STRIDE, STRIDE, 1]


def test_clips_are_shown_to_who_watches(tiny):
    network, cfg = tiny
    clips = []
    predictor = Predictor(network, cfg)
    result = predictor.run(video(6), clips.append)
    assert [(clip.number, clip.frames) for clip in clips] == [(0, [0, 1, 2, 3]), (1, [2, 3, 4, 5])]
    assert all(len(clip.seen) == len(clip.slots) == cfg.TEST.NUM_OUT for clip in clips)
    # Every prediction of every clip is part of one track.
    for number in (0, 1):
        columns = sorted(column for track in result.parts for i, column in track if i == number)
        assert columns == list(range(cfg.TEST.NUM_OUT))
    assert predictor.times.num_frames == 6
    assert set(predictor.times.seconds) == {"forward", "tracking"}


def test_thresholds_leave_out_tracks_but_keep_their_numbers(tiny):
    network, cfg = tiny
    scores = [track.score for track in Predictor(network, cfg).run(video(5)).tracks]
    limit = sorted(scores)[1]
    stricter = update(cfg, ["TEST.CLIP_TRACKING.MIN_TRACK_SCORE", limit])
    left = Predictor(network, stricter).run(video(5)).tracks
    assert [track.number for track in left] == [i for i, s in enumerate(scores) if s > limit]


def test_bf16_is_near(tiny):
    network, cfg = tiny
    frames = video(5)
    full = Predictor(network, cfg).run(frames)
    half = Predictor(network, cfg, dtype=torch.bfloat16).run(frames)
    for a, b in zip(full.tracks, half.tracks, strict=True):
        assert a.score == pytest.approx(b.score, abs=0.02)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "no frames"),
        ([*video(2), *video(1, (48, 60))], "frame 2: is 60x48, the ones before are 64x48"),
        ([np.zeros((4, 4), np.uint8)], "frame 0: expected"),
        ([np.zeros((4, 4, 3), np.float32)], "frame 0: expected"),
    ],
)
def test_unusable_frames(tiny, frames, message):
    with pytest.raises(VideoError, match=message):
        Predictor(*tiny).run(frames)


def test_features_of_frames(tiny):
    network, _ = tiny
    with torch.inference_mode():
        whole = network.def_detr.extract(torch.randn(4, 3, 48, 64))
    kept = drop_unused(whole, {"/4"})
    assert [x.numel() > 0 for x in kept.stages] == [True, False, False, False]
    both = join(pick(kept, [0, 1]), tail(kept, 2))
    for name in ("stages", "levels", "paddings"):
        for a, b in zip(getattr(both, name), getattr(kept, name), strict=True):
            assert torch.equal(a, b)
    assert torch.equal(pick(kept, [1, 0, 1]).levels[0], kept.levels[0][[1, 0, 1]])
