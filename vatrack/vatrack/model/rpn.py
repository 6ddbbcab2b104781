"""Proposal network (spec 2.3).

Letters: B images, A anchors per position, h and w size of a level, n anchors or boxes of an image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vatrack.model.anchors import level_anchors
from vatrack.model.boxes import decode
from vatrack.model.nms import batched_nms
from vatrack.model.settings import ModelSettings

#: IoU above which the worse of two proposals of a level goes, and the smallest side of a proposal.
NMS_THRESHOLD, MIN_SIZE = 0.7, 1.0


class RPNHead(nn.Module):
    """One 3x3 layer for all levels, then a logit and deltas for every anchor.

    Args:
        settings: of the network.
    """

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        channels, anchors = settings.fpn_channels, settings.num_anchors
        self.rpn_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.rpn_cls = nn.Conv2d(channels, anchors, 1)
        self.rpn_reg = nn.Conv2d(channels, anchors * 4, 1)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """P2..P6 (B, C, h, w) to logits (B, A, h, w) and deltas (B, A*4, h, w) of every level."""
        hidden = [F.relu(self.rpn_conv(level)) for level in levels]
        return [self.rpn_cls(x) for x in hidden], [self.rpn_reg(x) for x in hidden]

    def anchors(self, sizes: Sequence[tuple[int, int]], device: torch.device) -> list[Tensor]:
        """Anchors (h*w*A, 4) of levels of the given (height, width); not to be written to."""
        strides = self.settings.strides
        return [
            level_anchors((size[0], size[1]), stride, self.settings, device)
            for size, stride in zip(sizes, strides, strict=True)
        ]

    @torch.no_grad()
    def proposals(
        self,
        logits: Sequence[Tensor],
        deltas: Sequence[Tensor],
        img_shapes: Sequence[Sequence[int]],
        nms_pre: int,
        max_num: int,
    ) -> list[Tensor]:
        """The best boxes of every image.

        Args:
            logits: of `forward`.
            deltas: of `forward`.
            img_shapes: B sizes (height, width, ...) without padding.
            nms_pre: candidates of a level at most.
            max_num: proposals of an image at most.

        Returns:
            B times (n, 5) with scores, best first; none where the outputs are not finite.
        """
        sizes = [(x.shape[-2], x.shape[-1]) for x in logits]
        anchors = self.anchors(sizes, logits[0].device)
        return [
            self._proposals_of(
                [flatten(x[i], 1)[:, 0] for x in logits],
                [flatten(x[i], 4) for x in deltas],
                anchors,
                img_shape,
                (nms_pre, max_num),
            )
            for i, img_shape in enumerate(img_shapes)
        ]

    def _proposals_of(
        self,
        logits: list[Tensor],
        deltas: list[Tensor],
        anchors: list[Tensor],
        img_shape: Sequence[int],
        limits: tuple[int, int],
    ) -> Tensor:
        """Proposals of one image from (n,) logits and (n, 4) deltas of every level."""
        rows = [x.topk(min(limits[0], len(x))).indices for x in logits]
        picked = [
            torch.cat([x[row] for x, row in zip(values, rows, strict=True)])
            for values in (anchors, deltas, logits)
        ]
        level = torch.cat([row.new_full(row.shape, i) for i, row in enumerate(rows)])
        boxes = decode(picked[0], picked[1].float(), self.settings.rpn_stds, img_shape)
        scores = picked[2].float().sigmoid()
        # Numbers that are not finite fail this test too.
        keep = ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIZE).all(1) & scores.isfinite()
        boxes, scores, level = boxes[keep], scores[keep], level[keep]
        return batched_nms(boxes, scores, level, NMS_THRESHOLD)[0][: limits[1]]


def flatten(x: Tensor, width: int) -> Tensor:
    """Outputs (A*width, h, w) of a level as rows (h*w*A, width), in the order of its anchors."""
    return x.permute(1, 2, 0).reshape(-1, width)
