"""Prediction head as it runs in inference (see `deployed`).

Boxes, centerness and classes are computed everywhere. Mask coefficients and embeddings are
computed only for the priors that are asked for, with just those pixels of their towers that the
kernels at these priors see.

Letters: B images, C channels, h and w size of a level, S scales per kernel, A anchors per pixel, M
pixels of all levels, N = M*A priors, n priors asked for, K taps of a kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stmask.model.calibration import CalibratedLayer
from stmask.model.deployed_backbone import inference_conv
from stmask.model.head import PredictionHead, flatten_anchors, stack_centerness
from stmask.ops.convolution import InferenceConv
from stmask.ops.deform_conv import SampledConv

#: Windows are gathered for parts of the pixels, of about this many values.
CHUNK_VALUES = 1 << 21


class DenseOutputs(NamedTuple):
    """What is computed for every prior of a level.

    Attributes:
        loc: (B, h*w*A, 4) float32.
        conf_logits: (B, h*w*A, classes) float32.
        centerness: (B, h*w*A) float32, in the order of `stack_centerness`.
        feature: (B, C, h, w).
    """

    loc: Tensor
    conf_logits: Tensor
    centerness: Tensor
    feature: Tensor


class DenseHead:
    """Boxes, centerness and classes of `PredictionHead`.

    Args:
        head: it is not changed.
        dtype: of weights and maps.
    """

    def __init__(self, head: PredictionHead, dtype: torch.dtype) -> None:
        self.num_scales, self.num_kernels = head.num_scales, len(head.settings.kernels)
        self.upfeature = inference_conv(head.upfeature[0], dtype)
        self.conf_tower, self.bbox_tower = (
            [inference_conv(m, dtype) for m in tower if isinstance(m, nn.Conv2d)]
            for tower in (head.conf_extra, head.bbox_extra)
        )
        # One kernel that holds all: few outputs of many kernels would leave vector lanes empty.
        self.boxes = _joined([*head.bbox_layer, *head.centerness_layer], dtype)
        self.conf = [_class_layer(layer, dtype) for layer in head.conf_layer]

    def __call__(self, level: Tensor) -> DenseOutputs:
        """One level (B, C, h, w), channels last in memory, to its predictions."""
        feature = self.upfeature(level, relu=True)
        boxes, conf = feature, feature
        for conv in self.bbox_tower:
            boxes = conv(boxes, relu=True)
        for conv in self.conf_tower:
            conf = conv(conf, relu=True)
        S, both = self.num_scales, self.boxes(boxes).float()
        maps = both.split([4 * S] * self.num_kernels + [S] * self.num_kernels, 1)
        loc, centerness = list(maps[: self.num_kernels]), list(maps[self.num_kernels :])
        logits = [layer(conf, box) for layer, box in zip(self.conf, loc, strict=True)]
        return DenseOutputs(
            flatten_anchors(loc, S),
            flatten_anchors(logits, S).float(),
            stack_centerness(centerness),
            feature,
        )


def _joined(layers: Sequence[nn.Module], dtype: torch.dtype) -> InferenceConv:
    """Layers of several kernels on the same input as one, with zeros around the smaller ones."""
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    height, width = (max(int(conv.kernel_size[i]) for conv in convs) for i in (0, 1))
    weights, biases = [], []
    for conv in convs:
        kh, kw = conv.weight.shape[2:]
        margins = [(width - kw) // 2] * 2 + [(height - kh) // 2] * 2
        weights.append(F.pad(conv.weight.detach(), margins))
        assert conv.bias is not None
        biases.append(conv.bias.detach())
    return InferenceConv(torch.cat(weights).to(dtype), torch.cat(biases).to(dtype))


def _class_layer(layer: nn.Module, dtype: torch.dtype) -> Callable[[Tensor, Tensor], Tensor]:
    """A class layer as a function of the tower's map and of the boxes (B, 4S, h, w)."""
    if isinstance(layer, CalibratedLayer):
        return _Calibrated(layer, dtype)
    conv = inference_conv(layer, dtype)
    return lambda x, _boxes: conv(x)


class _Calibrated:
    """`CalibratedLayer`."""

    def __init__(self, layer: CalibratedLayer, dtype: torch.dtype) -> None:
        self.layer = layer
        self.adapt = SampledConv(layer.conv_adaption.weight.detach().to(dtype), None)
        self.conv = inference_conv(layer.conv, dtype) if hasattr(layer, "conv") else None

    def __call__(self, x: Tensor, loc: Tensor) -> Tensor:
        adapted = self.adapt(x, self.layer.offsets(loc), relu=True)
        return adapted if self.conv is None else self.conv(adapted)


class Pixels(NamedTuple):
    """Where the pixels of all levels are, level after level; (M,) int64 each.

    Attributes:
        row: of the pixel in its level.
        column: the same.
        height: of its level.
        width: the same.
    """

    row: Tensor
    column: Tensor
    height: Tensor
    width: Tensor

    def window(self, pixels: Tensor, kernel: tuple[int, int]) -> Tensor:
        """Numbers (n, K) of the pixels under a kernel at n pixels; M where it is outside."""
        row, column, height, width = (values[pixels, None] for values in self)
        steps = torch.arange(kernel[0] * kernel[1], device=pixels.device)
        down, right = steps // kernel[1] - kernel[0] // 2, steps % kernel[1] - kernel[1] // 2
        rows, columns = row + down, column + right
        inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
        return torch.where(inside, pixels[:, None] + down * width + right, len(self.row))


@lru_cache(maxsize=8)
def pixels_of(levels: tuple[tuple[int, int], ...], device: torch.device) -> Pixels:
    """The pixels of levels of these heights and widths."""
    parts = []
    with torch.inference_mode(False):
        for height, width in levels:
            number = torch.arange(height * width, device=device)
            size = (torch.full_like(number, height), torch.full_like(number, width))
            parts.append((number // width, number % width, *size))
        return Pixels(*(torch.cat(values) for values in zip(*parts, strict=True)))


class SparseBranch:
    """One kind of prediction, for the priors that are asked for.

    Args:
        tower: 3x3 layers before the last ones.
        layers: one per kernel, not calibrated.
        num_scales: S.
        dtype: of weights and maps.
    """

    def __init__(
        self, tower: nn.Module, layers: nn.ModuleList, num_scales: int, dtype: torch.dtype
    ) -> None:
        convs = [module for module in tower.children() if isinstance(module, nn.Conv2d)]
        self.tower = [_RowConv(conv, dtype) for conv in convs]
        self.layers = [_RowConv(conv, dtype) for conv in layers if isinstance(conv, nn.Conv2d)]
        self.num_scales = num_scales

    def __call__(self, features: Tensor, places: Pixels, rows: Tensor) -> Tensor:
        """Predictions at some priors.

        Args:
            features: (M + 1, C) maps of the head's `upfeature`, pixels of all levels; last a zero.
            places: of the pixels.
            rows: (n,) numbers of priors.

        Returns:
            (n, D) float32.
        """
        num_anchors = len(self.layers) * self.num_scales
        pixels, anchors = rows // num_anchors, rows % num_anchors
        kernels, scales = anchors // self.num_scales, anchors % self.num_scales
        chosen = [(kernels == k).nonzero()[:, 0] for k in range(len(self.layers))]
        windows = [
            places.window(pixels[which], layer.kernel)
            for which, layer in zip(chosen, self.layers, strict=True)
        ]
        maps, position = self._tower_at(features, places, windows)
        depth = self.layers[0].table.shape[1] // self.num_scales
        out = torch.empty((len(rows), depth), device=rows.device)
        for which, window, layer in zip(chosen, windows, self.layers, strict=True):
            values = layer(maps, position[window], relu=False)  # n, S*D
            values = values.view(-1, self.num_scales, depth)
            out[which] = values[torch.arange(len(which), device=rows.device), scales[which]].float()
        return out

    def _tower_at(
        self, features: Tensor, places: Pixels, windows: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The tower's outputs (m + 1, C) under windows, and where each pixel is in them (M + 1)."""
        outside = len(places.row)
        wanted: list[Tensor] = []
        seen = windows
        for conv in reversed(self.tower):
            flags = torch.zeros(outside + 1, dtype=torch.bool, device=features.device)
            for window in seen:
                flags[window.flatten()] = True
            flags[outside] = False
            wanted.insert(0, flags.nonzero()[:, 0])
            seen = [places.window(wanted[0], conv.kernel)]
        position = torch.arange(outside + 1, device=features.device)
        maps = features
        for conv, pixels in zip(self.tower, wanted, strict=True):
            values = conv(maps, position[places.window(pixels, conv.kernel)], relu=True)
            maps = torch.cat([values, values.new_zeros(1, values.shape[1])])
            position = torch.full_like(position, len(pixels))
            position[pixels] = torch.arange(len(pixels), device=pixels.device)
        return maps, position


class _RowConv:
    """A convolution of rows of a table in place of a map."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        weight = conv.weight.detach()
        assert conv.bias is not None
        self.kernel = (weight.shape[2], weight.shape[3])
        self.table = weight.permute(2, 3, 1, 0).flatten(0, 2).to(dtype).contiguous()  # K*C, D
        self.bias = conv.bias.detach().to(dtype)

    def __call__(self, maps: Tensor, index: Tensor, *, relu: bool) -> Tensor:
        """Rows (m, C) and the numbers (n, K) under every window to outputs (n, D)."""
        step = max(1, CHUNK_VALUES // len(self.table))
        # Also for no window at all there is one part.
        parts = [
            torch.addmm(self.bias, maps[part].flatten(1), self.table) for part in index.split(step)
        ]
        out = torch.cat(parts)
        return out.relu_() if relu else out


class Rows:
    """Predictions that are computed when they are read: `rows[image][numbers of priors]`.

    Args:
        branch: what to compute.
        features: (B, M + 1, C).
        places: of the pixels.
        normalize: whether results have length 1.
    """

    def __init__(
        self, branch: SparseBranch, features: Tensor, places: Pixels, *, normalize: bool
    ) -> None:
        self.branch, self.features, self.places = branch, features, places
        self.normalize = normalize

    def __getitem__(self, image: int) -> ImageRows:
        return ImageRows(self, image)


class ImageRows:
    """`Rows` of one image."""

    def __init__(self, rows: Rows, image: int) -> None:
        self.rows, self.image = rows, image

    @torch.no_grad()
    def __getitem__(self, numbers: Tensor) -> Tensor:
        """(n,) numbers of priors to (n, D) float32."""
        rows = self.rows
        values = rows.branch(rows.features[self.image], rows.places, numbers)
        return F.normalize(values, dim=-1) if rows.normalize else values


def feature_table(features: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) of all levels to rows (B, M + 1, C); the last row is zero."""
    parts = [x.permute(0, 2, 3, 1).flatten(1, 2) for x in features]
    zero = parts[0].new_zeros((len(parts[0]), 1, parts[0].shape[2]))
    return torch.cat([*parts, zero], 1)
