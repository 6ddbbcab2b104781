"""Data sets and settings that the tests share."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from stemseg.config import Config, load_config
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout

NUM_FRAMES = 12
TINY = Path(__file__).with_name("tiny_train.yaml")
#: Classes of the synthetic objects to those of the data sets that stand for real ones.
TO_KITTI = {1: 1, 2: 2, 3: 2, 4: 2, 5: 1, 6: 1, 7: 2, 8: 2}
TO_PASCAL = {1: 1, 2: 4, 3: 7, 4: 15, 5: 7, 6: 14, 7: 8, 8: 10}
TO_MAPILLARY = {1: 56, 2: 20, 3: 20, 4: 20, 5: 56, 6: 56, 7: 20, 8: 20}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from more threads; tests of other methods get theirs back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set of the trainings: three videos of 12 frames, 48 x 64, two objects each."""
    return write_training_sets(tmp_path_factory.mktemp("stemseg-data"), 3, NUM_FRAMES)


@pytest.fixture(scope="session")
def long_training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one video of 24 frames, enough for clips of 16."""
    return write_training_sets(tmp_path_factory.mktemp("stemseg-long-data"), 1, 24)


def write_training_sets(root: Path, num_videos: int, num_frames: int) -> Path:
    """Writes every data set, all made of the same videos; returns `root`."""
    videos = list(generate_videos(3, num_videos, num_frames, 48, 64, 2))
    write_layout("stemseg", videos, root, split="train")
    folder = root / "annotations"
    davis = json.loads((folder / "davis_train.json").read_text())
    for sequence in davis["sequences"]:
        sequence["categories"] = {k: TO_KITTI[c] for k, c in sequence["categories"].items()}
    davis["meta"]["category_labels"] = {"1": "car", "2": "pedestrian", "3": "ignore"}
    _write(folder / "kittimots_train.json", davis)
    for name, classes in (("pascal_voc", TO_PASCAL), ("mapillary", TO_MAPILLARY)):
        images = json.loads((folder / "coco.json").read_text())
        for image in images["images"]:
            image["categories"] = [classes[c] for c in image["categories"]]
        images["meta"]["category_labels"] = {}
        _write(folder / f"{name}.json", images)
    return root


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def training_data(training_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of the data sets, with the environment variables naming their parts."""
    return name_training_sets(training_root, monkeypatch)


@pytest.fixture
def long_training_data(long_training_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same of `long_training_root`."""
    return name_training_sets(long_training_root, monkeypatch)


def name_training_sets(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sets the environment variables; returns `root`."""
    frames = str(root / "train" / "JPEGImages")
    monkeypatch.setenv("STEMSEG_JSON_ANNOTATIONS_DIR", str(root / "annotations"))
    monkeypatch.setenv("YOUTUBE_VIS_BASE_DIR", str(root))
    for name in ("DAVIS_BASE_DIR", "KITTIMOTS_BASE_DIR", "COCO_TRAIN_IMAGES_DIR",
                 "PASCAL_VOC_IMAGES_DIR", "MAPILLARY_IMAGES_DIR"):  # fmt: skip
        monkeypatch.setenv(name, frames)
    return root


@pytest.fixture(scope="session")
def tiny_yaml() -> Path:
    """A configuration file of the smallest network, with a training of six iterations."""
    return TINY


@pytest.fixture(scope="session")
def tiny_config() -> Callable[..., Config]:
    """The configuration of `tiny_yaml`; `SECTION__KEY=value` replaces a key."""

    def make(**changes: object) -> Config:
        words: list[str] = []
        for key, value in changes.items():
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [key.replace("__", "."), *map(str, values)]
        return load_config(TINY, opts=words)

    return make


@pytest.fixture(scope="session")
def fakes() -> Any:
    """The module `fakes.py` beside this file: a network that needs no training, and its videos."""
    spec = importlib.util.spec_from_file_location(
        "stemseg_fakes", Path(__file__).with_name("fakes.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
