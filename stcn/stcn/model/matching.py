"""Similarity of memory and query, and soft aggregation of objects (spec sections 3 and 4.2).

Letters in shape comments: B batch, C key channels, N memory elements, M query positions,
K objects, H W image size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Probabilities are kept this far from 0 and 1; in float32 the largest logit is 15.942385.
PROB_EPS = 1e-7


def similarity(mem_key: Tensor, query_key: Tensor) -> Tensor:
    """Negative squared distance up to a term that a softmax over memory cancels.

    Args:
        mem_key: (B, C, N).
        query_key: (B, C, M).

    Returns:
        (2 <m, q> - |m|^2) / sqrt(C), shape (B, N, M).
    """
    inner = mem_key.transpose(1, 2) @ query_key  # B, N, M
    squared = mem_key.pow(2).sum(1).unsqueeze(2)  # B, N, 1
    return (2 * inner - squared) / math.sqrt(mem_key.shape[1])


def dense_affinity(mem_key: Tensor, query_key: Tensor) -> Tensor:
    """Softmax of the similarity over the whole memory, (B, N, M): the training form."""
    return similarity(mem_key, query_key).softmax(1)


def dense_readout(affinity: Tensor, mem_value: Tensor) -> Tensor:
    """Weighted sum of values: (B, N, M) and (B, Cv, N) to (B, Cv, M)."""
    return mem_value @ affinity


def topk_weights(scores: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Softmax over the `top_k` largest scores of each row.

    Args:
        scores: (M, N), one row per query position.
        top_k: how many memory elements may vote; more than N means all.

    Returns:
        weights (M, k) summing to one along k, and indices (M, k) into N.
    """
    best, index = largest(scores, min(top_k, scores.shape[1]))
    return best.softmax(1), index


#: Columns per block, and blocks per kept score below which selecting in two steps does not pay.
BLOCK = 64
MIN_BLOCKS_PER_SCORE = 4


def largest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest entries of each row, in any order, with their columns.

    In long rows only the blocks with the `count` largest maxima are searched: an entry of any
    other block is smaller than `count` entries that are at hand. The result is exact.

    Args:
        scores: (M, N).
        count: at most N.

    Returns:
        values (M, count) and columns (M, count).
    """
    num_columns = scores.shape[1]
    num_blocks = num_columns // BLOCK
    if num_blocks < MIN_BLOCKS_PER_SCORE * count:
        return scores.topk(count, dim=1, sorted=False)
    whole = num_blocks * BLOCK
    blocks = scores[:, :whole].unflatten(1, (num_blocks, BLOCK))  # M, blocks, BLOCK
    chosen = blocks.amax(2).topk(count, dim=1, sorted=False).indices  # M, count
    found = blocks.gather(1, chosen[:, :, None].expand(-1, -1, BLOCK)).flatten(1)
    candidates = torch.cat([found, scores[:, whole:]], 1)
    best, place = candidates.topk(count, dim=1, sorted=False)
    inside = place < count * BLOCK
    block = chosen.gather(1, (place // BLOCK).clamp(max=count - 1))
    column = torch.where(inside, block * BLOCK + place % BLOCK, place - count * BLOCK + whole)
    return best, column


def kernel_scores(
    mem_key: Tensor, query_key: Tensor, grid: tuple[int, int], sigma: float
) -> Tensor:
    """Unnormalised weights of the kernelised read of multi-scale testing (spec section 4.8).

    Every memory element is softly bound to the neighbourhood of the query position that suits
    it best, by a Gaussian of standard deviation `sigma` on the query grid.

    Args:
        mem_key: (C, N).
        query_key: (C, M) with M = grid[0] * grid[1].
        grid: height and width of the query grid.
        sigma: in grid cells.

    Returns:
        (M, N); the largest per row are to be kept and normalised to sum one.
    """
    # Here the |q|^2 term counts: the best query position of an element depends on it.
    full = similarity(mem_key[None], query_key[None])[0]  # N, M
    full = full - query_key.pow(2).sum(0) / math.sqrt(mem_key.shape[0])
    best = full.argmax(1)  # N
    rows = torch.arange(grid[0], device=full.device, dtype=full.dtype)
    cols = torch.arange(grid[1], device=full.device, dtype=full.dtype)
    dy = rows[None] - torch.div(best, grid[1], rounding_mode="floor")[:, None]  # N, h
    dx = cols[None] - (best % grid[1])[:, None]  # N, w
    squared = dy.pow(2)[:, :, None] + dx.pow(2)[:, None]  # N, h, w
    gauss = torch.exp(-squared.flatten(1) / (2 * sigma**2))  # N, M
    return (torch.exp(full - full.amax(0, keepdim=True)) * gauss).T


def aggregate_logits(prob: Tensor, dim: int) -> Tensor:
    """Logits of background and objects from independent object probabilities.

    Args:
        prob: float32, objects along `dim`.
        dim: axis of the objects.

    Returns:
        Same shape with one more entry along `dim`: background first.
    """
    background = (1 - prob).prod(dim, keepdim=True)
    joint = torch.cat([background, prob], dim).clamp(PROB_EPS, 1 - PROB_EPS)
    return torch.log(joint / (1 - joint))


def aggregate(prob: Tensor) -> Tensor:
    """Competing probabilities of background and K objects: (K, ...) to (K + 1, ...), sum one."""
    return aggregate_logits(prob.float(), 0).softmax(0)
