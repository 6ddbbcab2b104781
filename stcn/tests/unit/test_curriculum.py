import pytest
from hypothesis import given
from hypothesis import strategies as st

from stcn.data.curriculum import skip_schedule


def test_published_stage_two():
    schedule = skip_schedule(2, 300_000, 470)
    assert schedule.num_epochs == 639
    assert schedule.change_epochs == (64, 128, 192, 256, 575)
    jumps = [schedule.max_jump(epoch) for epoch in (0, 63, 64, 128, 192, 256, 574, 575, 638)]
    assert jumps == [5, 5, 10, 15, 20, 25, 25, 5, 5]


def test_stage_one_returns_to_small_jumps_earlier():
    assert skip_schedule(1, 1000, 1).change_epochs[-1] == 800
    assert skip_schedule(3, 1000, 1).change_epochs[-1] == 900


def test_resuming_needs_no_history():
    schedule = skip_schedule(3, 150_000, 470)
    assert schedule.start_epoch(100_000) == 212
    assert schedule.max_jump(212) == 25


@given(st.integers(1, 10_000), st.integers(1, 500))
def test_any_length_starts_somewhere_and_uses_known_jumps(iterations, length):
    schedule = skip_schedule(2, iterations, length)
    jumps = {schedule.max_jump(epoch) for epoch in range(min(schedule.num_epochs, 50))}
    assert jumps <= {5, 10, 15, 20, 25}


def test_stage_zero_has_none():
    with pytest.raises(ValueError, match="stage 0"):
        skip_schedule(0, 10, 1)


def test_an_empty_loader_is_refused():
    with pytest.raises(ValueError, match="loader is empty"):
        skip_schedule(2, 10, 0)
