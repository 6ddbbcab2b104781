"""How the engine sees a network: frames are encoded one by one, clips decoded from them.

Letters: B frames, N clips, C channels, T frames of a clip, h and w a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from stemseg.model.deployed import DeployedNetwork
from stemseg.model.network import HeadOutputs, STEmSeg
from vidseg_common.allocator import keep_freed_memory

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class ClipNetwork(Protocol):
    """A network for inference."""

    def encode_frames(self, images: Tensor) -> list[Any]:
        """(B, 3, H, W) images to what the decoders need of each frame."""
        ...

    def decode_clips(self, clips: Sequence[Sequence[Any]]) -> HeadOutputs:
        """N clips of T encoded frames to the maps of all heads; a frame may occur repeatedly."""
        ...


class PlainNetwork:
    """The network as it was trained, without any of the savings.

    Args:
        network: in eval mode.
    """

    def __init__(self, network: STEmSeg) -> None:
        self.network = network

    def encode_frames(self, images: Tensor) -> list[list[Tensor]]:
        """P2..P5 of every frame, each (C, h, w)."""
        levels = self.network.backbone(images)  # B, C, h, w each
        return [[level[i] for level in levels] for i in range(images.shape[0])]

    def decode_clips(self, clips: Sequence[Sequence[list[Tensor]]]) -> HeadOutputs:
        """See `ClipNetwork`."""
        num_levels = len(clips[0][0])
        features = [
            torch.stack([torch.stack([frame[level] for frame in clip], dim=1) for clip in clips])
            for level in range(num_levels)
        ]  # N, C, T, h, w each
        return self.network.decode(features)


def deploy(network: STEmSeg, precision: Precision = "fp32") -> ClipNetwork:
    """The same network as it runs fastest.

    Args:
        network: in eval mode, on its device; it is not changed.
        precision: number format; anything but fp32 is less exact.
    """
    deployed = DeployedNetwork(network, _DTYPES[precision])
    if deployed.device.type == "cpu":
        keep_freed_memory()
    return deployed
