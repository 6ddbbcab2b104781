import io
import json

import numpy as np
import pytest

from stmask.tools import logger
from stmask.training_log import Averages, TrainingLog, duration, progress_line
from vidseg_common.errors import UserError


@pytest.fixture
def log_file(tmp_path):
    """A log of two sessions of three iterations and a validation."""
    for session in range(2):
        log = TrainingLog(tmp_path, "mine")
        log.session({"lr": 0.1}, ["a GPU"])
        for i in range(1, 4):
            losses = {"B": 1.0 / i, "C": float("nan") if session else 2.0}
            log.iteration(losses, epoch=0, iteration=i, rate=1e-4, elapsed=1800.0)
        log.validation({"mAP": 0.25 + session}, 3)
        log.close()
    return tmp_path / "mine.log"


def test_records(log_file):
    records = [json.loads(line) for line in log_file.read_text().splitlines()]
    assert [record["session"] for record in records] == [0] * 5 + [1] * 5
    assert records[0]["type"] == "session"
    assert records[0]["data"] == {"lr": 0.1, "gpus": ["a GPU"]}
    assert records[3]["data"] == {
        "loss": {"B": 0.33333, "C": 2.0, "Total": 2.33333},
        **{"epoch": 0, "iter": 3, "lr": 1e-4, "elapsed": 1800.0},
    }
    assert records[-2]["data"]["loss"]["C"] == "nan"
    assert records[-1]["data"] == {"iter": 3, "mAP": 1.25}


def test_only_the_first_process_speaks_and_writes(tmp_path):
    stream = io.StringIO()
    log = TrainingLog(tmp_path, "mine", rank=1, stream=stream)
    log.line("hello")
    log.iteration({"B": 1.0}, epoch=0, iteration=10, rate=0.1, elapsed=1.0)
    log.close()
    assert stream.getvalue() == ""
    assert list(tmp_path.iterdir()) == []


def test_console_line_and_averages():
    averages = Averages(2)
    for value in (9.0, 1.0, 2.0):
        averages.add({"B": value, "Total": value, "elapsed": 60.0})
    line = progress_line(averages.means(), 3, 1000, 1090)
    expected = "[  3]    1000 || B: 1.500 | Total: 1.500 || ETA: 1:30:00 || timer: 60.000"
    assert line == expected
    averages.reset()
    assert averages.means() == {}
    assert duration(3661) == "1:01:01"


def test_queries(log_file):
    log = logger.Log(log_file)
    assert log.sessions() == [0, 1]
    assert log.query("train", "x.data.iter").tolist() == [1, 2, 3, 1, 2, 3]
    assert log.query("train", "loss.B", 0).tolist() == [1.0, 0.5, 0.33333]
    assert np.isnan(log.query("train", "loss.C")).sum() == 3
    assert log.elapsed().tolist() == [0.5, 1, 1.5, 2, 2.5, 3]
    assert log.means("val", "mAP") == {0: 0.25, 1: 1.25}
    with pytest.raises(UserError, match=r"has the field 'loss\.totl'; did you mean loss\.Total"):
        log.query("train", "loss.totl")
    with pytest.raises(UserError, match="no test records; it has session, train, val"):
        log.query("test", "iter")


def test_script_draws(log_file, tmp_path, capsys):
    assert logger.main([str(log_file), "train", "elapsed", "loss.Total", "--window", "2"]) == 0
    # Records of other kinds are not counted.
    assert "6 train records of 2 session(s)" in capsys.readouterr().out
    assert (tmp_path / "mine_train.png").stat().st_size > 5000
    out = tmp_path / "bars.svg"
    assert logger.main([str(log_file), "val", "iter", "mAP", "--bar", "-o", str(out)]) == 0
    assert "<svg" in out.read_text()
    assert "2 val records of 2 session(s)" in capsys.readouterr().out
    with pytest.raises(UserError, match="expected a name that ends in"):
        logger.main([str(log_file), "val", "iter", "mAP", "-o", str(tmp_path / "x.bmp")])
    with pytest.raises(UserError, match="is not the log"):
        logger.main([str(tmp_path / "none.log"), "val", "iter", "mAP"])
