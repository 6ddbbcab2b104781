from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stemseg.inference.chain import Chainer, ClipMaps
from stemseg.inference.classes import ClassScores, ClassVotes
from stemseg.inference.clips import subsequences
from stemseg.inference.engine import Engine
from stemseg.inference.networks import PlainNetwork
from stemseg.inference.preprocess import preprocess
from stemseg.inference.settings import Choices, engine_settings
from stemseg.model.network import HeadOutputs
from vidseg_common.errors import ConfigError, VideoError


def make_engine(fakes, dataset="davis", choices=None, **changes):
    network = fakes.ColorNetwork(dataset)
    settings = replace(engine_settings(network.cfg, choices or Choices()), **changes)
    return Engine(PlainNetwork(network), settings), network


class NoisyNetwork:
    """Outputs depend on the place in the clip and on the other frames of it."""

    def __init__(self, num_classes=None):
        self.num_classes = num_classes

    def encode_frames(self, images):
        return list(F.avg_pool2d(images, 4) / 100)

    def decode_clips(self, clips):
        x = torch.stack([torch.stack(list(clip), dim=1) for clip in clips])  # N, 3, T, h, w
        place = torch.arange(x.shape[2]).view(1, 1, -1, 1, 1)
        mixed = x + 0.3 * x.mean(2, keepdim=True) + 0.05 * place
        seediness = torch.sigmoid(mixed.sum(1, keepdim=True))
        embeddings = torch.cat([mixed, mixed[:, :1] ** 2], 1)
        logits = None
        if self.num_classes is not None:
            logits = torch.sin(torch.cat([mixed] * 20, 1)[:, : self.num_classes + 1] * 3)
        return HeadOutputs(embeddings, 0.1 * mixed[:, :2], seediness, logits)


def straightforward(network, cfg, settings, frames):
    """The order of operations of the original: all clips first, everything kept, then the rest."""
    features = [network.encode_frames(preprocess(f[..., ::-1], cfg)[None])[0] for f in frames]
    clips = subsequences(len(frames), settings.clip_length, settings.overlap)
    outputs = [network.decode_clips([[features[t] for t in clip.frames]]) for clip in clips]
    logits = [[] for _ in frames]
    seediness = [[] for _ in frames]
    scale = 4 if settings.full_scale else 1
    for clip, found in zip(clips, outputs, strict=True):
        for t, position in clip.last_positions.items():
            seediness[t].append(found.seediness[0, :, position])
        for position, t in enumerate(clip.frames):
            if found.semseg_logits is not None:
                logits[t].append(enlarged(found.semseg_logits[0, :, position], scale))
    foreground, classes = {}, []
    for t in range(len(frames)):
        if logits[t]:
            mean = torch.stack(logits[t]).mean(0)
            foreground[t] = mean[-1].sigmoid() > 0.5
            classes.append(mean[:-1])
        else:
            mean = enlarged(torch.stack(seediness[t]).mean(0), scale)
            foreground[t] = mean[0] > settings.seediness_thresh
    chainer = Chainer(settings.cluster, scale=scale)
    maps = {}
    for clip, found in zip(clips, outputs, strict=True):
        last = clip.last_positions
        parts = [x[0][:, list(last.values())] for x in found[:3]]
        chained = chainer.add(
            ClipMaps(tuple(last), parts[0], 10 * parts[1].exp(), parts[2]),
            {t: foreground[t] for t in last},
        )
        maps.update({t: chained.label_map(t) for t in chained.new_frames})
    return torch.stack([maps[t] for t in range(len(frames))]), classes


def enlarged(x, scale):
    if scale == 1:
        return x
    return F.interpolate(x[None], scale_factor=scale, mode="bilinear", align_corners=False)[0]


def noise_frames(num_frames, size=(48, 64), seed=0):
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (num_frames, size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
    return small.repeat(16, 1).repeat(16, 2)


@pytest.mark.parametrize("num_frames", [1, 3, 8, 9, 13, 21])
@pytest.mark.parametrize("full_scale", [False, True])
def test_streaming_gives_what_the_straightforward_order_gives(fakes, num_frames, full_scale):
    for dataset, num_classes in (("davis", None), ("ytvis", 41), ("kittimots", 3)):
        cfg = fakes.ColorNetwork(dataset).cfg
        network = NoisyNetwork(num_classes)
        settings = engine_settings(
            cfg, Choices(resize_embeddings=full_scale, min_seediness_prob=0.5)
        )
        if dataset == "kittimots":
            rule = replace(settings.cluster, free_dim_stds=(0.3, 0.3))
            settings = replace(settings, cluster=rule)
        frames = noise_frames(num_frames)
        expected, classes = straightforward(network, cfg, settings, frames)
        found = Engine(network, settings).run(frames)
        labels = np.stack([found.labels[t] for t in range(num_frames)])
        assert np.mean(labels != expected.numpy()) < 1e-3
        assert len(np.unique(labels)) > 2
        _check_classes(found, labels, classes)


def _check_classes(found, labels, classes):
    for label, statistic in found.statistics.tracks.items():
        if isinstance(found.classes, ClassScores):
            sums = sum(
                logits[:, torch.from_numpy(labels[t] == label)].sum(1)
                for t, logits in enumerate(classes)
            )
            expected = (sums[1:] / statistic.num_pixels).softmax(0).numpy()
            got = found.classes.probabilities(label, statistic.num_pixels)
            np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)
        elif isinstance(found.classes, ClassVotes):
            votes = np.concatenate(
                [x.argmax(0).numpy()[labels[t] == label] for t, x in enumerate(classes)]
            )
            counts = np.bincount(votes, minlength=3)[1:]
            expected = int(counts.argmax()) + 1
            assert found.classes.category_of(label, statistic.num_pixels) == expected


@pytest.mark.parametrize("changes", [{"frame_batch": 3}, {"clip_batch": 2}, {"frame_batch": 40}])
def test_batches_change_nothing(fakes, changes):
    settings = engine_settings(fakes.ColorNetwork("davis").cfg, Choices(min_seediness_prob=0.5))
    frames = noise_frames(37)
    plain = Engine(NoisyNetwork(), settings).run(frames)
    batched = Engine(NoisyNetwork(), replace(settings, **changes)).run(frames)
    for t in range(37):
        assert np.array_equal(plain.labels[t], batched.labels[t])


def test_every_frame_is_encoded_once_and_every_clip_decoded_once(fakes):
    engine, network = make_engine(fakes)
    frames = fakes.color_frames(fakes.color_masks(43, 2))
    tracks = engine.run(frames)
    assert network.num_encoded == 43
    assert network.shapes == [(1, 16)] * len(subsequences(43, 16, 6))
    assert [clip.frames for clip in tracks.clips] == [c.frames for c in subsequences(43, 16, 6)]


def test_nothing_kept_grows_with_the_number_of_frames(fakes, monkeypatch):
    from stemseg.inference import engine as module

    most: dict[str, int] = {}
    advance = module._Run._advance

    def watch(run, images):
        advance(run, images)
        for name in ("features", "sums", "decoded", "ready"):
            most[name] = max(most.get(name, 0), len(getattr(run, name)))
        most["stored"] = max(most.get("stored", 0), len(run.chainer._stored))

    monkeypatch.setattr(module._Run, "_advance", watch)
    engine, _ = make_engine(fakes, "ytvis")
    tracks = engine.run(color_stream(fakes, 200))
    assert tracks.num_frames == 200
    assert most["features"] <= 8
    assert most["sums"] <= 20
    assert most["decoded"] <= 4
    assert most["stored"] <= 8


def color_stream(fakes, num_frames):
    """Frames one by one, never held together."""
    frames = fakes.color_frames(fakes.color_masks(4, 2))
    for t in range(num_frames):
        yield frames[t % 4]


@pytest.mark.parametrize("num_frames", [1, 5, 16, 30])
def test_objects_are_found_and_tracked(fakes, num_frames):
    engine, _ = make_engine(fakes)
    masks = fakes.color_masks(num_frames, 3)
    tracks = engine.run(fakes.color_frames(masks))
    assert len(tracks.statistics.tracks) == 3
    for t in range(num_frames):
        labels = tracks.labels[t][:12]
        for mask in masks[:, t, ::4, ::4]:
            (label,) = np.unique(labels[mask])
            assert np.array_equal(labels == label, mask)


def test_a_video_without_objects_has_no_tracks(fakes):
    engine, _ = make_engine(fakes)
    tracks = engine.run(fakes.color_frames(fakes.color_masks(5, 0)))
    assert tracks.statistics.tracks == {}
    assert tracks.num_frames == 5


def test_no_frame_at_all_is_an_error(fakes):
    engine, _ = make_engine(fakes)
    with pytest.raises(VideoError, match="no frames"):
        engine.run([])


def test_frames_of_several_sizes_are_an_error(fakes):
    engine, _ = make_engine(fakes)
    frames = [np.zeros((48, 64, 3), np.uint8), np.zeros((48, 60, 3), np.uint8)]
    with pytest.raises(VideoError, match="frame 1 is 60x48, the frames before are 64x48"):
        engine.run(frames)


@pytest.mark.parametrize("frame", [np.zeros((48, 64), np.uint8), np.zeros((48, 64, 3))])
def test_frames_of_another_form_are_an_error(fakes, frame):
    engine, _ = make_engine(fakes)
    with pytest.raises(VideoError, match="RGB uint8"):
        engine.run([frame])


def test_one_engine_takes_one_video_after_the_other(fakes):
    engine, _ = make_engine(fakes)
    frames = fakes.color_frames(fakes.color_masks(9, 2))
    first, second = engine.run(frames), engine.run(frames)
    assert all(np.array_equal(first.labels[t], second.labels[t]) for t in range(9))
    assert min(second.statistics.tracks) == 1


def test_speeds_are_told_per_stage(fakes):
    engine, _ = make_engine(fakes)
    times = engine.run(fakes.color_frames(fakes.color_masks(6, 2))).times
    assert times.frames == 6
    assert times.model > 0
    assert times.clustering > 0
    assert [line.split(":")[0] for line in times.lines()] == [
        "speed of model inference",
        "speed of clustering and post-processing",
        "speed of overall",
    ]


def test_settings_come_from_the_section_of_the_mode(fakes):
    cfg = fakes.ColorNetwork("davis").cfg
    assert engine_settings(cfg, Choices()).overlap == 6
    assert engine_settings(cfg, Choices(frame_overlap=0)).overlap == 6
    assert engine_settings(cfg, Choices(frame_overlap=9)).overlap == 9
    assert engine_settings(cfg, Choices(min_seediness_prob=0.5)).cluster.min_seediness == 0.5


def test_classes_need_a_semantic_head(fakes):
    with pytest.raises(ConfigError, match=r"MODEL\.USE_SEMSEG_HEAD"):
        engine_settings(fakes.ColorNetwork("davis").cfg, Choices(), "youtube_vis")


def test_a_mode_is_needed(fakes):
    cfg = fakes.ColorNetwork("davis", opts=["TRAINING.MODE", ""]).cfg
    with pytest.raises(ConfigError, match=r"TRAINING\.MODE"):
        engine_settings(cfg, Choices())
