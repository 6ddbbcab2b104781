"""Tracking without temporal fusion: detections are matched with where instances were last seen.

Source: spec section 7.4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stmask.inference.candidates import Candidates
from stmask.inference.detections import Detections
from stmask.inference.matching import match
from stmask.inference.settings import settings_of

#: A detection that overlaps this many entries by more than the IoU tells none of them apart.
AMBIGUOUS_COUNT, AMBIGUOUS_IOU = 2, 0.3


class PlainTracker:
    """Gives detections their ids; shows what was detected and nothing else.

    Args:
        cfg: configuration or `InferenceSettings`.

    Attributes:
        memory: every instance of the video as it was last seen; None before the first detection.
        match_totals: see `Tracker`.
    """

    def __init__(self, cfg: Any) -> None:
        self.settings = settings_of(cfg)
        self.reset()

    def reset(self) -> None:
        """Forgets the video."""
        self.memory: Detections | None = None
        self.match_totals: Tensor | None = None

    @torch.inference_mode()
    def step(self, frame: Candidates) -> Detections:
        """Advances one frame.

        Returns:
            The detections with their ids, best score first. A second detection of one instance
            is left out, or has the id -1 where `remove_false_inst` is off.
        """
        self.match_totals = None
        found = Detections.of(frame)
        if not len(found):
            return found
        if self.memory is None:
            self.memory = replace(found, ids=torch.arange(len(found), device=found.ids.device))
            return self.memory
        found = self._identified(self.memory, found)
        return found.take(found.ids >= 0) if self.settings.remove_false_inst else found

    def _identified(self, memory: Detections, found: Detections) -> Detections:
        """The detections with ids; the memory is brought up to date."""
        matches = match(found, memory, self.settings.match_coeff)
        self.match_totals = matches.totals
        rows, best, new = matches.entries, matches.detections, matches.new
        ids = found.ids.clone()
        ids[best] = memory.ids[rows]
        ids[new] = torch.arange(len(memory), len(memory) + len(new), device=ids.device)
        found = replace(found, ids=ids)
        is_clear = (matches.mask_iou[best] > AMBIGUOUS_IOU).sum(1) < AMBIGUOUS_COUNT
        memory = memory.overwritten(rows[is_clear], found.take(best[is_clear]))
        self.memory = memory.joined(found.take(new))
        return found
