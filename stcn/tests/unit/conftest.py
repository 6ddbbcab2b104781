"""Trainers of the smallest network, for the tests of training."""

import pytest

from stcn.engine import RunFolder, Trainer
from vidseg_common.distributed import DistInfo
from vidseg_common.logging import read_jsonl

OPTIONS = ("load_network", "load_model", "debug")


#: What differs from run to run.
TIMES = {"train/time", "train/samples_per_s", "train/waiting"}


@pytest.fixture
def trainer(train_config, tmp_path):
    """A function that gives a trainer whose files lie in `tmp_path`."""

    def make(name="run", *, files=True, **changes):
        options = {k: changes.pop(k) for k in list(changes) if k in OPTIONS}
        place = tmp_path if files else None
        folder = RunFolder(name, place and place / "saves", place and place / "log")
        return Trainer(train_config(**changes), DistInfo(), folder, **options)

    return make


@pytest.fixture
def logged():
    """A function that reads what a trainer reported: {iteration: {name: value}}, without times."""

    def read(trainer):
        records = read_jsonl(trainer.logger.folder / f"{trainer.folder.name}.jsonl")
        return {
            record["step"]: {n: v for n, v in record["values"].items() if n not in TIMES}
            for record in records
            if record["kind"] == "scalars"
        }

    return read
