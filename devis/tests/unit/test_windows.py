"""Clips of a stream of unknown length are those of a video whose length is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devis.data.clips import clips_of_video
from devis.inference.windows import windows
from vidseg_common.errors import VideoError


@given(st.integers(1, 60), st.integers(2, 9), st.data())
def test_windows_are_the_clips_of_the_video(length, num_frames, data):
    stride = data.draw(st.integers(1, num_frames - 1))
    found = list(windows(range(length), num_frames, stride))
    expected = clips_of_video(length, num_frames, stride)
    assert [window.frames for window in found] == expected.clips
    assert [w.last_start for w in found[:-1]] == [0] * (len(found) - 1)
    assert found[-1].last_start == expected.last_start
    assert {w.real_frames for w in found} == {expected.real_length or num_frames}
    # Every frame comes once, as a new one, in its order.
    assert [item for w in found for item in w.items] == list(range(length))
    for window in found:
        assert len(window.items) == window.num_new
        if length >= num_frames:
            assert window.items == window.frames[num_frames - window.num_new :]


def test_no_more_frames_are_read_than_are_needed():
    read = []

    def stream():
        for number in range(100):
            read.append(number)
            yield number

    found = windows(stream(), 6, 4)
    next(found)
    assert read == list(range(7))
    next(found)
    assert read == list(range(11))


def test_a_stream_without_frames():
    with pytest.raises(VideoError, match="no frames"):
        next(windows([], 6, 4))
