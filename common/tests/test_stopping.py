import signal
import threading

import pytest

from vidseg_common.distributed import DistInfo
from vidseg_common.stopping import STOP_FILE, Agreement, StopSignals


@pytest.mark.parametrize("number", StopSignals.CAUGHT)
def test_signal_becomes_a_wish(number):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        assert signals.number == 0
        signal.raise_signal(number)
        assert signals.number == number
    assert signal.getsignal(number) == before


def test_second_interrupt_leaves_at_once():
    with pytest.raises(KeyboardInterrupt), StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        assert signals.number == signal.SIGINT
        signal.raise_signal(signal.SIGINT)


def test_second_termination_changes_nothing():
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM


def test_file_stands_for_a_signal(tmp_path, monkeypatch):
    monkeypatch.setenv(STOP_FILE, str(tmp_path / "stop"))
    with StopSignals() as signals:
        assert signals.number == 0
        (tmp_path / "stop").touch()
        assert signals.number == signal.SIGUSR1
        signal.raise_signal(signal.SIGTERM)
        assert signals.number == signal.SIGTERM


def test_other_threads_change_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def enter():
        with StopSignals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_single_process_agrees_with_itself():
    assert [Agreement(DistInfo()).highest(value) for value in (0, 15)] == [0, 15]
