"""Batch norm folded into the convolution before it: the same function in fewer passes."""

from __future__ import annotations

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stcn.model.network import STCN


def fold_batch_norm(network: STCN) -> STCN:
    """A copy for inference whose batch norms are gone; differs from the original by rounding.

    Args:
        network: in eval mode.
    """
    assert not network.training, "running statistics are only final in eval mode"
    folded = copy.deepcopy(network)
    for module in folded.modules():
        names = [name for name, _ in module.named_children()]
        for conv_name, norm_name in _pairs(names):
            conv, norm = getattr(module, conv_name), getattr(module, norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return folded.eval()


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    """(convN, bnN) of a block or stem, and (0, 1) of a shortcut."""
    pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
    return [pair for pair in [*pairs, ("0", "1")] if pair[0] in names and pair[1] in names]
