"""`visualize_dataset.py`: draws training samples as the network gets them (spec section 1, 8.5)."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from devis.commands.train_flags import add_original_flags
from devis.config import load_config
from devis.data.build import SampleKey, to_target, train_dataset
from devis.outputs.training_pictures import item_pictures
from vidseg_common.background import write_image
from vidseg_common.config import ArgumentParser
from vidseg_common.files import check_writable
from vidseg_common.metrics.parallel import positive_int


def build_parser() -> ArgumentParser:
    """The flags: those of main.py, and which samples."""
    parser = ArgumentParser(
        "visualize_dataset.py",
        description="Draws training samples after their random changes, with masks, boxes and "
        "classes: OUTPUT_DIR/idx_NUMBER/img_FRAME.jpg. Colours are those the network gets.",
    )
    add_original_flags(parser)
    parser.add_argument(
        "--eval-only", action="store_true", help="accepted as main.py has it, does nothing"
    )
    parser.add_argument("--shuffle", action="store_true", help="samples in random order")
    parser.add_argument(
        "--max-samples", type=positive_int, metavar="N", help="stop after so many; default: all"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Draws samples.

    Returns:
        0, the exit status.

    Raises:
        UserError: the configuration or the data cannot be used.
        OSError: a picture cannot be written.
    """
    args = build_parser().parse_args(argv)
    cfg = load_config(args.config_file, args.opts)
    folder = Path(cfg.OUTPUT_DIR)
    check_writable(folder)
    dataset = train_dataset(cfg, progress=sys.stderr.isatty())
    order = list(range(len(dataset)))
    if args.shuffle:
        random.Random(cfg.SEED).shuffle(order)
    chosen = order[: args.max_samples]
    for index in tqdm(chosen, unit="sample", disable=not sys.stderr.isatty()):
        item = dataset[SampleKey(index, cfg.SEED + index)]
        pictures = item_pictures(item, to_target(item.target), dataset.category_names)
        for t, picture in enumerate(pictures):
            place = folder / f"idx_{index}" / f"img_{t:04d}.jpg"
            place.parent.mkdir(parents=True, exist_ok=True)
            write_image(place, picture)
    sys.stdout.write(f"{len(chosen)} of {len(dataset)} samples drawn in {folder}\n")
    return 0
