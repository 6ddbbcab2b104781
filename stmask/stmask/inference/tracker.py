"""Tracking with temporal fusion, one frame at a time. Source: spec section 7.3."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from stmask.inference.candidates import Candidates
from stmask.inference.detections import Detections
from stmask.inference.matching import match
from stmask.inference.memory import Memory, TemporalModel
from stmask.inference.settings import settings_of


class Tracker:
    """Gives detections their ids, and shows instances that the detector missed for a while.

    Args:
        network: moves the memory from frame to frame.
        cfg: configuration or `InferenceSettings`.

    Attributes:
        memory: of the video so far; None before the first detection.
        match_totals: (n, 1 + m) of the last frame, column 0 is "new"; None where nothing was
            matched.
    """

    def __init__(self, network: TemporalModel, cfg: Any) -> None:
        self.network = network
        self.settings = settings_of(cfg)
        self.reset()

    def reset(self) -> None:
        """Forgets the video."""
        self.memory: Memory | None = None
        self.match_totals: Tensor | None = None

    @torch.inference_mode()
    def step(self, frame: Candidates) -> Detections:
        """Advances one frame.

        Returns:
            Every instance seen or expected in the frame, ids ascending. Ids count from 0 in a
            video and are not given twice.
        """
        self.match_totals = None
        found = Detections.of(frame)
        if self.memory is None:
            if not len(found):
                return found
            self.memory = Memory.start(frame, found)
        else:
            self.memory = self._advance(self.memory, frame, found)
        return self.memory.visible(self.settings.eval_conf_thresh)

    def _advance(self, memory: Memory, frame: Candidates, found: Detections) -> Memory:
        memory = memory.shifted(self.network, frame)
        if len(found):
            matches = match(found, memory.entries, self.settings.match_coeff)
            self.match_totals = matches.totals
            memory = memory.seen(matches.entries, found.take(matches.detections))
            memory = memory.extended(found.take(matches.new))
        return memory.limited(self.settings.max_memory)
