"""Optimiser and learning rates by epoch (spec 7.1)."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR

from devis.config import Config
from devis.parameter_groups import Group, optimiser_groups


def build_optimiser(groups: list[Group], cfg: Config) -> torch.optim.AdamW:
    """AdamW with weight decay on every parameter, one group for each learning rate."""
    rate, decay = cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY
    return torch.optim.AdamW(optimiser_groups(groups), lr=rate, weight_decay=decay)


def build_schedule(optimiser: torch.optim.Optimizer, cfg: Config) -> MultiStepLR:
    """Multiplies all learning rates after the epochs SOLVER.STEPS; stepped once an epoch.

    With START_EPOCH above 1 the rates are those of that epoch.
    """
    schedule = MultiStepLR(optimiser, list(cfg.SOLVER.STEPS), gamma=cfg.SOLVER.GAMMA)
    for group in optimiser.param_groups:
        group["lr"] *= cfg.SOLVER.GAMMA ** sum(s < cfg.START_EPOCH for s in cfg.SOLVER.STEPS)
    schedule.last_epoch = cfg.START_EPOCH - 1
    return schedule


def clip_gradient(network: nn.Module, max_norm: float) -> float:
    """Scales the gradient of all parameters down to a norm; returns the norm it had.

    Args:
        network: after the backward pass.
        max_norm: the largest one allowed; 0 or less: only measure.
    """
    limit = max_norm if max_norm > 0 else float("inf")
    return float(nn.utils.clip_grad_norm_(network.parameters(), limit))
