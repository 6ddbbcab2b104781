"""Losses of the training and the costs of the matching before them (spec section 6)."""

from devis.losses.criterion import LayerOutput, all_losses, num_entries, total_loss
from devis.losses.settings import LossSettings
from devis.losses.targets import Match, Target

__all__ = [
    "LayerOutput",
    "LossSettings",
    "Match",
    "Target",
    "all_losses",
    "num_entries",
    "total_loss",
]
