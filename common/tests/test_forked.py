"""Jobs shared with copies of the process: order, errors, and copies that are killed."""

import os
import threading
import time

import pytest

from vidseg_common.metrics.forked import can_fork, share_jobs

needs_fork = pytest.mark.skipif(not can_fork(), reason="the system cannot fork")


@needs_fork
@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_keep_the_order_of_the_jobs(workers):
    jobs = list(range(7))
    offset = 10
    found = share_jobs(lambda n: (n + offset, os.getpid()), jobs, [1] * 7, workers=workers)
    assert [value for value, _ in found] == [n + offset for n in jobs]
    assert len({process for _, process in found}) <= workers
    assert share_jobs(abs, [], [], workers=workers) == []


@needs_fork
def test_copies_do_their_part():
    def wait(n):
        time.sleep(0.05)
        return os.getpid()

    assert set(share_jobs(wait, range(6), [1] * 6, workers=2, progress=True)) > {os.getpid()}


@needs_fork
@pytest.mark.parametrize("in_copy", [True, False])
def test_errors_are_passed_on_and_end_the_work(in_copy):
    here, done = os.getpid(), []

    def fail_once(n):
        time.sleep(0.02)
        if (os.getpid() != here) == in_copy:
            raise ValueError(f"job {n} is bad")
        done.append(n)

    with pytest.raises(ValueError, match="is bad"):
        share_jobs(fail_once, range(50), [1] * 50, workers=2)
    assert len(done) < 10
    assert threading.active_count() < 10


@needs_fork
def test_a_copy_that_is_killed_is_noticed():
    here = os.getpid()

    def die(n):
        time.sleep(0.05)
        if os.getpid() != here:
            os._exit(9)

    with pytest.raises(RuntimeError, match="ended early"):
        share_jobs(die, range(4), [1] * 4, workers=2)


@needs_fork
def test_more_jobs_than_a_pipe_holds():
    assert share_jobs(abs, range(5000), [1] * 5000, workers=2) == list(range(5000))


def test_workers_must_be_positive():
    with pytest.raises(ValueError, match="1 or more"):
        share_jobs(abs, [1], [1], workers=0)
