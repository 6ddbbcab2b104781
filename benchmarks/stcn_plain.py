"""The straightforward form of STCN's inference, the baseline of `bench_stcn.py`.

Order of operations of the published implementation (specification sections 3 and 4): encoder frame
by frame with batch norm apart, memory grown by concatenation, affinity scattered into a dense
matrix and multiplied with the values, every object decoded from a concatenation of its own.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from stcn.inference.engine import pad_to_multiple, unpad
from stcn.model.matching import aggregate
from stcn.model.network import STCN


def dense_topk_read(mem_key: Tensor, mem_value: Tensor, query: Tensor, top_k: int) -> Tensor:
    """Top-k read through a dense affinity.

    Args:
        mem_key: (1, C, N).
        mem_value: (K, V, N).
        query: (1, C, h, w).
        top_k: elements that vote.

    Returns:
        (K, V, h, w).
    """
    flat = query.flatten(2)  # 1, C, M
    squared = mem_key.pow(2).sum(1).unsqueeze(2)
    scores = (2 * (mem_key.transpose(1, 2) @ flat) - squared) / math.sqrt(mem_key.shape[1])
    best, index = torch.topk(scores, k=min(top_k, scores.shape[1]), dim=1)
    weights = best.softmax(1)
    affinity = torch.zeros_like(scores).scatter_(1, index, weights)  # 1, N, M
    readout = mem_value @ affinity.expand(len(mem_value), -1, -1).to(mem_value.dtype)
    return readout.unflatten(2, query.shape[2:])


class PlainEngine:
    """Segments one video; `stage_seconds` of `clock` is not part of it.

    Args:
        network: in eval mode.
        top_k: elements that vote.
    """

    def __init__(self, network: STCN, *, top_k: int = 20) -> None:
        self.network, self.top_k = network, top_k
        self.mem_key: Tensor | None = None
        self.mem_value: Tensor | None = None

    def remember(self, image: Tensor, f16: Tensor, key: Tensor, prob: Tensor) -> None:
        """Encodes and appends a frame; prob (K, 1, H, W)."""
        num_objects = len(prob)
        others = prob.sum(0, keepdim=True) - prob if num_objects > 1 else torch.zeros_like(prob)
        masks = torch.cat([prob, others], 1)
        frames, features = (
            image.expand(num_objects, -1, -1, -1),
            f16.expand(num_objects, -1, -1, -1),
        )
        value = self.network.value_encoder(frames, features, masks).flatten(2)
        key = key.flatten(2)
        if self.mem_key is None or self.mem_value is None:
            self.mem_key, self.mem_value = key, value
        else:
            self.mem_key = torch.cat([self.mem_key, key], 2)
            self.mem_value = torch.cat([self.mem_value, value], 2)

    @torch.inference_mode()
    def step(self, frame: Tensor, *, given: Tensor | None = None, store: bool) -> Tensor:
        """One frame (3, H, W); given masks (K, H, W); returns (K + 1, H, W)."""
        pad = pad_to_multiple((frame.shape[1], frame.shape[2]))
        image = F.pad(frame[None], pad)
        f16, f8, f4 = self.network.key_encoder(image)
        key, thin = self.network.key_proj(f16), self.network.key_comp(f16)
        if given is not None:
            prob = aggregate(F.pad(given, pad)[:, None])
        else:
            assert self.mem_key is not None and self.mem_value is not None
            readout = dense_topk_read(self.mem_key, self.mem_value, key.float(), self.top_k)
            num_objects = len(readout)
            g16 = torch.cat([readout, thin.expand(num_objects, -1, -1, -1)], 1)
            logits = self.network.decoder(g16, f8, f4)
            prob = aggregate(torch.sigmoid(logits.float()))
        if store:
            self.remember(image, f16, key, prob[1:])
        return unpad(prob[:, 0], pad)
