"""What the tests of training share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from devis.config import Config, load_config
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout

TINY = Path(__file__).with_name("tiny_train.yaml")


@pytest.fixture(scope="session")
def clips_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of YouTube-VIS 2021: two videos of 5 frames, 48 x 64, two objects each, twice."""
    root = tmp_path_factory.mktemp("devis-data")
    for split in ("train", "val"):
        videos = generate_videos(3, 2, 5, 48, 64, 2)
        write_layout("ytvis", videos, root / "Youtube_VIS-2021", split=split)
    return root


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny networks gain nothing from more; what a training sets for its process is put back."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, os.environ.get(name, "0"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny(clips_root: Path, one_thread: None) -> Callable[..., Config]:
    """Makes the configuration of a tiny training of 16 steps in two epochs."""

    def make(*opts: object) -> Config:
        return load_config(TINY, ["DATASETS.DATA_PATH", str(clips_root), *opts])

    return make
