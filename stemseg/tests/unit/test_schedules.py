from types import SimpleNamespace

import pytest
import torch

from stemseg.schedules import DecayFactor, build_optimiser, build_scheduler
from vidseg_common.errors import ConfigError


def section(**changes):
    keys = {
        "OPTIMIZER": "SGD",
        "INITIAL_LR": 0.1,
        "WEIGHT_DECAY": 0.0,
        "MOMENTUM": 0.9,
        "NESTEROV": True,
        "LR_DECAY_TYPE": "none",
        "LR_DECAY_STEPS": [2, 4],
        "LR_DECAY_FACTOR": 0.1,
        "LR_EXP_DECAY_FACTOR": 0.01,
        "LR_EXP_DECAY_START": 2,
        "LR_EXP_DECAY_STEPS": 2,
    }
    return SimpleNamespace(**keys | changes)


@pytest.mark.parametrize(
    ("kind", "factors"),
    [
        ("none", [1, 1, 1, 1, 1]),
        ("step", [1, 1, 0.1, 0.1, 0.01]),
        ("exponential", [1, 1, 0.1, 0.01, 0.001]),
    ],
)
def test_rate_in_force(kind, factors):
    cfg = section(LR_DECAY_TYPE=kind)
    optimiser = build_optimiser([torch.nn.Parameter(torch.zeros(1))], cfg)
    scheduler = build_scheduler(optimiser, cfg)
    rates = []
    for _ in factors:
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert rates == pytest.approx([0.1 * factor for factor in factors])


def test_adam():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = build_optimiser([parameter], section(OPTIMIZER="Adam", WEIGHT_DECAY=0.5))
    assert isinstance(optimiser, torch.optim.Adam)
    assert optimiser.param_groups[0]["weight_decay"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LR_DECAY_TYPE": "cosine"}, "LR_DECAY_TYPE must be step, exponential or none"),
        ({"LR_DECAY_TYPE": "exponential", "LR_EXP_DECAY_STEPS": 0}, "at least 1"),
    ],
)
def test_unusable_schedules(changes, message):
    with pytest.raises(ConfigError, match=message):
        DecayFactor(section(**changes))


def test_unknown_optimiser():
    with pytest.raises(ConfigError, match="must be SGD or Adam"):
        build_optimiser([torch.nn.Parameter(torch.zeros(1))], section(OPTIMIZER="Lion"))
