"""Boxes of a data set as augmentation changes them, and priors that meet them better (spec 12).

Letters: N boxes, K scales, P shapes of priors.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from stmask.commands.flags import say
from stmask.config import get_config, network_settings
from stmask.data.augment import Cropping, Expansion
from stmask.tools.boxes import STRIDES, Floats, box_parser, read_boxes, stretched, write_boxes
from vidseg_common.metrics.parallel import positive_int


def augmented(boxes: Floats, copies: int = 1, seed: int = 0) -> Floats:
    """Expands, crops and mirrors every box with its frame, as training can do.

    Args:
        boxes: (N, 6) as of `read_boxes`.
        copies: draws for each box.
        seed: of the draws.

    Returns:
        (copies * N, 6), the sizes those of the changed frames.
    """
    rng = random.Random(seed)
    return np.array([_augment(row, rng) for row in np.repeat(boxes, copies, 0)])


def _augment(row: Floats, rng: random.Random) -> Floats:
    size = (int(row[0]), int(row[1]))
    corners = np.concatenate([row[2:4], row[2:4] + row[4:]])
    expansion = Expansion().draw(size, rng)
    if expansion is not None:
        (height, width), corner = expansion
        size, corners = (width, height), corners + np.tile(corner, 2)
    window = Cropping().draw(size, [corners[None]], rng)
    if window is not None:
        low, high = window[:2], window[2:]
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        corners = np.concatenate(
            [np.maximum(corners[:2], low) - low, np.minimum(corners[2:], high) - low]
        )
    if rng.random() < 0.5:
        corners = np.array([size[0] - corners[2], corners[1], size[0] - corners[0], corners[3]])
    return np.array([*size, *corners[:2], *(corners[2:] - corners[:2])])


def mean_overlap(sizes: Floats, shapes: Floats) -> float:
    """Mean IoU of boxes with the prior of the best shape, were they at the same place.

    Args:
        sizes: (N, 2) width and height.
        shapes: (P, 2) those of the priors.
    """
    common = np.minimum(sizes[:, None], shapes[None]).prod(2)  # N, P
    union = sizes.prod(1)[:, None] + shapes.prod(1)[None] - common
    return float((common / union).max(1).mean())


def shapes_of(kernels: Sequence[tuple[int, int]], scales: Sequence[float] | Floats) -> Floats:
    """(P, 2) width and height in pixels of the priors of all levels: windows of the kernels."""
    return np.array(
        [(kw * s * stride, kh * s * stride) for stride in STRIDES for kh, kw in kernels
         for s in scales], np.float64,
    )  # fmt: skip


def best_scales(sizes: Floats, kernels: Sequence[tuple[int, int]], count: int) -> Floats:
    """Scales of the kernels' windows with which priors meet boxes best.

    Returns:
        (K,) ascending, K = `count`.
    """
    # Powers of two of a level's own scale are those of its neighbours.
    start = np.log(2) * (np.arange(count) / count)
    found = minimize(
        lambda logs: -mean_overlap(sizes, shapes_of(kernels, np.exp(logs))),
        start,
        method="Nelder-Mead",
        options={"maxiter": 60 * count, "initial_simplex": _simplex(start)},
    )
    return np.sort(np.exp(found.x))


def _simplex(start: Floats) -> Floats:
    return np.concatenate([start[None], start + 0.3 * np.eye(len(start))])


def main_augment(argv: Sequence[str] | None = None) -> int:
    """`scripts/augment_bbox.py`.

    Raises:
        DatasetError: see `read_boxes`.
    """
    parser = box_parser(
        "augment_bbox.py",
        "Expand, crop and mirror boxes at random; rows [width, height of the frame, x, y, width, "
        "height] of a .npy file.",
        output=Path("weights/augmented_bboxes.npy"),
    )
    parser.add_argument("--copies", type=positive_int, default=1, help="draws for each box")
    parser.add_argument("--seed", type=int, default=0, help="of the draws")
    args = parser.parse_args(argv)
    write_boxes(args.output, augmented(read_boxes(args.annotations), args.copies, args.seed))
    return 0


def main_optimize(argv: Sequence[str] | None = None) -> int:
    """`scripts/optimize_bboxes.py`.

    Raises:
        UserError: unusable annotations or configuration.
    """
    parser = box_parser(
        "optimize_bboxes.py",
        "Find scales of the priors' windows that would meet the boxes of a data set best, in "
        "frames of 640x360. A configuration chooses the windows by its head_layer_params.",
    )
    parser.add_argument("--config", default="STMask_plus_base_config", help="whose kernels")
    parser.add_argument("--scales", type=positive_int, default=1, help="scales of each kernel")
    parser.add_argument("--max_boxes", type=positive_int, default=5000, help="sample, at random")
    args = parser.parse_args(argv)
    settings = network_settings(get_config(args.config))
    sizes = stretched(read_boxes(args.annotations))
    if len(sizes) > args.max_boxes:
        sizes = sizes[np.random.default_rng(0).choice(len(sizes), args.max_boxes, replace=False)]
    before = mean_overlap(sizes, shapes_of(settings.kernels, settings.anchor_scales))
    scales = best_scales(sizes, settings.kernels, args.scales)
    after = mean_overlap(sizes, shapes_of(settings.kernels, scales))
    say(
        f"{len(sizes)} boxes, mean IoU with the best prior at the same place",
        f"{before:.3f} with the scales {_list(settings.anchor_scales)} of {args.config}",
        f"{after:.3f} with the scales {_list(scales)}",
    )
    return 0


def _list(scales: Sequence[float] | Floats) -> str:
    return ", ".join(f"{scale:.3f}" for scale in scales)
