"""Trainers of the smallest network on clips made in memory, for the tests of training."""

import pytest
import torch

from stemseg.data.samples import ClipSample, ClipSet
from stemseg.engine import Trainer
from stemseg.session import Start, TrainOptions
from vidseg_common.distributed import DistInfo
from vidseg_common.logging import read_jsonl

OPTIONS = tuple(name for name in TrainOptions.__dataclass_fields__ if name != "start")


class Squares(ClipSet):
    """Noisy clips of one or two bright squares, drawn from the generator of the sample."""

    name = "squares"
    category_names = {1: "square"}  # noqa: RUF012

    def __init__(self, length=12, num_frames=2):
        self.length, self.num_frames = length, num_frames

    def __len__(self):
        return self.length

    def sample(self, index, rng):
        noise = torch.Generator().manual_seed(rng.randrange(2**31))
        images = torch.randn(self.num_frames, 3, 32, 64, generator=noise)
        masks = torch.zeros(1 + index % 2, self.num_frames, 32, 64, dtype=torch.uint8)
        for i, mask in enumerate(masks):
            left = 32 * i + 4 * rng.randrange(3)
            mask[:, 8:24, left : left + 16] = 1
            images[:, i] += 3 * mask
        ignore = torch.zeros(self.num_frames, 32, 64, dtype=torch.uint8)
        ids = torch.ones(len(masks), dtype=torch.int64)
        return ClipSample(images, masks, ignore, ids, f"clip{index}")


@pytest.fixture
def squares():
    return Squares()


@pytest.fixture
def trainer(tiny_config, tmp_path, squares):
    """A function that gives a trainer whose files lie in `tmp_path`."""

    def make(name="run", *, files=True, session=None, weights=None, dataset=None, **changes):
        options = {k: changes.pop(k) for k in list(changes) if k in OPTIONS}
        options = {"num_workers": 0, "display_interval": 1, "summary_interval": 1} | options
        start = Start(weights=weights, session=session)
        folder = tmp_path / name if files else None
        cfg = tiny_config(**changes)
        return Trainer(
            cfg, dataset or squares, DistInfo(), folder, TrainOptions(start=start, **options)
        )

    return make


@pytest.fixture
def logged():
    """A function that reads what a trainer reported: {iteration: {name: value}}."""

    def read(trainer):
        records = read_jsonl(trainer.folder / "logs" / "training.jsonl")
        return {r["step"]: r["values"] for r in records if r["kind"] == "scalars"}

    return read
