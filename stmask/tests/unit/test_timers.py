"""Times of the parts of inference, and checkpoints found by name."""

import os

import pytest
import torch
from torch import nn

from stmask.saved import SavedName, find_saved
from stmask.timers import Timers
from vidseg_common.errors import CheckpointError


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_part_within_another_pauses_it(clock):
    timers = Timers(clock=clock)
    with timers("Network Extra"):
        clock.now += 1
        with timers("backbone"):
            clock.now += 10
        clock.now += 2
    clock.now += 100  # between parts
    with timers("backbone"):
        clock.now += 5
    assert timers.seconds == {"Network Extra": 3, "backbone": 15}
    assert timers.total == 18


def test_time_that_does_not_count(clock):
    timers = Timers(clock=clock)
    timers.is_counting = False
    with timers("Detect"):
        clock.now += 1
    timers.is_counting = True
    with timers("Detect"):
        clock.now += 2
    assert timers.seconds == {"Detect": 2}


def test_an_error_ends_its_part(clock):
    timers = Timers(clock=clock)
    with timers("Track"):
        with pytest.raises(ValueError, match="x"), timers("Detect"):
            clock.now += 1
            raise ValueError("x")
        clock.now += 2
    assert timers.seconds == {"Detect": 1, "Track": 2}


class Network(nn.Module):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.backbone = nn.Identity()
        self.prediction_layers = nn.ModuleList([nn.Identity()])

    def priors(self, step):
        self.clock.now += step

    def forward(self, x):
        self.clock.now += 1
        x = self.backbone(x)
        for _ in range(5):
            x = self.prediction_layers[0](x)
        self.priors(7)
        return x


def test_parts_of_a_network_are_measured(clock):
    network, timers = Network(clock), Timers(clock=clock)
    timers.watch(network)
    with timers("Network Extra"):
        network(torch.zeros(1))
    assert timers.seconds == {
        "Network Extra": 1, "backbone": 0, "pred_heads": 0, "makepriors": 7
    }  # fmt: skip


def test_the_table(clock):
    timers = Timers(clock=clock)
    for name, seconds in (("Track", 0.5), ("other", 0.1), ("Load Data", 0.4)):
        with timers(name):
            clock.now += seconds
    lines = timers.table(2)
    assert [line.split()[0] for line in lines[2:]] == ["Load", "Track", "other", "total", "2.00"]
    assert lines[3].split() == ["Track", "250.00"]
    assert lines[-1] == "2.00 frames per second over 2 images"
    assert "first two images are not counted" in Timers().table(0)[0]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("STMask_plus_base_12_250000.pth", SavedName("STMask_plus_base", 12, 250000)),
        ("a_1_2_interrupt.pth", SavedName("a", 1, 2, True)),
        ("STMask_plus_base.pth", None),
        ("STMask_plus_resnet50_YTVIS2021.pth", None),
    ],
)
def test_names_of_checkpoints(file, expected):
    found = SavedName.of(file)
    assert found == expected
    assert found is None or found.file_name == file


def test_checkpoints_are_found(tmp_path):
    names = ["a_1_100.pth", "a_2_90.pth", "a_1_50_interrupt.pth", "b_9_900.pth", "notes.pth"]
    for name in names:
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    assert find_saved(tmp_path, "latest").name == "b_9_900.pth"
    assert find_saved(tmp_path, "latest", "a").name == "a_1_100.pth"
    assert find_saved(tmp_path, "interrupt").name == "a_1_50_interrupt.pth"
    with pytest.raises(CheckpointError, match="interrupt: no checkpoint of b in"):
        find_saved(tmp_path, "interrupt", "b")
