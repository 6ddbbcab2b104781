"""Losses of the classes (spec 10.2). Letters as in `stmask.losses.targets`; C classes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from stmask.losses.settings import LossSettings


def hard_negative_loss(logits: Tensor, classes: Tensor, settings: LossSettings) -> Tensor:
    """Cross entropy of the positives and of the hardest negatives of the whole batch.

    The positives of a frame weigh one together, the negatives three a frame together. [K] The
    reference lists the weights of all positives first, but the samples in the order of the
    priors; with `conf_weight_order` "reference" weights fall on the samples as they did there.

    Args:
        logits: (B, N, C).
        classes: (B, N) targets: class, 0 background, -1 to be left out.
        settings: how negatives are chosen, and the weight.

    Returns:
        A scalar.
    """
    num_frames = len(logits)
    flat, targets = logits.flatten(0, 1), classes.flatten()  # B*N, C and B*N
    is_positive = targets > 0
    weight = 1.0 / (classes > 0).sum(1).clamp(min=1).float()  # B
    weights = weight[:, None].expand(classes.shape).flatten()  # B*N
    is_negative = _hard_negatives(flat.detach(), targets, settings)
    num_negatives = is_negative.sum().clamp(min=1)
    weights = torch.where(is_negative, settings.ohem_negpos_ratio * num_frames / num_negatives,
                          weights)  # fmt: skip
    is_sample = is_positive | is_negative
    if settings.conf_weight_order == "reference":
        weights = torch.cat([weights[is_positive], weights[is_negative]])
    else:
        weights = weights[is_sample]
    errors = F.cross_entropy(flat[is_sample], targets[is_sample], reduction="none")
    return settings.conf_alpha / num_frames * (weights * errors).sum() / 4


def _hard_negatives(logits: Tensor, targets: Tensor, settings: LossSettings) -> Tensor:
    """(B*N,) booleans: the background priors that look least like it, three per positive."""
    if settings.ohem_use_most_confident:
        hardness = logits.softmax(1)[:, 1:].amax(1)
    else:
        hardness = logits.logsumexp(1) - logits[:, 0]
    is_background = targets == 0
    wanted = int(settings.ohem_negpos_ratio * int((targets > 0).sum()))
    hardness = hardness.masked_fill(~is_background, -torch.inf)
    hardest = hardness.topk(min(wanted, int(is_background.sum()))).indices
    return torch.zeros_like(is_background).index_fill_(0, hardest, True)


def focal_loss(logits: Tensor, classes: Tensor, settings: LossSettings) -> Tensor:
    """Sigmoid focal loss of the foreground classes, a mean over the priors that count.

    Args:
        logits: (B, N, C); the background column is not used.
        classes: (B, N) targets: class, 0 background, -1 to be left out.
        settings: alpha, gamma and the weight.

    Returns:
        A scalar.
    """
    kept = classes >= 0
    x = logits[kept][:, 1:]  # n, C-1
    truth = F.one_hot(classes[kept], logits.shape[-1])[:, 1:].bool()
    log_right = F.logsigmoid(torch.where(truth, x, -x))
    alpha = settings.focal_loss_alpha
    weights = torch.where(truth, alpha, 1 - alpha)
    errors = -weights * (1 - log_right.exp()) ** settings.focal_loss_gamma * log_right
    return settings.conf_alpha * errors.sum() / kept.sum().clamp(min=1)
