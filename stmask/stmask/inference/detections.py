"""Instances of one frame with their masks, as the trackers keep and give them.

Letters: n instances, P prototypes, E embedding, h w size of the prototypes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stmask.inference.candidates import Candidates, Instances
from stmask.model.masks import assemble

#: Fields with one row per instance.
_ROWS = ("ids", "boxes", "coeffs", "track", "classes", "scores", "centerness", "masks")


@dataclass(frozen=True)
class Detections(Instances):
    """Instances of one frame with ids and masks.

    Attributes:
        ids: (n,) int64, -1 where an instance has none.
        masks: (n, h, w) soft masks at the size of the prototypes.
    """

    ids: Tensor
    masks: Tensor

    @classmethod
    def of(cls, frame: Candidates) -> Detections:
        """Candidates with their masks, without ids."""
        return cls(
            ids=torch.full_like(frame.classes, -1),
            boxes=frame.boxes,
            coeffs=frame.coeffs,
            track=frame.track,
            classes=frame.classes,
            scores=frame.scores,
            centerness=frame.centerness,
            masks=assemble(frame.proto, frame.coeffs, frame.boxes),
            proto=frame.proto,
        )

    def take(self, rows: Tensor) -> Detections:
        """Some of the instances.

        Args:
            rows: positions, or (n,) flags.
        """
        return replace(self, **{name: getattr(self, name)[rows] for name in _ROWS})

    def uncropped(self) -> Detections:
        """These instances with masks that reach beyond their boxes."""
        return replace(self, masks=assemble(self.proto, self.coeffs, None))

    def joined(self, others: Detections) -> Detections:
        """These instances and, after them, others."""
        pairs = {name: (getattr(self, name), getattr(others, name)) for name in _ROWS}
        return replace(self, **{name: torch.cat(pair) for name, pair in pairs.items()})

    def overwritten(self, rows: Tensor, others: Detections) -> Detections:
        """These instances with others in the place of some, which keep their ids.

        Args:
            rows: (m,) positions of those to overwrite.
            others: m instances.
        """
        changed = {}
        for name in _ROWS[1:]:
            changed[name] = getattr(self, name).clone()
            changed[name][rows] = getattr(others, name)
        return replace(self, **changed)
