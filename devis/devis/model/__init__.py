"""Networks of the three families: `build` makes one from its settings."""

from __future__ import annotations

from devis.model.detector import DeformableDETR
from devis.model.segmenter import DeVIS, MaskHeadModel
from devis.model.settings import ModelSettings


def build(settings: ModelSettings) -> DeformableDETR | MaskHeadModel | DeVIS:
    """A network with initial weights; the names of its state dict are those of released files.

    Args:
        settings: of the network; `settings.family` says which of the three it is.

    Raises:
        ValueError: there is no such backbone.
    """
    if settings.family == "deformable_detr":
        return DeformableDETR(settings)
    return DeVIS(settings) if settings.family == "devis" else MaskHeadModel(settings)
