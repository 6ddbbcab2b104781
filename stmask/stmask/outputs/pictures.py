"""Pictures of results as the commands write them: drawings, and prototypes on request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stmask.inference.detections import Detections
from stmask.inference.postprocess import FrameResult
from stmask.outputs.drawing import DrawOptions, draw_instances
from stmask.outputs.prototypes import combination_grid, prototype_grid
from vidseg_common.video import BackgroundWriter, write_image

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Artist:
    """Draws frames.

    Attributes:
        class_names: name of class c at c - 1.
        options: what is drawn of each object.
        with_rate: write the frame rate into pictures.
        with_combinations: also a picture of how prototypes make up each mask.
        with_prototypes: also a picture of all prototypes.
    """

    class_names: Sequence[str]
    options: DrawOptions
    with_rate: bool = False
    with_combinations: bool = False
    with_prototypes: bool = False

    def draw(self, image: Image, found: FrameResult, rate: float | None = None) -> Image:
        """The frame (H, W, 3) RGB with its objects."""
        shown = rate if self.with_rate else None
        return draw_instances(image, found, self.class_names, self.options, fps=shown)

    def extras(self, path: Path, detections: Detections) -> Iterator[tuple[Path, Image]]:
        """Pictures beside that of a frame, with their files.

        Args:
            path: of the frame's picture.
            detections: before post-processing.
        """
        if self.with_combinations and (grid := combination_grid(detections)) is not None:
            yield path.with_name(f"{path.stem}_lincomb.png"), grid
        if self.with_prototypes:
            yield path.with_name(f"{path.stem}_proto.png"), prototype_grid(detections)

    def write(
        self,
        writer: BackgroundWriter,
        path: Path,
        picture: Image,
        detections: Detections | None,
    ) -> None:
        """Queues the picture of a frame and what goes beside it."""
        writer.submit(write_image, path, picture)
        if detections is not None:
            for extra, content in self.extras(path, detections):
                writer.submit(write_image, extra, content)
