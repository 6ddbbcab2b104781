import json
from pathlib import Path

import pytest
import torch

from stmask.config import get_config
from stmask.schedules import Schedule, autoscale, build_optimiser, delayed_changes, scale_factor
from vidseg_common.errors import ConfigError

RECORD = Path(__file__).parents[1] / "parity/records/schedule.json"
TABLE = json.loads(RECORD.read_text())["table"]


@pytest.mark.parametrize("entry", TABLE, ids=[f"batch{e['batch_size']}" for e in TABLE])
def test_recorded_schedule(entry):
    cfg = autoscale(get_config("STMask_plus_base_config"), entry["batch_size"])
    assert scale_factor(entry["batch_size"]) == entry["factor"]
    assert cfg.max_iter == entry["max_iter"]
    assert cfg.lr_steps == entry["lr_steps"]
    for rate, key in ((1e-4, "lr_at"), (1e-3, "lr_at_if_lr_flag_is_1e-3")):
        schedule = Schedule.of(cfg, rate)
        found = {iteration: schedule.at(int(iteration)) for iteration in entry[key]}
        assert found == entry[key]


def test_schedule_without_warmup_and_with_own_gamma():
    schedule = Schedule(rate=1.0, gamma=0.5, steps=(2, 4), warmup_until=0)
    assert [schedule.at(i) for i in range(6)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert Schedule.of(get_config("STMask_base_config"), 1e-4, 0.2).gamma == 0.2


def test_optimiser_decays_everything():
    layer = torch.nn.Conv2d(1, 1, 1)
    optimiser = build_optimiser(layer.parameters(), rate=0.1, momentum=0.9, decay=1e-4)
    (group,) = optimiser.param_groups
    assert len(group["params"]) == 2
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)


def test_delayed_changes_come_into_force_once_and_in_order():
    cfg = get_config("STMask_base_config")
    cfg = cfg.copy({"delayed_settings": [[5, {"mask_alpha": 2}], [3, {"mask_alpha": 1}]]})
    assert delayed_changes(cfg, -1, 2) == []
    assert delayed_changes(cfg, 2, 3) == [{"mask_alpha": 1}]
    assert delayed_changes(cfg, 3, 4) == []
    # A training that continues behind both makes both.
    assert delayed_changes(cfg, -1, 9) == [{"mask_alpha": 1}, {"mask_alpha": 2}]
    with pytest.raises(ConfigError, match="delayed_settings: expected pairs"):
        delayed_changes(cfg.copy({"delayed_settings": [{"mask_alpha": 1}]}), 0, 1)
