import io

import pytest

from stemseg.training_log import Clock, TrainingLog, duration, progress_line
from vidseg_common.logging import read_jsonl


class Hand:
    """A clock hand that a test moves."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def test_remaining_time_leaves_pauses_out():
    hand = Hand()
    clock = Clock(100, hand)
    hand.seconds += 40
    clock.tick(20)
    assert clock.seconds_per_iteration() == 2.0
    assert clock.remaining() == 160.0
    state = clock.state_dict()
    hand.seconds += 500
    later = Clock(100, hand)
    later.load_state_dict(state)
    assert later.remaining() == 160.0
    hand.seconds += 20
    later.tick(30)
    assert later.seconds_per_iteration() == 2.0
    again = Clock(100, hand)
    again.load_state_dict(later.state_dict())
    assert again.pause == 500


def test_no_iteration_yet():
    clock = Clock(10, Hand())
    assert clock.seconds_per_iteration() == clock.remaining() == 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0-00:00:00"), (59.6, "0-00:01:00"), (90061, "1-01:01:01"), (10 * 86400, "10-00:00:00")],
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_console_line():
    hand = Hand()
    clock = Clock(20, hand)
    hand.seconds += 5
    clock.tick(10)
    losses = {"lovasz_loss": 0.25, "embedding_loss": 1.5, "foreground": 0.125, "other": 3.0}
    assert progress_line(losses, 0.001, clock) == (
        "It: 00010 - EmbL: 1.500 - FgL: 0.125 - LovL: 0.250 - LR: 1.00e-03 - ETA: 0-00:00:05 - "
        "sec/it: 0.500"
    )


def test_levels_of_the_console(tmp_path):
    stream = io.StringIO()
    log = TrainingLog(tmp_path, level="warn", stream=stream)
    log.line("usual")
    log.line("odd", "warn")
    log.losses({"embedding_loss": 1.0}, 0.5, 3)
    log.close()
    assert stream.getvalue() == "odd\n"
    records = read_jsonl(tmp_path / "training.jsonl")
    assert [r["message"] for r in records if r["kind"] == "line"] == ["usual", "odd"]
    (curve,) = (r for r in records if r["kind"] == "scalars")
    assert curve["values"] == {"training_embedding_loss": 1.0, "training_lr": 0.5}


def test_other_processes_say_who_they_are_and_write_nothing(tmp_path):
    stream = io.StringIO()
    log = TrainingLog(tmp_path / "logs", level="info", rank=3, stream=stream)
    log.line("odd", "warn")
    log.close()
    assert stream.getvalue() == "process 3: odd\n"
    assert list(tmp_path.iterdir()) == []


def test_off(tmp_path):
    stream = io.StringIO()
    log = TrainingLog(None, level="off", stream=stream)
    log.line("bad", "fatal")
    assert stream.getvalue() == ""
