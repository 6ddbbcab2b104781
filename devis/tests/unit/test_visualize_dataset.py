"""Pictures of training samples, and the command that draws them."""

import numpy as np
import pytest
import torch

from devis.commands.visualize_dataset import main
from devis.data.clip_target import ClipTarget
from devis.data.items import ClipItem, ImageItem, ImageTarget, to_target
from devis.outputs.training_pictures import item_pictures
from vidseg_common.errors import UserError
from vidseg_common.synthetic_cli import generate_videos
from vidseg_common.synthetic_layouts import write_layout
from vidseg_common.video_images import read_image

SIZE = (40, 60)


def mask(top, bottom, left, right):
    out = torch.zeros(SIZE, dtype=torch.bool)
    out[top:bottom, left:right] = True
    return out


def test_instances_are_drawn_where_they_are():
    masks = torch.stack([mask(10, 30, 20, 40), mask(0, 0, 0, 0)])
    box = torch.tensor([0.5, 0.5, 1 / 3, 0.5])
    target = ClipTarget(
        masks=masks,
        boxes=torch.stack([box, box]),
        labels=torch.tensor([4, 4]),
        valid=torch.tensor([1, 0]),
        area=torch.tensor([400, 0]),
        centroids=torch.zeros(2, 2),
        size=SIZE,
    )
    item = ClipItem(torch.zeros(2, 3, *SIZE), target, 1, 0)
    first, second = item_pictures(item, to_target(target), {})
    changed = (first != second).any(-1)
    assert changed[10:30, 20:40].all() and not changed[33:].any()
    assert len(np.unique(second.reshape(-1, 3), axis=0)) == 1  # the instance is not there


def test_boxes_are_drawn_without_masks():
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    target = ImageTarget(boxes, torch.tensor([0]), None, SIZE)
    item = ImageItem(torch.zeros(3, *SIZE), target, 1, SIZE)
    (picture,) = item_pictures(item, to_target(target), {1: "cat"})
    background = picture[0, 0]
    assert (picture[30, 15:46] != background).any(-1).all()
    assert (picture[20, 25:35] == background).all()


def test_the_command_draws_samples(tmp_path, capsys):
    write_layout(
        "ytvis", generate_videos(3, 1, 7, 48, 64, 2), tmp_path / "Youtube_VIS-2021", split="train"
    )
    out = tmp_path / "out"
    words = ["--config-file", "devis_R_50_YT-21", "--max-samples", "1", "--shuffle"]
    keys = ["DATASETS.DATA_PATH", str(tmp_path), "OUTPUT_DIR", str(out)]
    assert main([*words, *keys, "INPUT.SCALE_FACTOR_TRAIN", "0.2"]) == 0
    (folder,) = out.iterdir()
    pictures = sorted(folder.iterdir())
    assert folder.name.startswith("idx_") and pictures[5].name == "img_0005.jpg"
    assert len(pictures) == 6 and min(read_image(pictures[0]).shape[:2]) <= 102
    assert "1 of 2 samples drawn" in capsys.readouterr().out
    with pytest.raises(UserError, match="no annotation file"):
        main([*words, "DATASETS.DATA_PATH", str(out), "OUTPUT_DIR", str(out)])
