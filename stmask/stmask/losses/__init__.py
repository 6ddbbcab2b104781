"""Losses of the training and what they compare with (spec 10.1, 10.2)."""

from stmask.losses.multibox import ORDER, MultiBoxLoss, total_loss
from stmask.losses.settings import LossSettings
from stmask.losses.targets import FrameTargets

__all__ = ["ORDER", "FrameTargets", "LossSettings", "MultiBoxLoss", "total_loss"]
