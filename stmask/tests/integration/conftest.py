"""Data sets, weights and a predictor that the tests of commands share."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from stmask.checkpoint import build_network, save_network
from stmask.config import get_config
from vidseg_common import rle
from vidseg_common.video import write_image

CLASSES = ("cat", "dog", "fox")
#: Two videos of unequal length and size; ids against the order of the file.
VIDEOS = ((7, "second", 5, (48, 80)), (3, "first", 4, (60, 64)))


@pytest.fixture(scope="session")
def colors() -> ModuleType:
    """The module of the predictor that needs no network."""
    path = Path(__file__).with_name("color_predictor.py")
    spec = importlib.util.spec_from_file_location("stmask_color_predictor", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_set(colors: Any, root: Path, *, truth: bool = True, num_objects: int = 3) -> Path:
    """Writes the videos with ground truth, objects of the classes 1, 2, 3; returns the file."""
    videos: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, name, num_frames, size in VIDEOS:
        masks = colors.color_masks(num_frames, num_objects, size)
        names = [f"{name}/{t:05d}.png" for t in range(num_frames)]
        for path, frame in zip(names, colors.color_frames(masks), strict=True):
            write_image(root / "frames" / path, frame)
        sizes = {"height": size[0], "width": size[1], "length": num_frames}
        videos.append({"id": number, "file_names": names, **sizes})
        for k, track in enumerate(masks):
            encoded = [rle.encode(mask) for mask in track]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": number,
                    "category_id": k + 1,
                    "iscrowd": 0,
                    "segmentations": encoded,
                    "areas": [rle.area(mask) for mask in encoded],
                    "bboxes": [rle.to_bbox(mask) for mask in encoded],
                }
            )
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    content = {"videos": videos, "categories": categories}
    content |= {"annotations": annotations} if truth else {}
    path = root / "valid.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def dataset(colors: Any, tmp_path: Path) -> Path:
    """The annotation file of the videos; their frames are in frames/ beside it."""
    return write_set(colors, tmp_path)


@pytest.fixture
def config(dataset: Path) -> Path:
    """A small network for the classes and videos, as a YAML file."""
    root = dataset.parent
    changes = {
        "base": "STMask_plus_resnet50_config",
        "name": "tiny",
        "num_classes": len(CLASSES) + 1,
        "classes": list(CLASSES),
        "network_sizes": {"stem_width": 4, "fpn_channels": 8, "temporal_channels": [8, 8, 8]},
        "valid_dataset": {
            "ann_file": str(dataset),
            "img_prefix": str(root / "frames"),
            "img_scale": [[80, 48]],
        },
        "valid_sub_dataset": {
            "ann_file": str(root / "valid_sub.json"),
            "img_prefix": str(root / "frames"),
        },
    }
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump(changes))
    return path


@pytest.fixture
def weights(config: Path) -> Path:
    """A checkpoint of the small network that finds objects of class 1 everywhere."""
    torch.manual_seed(0)
    network = build_network(get_config(str(config)))
    head = network.prediction_layers[0]
    with torch.no_grad():
        for k in range(3):
            head.conf_layer[k].bias[1] = 2
            head.centerness_layer[k].bias += 2
            head.mask_layer[k].bias += 1
    path = config.parent / "weights" / "tiny_1_20.pth"
    save_network(network, path)
    return path


@pytest.fixture
def seen(colors: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands get the predictor of colours; the ones that they got."""
    from stmask.commands import eval as eval_command
    from stmask.commands import predict
    from stmask.timers import Timers

    made: list[Any] = []

    def make(_model: Any, _args: Any, *, with_masks: bool = True, crop: bool = True) -> Any:
        made.append(colors.ColorPredictor(with_masks=with_masks))
        made[-1].crop = crop
        return made[-1], Timers()

    for module in (eval_command, predict):
        monkeypatch.setattr(module, "make_predictor", make)
    return made


@pytest.fixture
def frame(colors: Any) -> np.ndarray:
    """One frame with three objects."""
    return colors.color_frames(colors.color_masks(1, 3))[0]
