from __future__ import annotations

import pytest

from stemseg.inference.clips import ClipSchedule, subsequences
from vidseg_common.errors import ConfigError


def literal(num_frames: int, length: int, overlap: int) -> list[list[int]]:
    """The rule as the specification has it."""
    if num_frames < length:
        return [[0] * (length - num_frames) + list(range(num_frames))]
    starts = list(range(0, num_frames - length + 1, length - overlap))
    if starts[-1] + length < num_frames:
        starts.append(num_frames - length)
    return [list(range(start, start + length)) for start in starts]


@pytest.mark.parametrize(("length", "overlap"), [(8, 4), (16, 6), (4, 3), (4, 0), (2, 1)])
def test_clips_of_every_length_are_those_of_the_rule(length, overlap):
    for num_frames in range(1, 45):
        found = [list(clip.frames) for clip in subsequences(num_frames, length, overlap)]
        assert found == literal(num_frames, length, overlap)


def test_a_video_without_frames_has_no_clip():
    assert subsequences(0, 8, 4) == []


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_that_makes_no_progress_is_refused(overlap):
    with pytest.raises(ConfigError, match=rf"below their 8 frames .*got {overlap}"):
        subsequences(20, 8, overlap)


@pytest.mark.parametrize(("length", "overlap"), [(8, 4), (16, 6), (4, 3), (4, 0)])
def test_no_later_clip_has_a_frame_before_the_oldest_needed(length, overlap):
    for num_frames in range(1, 40):
        schedule = ClipSchedule(length, overlap)
        oldest = []
        for _ in range(num_frames):
            clips = schedule.add_frame()
            assert all(clip.frames[0] >= (oldest[-1] if oldest else 0) for clip in clips)
            assert schedule.num_frames - schedule.oldest_needed <= length
            oldest.append(schedule.oldest_needed)
        assert all(clip.frames[0] >= oldest[-1] for clip in schedule.finish())
        assert oldest == sorted(oldest)


def test_repeated_frames_occur_last_at_the_end():
    (clip,) = subsequences(3, 8, 4)
    assert clip.num_padded == 5
    assert clip.last_positions == {0: 5, 1: 6, 2: 7}
