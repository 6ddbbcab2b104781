from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stemseg.config import load_config
from stemseg.inference.classes import ClassScores, ClassVotes
from stemseg.inference.engine import VideoTracks
from stemseg.inference.labels import LabelStore, statistics_of
from stemseg.inference.preprocess import InputRule, frame_geometry
from stemseg.inference.settings import Choices, max_tracks_of
from stemseg.outputs import davis, kitti_mots, youtube_vis
from stemseg.outputs.resize import instance_masks
from stemseg.outputs.writers import WRITERS
from vidseg_common import rle
from vidseg_common.errors import ConfigError
from vidseg_common.masks import read_mask

SIZE = (40, 56)
RULE = InputRule(48, 64, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def tracks_of(maps, classes=None):
    """Tracks of label maps (T, 16, 16) at stride 4 of an input of 46x64, padded to 64x64."""
    store = LabelStore()
    for labels in maps:
        store.append(labels)
    geometry = frame_geometry(SIZE, RULE)
    assert geometry.padded == (64, 64)
    return VideoTracks(geometry, store, statistics_of(maps), classes)


@pytest.fixture
def maps():
    maps = np.zeros((4, 16, 16), np.int64)
    maps[:, 1:6, 1:6] = 1
    maps[1:3, 6:10, 4:12] = 2
    maps[2, 2:5, 8:12] = 7
    maps[:, 0, 15] = -1
    return maps


def test_masks_have_the_size_of_the_frame_at_either_scale(maps):
    geometry = frame_geometry(SIZE, RULE)
    full = maps[2].repeat(4, 0).repeat(4, 1)
    assert instance_masks(full, [1], geometry).shape == (1, *SIZE)
    assert instance_masks(maps[2], [], geometry).shape == (0, *SIZE)
    assert not instance_masks(maps[2], [12], geometry).any()


def test_ranks_go_by_lifetime_then_by_appearance(maps):
    statistics = tracks_of(maps).statistics
    assert statistics.by_lifetime(20) == [1, 2, 7]
    assert statistics.by_lifetime(2) == [1, 2]
    assert statistics.by_pixels(20) == [1, 2, 7]
    assert statistics.of_label[-1].num_pixels == 4
    assert statistics.of_label[2].lifetime == 1


def test_davis_writes_zeros_where_nothing_was_found(tmp_path):
    tracks = tracks_of(np.zeros((3, 16, 16), np.int64))
    davis.write_masks(tracks, [], tmp_path)
    files = sorted(tmp_path.glob("*.png"))
    assert [path.name for path in files] == ["00000.png", "00001.png", "00002.png"]
    assert not any(read_mask(path).any() for path in files)
    assert read_mask(files[0]).shape == SIZE


def test_the_later_rank_wins_an_overlap(maps, monkeypatch):
    tracks = tracks_of(maps)
    monkeypatch.setattr(
        davis, "instance_masks", lambda _labels, wanted, *_: np.ones((len(wanted), *SIZE), bool)
    )
    assert (list(davis.rank_maps(tracks, [1, 2]))[1] == 2).all()


def test_youtube_vis_encodes_empty_masks_too(maps):
    tracks = tracks_of(maps, ClassScores())
    logits = torch.zeros(41, 16, 16)
    logits[5] = 1.0
    logits[3, 6:10] = 2.0
    for labels in maps:
        tracks.classes.add(torch.from_numpy(labels), logits)
    scored = youtube_vis.scored_tracks(tracks, tracks.statistics.by_lifetime(10))
    assert [track.category_id for track in scored] == [5, 3, 5]
    entries = youtube_vis.result_entries(tracks, scored, 12)
    assert [entry["video_id"] for entry in entries] == [12] * 3
    assert entries[0]["score"] == 1.0
    assert entries[1]["score"] == 64 / 100
    areas = [[rle.area(mask) > 0 for mask in entry["segmentations"]] for entry in entries]
    assert areas == [[True] * 4, [False, True, True, False], [False, False, True, False]]


def test_youtube_vis_has_no_entries_where_nothing_was_found():
    tracks = tracks_of(np.zeros((3, 16, 16), np.int64), ClassScores())
    assert youtube_vis.scored_tracks(tracks, []) == []
    assert youtube_vis.result_entries(tracks, [], 12) == []


def test_kitti_mots_numbers_the_shortest_lived_first(maps):
    tracks = tracks_of(maps, ClassVotes())
    tracks.classes.add_map(maps[2], np.where(maps[2] == 7, 2, 1))
    numbered = kitti_mots.numbered_tracks(tracks, 1000)
    assert [(x.label, x.number, x.category_id) for x in numbered] == [
        (7, 1, 2),
        (2, 2, 1),
        (1, 3, 1),
    ]
    lines = kitti_mots.format_lines(kitti_mots.result_objects(tracks, numbered)).splitlines()
    assert [line.split()[:5] for line in lines][:3] == [
        ["2", "2001", "2", "40", "56"],
        ["1", "1002", "1", "40", "56"],
        ["2", "1002", "1", "40", "56"],
    ]


def test_kitti_mots_gives_overlaps_to_the_highest_label(maps):
    tracks = tracks_of(maps, ClassVotes())
    numbered = kitti_mots.numbered_tracks(tracks, 1000)
    masks = kitti_mots.masks_of_frame(tracks, numbered, 2)
    assert np.stack(list(masks.values())).sum(0).max() == 1


def test_kitti_mots_keeps_the_largest_tracks(maps):
    tracks = tracks_of(maps, ClassVotes())
    assert {track.label for track in kitti_mots.numbered_tracks(tracks, 2)} == {1, 2}


def test_room_of_the_results():
    """The published limit of KITTI-MOTS is 1000, but its ids have room for 999."""
    cfg, most = load_config("kitti_mots_2"), WRITERS["kittimots"].MOST_TRACKS
    assert cfg.DATA.KITTI_MOTS.MAX_INFERENCE_TRACKS == 1000
    assert max_tracks_of(cfg, Choices()) == 1000
    assert max_tracks_of(cfg, Choices(), most=most) == 999
    assert max_tracks_of(cfg, Choices(max_tracks=999), most=most) == 999
    with pytest.raises(ConfigError, match=r"at most 999 tracks of a video, not 1000 \(--max_tr"):
        max_tracks_of(cfg, Choices(max_tracks=1000), most=most)
    with pytest.raises(ConfigError, match="at least one track"):
        max_tracks_of(cfg, Choices(max_tracks=0))


def test_votes_skip_background_and_prefer_the_lower_class():
    votes = ClassVotes()
    votes.add_map(np.array([[1, 1, 1, 2, 2, 3]]), np.array([[0, 0, 2, 1, 2, 0]]))
    assert [votes.category_of(label, 9) for label in (1, 2, 3)] == [2, 1, 1]


def test_votes_of_enlarged_logits():
    votes = ClassVotes()
    logits = torch.zeros(3, 2, 2)
    logits[2] = 1.0
    votes.add(torch.ones(8, 8, dtype=torch.int32), logits)
    assert votes.category_of(1, 64) == 2


def test_pictures_show_every_object(maps):
    frames = np.zeros((4, *SIZE, 3), np.uint8)
    tracks = tracks_of(maps, ClassScores())
    for labels in maps:
        tracks.classes.add(torch.from_numpy(labels), torch.zeros(41, 16, 16))
    kept = tracks.statistics.by_lifetime(10)
    pictures = list(davis.draw_frames(tracks, kept, frames))
    assert len(pictures) == 4
    # Rank 1 has the first colour of the map, used as blue, green, red.
    assert pictures[0][14, 14].tolist() == [76, 0, 0]
    scored = youtube_vis.scored_tracks(tracks, kept)
    named = list(youtube_vis.draw_frames(tracks, scored, frames, {1: "person"}))
    assert all(picture.any() for picture in named)
    tracks.classes = ClassVotes()
    numbered = kitti_mots.numbered_tracks(tracks, 10)
    assert all(picture.any() for picture in kitti_mots.draw_frames(tracks, numbered, frames))
    assert not frames.any()


@pytest.mark.parametrize("largest", [5, 40_000])
def test_label_maps_come_back_from_disk(largest):
    store = LabelStore()
    maps = [np.array([[0, -1], [1, largest]]), np.array([[largest, 0], [0, 0]])]
    for labels in maps:
        store.append(labels)
    assert len(store) == 2
    assert all(np.array_equal(store[t], maps[t]) for t in (1, 0))


@pytest.mark.parametrize("size", [(40, 56), (33, 90), (48, 64), (100, 70), (375, 1242)])
@pytest.mark.parametrize("full_scale", [False, True])
def test_masks_inside_boxes_are_those_of_whole_maps(size, full_scale):
    geometry = frame_geometry(size, InputRule(70, 124, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    height, width = (side if full_scale else side // 4 for side in geometry.padded)
    rng = np.random.default_rng(size[1])
    labels = np.zeros((height, width), np.int64)
    for label in range(1, 9):
        top, left = rng.integers(0, height), rng.integers(0, width)
        labels[top : top + rng.integers(1, 12), left : left + rng.integers(1, 20)] = label
    labels[0, 0], labels[-1, -1] = 9, 10
    found = instance_masks(labels, list(range(1, 11)), geometry)
    for mask, label in zip(found, range(1, 11), strict=True):
        expected = whole_map_mask(labels == label, geometry, full_scale)
        # Values at one half may round to either side.
        assert (mask != expected).sum() <= 1e-3 * mask.size


def whole_map_mask(mask, geometry, full_scale):
    x = torch.from_numpy(mask).float()[None, None]
    if not full_scale:
        x = F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
    x = x[..., : geometry.network[0], : geometry.network[1]]
    x = F.interpolate(x, geometry.image, mode="bilinear", align_corners=False)
    return x[0, 0].numpy() > 0.5
