"""What the tests of training share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from stmask.config import DATA_ROOT_VARIABLE
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root with YouTube-VIS 2021: two videos of 6 frames, 48 x 64, two objects each."""
    root = tmp_path_factory.mktemp("stmask-data")
    home = root / "YouTube_VOS2021"
    write_layout("ytvis", generate_videos(3, 2, 6, 48, 64, 2), home, split="train")
    sub = home / "annotations_instances" / "valid_sub.json"
    sub.parent.mkdir()
    shutil.copy(home / "train" / "instances.json", sub)
    return root


@pytest.fixture
def training_data(training_root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The root, named by the environment variable; one thread, as tiny networks gain from none."""
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(training_root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield training_root
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def tiny_yaml() -> Path:
    """A configuration file of the smallest network, with a training of six iterations."""
    return Path(__file__).with_name("tiny_train.yaml")
