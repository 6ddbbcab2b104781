"""What a frame gives.

Letters: n tracks, m detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vidseg_common.rle import RLE

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class FrameResult:
    """Tracks and detections of a frame, at its size.

    Attributes:
        size: (H, W) of the frame.
        ids: (n,) from 0 in every video, the best score first.
        labels: (n,) from 0.
        boxes: (n, 5) corners and score; amodal ones in the joint models.
        visible_boxes: (n, 5), in the two-box model.
        visible_masks: n masks; None in AmodalTrack.
        amodal_masks: n masks; None in QDTrack.
        det_boxes: (m, 5) all detections, before tracking.
        det_labels: (m,).
        det_visible_boxes: (m, 5), in the two-box model.
        det_masks: m masks of the models with one kind of mask, where they were asked for.
    """

    size: tuple[int, int]
    ids: Ints
    labels: Ints
    boxes: Floats
    visible_boxes: Floats | None
    visible_masks: list[RLE] | None
    amodal_masks: list[RLE] | None
    det_boxes: Floats
    det_labels: Ints
    det_visible_boxes: Floats | None = None
    det_masks: list[RLE] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def scores(self) -> Floats:
        """Scores (n,) of the tracks."""
        return self.boxes[:, 4]

    def select(self, rows: Sequence[int], ids: Ints) -> FrameResult:
        """Some of the tracks, under other numbers; the detections stay.

        Args:
            rows: of the tracks.
            ids: one per row.
        """

        def masks(encoded: list[RLE] | None) -> list[RLE] | None:
            return None if encoded is None else [encoded[row] for row in rows]

        at = np.asarray(rows, np.int64)
        return replace(
            self,
            ids=ids,
            labels=self.labels[at],
            boxes=self.boxes[at],
            visible_boxes=None if self.visible_boxes is None else self.visible_boxes[at],
            visible_masks=masks(self.visible_masks),
            amodal_masks=masks(self.amodal_masks),
        )
