import io
import json
import sys
from types import SimpleNamespace

import pytest

from devis.config import loss_settings
from devis.training_log import Meters, TrainingLog, duration, progress_line, shown_values
from devis.visdom_curves import ITERATIONS, LOSSES, SCORES, Curves, score_legend, train_legend


def test_meters_show_median_and_mean():
    meters = Meters()
    for value in (1.0, 2.0, 9.0):
        meters.add({"loss": value, "time": 60.0, "data": 0.5})
    line = progress_line(meters, 3, 9, 100)
    assert line.startswith("Epoch: [3]  [  9/100]  eta: 1:30:00  loss: 2 (4)  time: 60.0000  data")
    for _ in range(20):
        meters.add({"loss": 0.0})
    assert meters.medians()["loss"] == 0.0
    assert meters.means()["loss"] == pytest.approx(12 / 23)
    assert duration(3661) == "1:01:01"


def test_terms_with_and_without_weight(tiny):
    settings = loss_settings(tiny("MODEL.LOSS.CLASS_COEF", 4.0))
    losses = dict.fromkeys(settings.weights(), 1.0) | {"loss": 9.0, "class_error": 50.0}
    values = shown_values(losses, settings, {"base": 0.1})
    assert values["loss"] == 9.0 and values["class_error"] == 50.0 and values["lr_base"] == 0.1
    assert values["loss_ce"] == 4.0 and values["loss_ce_unscaled"] == 1.0
    assert values["loss_mask_0"] == 1.0


def test_only_the_first_process_speaks_and_writes(tmp_path):
    stream = io.StringIO()
    log = TrainingLog(tmp_path, rank=1, interval=1, stream=stream)
    log.line("hello")
    log.step({"loss": 1.0}, epoch=1, place=0, length=2, iteration=1)
    log.validation({"AP": 0.5}, 1)
    log.close()
    assert stream.getvalue() == "" and list(tmp_path.iterdir()) == []


def test_validation_is_recorded(tmp_path):
    log = TrainingLog(tmp_path, rank=0, interval=1, stream=io.StringIO())
    log.validation({"AP": 0.5}, 3)
    log.close()
    (record,) = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert record["step"] == 3 and record["values"] == {"val/AP": 0.5}


class Client:
    """Stands for a Visdom client."""

    made = None

    def __init__(self, **given):
        self.given, self.lines, self.broken = given, [], False
        Client.made = self

    def line(self, **given):
        if self.broken:
            raise ConnectionError("gone")
        self.lines.append(given)
        return given["win"] or f"window_{len(self.lines)}"


@pytest.fixture
def server(monkeypatch):
    """A Visdom package and a server that can be reached."""
    monkeypatch.setitem(sys.modules, "visdom", SimpleNamespace(Visdom=Client))
    done = SimpleNamespace(close=lambda: None)
    monkeypatch.setattr("socket.create_connection", lambda address, timeout: done)


def test_curves(server, tiny, tmp_path):
    cfg = tiny("VISDOM_ON", True, "OUTPUT_DIR", str(tmp_path / "mine"))
    curves = Curves(cfg)
    assert Client.made.given == {"server": "http://localhost", "port": 8090, "env": "mine"}
    curves.add(ITERATIONS, 0, {"loss": 2.0})
    curves.add(ITERATIONS, 4, {"loss": 1.0})
    curves.add(LOSSES, 1, {"loss": 1.0})  # of images only
    first, second = Client.made.lines
    assert first["win"] is None and first["update"] is None
    assert second["win"] == "window_1" and second["update"] == "append"
    options = first["opts"]
    assert (options["title"], options["xlabel"], options["ylabel"]) == (
        *("TRAIN METRICS ITERS", "ITERS", "METRICS"),
    )
    assert (options["width"], options["height"]) == (1000, 500)
    assert options["legend"] == train_legend(masks=True)
    assert first["Y"][0][options["legend"].index("loss")] == 2.0 and first["X"] == [0]
    assert curves.windows == {ITERATIONS: "window_1"}
    again = Curves(cfg, curves.windows)
    again.add(ITERATIONS, 8, {"loss": 0.5})
    assert Client.made.lines[0]["win"] == "window_1"


def test_curves_of_images(server, tiny):
    opts = ("DATASETS.TYPE", "coco", "DATASETS.TRAIN_DATASET", "train")
    cfg = tiny("VISDOM_ON", True, *opts, "DATASETS.VAL_DATASET", "val", "MODEL.MASK_ON", False)
    curves = Curves(cfg)
    curves.add(SCORES, 1, {"BBOX AP IoU=0.50:0.95": 0.4})
    assert Client.made.lines[0]["Y"][0][0] == 0.4
    assert Client.made.lines[0]["opts"]["legend"] == score_legend(masks=False)
    assert len(score_legend(masks=True)) == 6
    assert not any("mask" in name for name in train_legend(masks=False) if name != "lr_mask_head")


def test_missing_package_and_server_are_told_once(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "visdom", None)
    with pytest.warns(UserWarning, match="visdom is not installed"):
        assert not Curves(tiny("VISDOM_ON", True)).is_on
    monkeypatch.setitem(sys.modules, "visdom", SimpleNamespace(Visdom=Client))

    def refuse(address, timeout):
        raise OSError("refused")

    monkeypatch.setattr("socket.create_connection", refuse)
    with pytest.warns(UserWarning, match=r"no Visdom server at http://localhost:8090 \(refused\)"):
        assert not Curves(tiny("VISDOM_ON", True)).is_on
    assert not Curves(tiny("VISDOM_ON", False)).is_on


def test_a_server_that_goes_away_does_not_matter(server, tiny):
    curves = Curves(tiny("VISDOM_ON", True))
    Client.made.broken = True
    with pytest.warns(UserWarning, match="gone; no further curves"):
        curves.add(ITERATIONS, 0, {"loss": 2.0})
    curves.add(ITERATIONS, 1, {"loss": 2.0})
    assert not curves.is_on
