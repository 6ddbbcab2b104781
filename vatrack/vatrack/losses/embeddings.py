"""Losses of the embedding head: the same object near, others far (spec 5.1).

Letters: P key boxes (positives of the key frame), Q boxes of the reference frame, E length of an
embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from vatrack.losses.sampling import Sample
from vatrack.losses.settings import TrackSettings
from vatrack.losses.terms import no_loss

#: Similarity above which an other object costs no more.
_LARGEST = 80.0
#: Stands for -inf, whose gradient would not be a number.
_NOTHING = -1e9


@dataclass(frozen=True)
class Pairs:
    """The boxes of a pair of frames against each other.

    Attributes:
        products: (P, Q) dot products of the embeddings.
        cosines: (P, Q).
        targets: (P, Q) bool, True for two boxes of one object.
    """

    products: Tensor
    cosines: Tensor
    targets: Tensor

    @property
    def weights(self) -> Tensor:
        """(P,) float32, 1 for key boxes that have a partner."""
        return self.targets.any(1).float()


def pair_targets(key: Sample, ref: Sample, match: Tensor) -> Tensor:
    """Which key positives and reference boxes are of one object.

    Args:
        key: of the key frame; its positives are taken.
        ref: of the reference frame; its negatives are of no object.
        match: (G,) row of each key object in the reference, -1: not there.

    Returns:
        (P, Q) bool.
    """
    same = match[key.objects][:, None] == ref.objects[None]
    return F.pad(same, (0, len(ref.negatives)), value=False)


def make_pairs(key_embeds: Tensor, ref_embeds: Tensor, targets: Tensor) -> Pairs:
    """Similarities of embeddings (P, E) and (Q, E) in float32."""
    key, ref = key_embeds.float(), ref_embeds.float()
    unit_key, unit_ref = F.normalize(key, dim=1), F.normalize(ref, dim=1)
    return Pairs(key @ ref.t(), unit_key @ unit_ref.t(), targets)


def track_loss(pairs: Pairs) -> Tensor:
    """Multi-positive cross entropy, mean over the key boxes with a partner.

    `log(1 + sum_pos exp(-d) * sum_neg exp(min(d, 80)))`, in a form that no d overflows.
    """
    has_partner = pairs.targets.any(1)
    d, same = pairs.products[has_partner], pairs.targets[has_partner]
    if not len(d):
        return no_loss(pairs.products)
    near = (-d).masked_fill(~same, _NOTHING).logsumexp(1)
    far = d.clamp(max=_LARGEST).masked_fill(same, _NOTHING).logsumexp(1)
    return _log_one_plus_exp(near + far).mean()


def _log_one_plus_exp(x: Tensor) -> Tensor:
    """`log(1 + exp(x))` that does not overflow.

    Close to 0 it has the rounding of the sum, as recorded losses of well separated objects do;
    softplus would differ by some parts in a thousand of a loss of 1e-6.
    """
    return (1 + x.clamp(max=_LARGEST).exp()).log() + (x - _LARGEST).relu()


def auxiliary_loss(pairs: Pairs, settings: TrackSettings, generator: Generator) -> Tensor:
    """Mean squared error of cosine similarities against 1 (same object) and 0 (others).

    Of the others only `max_negatives` per pair of the same object count.
    """
    is_same, is_other = pairs.targets, ~pairs.targets
    num_same, num_other = int(is_same.sum()), int(is_other.sum())
    if not num_same:
        return no_loss(pairs.cosines)
    margins = torch.where(is_same, settings.positive_margin, settings.negative_margin)
    errors = ((pairs.cosines - margins).clamp(0, 1) - is_same.float()) ** 2
    same, other = errors[is_same], errors[is_other]
    limit = settings.max_negatives * num_same
    if settings.max_negatives >= 0 and num_other > limit:
        if settings.hard_mining:
            other = other.topk(int(limit)).values
        else:
            order = torch.randperm(num_other, generator=generator)[: int(limit)]
            other = other[order.to(other.device)]
    return torch.cat([same, other]).mean()


def mean_over_images(losses: Sequence[Tensor]) -> Tensor:
    """Mean of the losses of the pairs of a batch."""
    return torch.stack(list(losses)).mean()
