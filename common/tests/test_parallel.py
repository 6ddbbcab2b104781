import argparse

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidseg_common.metrics.parallel import available_cpus, positive_int, run_jobs, split_items


def _square(value):
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value * value


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_jobs_keep_their_order_and_pass_on_errors(workers):
    jobs, sizes = list(range(20)), [i % 7 for i in range(20)]
    done = run_jobs(_square, jobs, sizes, workers=workers, progress=False)
    assert done == [i * i for i in jobs]
    with pytest.raises(ValueError, match="-3 is negative"):
        run_jobs(_square, [1, -3, 2], [1, 1, 1], workers=workers, progress=False)


def test_workers_must_be_positive():
    with pytest.raises(ValueError, match="1 or more"):
        run_jobs(_square, [1], [1], workers=0)


@given(count=st.integers(0, 500), workers=st.integers(1, 8))
@settings(deadline=None)
def test_chunks_cover_everything_once(count, workers):
    chunks = split_items(range(count), count, workers)
    assert [item for chunk in chunks for item in chunk] == list(range(count))
    assert all(1 <= len(chunk) <= 64 for chunk in chunks)


def test_worker_flag():
    assert positive_int("3") == 3
    assert available_cpus() >= 1
    for text in ("0", "-1", "two", "1.5", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="1 or more"):
            positive_int(text)
