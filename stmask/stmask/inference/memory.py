"""What a tracker remembers of a video, and its move to the next frame. Source: spec section 7.2.

Letters: m entries, P prototypes, E embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from stmask.inference.candidates import Candidates
from stmask.inference.detections import Detections
from stmask.model.boxes import decode, to_centre
from stmask.model.masks import assemble
from stmask.model.temporal import roi_features

#: An entry that was not seen for more frames than this is not shown.
MAX_LOST = 10
#: By what a score falls with every frame.
SCORE_DECAY = 0.95
#: Entries whose features are cut out at once; bounds the memory that a long video needs.
CHUNK = 128


class TemporalModel(Protocol):
    """The part of a network that moves instances to the next frame."""

    def temporal_features(
        self, previous: Tensor, current: Tensor, previous_t2s: Tensor, current_t2s: Tensor
    ) -> Tensor:
        """Feature maps (1, 256, h4, w4) of two frames to (1, 633, h4, w4)."""
        ...

    def TemporalNet(self, features: Tensor) -> tuple[Tensor, Tensor]:  # noqa: N802
        """(m, 633, 7, 7) to the shift of the box (m, 4) and of the coefficients (m, P)."""
        ...


@dataclass(frozen=True)
class Memory:
    """Every instance of a video up to some frame, and features of that frame.

    Attributes:
        entries: the instances as they are expected in that frame.
        lost: (m,) int64, frames since the entry was last seen.
        next_id: of the next new instance.
        fpn_feat: (1, 256, h4, w4) see `Candidates`.
        t2s_feat: (1, 256, h4, w4).
    """

    entries: Detections
    lost: Tensor
    next_id: int
    fpn_feat: Tensor
    t2s_feat: Tensor

    @classmethod
    def start(cls, frame: Candidates, found: Detections) -> Memory:
        """The memory after the first frame with detections, whose ids count from 0."""
        ids = torch.arange(len(found), device=found.ids.device)
        entries = replace(found, ids=ids)
        lost = torch.zeros_like(ids)
        return cls(entries, lost, len(found), frame.fpn_feat, frame.t2s_feat)

    def __len__(self) -> int:
        return len(self.entries)

    def shifted(self, network: TemporalModel, frame: Candidates) -> Memory:
        """All entries moved to the next frame, unseen there so far.

        Class, embedding and centerness stay.
        """
        entries = self.entries
        features = network.temporal_features(
            self.fpn_feat, frame.fpn_feat, self.t2s_feat, frame.t2s_feat
        )
        places = entries.boxes.split(CHUNK)
        parts = [network.TemporalNet(roi_features(features, boxes)) for boxes in places]
        loc, change = (torch.cat(values).float() for values in zip(*parts, strict=True))
        boxes = _move(entries.boxes, loc)
        coeffs = entries.coeffs + change
        moved = replace(
            entries,
            boxes=boxes,
            coeffs=coeffs,
            masks=assemble(frame.proto, coeffs, boxes),
            scores=SCORE_DECAY * entries.scores,
            proto=frame.proto,
        )
        return replace(
            self,
            entries=moved,
            lost=self.lost + 1,
            fpn_feat=frame.fpn_feat,
            t2s_feat=frame.t2s_feat,
        )

    def seen(self, rows: Tensor, found: Detections) -> Memory:
        """Entries overwritten by what was found of them; they count as seen.

        Args:
            rows: (k,) positions of the entries.
            found: k detections.
        """
        lost = self.lost.clone()
        lost[rows] = 0
        return replace(self, entries=self.entries.overwritten(rows, found), lost=lost)

    def extended(self, found: Detections) -> Memory:
        """New entries after the others."""
        ids = torch.arange(self.next_id, self.next_id + len(found), device=self.lost.device)
        return replace(
            self,
            entries=self.entries.joined(replace(found, ids=ids)),
            lost=torch.cat([self.lost, torch.zeros_like(ids)]),
            next_id=self.next_id + len(found),
        )

    def limited(self, count: int | None) -> Memory:
        """At most `count` entries, unless more of them may still be shown; None keeps all."""
        excess = 0 if count is None else len(self) - count
        if excess <= 0:
            return self
        gone = self.lost.sort(descending=True, stable=True).indices[:excess]
        keep = self.lost <= MAX_LOST
        keep |= torch.ones_like(keep).index_fill(0, gone, False)
        return replace(self, entries=self.entries.take(keep), lost=self.lost[keep])

    def visible(self, threshold: float) -> Detections:
        """Entries to show: recently seen, scored above the threshold, of more than one pixel."""
        rows = ((self.lost <= MAX_LOST) & (self.entries.scores > threshold)).nonzero()[:, 0]
        num_pixels = (self.entries.masks[rows] > 0.5).flatten(1).sum(1)
        return self.entries.take(rows[num_pixels > 1])


def _move(boxes: Tensor, loc: Tensor) -> Tensor:
    """Boxes (m, 4) moved by what the network regressed.

    An entry that stays lost for long may shrink or grow without bounds; before its numbers leave
    the range of the format it stops where it is, so that no NaN takes part in the match.
    """
    moved = decode(loc, to_centre(boxes))
    return torch.where(moved.isfinite().all(1, keepdim=True), moved, boxes)
