import random
from collections import Counter
from pathlib import Path

import pytest

from stemseg.data.sampling import (
    ClipLength,
    annotated_sequences,
    draw_clips,
    sequences_with_objects,
)
from stemseg.data.sequences import VideoSequence
from vidseg_common.errors import ConfigError, DatasetError


def sequence(visible, categories):
    return VideoSequence(
        id="s",
        image_root=Path(),
        image_paths=tuple(f"{t}.png" for t in range(len(visible))),
        image_dims=(4, 4),
        categories=categories,
        segmentations=tuple(dict.fromkeys(ids, "0") for ids in visible),
    )


def test_clips_lie_within_their_sequences_and_spans():
    length = ClipLength(4, 4, 6)
    clips = draw_clips([14, 9, 4, 20], 200, length, random.Random(1))
    assert len(clips) == 200
    spans = set()
    for clip in clips:
        assert list(clip.frames) == sorted(set(clip.frames))
        assert len(clip.frames) == 4
        assert 0 <= clip.frames[0] <= clip.frames[-1] < [14, 9, 4, 20][clip.sequence]
        spans.add(clip.frames[-1] - clip.frames[0])
    assert spans == {4, 5, 6}


def test_long_sequences_give_more_clips():
    counts = Counter(c.sequence for c in draw_clips([10, 90], 500, ClipLength(4, 4, 6),
                                                    random.Random(1)))  # fmt: skip
    assert 30 < counts[0] < 70


def test_same_seed_same_clips():
    drawn = [draw_clips([30, 20], 9, ClipLength(8, 8, 8), random.Random(5)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != draw_clips([30, 20], 9, ClipLength(8, 8, 8), random.Random(6))


def test_whole_sequence_is_used_up_to_its_last_frame():
    clips = draw_clips([10], 200, ClipLength(8, 8, 8), random.Random(0))
    assert {clip.frames[0] for clip in clips} == {0, 1}
    assert {clip.frames[-1] for clip in clips} == {8, 9}


def test_no_usable_sequence():
    with pytest.raises(DatasetError, match=r"none of the 2 sequences has the 10 .* has 9\)"):
        draw_clips([9, 3], 5, ClipLength(8, 8, 8), random.Random(0))
    with pytest.raises(DatasetError, match="none of the 0 sequences"):
        draw_clips([], 5, ClipLength(8, 8, 8), random.Random(0))


def test_gaps_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"FRAME_GAP_LOWER is 6: clips of INPUT\.NUM_FRAMES = 8"):
        ClipLength(8, 6, 9)
    with pytest.raises(ConfigError, match="FRAME_GAP_UPPER is 8, but FRAME_GAP_LOWER 9"):
        ClipLength(8, 9, 8)


def test_empty_frames_are_left_out():
    (left,) = annotated_sequences([sequence([[1], [], [1], []], {1: 1})])
    assert left.image_paths == ("0.png", "2.png")


def test_sequences_end_at_the_sixth_frame_without_objects():
    region, both = [9], [1, 9]
    visible = [both] * 2 + [region] * 5 + [both] + [region] * 3 + [[]] * 3 + [both] * 2 + [region]
    first, second = sequences_with_objects([sequence(visible, {1: 1, 9: 3})])
    assert (first.id, first.image_paths) == ("s_1", ("0.png", "1.png", "7.png"))
    assert (second.id, second.image_paths) == ("s_2", ("14.png", "15.png"))
    assert sorted(first.instance_ids) == [1, 9]


def test_sequence_without_objects_gives_none():
    assert sequences_with_objects([sequence([[9]] * 20, {9: 3})]) == []


def test_numbers_start_at_the_first_objects():
    visible = [[9]] * 8 + [[1]] * 3
    (only,) = sequences_with_objects([sequence(visible, {1: 2, 9: 3})])
    assert (only.id, len(only), only.instance_ids) == ("s_1", 3, [1])
