"""Sizes of the boxes of a data set, and how well the priors meet them. Source: spec section 12.

Letters: N boxes, K clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from stmask.commands.flags import say
from stmask.config import get_config, network_settings
from stmask.model.boxes import jaccard, to_corners
from stmask.model.priors import prior_boxes
from stmask.pixels import IMAGE_SIZE, padded_size, place_boxes
from vidseg_common.config import ArgumentParser
from vidseg_common.datasets.youtube_vis_lazy import open_annotations
from vidseg_common.errors import DatasetError
from vidseg_common.files import atomic_path
from vidseg_common.metrics.parallel import positive_int

Floats = NDArray[np.float64]

STRIDES = (8, 16, 32, 64, 128)
_CHUNK = 512
_THRESHOLDS = (0.4, 0.5, 0.6, 0.7)
_AREAS = {
    "all": (0, 1e12),
    "small": (0, 128**2),
    "medium": (128**2, 256**2),
    "large": (256**2, 1e12),
}


def read_boxes(path: Path) -> Floats:
    """The boxes of an annotation file of YouTube-VIS or OVIS that training takes.

    Returns:
        (N, 6): width and height of the video, then x, y, width and height of the box, in pixels.

    Raises:
        DatasetError: the file cannot be read, or has no boxes.
    """
    rows = []
    for clip in open_annotations(path).clips():
        size = (clip.video.width, clip.video.height)
        for track in clip.tracks:
            if track.is_crowd or track.bboxes is None:
                continue
            rows += [(*size, *box) for box in track.bboxes if box and min(box[2:]) >= 1]
    if not rows:
        raise DatasetError(f"{path}: field bboxes: expected at least one box, found none")
    return np.array(rows, np.float64)


def stretched(boxes: Floats, size: tuple[int, int] = IMAGE_SIZE) -> Floats:
    """(N, 2) width and height of boxes in frames stretched to `size` (width, height)."""
    return boxes[:, 4:] * np.array(size) / boxes[:, :2]


def cluster(values: Floats, count: int, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Groups positive numbers by their logarithms, so that ratios count.

    Returns:
        (K,) centres, ascending, K <= `count`; (N,) the group of every number.
    """
    count = min(count, len(np.unique(values)))
    logs = np.log(values)[:, None]
    centres, labels = kmeans2(logs, count, minit="++", seed=seed, missing="warn")
    order = np.argsort(centres[:, 0])
    return np.exp(centres[order, 0]), np.argsort(order)[labels]


def best_overlaps(boxes: Floats, config: str) -> Floats:
    """(N,) IoU of every box with the prior that meets it best.

    Args:
        boxes: see `read_boxes`.
        config: name of the configuration whose priors are taken.

    Raises:
        ConfigError: there is none.
    """
    height, width = padded_size(IMAGE_SIZE[1], IMAGE_SIZE[0])
    levels = [(-(-height // s), -(-width // s)) for s in STRIDES]
    priors = prior_boxes(levels, network_settings(get_config(config)), torch.device("cpu"))
    corners = np.concatenate([boxes[:, 2:4], boxes[:, 2:4] + boxes[:, 4:]], 1).astype(np.float32)
    placed = np.empty_like(corners)
    for size in np.unique(boxes[:, :2], axis=0):
        rows = (boxes[:, :2] == size).all(1)
        placed[rows] = place_boxes(corners[rows], (int(size[0]), int(size[1])), IMAGE_SIZE)
    chunks = torch.from_numpy(placed).split(_CHUNK)
    return torch.cat([jaccard(c, to_corners(priors)).amax(1) for c in chunks]).double().numpy()


def box_parser(program: str, description: str, *, output: Path | None = None) -> ArgumentParser:
    """A command line about the boxes of an annotation file, and a file to write where named."""
    parser = ArgumentParser(program, description=description)
    parser.add_argument("annotations", type=Path, help="annotation file of YouTube-VIS or OVIS")
    if output is not None:
        parser.add_argument("-o", "--output", type=Path, default=output, help="file to write")
    return parser


def write_boxes(path: Path, boxes: Floats) -> None:
    """Writes rows of boxes as a .npy file and says so."""
    path = path.with_suffix(".npy")
    with atomic_path(path) as temporary:
        np.save(temporary, boxes)
    say(f"{len(boxes)} boxes in {path}")


def main_save(argv: Sequence[str] | None = None) -> int:
    """`scripts/save_bboxes.py`.

    Raises:
        DatasetError: see `read_boxes`.
    """
    parser = box_parser(
        "save_bboxes.py",
        "Write boxes as rows [video width, video height, x, y, width, height] of a .npy file.",
        output=Path("weights/bboxes.npy"),
    )
    args = parser.parse_args(argv)
    write_boxes(args.output, read_boxes(args.annotations))
    return 0


def main_cluster(argv: Sequence[str] | None = None) -> int:
    """`scripts/cluster_bbox_sizes.py`.

    Raises:
        DatasetError: see `read_boxes`.
    """
    parser = box_parser(
        "cluster_bbox_sizes.py",
        "k-means of the sizes of boxes in frames of 640x360, then of their aspects by size.",
    )
    parser.add_argument("--scales", type=positive_int, default=5, help="groups by size")
    parser.add_argument("--ratios", type=positive_int, default=3, help="groups by aspect in each")
    parser.add_argument("--seed", type=int, default=0, help="of the first centres")
    args = parser.parse_args(argv)
    sizes = stretched(read_boxes(args.annotations))
    scales, groups = cluster(np.sqrt(sizes.prod(1)), args.scales, args.seed)
    say(f"{'size':>8s} {'boxes':>8s}   width / height")
    for k, scale in enumerate(scales):
        members = sizes[groups == k]
        ratios, _ = cluster(members[:, 0] / members[:, 1], args.ratios, args.seed)
        say(f"{scale:8.1f} {len(members):8d}   " + "  ".join(f"{r:.2f}" for r in ratios))
    return 0


def main_recall(argv: Sequence[str] | None = None) -> int:
    """`scripts/bbox_recall.py`.

    Raises:
        UserError: unusable annotations or configuration.
    """
    parser = box_parser(
        "bbox_recall.py",
        "Share of boxes that some prior meets with at least an IoU, by area in frames of 640x360.",
    )
    parser.add_argument("--config", default="STMask_plus_base_config", help="whose priors")
    parser.add_argument("--max_boxes", type=positive_int, default=20_000, help="sample, at random")
    args = parser.parse_args(argv)
    boxes = read_boxes(args.annotations)
    if len(boxes) > args.max_boxes:
        rows = np.random.default_rng(0).choice(len(boxes), args.max_boxes, replace=False)
        boxes = boxes[rows]
    overlaps, areas = best_overlaps(boxes, args.config), stretched(boxes).prod(1)
    say("area      boxes  mean IoU " + "".join(f"   >= {t}" for t in _THRESHOLDS))
    for name, (low, high) in _AREAS.items():
        found = overlaps[(areas >= low) & (areas < high)]
        if len(found):
            shares = "".join(f"{100 * (found >= t).mean():8.1f}%" for t in _THRESHOLDS)
            say(f"{name:7s} {len(found):7d} {found.mean():9.3f} {shares}")
    return 0
