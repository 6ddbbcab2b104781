"""What a training reports: averages between reports, console lines, picture grids (spec 6.9)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stcn.inference.preprocess import MEAN, STD
from stcn.losses import iou_from_sums, iou_sums

MAX_ROWS = 8


class Averages:
    """Losses and pixel counts since the last report."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.count = 0
        self._losses: dict[str, Tensor] = {}
        self._pixels: dict[str, Tensor] = {}

    def add(
        self, losses: Mapping[str, Tensor], out: Mapping[str, Tensor], batch: Mapping[str, Any]
    ) -> None:
        """Adds one iteration without waiting for the device."""
        for name, value in losses.items():
            self._losses[name] = self._losses.get(name, 0) + value.detach()
        masks = [out["masks_1"].detach(), out["masks_2"].detach()]
        truths = {"": batch["gt"]}
        if masks[0].shape[1] == 2:
            truths["sec_"] = batch["sec_gt"]
        for k, (prefix, truth) in enumerate(truths.items()):
            sums = iou_sums([m[:, k : k + 1] for m in masks], truth.to(masks[0].device))
            for letter, value in zip("iu", sums, strict=True):
                key = prefix + letter
                self._pixels[key] = self._pixels.get(key, 0) + value
        self.count += 1

    def report(self) -> dict[str, float]:
        """Mean losses and IoU since the last report, and starts afresh."""
        means = {name: float(v) / max(1, self.count) for name, v in self._losses.items()}
        pixels = {name: float(v) for name, v in self._pixels.items()}
        for prefix in ("", "sec_"):
            if f"{prefix}u" in pixels:
                means[f"{prefix}iou"] = iou_from_sums(pixels, prefix)
        self._clear()
        return means

    def state_dict(self) -> dict[str, Any]:
        """Copies the sums, so that a training resumed between reports logs the same numbers."""
        return {
            "count": self.count,
            "losses": {name: value.cpu() for name, value in self._losses.items()},
            "pixels": {name: value.cpu() for name, value in self._pixels.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a state of `state_dict`."""
        self.count = int(state["count"])
        self._losses = dict(state["losses"])
        self._pixels = dict(state["pixels"])


def progress_lines(iteration: int, values: Mapping[str, float]) -> Iterator[str]:
    """Console lines in the form users of the original know; the logger puts the ID before them."""
    for key, value in values.items():
        # Nine decimals cut, not rounded, to nine characters.
        yield f"It {iteration:6d} [TRAIN] [{key:13}]: {f'{value:.9f}'[:9]}"


@torch.no_grad()
def sample_grid(batch: Mapping[str, Any], out: Mapping[str, Tensor]) -> np.ndarray:
    """RGB, predicted masks and ground truth of the first samples.

    Returns:
        uint8 (rows * H, columns * W, 3); one row per sample and frame after the first.
    """
    rgb, gt = batch["rgb"].float().cpu(), batch["gt"].float().cpu()  # B, 3, 3|1, H, W
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    rows = []
    for b in range(min(MAX_ROWS, len(rgb))):
        for t in (1, 2):
            cells = [(rgb[b, t] * std + mean).clamp(0, 1)]
            cells += [
                mask.expand(3, -1, -1) for mask in out[f"masks_{t}"][b].float().cpu()[:, None]
            ]
            cells.append(gt[b, t].expand(3, -1, -1))
            if out["masks_1"].shape[1] == 2:
                cells.append(batch["sec_gt"][b, t].float().cpu().expand(3, -1, -1))
            rows.append(torch.cat(cells, 2))
    grid = torch.cat(rows, 1).permute(1, 2, 0)  # rows*H, columns*W, 3
    return (grid * 255).round().to(torch.uint8).numpy()
