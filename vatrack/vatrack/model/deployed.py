"""The network as it runs in inference: the same function in less work (spec 10).

- Norms of the backbone are folded into its convolutions; maps are stored channels last.
- On a CPU, convolutions are packed ahead with the sum and the ReLU inside, or computed by tiles,
  those of regions side by side on one map; features of regions are gathered with all threads.
- Masks are computed for the class asked for only, from features that both kinds of masks share.

Letters: B images, n regions, S side of their features, C channels, K classes, E embedding, h and w
size of a level.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from vatrack.model.deployed_backbone import DeployedFPN, DeployedResNet, PlainConv
from vatrack.model.heads import BoxHead, MaskHead, TrackHead
from vatrack.model.network import VATrackNet
from vatrack.model.roi import NUM_LEVELS, roi_features, roi_levels, to_rois
from vatrack.model.rpn import RPNHead
from vatrack.ops.fused import FusedLinear
from vatrack.ops.mosaic import Mosaic
from vatrack.ops.roi_gather import gather_regions
from vatrack.ops.winograd import WinogradConv

#: Name of a part to a context in which it runs.
Timer = Callable[[str], AbstractContextManager[object]]


def untimed(_name: str) -> AbstractContextManager[object]:
    """The timer of those who do not ask."""
    return contextlib.nullcontext()


class DeployedNetwork:
    """Runs a network for inference, one image at a time.

    Args:
        network: in eval mode, on its device; it is not changed, and later changes of it are not
            seen in every part.
        dtype: of weights and maps. Boxes, scores, logits and embeddings are float32. Anything but
            float32 is faster where the processor has it, and less exact.
    """

    def __init__(self, network: VATrackNet, dtype: torch.dtype = torch.float32) -> None:
        assert not network.training, "inference needs a network in eval mode"
        self.settings, self.dtype = network.settings, dtype
        self.device = next(network.parameters()).device
        heads = network.roi_head
        with torch.no_grad():
            self.backbone = DeployedResNet(network.backbone, dtype)
            self.neck = DeployedFPN(network.neck, dtype)
            self.rpn = _RPN(network.rpn_head, dtype)
            self.detector = _Boxes(heads.detector, dtype)
            self.mask_heads = {"visible": _Masks(heads.mask_head, dtype)}
            self.visible_boxes: _Boxes | None = None
            if self.settings.has_two_boxes:
                self.visible_boxes = _Boxes(heads.bbox_head, dtype)
            if self.settings.is_joint:
                self.mask_heads["amodal"] = _Masks(heads.amodal_mask_head, dtype)
            elif self.settings.kind == "amodaltrack":
                self.mask_heads = {"amodal": self.mask_heads["visible"]}
            self.embedder = _Embeddings(heads.track_head, dtype)

    @torch.no_grad()
    def extract(self, images: Tensor) -> list[Tensor]:
        """Normalised RGB images (B, 3, H, W) to P2..P6, each (B, C, h, w)."""
        return self.neck(self.backbone(images))

    @torch.no_grad()
    def proposals(
        self, levels: Sequence[Tensor], img_shape: tuple[int, int], nms_pre: int, max_num: int
    ) -> Tensor:
        """The best boxes (n, 5) of one image; see `RPNHead.proposals`."""
        logits, deltas = self.rpn(levels)
        return self.rpn.head.proposals(logits, deltas, [img_shape], nms_pre, max_num)[0]

    def box_features(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Features (n, S*S, C) of regions (n, 4 or more) for boxes and embeddings."""
        return self._regions(levels, boxes, self.settings.box_roi_size)

    def mask_features(self, levels: Sequence[Tensor], boxes: Tensor) -> Tensor:
        """Features (n, S*S, C) of regions (n, 4 or more) for masks."""
        return self._regions(levels, boxes, self.settings.mask_roi_size)

    @torch.no_grad()
    def detect(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features of `box_features` to logits (n, K+1) and deltas (n, K*4) of detections."""
        return self.detector(features)

    @torch.no_grad()
    def detect_visible(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """The same for visible boxes of detections, in the two-box model."""
        assert self.visible_boxes is not None, "the model has no visible boxes"
        return self.visible_boxes(features)

    @torch.no_grad()
    def embed(self, features: Tensor) -> Tensor:
        """Features of `box_features` to embeddings (n, E)."""
        return self.embedder(features)

    @torch.no_grad()
    def mask_logits(self, which: str, features: Tensor, labels: Tensor) -> Tensor:
        """Logits (n, 2S, 2S) of the masks of some classes.

        Args:
            which: "visible" or "amodal".
            features: of `mask_features`.
            labels: (n,) from 0.
        """
        return self.mask_heads[which](features, labels)

    @torch.no_grad()
    def _regions(self, levels: Sequence[Tensor], boxes: Tensor, size: int) -> Tensor:
        rois = to_rois([boxes.float()])
        if self.device.type != "cpu":
            features = roi_features(levels, rois, size, self.settings)
            return features.flatten(2).transpose(1, 2)
        level_of = roi_levels(rois, self.settings.finest_scale)
        out = levels[0].new_empty((len(rois), size * size, levels[0].shape[1]))
        for i in range(NUM_LEVELS):
            rows = torch.nonzero(level_of == i)[:, 0]
            if len(rows):
                part = out.new_empty((len(rows), *out.shape[1:]))
                scale = 1 / self.settings.strides[i]
                gather_regions(levels[i][0], rois[rows, 1:], size, scale, part)
                out[rows] = part
        return out


def _as_map(features: Tensor) -> Tensor:
    """Rows (n, S*S, C) as maps (n, C, S, S), channels last in memory."""
    side = round(features.shape[1] ** 0.5)
    return features.unflatten(1, (side, side)).permute(0, 3, 1, 2)


def _as_rows(x: Tensor) -> Tensor:
    """Maps (n, C, S, S) as rows (n, S*S, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _by_tiles(convs: Sequence[PlainConv], features: Tensor) -> list[WinogradConv]:
    """The layers in the form for a mosaic of rows (n, S*S, C); none where that is slower."""
    forms = [conv.by_tiles(features.shape[0] * features.shape[1]) for conv in convs]
    known = [form for form in forms if form is not None]
    return known if len(known) == len(forms) else []


def _linear(fc: nn.Linear, dtype: torch.dtype) -> FusedLinear:
    return FusedLinear(fc.weight.detach().to(dtype), fc.bias.detach().to(dtype))


def _hidden_layers(fcs: nn.ModuleList, num_cells: int, dtype: torch.dtype) -> list[FusedLinear]:
    """Layers of which the first takes flattened maps (C, S, S), here rows (S*S, C)."""
    first, *others = (fc for fc in fcs if isinstance(fc, nn.Linear))
    by_cell = first.weight.detach().unflatten(1, (-1, num_cells)).transpose(1, 2).flatten(1)
    layer = FusedLinear(by_cell.to(dtype), first.bias.detach().to(dtype))
    return [layer, *(_linear(fc, dtype) for fc in others)]


class _RPN:
    """`RPNHead`."""

    def __init__(self, head: RPNHead, dtype: torch.dtype) -> None:
        self.head = head
        self.hidden = PlainConv.of(head.rpn_conv, dtype)
        # Logits and deltas come from the same values: one product for both.
        self.weight, self.bias = (
            torch.cat([getattr(layer, name).detach() for layer in (head.rpn_cls, head.rpn_reg)])
            for name in ("weight", "bias")
        )
        self.outputs = PlainConv(self.weight.to(dtype), self.bias.to(dtype))

    @torch.no_grad()
    def __call__(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        anchors = self.head.settings.num_anchors
        both = [self.outputs(self.hidden(level, relu=True)).float() for level in levels]
        return [x[:, :anchors] for x in both], [x[:, anchors:] for x in both]


class _Boxes:
    """`BoxHead`."""

    def __init__(self, head: BoxHead, dtype: torch.dtype) -> None:
        self.layers = _hidden_layers(head.shared_fcs, head.num_cells, dtype)
        self.outputs = [_linear(fc, torch.float32) for fc in (head.fc_cls, head.fc_reg)]

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor]:
        x = features.flatten(1)
        for layer in self.layers:
            x = layer(x, relu=True)
        logits, deltas = (layer(x.float()) for layer in self.outputs)
        return logits, deltas


class _Masks:
    """`MaskHead`, one class per region."""

    def __init__(self, head: MaskHead, dtype: torch.dtype) -> None:
        self.convs = [PlainConv.of(layer.conv, dtype) for layer in head.convs]  # type: ignore[arg-type]
        up = head.upsample
        # A transposed convolution of stride 2 and kernel 2 is a product for each of four places.
        self.up = FusedLinear(
            up.weight.detach().permute(2, 3, 1, 0).flatten(0, 2).to(dtype),  # 2*2*C, C
            up.bias.detach().repeat(4).to(dtype) if up.bias is not None else None,
        )
        self.weight = head.conv_logits.weight.detach()[:, :, 0, 0]  # K, C
        assert head.conv_logits.bias is not None
        self.bias = head.conv_logits.bias.detach()

    def __call__(self, features: Tensor, labels: Tensor) -> Tensor:
        n, cells, channels = features.shape
        side = round(cells**0.5)
        rows = self._convolved(features).reshape(n * cells, channels)
        large = self.up(rows, relu=True).view(n, cells * 4, channels)
        of_class = self.weight[labels].to(large.dtype)
        logits = torch.bmm(large, of_class[:, :, None]).float().view(n, side, side, 2, 2)
        logits = logits.transpose(2, 3).reshape(n, 2 * side, 2 * side)
        return logits + self.bias[labels][:, None, None]

    def _convolved(self, features: Tensor) -> Tensor:
        """Rows (n, S*S, C) after the convolutions."""
        tiled = _by_tiles(self.convs, features)
        if not tiled:
            x = _as_map(features)
            for conv in self.convs:
                x = conv(x, relu=True)
            return _as_rows(x)
        mosaic = Mosaic(features)
        for by_tiles in tiled:
            mosaic.convolve(by_tiles, relu=True)
        return mosaic.get()


class _Embeddings:
    """`TrackHead`."""

    def __init__(self, head: TrackHead, dtype: torch.dtype) -> None:
        self.layers = [(PlainConv.of(layer.conv, dtype), layer.gn) for layer in head.convs]  # type: ignore[arg-type]
        self.fcs = _hidden_layers(head.fcs, head.num_cells, dtype)
        self.output = _linear(head.fc_embed, torch.float32)

    def __call__(self, features: Tensor) -> Tensor:
        x = self._convolved(features).flatten(1)
        for fc in self.fcs:
            x = fc(x, relu=True)
        return self.output(x.float())

    def _convolved(self, features: Tensor) -> Tensor:
        """Rows (n, S*S, C) after the convolutions and their norms."""
        tiled = _by_tiles([conv for conv, _ in self.layers], features)
        mosaic = Mosaic(features) if tiled else None
        for i, (conv, norm) in enumerate(self.layers):
            assert isinstance(norm, nn.GroupNorm)
            if mosaic is None:
                x = conv(_as_map(features))
            else:
                if i:
                    mosaic.put(features)
                mosaic.convolve(tiled[i], relu=False)
                x = _as_map(mosaic.get())
            features = _as_rows(norm(x.float()).relu_().to(x.dtype))
        return features
