"""Propagation of masks through a video, one frame at a time (spec sections 4.1 to 4.6).

Works on normalised tensors at the inner size; `Predictor` adds images, ids and output sizes.
Letters in shape comments: K objects, H W inner size, Hp Wp padded size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stcn.inference.memory import MemoryBank
from stcn.model.deployed import DeployedSTCN
from stcn.model.matching import aggregate
from stcn.model.network import FrameFeatures
from vidseg_common.allocator import keep_freed_memory


def pad_to_multiple(size: tuple[int, int], multiple: int = 16) -> tuple[int, int, int, int]:
    """Zero padding (left, right, top, bottom) that makes both sides multiples (spec 4.1)."""
    height, width = (-size[0]) % multiple, (-size[1]) % multiple
    return width // 2, width - width // 2, height // 2, height - height // 2


def unpad(x: Tensor, pad: tuple[int, int, int, int]) -> Tensor:
    """Crops the last two axes back."""
    left, right, top, bottom = pad
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


@dataclass(frozen=True)
class MemoryPolicy:
    """When and what the engine remembers.

    Attributes:
        mem_every: a frame is stored when this many frames passed since the last stored one.
        include_last: the previous frame is always in the memory, in a temporary slot.
        top_k: memory elements that vote for each query position.
        max_frames: cap on stored frames, None for the published setting (see `MemoryBank`).
        chunk_mb: bound on the extra memory of one read, in MiB.
        kernel_sigma: kernelised read of multi-scale testing, None for the plain one.
    """

    mem_every: int = 5
    include_last: bool = False
    top_k: int = 20
    max_frames: int | None = None
    chunk_mb: float = 64.0
    kernel_sigma: float | None = None

    def __post_init__(self) -> None:
        if self.mem_every < 1:
            raise ValueError(f"mem_every must be at least 1, got {self.mem_every}")

    def new_bank(self) -> MemoryBank:
        """An empty memory under this policy."""
        return MemoryBank(
            self.top_k,
            max_frames=self.max_frames,
            chunk_mb=self.chunk_mb,
            kernel_sigma=self.kernel_sigma,
        )


@dataclass
class EncodedFrame:
    """A frame ready for `PropagationEngine.step`: padded image and its features."""

    image: Tensor  # 1, 3, Hp, Wp
    features: FrameFeatures
    pad: tuple[int, int, int, int]


class PropagationEngine:
    """Holds one video's state: objects, memory, position.

    Args:
        network: made for inference; matching and aggregation are float32 whatever its dtype.
        policy: memory settings.
    """

    def __init__(self, network: DeployedSTCN, policy: MemoryPolicy) -> None:
        self.network = network
        self.policy = policy
        self.device = network.device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.reset()

    def reset(self) -> None:
        """Forgets the video."""
        self.memory = self.policy.new_bank()
        self.object_ids: list[int] = []
        self.frame_idx = -1
        self._last_stored = 0

    def remove(self, object_id: int) -> None:
        """Stops following an object; raises KeyError for an id that is not followed."""
        if object_id not in self.object_ids:
            raise KeyError(object_id)
        self.object_ids.remove(object_id)
        self.memory.remove(object_id)

    @torch.inference_mode()
    def encode(self, frames: Sequence[Tensor]) -> list[EncodedFrame]:
        """Encodes normalised frames (3, H, W) of one size as one batch; masks play no part."""
        pad = pad_to_multiple((frames[0].shape[-2], frames[0].shape[-1]))
        batch = F.pad(torch.stack([frame.to(self.device) for frame in frames]), pad)
        features = self.network.encode_key(batch)
        return [EncodedFrame(batch[i : i + 1], features.select(i), pad) for i in range(len(frames))]

    def will_skip(self, *, has_mask: bool, needed: bool) -> bool:
        """Whether the next `step` computes nothing, so that its frame need not be encoded."""
        if has_mask:
            return False
        if not self.object_ids:
            return True
        return not (needed or self._is_memory_frame(self.frame_idx + 1) or self.policy.include_last)

    def skip(self) -> None:
        """Passes a frame without computing it."""
        self.frame_idx += 1

    @torch.inference_mode()
    def step(
        self,
        frame: EncodedFrame,
        masks: dict[int, Tensor] | None = None,
        *,
        last: bool = False,
    ) -> Tensor:
        """Advances one frame.

        Args:
            frame: from `encode`.
            masks: given masks, object id to (H, W) of 0 and 1. New ids enter the video; for a
                known id the mask is a correction that replaces what was predicted.
            last: no frame follows, so that nothing needs to be remembered.

        Returns:
            Probabilities of background and objects, (K + 1, H, W) float32, objects in the order
            of `object_ids`. With no objects at all, ones of shape (1, H, W).
        """
        self.frame_idx += 1
        size = unpad(frame.image, frame.pad).shape[-2:]
        if not self.object_ids and not masks:
            return torch.ones((1, *size), device=self.device)
        prob = self._segment(frame) if self.object_ids else None  # K+1, 1, Hp, Wp
        if masks:
            prob = self._insert(frame, masks, prob)
        assert prob is not None
        if not last:
            self._memorise(frame, prob, given=bool(masks))
        return unpad(prob[:, 0], frame.pad)

    def _segment(self, frame: EncodedFrame) -> Tensor:
        features = frame.features
        readout = self.memory.read(features.key, self.object_ids)  # K, V, h, w
        return aggregate(torch.sigmoid(self.network.decode(readout, features)))

    def _insert(self, frame: EncodedFrame, masks: dict[int, Tensor], prob: Tensor | None) -> Tensor:
        """Paints given masks over the prediction (spec section 4.5, step 2)."""
        padded_size = frame.image.shape[-2:]
        given = {
            object_id: F.pad(mask.to(self.device, torch.float32), frame.pad)
            for object_id, mask in masks.items()
        }
        region = torch.stack(list(given.values())).sum(0) > 0.5  # Hp, Wp
        rows = []
        for i, object_id in enumerate(self.object_ids):
            assert prob is not None
            rows.append(given.pop(object_id, prob[i + 1, 0].masked_fill(region, 0.0)))
        for object_id, mask in given.items():
            self.object_ids.append(object_id)
            rows.append(mask)
        return aggregate(torch.stack(rows).view(-1, 1, *padded_size))

    def _memorise(self, frame: EncodedFrame, prob: Tensor, *, given: bool) -> None:
        permanent = given or self._is_memory_frame(self.frame_idx)
        if not (permanent or self.policy.include_last):
            return
        values = self.network.encode_value(frame.image, frame.features.f16, prob[1:])
        by_object = dict(zip(self.object_ids, values, strict=True))
        self.memory.write(frame.features.key, by_object, permanent=permanent, given=given)
        if permanent:
            self._last_stored = self.frame_idx

    def _is_memory_frame(self, frame_idx: int) -> bool:
        return frame_idx - self._last_stored >= self.policy.mem_every
