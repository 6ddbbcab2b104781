"""`data/visualize_data_loading.py`: looks at the training clips of a data set (spec 5.3)."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader

from stemseg.commands.common import count, say
from stemseg.config import load_config
from stemseg.data.collate import Batch, collate
from stemseg.data.samples import ClipSet, SampleKey
from stemseg.data.setup import DATASETS, build_single
from stemseg.data.visualise import FrameViews, clip_views
from stemseg.feed import DEFAULT_SEED
from stemseg.inference.preprocess import InputRule
from vidseg_common.arguments import ArgumentParser
from vidseg_common.background import write_image
from vidseg_common.errors import UserError
from vidseg_common.files import check_writable
from vidseg_common.loader_workers import CollateValues, ErrorsAsValues, WorkerInit
from vidseg_common.metrics.parallel import positive_int
from vidseg_common.seeding import seed_everything

_QUIT = ord("q")


def build_parser() -> ArgumentParser:
    """The flags."""
    parser = ArgumentParser(
        "visualize_data_loading.py",
        description="Show the training clips of a data set: instances, ignore region, classes. "
        "Any key goes on, q quits.",
    )
    add = parser.add_argument
    add("--cfg", required=True, metavar="YAML", help="configuration, by name or path")
    add("--dataset", "-d", required=True, choices=DATASETS, help="which of its data sets")
    add("--shuffle", action="store_true", help="clips in random order")
    add("--num_workers", type=count, default=8, help="loading processes")
    add("--batch_size", "-bS", type=positive_int, default=1, help="clips in a batch")
    add("--output_dir", type=Path, metavar="DIR", help="write PNG files there, show nothing")
    add("--max_clips", type=positive_int, help="stop after so many clips")
    add("--opts", nargs="+", default=[], metavar="KEY VALUE", help="keys of the configuration")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Shows or writes clips.

    Returns:
        0, the exit status.

    Raises:
        UserError: the configuration or the data cannot be used, or there is no display.
        OSError: a file cannot be written.
    """
    options = build_parser().parse_args(argv)
    if options.output_dir is None:
        _check_display()
    cfg = load_config(options.cfg, opts=options.opts)
    seed_everything(DEFAULT_SEED)
    dataset = build_single(cfg, options.dataset)
    if options.output_dir is not None:
        check_writable(options.output_dir)
    rule = InputRule.from_config(cfg)
    clips = islice(_clips(dataset, options), options.max_clips)
    for number, (batch, index) in enumerate(clips):
        say(_description(batch, index, dataset))
        views = list(clip_views(batch, index, rule))
        if options.output_dir is not None:
            _write(options.output_dir / f"{number:05d}_{_file_name(batch.names[index])}", views)
        elif not _show(views):
            break
    return 0


def _clips(dataset: ClipSet, options: Any) -> Iterator[tuple[Batch, int]]:
    """Every clip once: its batch and its place in it."""
    order = list(range(len(dataset)))
    if options.shuffle:
        random.Random(DEFAULT_SEED).shuffle(order)
    loader: DataLoader[Any] = DataLoader(
        ErrorsAsValues(dataset),
        batch_size=options.batch_size,
        sampler=[SampleKey(item, DEFAULT_SEED + item) for item in order],
        num_workers=options.num_workers,
        collate_fn=CollateValues(collate),
        worker_init_fn=WorkerInit(),
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield from ((batch, index) for index in range(len(batch)))


def _description(batch: Batch, index: int, dataset: ClipSet) -> str:
    """Sequence, classes and number of instances of a clip in one line."""
    ids = batch.targets[index].category_ids.tolist()
    names = [dataset.category_names.get(i) or f"class {i}" for i in ids]
    return f"{batch.names[index]}: {len(ids)} instances ({', '.join(names)})"


def _write(folder: Path, views: Sequence[FrameViews]) -> None:
    for t, frame in enumerate(views):
        for name, picture in frame.items():
            folder.mkdir(parents=True, exist_ok=True)
            write_image(folder / f"{t:03d}_{name}.png", np.ascontiguousarray(picture[..., ::-1]))


def _check_display() -> None:
    """OpenCV ends the process where it finds no display, so this is asked before.

    Raises:
        UserError: there is none.
    """
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    if sys.platform == "linux" and not any(os.environ.get(name) for name in screens):
        raise UserError("there is no display to show pictures on; write them: --output_dir DIR")


def _show(views: Sequence[FrameViews]) -> bool:
    """Shows a clip; False where the user quits.

    Raises:
        UserError: this OpenCV has no windows.
    """
    for frame in views:
        try:
            for name, picture in frame.items():
                cv2.imshow(name, picture)
            key = cv2.waitKey(0)
        except cv2.error as error:
            raise UserError(
                "this OpenCV cannot show pictures; write them: --output_dir DIR"
            ) from error
        if key & 0xFF == _QUIT:
            return False
    return True


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "_", name)
