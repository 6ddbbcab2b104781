"""Joins the instances of overlapping clips into tracks. Source: spec section 8.2.

Letters: E embedding dimensions, F free ones, T frames of a clip, H and W of a map, P points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from stemseg.inference.cluster import OUTLIER, ClusterRule, Clusters, cluster

Labels = NDArray[np.integer]


@dataclass(frozen=True)
class ClipMaps:
    """What the network says about a clip, every frame once.

    Attributes:
        frames: frame indices, ascending.
        embeddings: (E, T, H, W).
        bandwidths: (E - F, T, H, W), inverse variances.
        seediness: (1, T, H, W), 0..1.
    """

    frames: tuple[int, ...]
    embeddings: Tensor
    bandwidths: Tensor
    seediness: Tensor


@dataclass(frozen=True)
class ClipTracks:
    """Labels of a clip after association.

    Attributes:
        frames: frames of the clip.
        new_frames: those among them that no earlier clip had.
        instance_labels: track label of each instance of the clip, in the order of its centres.
        clusters: what the clusterer found, with its own labels.
    """

    frames: tuple[int, ...]
    new_frames: tuple[int, ...]
    instance_labels: list[int]
    clusters: Clusters
    _points: Mapping[int, Tensor]
    _labels: Mapping[int, Tensor]
    _size: tuple[int, int]

    def label_map(self, frame: int) -> Tensor:
        """(H, W) int32: 0 background, -1 outlier, else a label.

        Frames shared with the clip before keep the labels that this clip gave them alone.
        """
        labels = self._labels[frame].to(torch.int32)
        flat = torch.zeros(self._size[0] * self._size[1], dtype=torch.int32, device=labels.device)
        flat[self._points[frame]] = labels
        return flat.view(self._size)


class Chainer:
    """Clusters clip after clip and gives instances of shared frames their earlier labels.

    Args:
        rule: of the clusterer.
        scale: factor by which maps are enlarged before clustering, 1 or 4.
        min_iou: pairs below are not joined. The published results join every assigned pair.
    """

    def __init__(self, rule: ClusterRule, *, scale: int = 1, min_iou: float | None = None) -> None:
        self.rule = rule
        self.scale = scale
        self.min_iou = min_iou
        self._highest = 0
        self._stored: dict[int, Tensor] = {}

    def add(self, maps: ClipMaps, foreground: Mapping[int, Tensor]) -> ClipTracks:
        """Takes the next clip.

        Args:
            maps: the clip, whose first frame is not before that of the clip before.
            foreground: of each of its frames, (H, W) bool at the scale of clustering; the same
                in every clip that has the frame.
        """
        points = {t: foreground[t].reshape(-1).nonzero()[:, 0] for t in maps.frames}
        found = self._cluster(maps, points)
        sizes = [points[t].numel() for t in maps.frames]
        labels = dict(zip(maps.frames, found.labels.split(sizes), strict=True))
        shared = [t for t in maps.frames if t in self._stored]
        tracks = self._associate({t: labels[t] for t in shared})
        new_frames = tuple(t for t in maps.frames if t not in self._stored)
        for t in new_frames:
            labels[t] = _replace(labels[t], tracks)
        self._remember(maps.frames, {t: labels[t] for t in new_frames})
        instance_labels = [tracks.get(label, label) for label in found.instance_labels]
        size = tuple(foreground[maps.frames[0]].shape)
        return ClipTracks(
            maps.frames, new_frames, instance_labels, found, points, labels, (size[0], size[1])
        )

    def _cluster(self, maps: ClipMaps, points: Mapping[int, Tensor]) -> Clusters:
        stacks = (maps.embeddings, maps.bandwidths, maps.seediness)
        columns = [
            torch.cat(
                [self._gather(stack[:, i], points[t]) for i, t in enumerate(maps.frames)], dim=1
            )
            for stack in stacks
        ]
        first_label = self._highest + 1
        return cluster(columns[0], columns[1], columns[2][0], self.rule, first_label=first_label)

    def _gather(self, maps: Tensor, points: Tensor) -> Tensor:
        """Values of (C, H, W) maps at points of the enlarged grid, (C, P)."""
        if points.numel() == 0:
            return maps.new_zeros((maps.shape[0], 0), dtype=torch.float32)
        maps = maps.float()
        if self.scale != 1:
            maps = enlarge(maps, self.scale)
        return maps.flatten(1).index_select(1, points)

    def _associate(self, labels: Mapping[int, Tensor]) -> dict[int, int]:
        """Clip label to track label, from the frames that have both."""
        if not labels:
            return {}
        ours = torch.cat(list(labels.values())).cpu().numpy()
        theirs = torch.cat([self._stored[t] for t in labels]).cpu().numpy()
        return match_labels(theirs, ours, self.min_iou)

    def _remember(self, frames: tuple[int, ...], new: Mapping[int, Tensor]) -> None:
        """Keeps the labels of the frames of this clip; no later one can share earlier frames."""
        self._stored = {t: stored for t, stored in self._stored.items() if t in frames}
        self._stored.update(new)
        highest = max((int(x.max()) for x in new.values() if x.numel()), default=0)
        self._highest = max(self._highest, highest)


def match_labels(stored: Labels, found: Labels, min_iou: float | None = None) -> dict[int, int]:
    """The assignment of found labels to stored labels with the largest sum of IoU.

    Args:
        stored: (P,) labels that points have, -1 for outliers.
        found: (P,) labels that the same points got now.
        min_iou: leave out pairs below.

    Returns:
        Found label to stored label.
    """
    rows, row_of = _numbered(stored)
    columns, column_of = _numbered(found)
    pairs = np.bincount(row_of * len(columns) + column_of, minlength=len(rows) * len(columns))
    shared = pairs.reshape(len(rows), len(columns)).astype(np.float64)
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    iou = shared / np.maximum(union, 1)
    iou = iou[rows != OUTLIER][:, columns != OUTLIER]
    rows, columns = rows[rows != OUTLIER], columns[columns != OUTLIER]
    return {
        int(columns[j]): int(rows[i])
        for i, j in zip(*linear_sum_assignment(1 - iou), strict=True)
        if min_iou is None or iou[i, j] >= min_iou
    }


def _numbered(labels: Labels) -> tuple[Labels, Labels]:
    """The labels that occur, ascending, and the position among them of every one."""
    if not labels.size:
        return labels, labels
    lowest = labels.min()
    occurs = np.bincount(labels - lowest) > 0
    positions = np.cumsum(occurs) - 1
    return np.flatnonzero(occurs) + lowest, positions[labels - lowest]


def enlarge(maps: Tensor, scale: int) -> Tensor:
    """Bilinear enlargement of (C, H, W) maps."""
    return F.interpolate(maps[None], scale_factor=scale, mode="bilinear", align_corners=False)[0]


def _replace(labels: Tensor, tracks: Mapping[int, int]) -> Tensor:
    """Puts track labels in the place of clip labels, in ascending order of those."""
    out = labels.clone()
    for label in sorted(tracks):
        out[labels == label] = tracks[label]
    return out
