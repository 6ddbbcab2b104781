import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stcn.data.sampling import choose_frames


@given(st.integers(3, 200), st.integers(1, 30), st.integers(0, 2**31))
def test_frames_lie_in_the_video_and_keep_their_order(num_frames, max_jump, seed):
    frames = choose_frames(num_frames, max_jump, np.random.RandomState(seed))
    assert all(0 <= frame < num_frames for frame in frames)
    ordered = frames if frames[0] <= frames[2] else frames[::-1]
    assert list(ordered) == sorted(ordered) or num_frames <= 2 * max_jump


@given(st.integers(1, 30), st.integers(0, 2**31))
def test_neighbours_are_near_in_long_videos(max_jump, seed):
    first, second, third = choose_frames(300, max_jump, np.random.RandomState(seed))
    assert abs(first - second) <= max_jump + 1
    assert abs(second - third) <= max_jump + 1


def test_half_of_the_samples_run_backwards():
    rng = np.random.RandomState(0)
    draws = [choose_frames(100, 5, rng) for _ in range(2000)]
    backwards = sum(first > third for first, _, third in draws)
    assert 900 < backwards < 1100


def test_same_seed_same_frames():
    draws = [choose_frames(50, 10, np.random.RandomState(7)) for _ in range(2)]
    assert draws[0] == draws[1]


@pytest.mark.parametrize(("num_frames", "max_jump"), [(2, 5), (10, 0)])
def test_impossible_requests_are_refused(num_frames, max_jump):
    with pytest.raises(ValueError, match="at least"):
        choose_frames(num_frames, max_jump, np.random.RandomState(0))
