"""The built-in sample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidseg_common.datasets.davis import davis2017
from vidseg_common.demo.sample import NUM_FRAMES, demo_scene, make_demo_sample
from vidseg_common.masks import read_mask
from vidseg_common.synthetic import render
from vidseg_common.video import open_source


def test_the_objects_cross_and_one_is_late() -> None:
    video = render(demo_scene(), [0, 20, 30, 39])
    sizes = [[(mask == k).mean() for k in (1, 2, 3)] for mask in video.visible]
    assert sizes[0][2] == 0
    assert min(min(row) for row in sizes[1:]) > 0.01
    hidden = video.amodal[0] & (video.visible != 1)
    assert hidden[0].sum() == 0
    assert hidden.any(axis=(1, 2))[1:].all()


@pytest.mark.slow
def test_the_sample_is_written(tmp_path: Path) -> None:
    sample = make_demo_sample(tmp_path)
    (record,) = davis2017(tmp_path, "val")
    assert record.name == sample.name
    assert len(record.frame_paths) == len(record.mask_paths) == NUM_FRAMES
    assert set(np.unique(read_mask(record.mask_paths[NUM_FRAMES - 1]))) == {0, 1, 2, 3}
    with open_source(sample.video) as source:
        assert (source.height, source.width) == (480, 854)
        assert sum(1 for _ in source) == NUM_FRAMES
