"""Small networks, weights files, videos and data sets that the tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from stcn.config import TrainConfig
from stcn.model.network import STCN, NetworkConfig
from vidseg_common.config import apply_overrides, load_yaml
from vidseg_common.masks import write_binary_mask, write_mask
from vidseg_common.video import write_image

TINY = NetworkConfig(
    key_block="basic",
    key_stem=8,
    key_widths=(8, 8, 16),
    key_depths=(1, 1, 1),
    value_widths=(8, 8, 16),
    value_depths=(1, 1, 1),
    key_dim=16,
    value_dim=32,
    thin_dim=16,
    decoder_widths=(16, 16, 8),
)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from more threads; tests of other methods get theirs back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build_network(config: NetworkConfig, seed: int = 1) -> STCN:
    """Random weights with real batch-norm statistics, scaled so that masks tell objects apart."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = STCN(config).eval().requires_grad_(False)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.weight.uniform_(0.8, 1.2)
                module.bias.normal_(0, 0.1)
        network.value_encoder.conv1.weight[:, 3:] *= 8
        network.key_proj.key_proj.weight.mul_(6)
        masks = torch.zeros(2, 1, 64, 64)
        masks[0, :, :40, :30] = masks[1, :, 20:, 30:] = 1
        frame = torch.randn(1, 3, 64, 64)
        features = network.encode_key(frame)
        logits = network.decode(network.encode_value(frame, features.f16, masks), features)
        scale = 3 / logits.std()
        network.decoder.pred.weight.mul_(scale)
        network.decoder.pred.bias.sub_(logits.median()).mul_(scale)
    return network


@pytest.fixture(scope="session")
def make_network() -> Callable[..., STCN]:
    return build_network


@pytest.fixture(scope="session")
def tiny_config() -> NetworkConfig:
    return TINY


@pytest.fixture(scope="session")
def network() -> STCN:
    return build_network(TINY)


@pytest.fixture(scope="session")
def weights(tmp_path_factory, network) -> Path:
    """A file as the published ones are: a bare state dict."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save(network.state_dict(), path)
    return path


def moving_squares(
    num_frames: int, height: int, width: int, ids: tuple[int, ...], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Frames (T, H, W, 3) and masks (T, H, W) of coloured squares that move over noise."""
    rng = np.random.default_rng(seed)
    scenery = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
    frames = np.repeat(scenery[None], num_frames, 0)
    masks = np.zeros((num_frames, height, width), np.uint8)
    side = min(height, width) // 4
    colors = rng.integers(0, 255, (len(ids), 3), dtype=np.uint8)
    for k, object_id in enumerate(ids):
        top = 2 + k * (height - side - 4) // max(1, len(ids))
        for t in range(num_frames):
            left = 2 + (k * side + 2 * t) % (width - side - 4)
            masks[t, top : top + side, left : left + side] = object_id
            frames[t, top : top + side, left : left + side] = colors[k]
    return frames, masks


@pytest.fixture(scope="session")
def make_video() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    return moving_squares


def write_frames(folder: Path, frames: np.ndarray, step: int = 1) -> None:
    for t, frame in enumerate(frames):
        write_image(folder / f"{t * step:05d}.jpg", frame)


DAVIS_VIDEOS = {"ant": (5, (1,)), "bee": (4, (1, 2)), "cat": (6, (1, 2))}


@pytest.fixture
def davis(tmp_path) -> Path:
    """DAVIS 2017 with the splits val (every mask) and test-dev (first masks): ant, bee, cat."""
    root = tmp_path / "DAVIS" / "2017"
    for folder, split, first_only in (("trainval", "val", 0), ("test-dev", "test-dev", 1)):
        for name, (length, ids) in DAVIS_VIDEOS.items():
            frames, masks = moving_squares(length, 40, 52, ids)
            write_frames(root / folder / "JPEGImages/480p" / name, frames)
            for t, mask in enumerate(masks[:1] if first_only else masks):
                write_mask(root / folder / "Annotations/480p" / name / f"{t:05d}.png", mask)
        (root / folder / "ImageSets/2017").mkdir(parents=True)
        text = "".join(f"{name}\n" for name in DAVIS_VIDEOS)
        (root / folder / f"ImageSets/2017/{split}.txt").write_text(text)
    return root


@pytest.fixture
def davis2016(tmp_path) -> Path:
    """DAVIS 2016 without any list; masks are 0 and 255."""
    root = tmp_path / "DAVIS" / "2016"
    for name, (length, _) in DAVIS_VIDEOS.items():
        frames, masks = moving_squares(length, 40, 52, (1,))
        write_frames(root / "JPEGImages/480p" / name, frames)
        for t, mask in enumerate(masks):
            write_binary_mask(root / "Annotations/480p" / name / f"{t:05d}.png", mask > 0)
    return root


@pytest.fixture
def youtube(tmp_path) -> Path:
    """YouTube-VOS valid: every 5th frame counts; in `late` object 7 appears after object 2."""
    root = tmp_path / "YouTube"
    meta = {}
    for name, first_of in {"early": {3: 0}, "late": {2: 5, 7: 10}}.items():
        frames, masks = moving_squares(17, 36, 60, tuple(first_of))
        write_frames(root / "all_frames/valid_all_frames/JPEGImages" / name, frames)
        write_frames(root / "valid/JPEGImages" / name, frames[::5], 5)
        objects = {}
        for object_id, first in first_of.items():
            mask = np.where(masks[first] == object_id, masks[first], 0)
            write_mask(root / "valid/Annotations" / name / f"{first:05d}.png", mask)
            listed = [f"{t:05d}" for t in range(first, 17, 5)]
            objects[str(object_id)] = {"category": "square", "frames": listed}
        meta[name] = {"objects": objects}
        for t in range(0, 17, 5):
            write_mask(root / "truth" / name / f"{t:05d}.png", masks[t])
    (root / "valid/meta.json").write_text(json.dumps({"videos": meta}))
    return root


@pytest.fixture
def generic(tmp_path) -> Path:
    """A generic folder: `one` is annotated from frame 0, `two` from frame 2 on, twice."""
    root = tmp_path / "generic"
    for name, ids, annotated in (("one", (5,), {0: (5,)}), ("two", (4, 9), {2: (4,), 4: (9,)})):
        frames, masks = moving_squares(7, 34, 46, ids)
        write_frames(root / "JPEGImages" / name, frames)
        for t, shown in annotated.items():
            mask = np.where(np.isin(masks[t], shown), masks[t], 0)
            write_mask(root / "Annotations" / name / f"{t:05d}.png", mask)
        for t, mask in enumerate(masks):
            write_mask(root / "truth" / name / f"{t:05d}.png", mask)
    return root


@pytest.fixture(scope="session")
def train_root(tmp_path_factory) -> Path:
    """What `--davis_root` wants: two training videos, ant and bee, with every mask."""
    root = tmp_path_factory.mktemp("train")
    data = root / "2017" / "trainval"
    for seed, (name, ids) in enumerate((("ant", (1,)), ("bee", (1, 2)))):
        frames, masks = moving_squares(8, 48, 64, ids, seed)
        write_frames(data / "JPEGImages/480p" / name, frames)
        for t, mask in enumerate(masks):
            write_mask(data / "Annotations/480p" / name / f"{t:05d}.png", mask)
    (data / "ImageSets/2017").mkdir(parents=True)
    (data / "ImageSets/2017/train.txt").write_text("ant\nbee\n")
    return root


@pytest.fixture(scope="session")
def train_yaml() -> Path:
    """A configuration file that trains the smallest network for six iterations."""
    return Path(__file__).with_name("tiny_train.yaml")


@pytest.fixture
def train_config(train_root, train_yaml) -> Callable[..., TrainConfig]:
    """The configuration of `train_yaml` on `train_root`; `a__b=value` replaces the key a.b."""

    def make(**changes: object) -> TrainConfig:
        keys = {"data__davis_root": train_root, **changes}
        pairs = [word for key, value in keys.items() for word in (key.replace("__", "."), value)]
        return apply_overrides(load_yaml(TrainConfig, train_yaml), pairs)

    return make
