"""The network as it runs in inference (spec section 12): the same function in less work.

- Frozen norm is folded into the convolutions; maps are stored channels last; on a CPU the
  convolutions are packed once, sum and ReLU are inside them, and wide 3x3 ones are Winograd's.
- A 3x3x3 convolution of a frame and its neighbours is computed once, however many clips have these
  three frames in a row; at the end of a clip only the missing tap is added for the next clip.
- After the last ReLU of every block the decoder is linear up to its outputs. A 1x1x1 convolution
  commutes with up-sampling, so these layers are one small matrix per block, and what is up-sampled
  and added are the few output channels.

Letters: B frames, N clips, T frames of a clip, t squeezed frames, C channels, h and w size of a
map, E embedding dimensions, O output channels of a head.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from stemseg.model.deployed_backbone import DeployedBackbone
from stemseg.model.deployed_decoder import DeployedDecoder, FrameSum
from stemseg.model.network import HeadOutputs, STEmSeg
from stemseg.ops.winograd import Workspace

_serials = itertools.count()


@dataclass
class EncodedFrame:
    """What the decoders need of a frame.

    Attributes:
        levels: P2..P5, each (C, h, w).
        sums: results of first convolutions, by head and block.
        serial: tells frames apart.
    """

    levels: list[Tensor]
    sums: dict[str, FrameSum] = field(default_factory=dict)
    serial: int = field(default_factory=lambda: next(_serials))


class DeployedNetwork:
    """Runs a network for inference, frame by frame and clip by clip.

    Args:
        network: in eval mode, on its device; it is not changed.
        dtype: of weights and maps. The outputs are float32. Anything but float32 is faster where
            the processor has it, and less exact.
    """

    def __init__(self, network: STEmSeg, dtype: torch.dtype = torch.float32) -> None:
        assert not network.training, "inference needs a network in eval mode"
        workspace = Workspace()
        self.dtype = dtype
        self.device = next(network.parameters()).device
        self.backbone = DeployedBackbone(network.backbone, dtype, workspace)
        self.place = network.embedding_head.place
        embedding = network.embedding_head
        outputs = [embedding.conv_embedding, embedding.conv_variance]
        if embedding.conv_seediness is not None:
            outputs.append(embedding.conv_seediness)
        self.sizes = [conv.out_channels for conv in outputs]
        self.heads = {"embedding": DeployedDecoder(embedding, outputs, dtype, workspace)}
        for name, head in (("seediness", network.seediness_head), ("semseg", network.semseg_head)):
            if head is not None:
                self.heads[name] = DeployedDecoder(head, [head.conv_out], dtype, workspace)

    @torch.no_grad()
    def encode_frames(self, images: Tensor) -> list[EncodedFrame]:
        """(B, 3, H, W) images, H and W multiples of 32, to what the decoders need of each."""
        with torch.autocast(self.device.type, enabled=False):
            levels = self.backbone(images)  # B, C, h, w each
        return [EncodedFrame([level[i] for level in levels]) for i in range(len(images))]

    @torch.no_grad()
    def decode_clips(self, clips: Sequence[Sequence[EncodedFrame]]) -> HeadOutputs:
        """N clips of T encoded frames to the maps of all heads; a frame may occur repeatedly.

        Raises:
            ValueError: a clip has another number of frames than the network.
        """
        with torch.autocast(self.device.type, enabled=False):
            outputs = [self._decode(clip) for clip in clips]
        first, *rest = zip(*outputs, strict=True)
        bandwidths, seediness, logits = rest
        return HeadOutputs(
            torch.cat(first),
            torch.cat(bandwidths),
            torch.cat(seediness),
            torch.cat(logits) if logits[0] is not None else None,
        )

    def _decode(self, clip: Sequence[EncodedFrame]) -> HeadOutputs:
        """One clip; N is 1."""
        maps = {name: head(clip, name)[None] for name, head in self.heads.items()}  # 1, O, T, h, w
        learned, bandwidths, *seediness = maps["embedding"].split(self.sizes, 1)
        raw = maps["seediness"] if "seediness" in maps else seediness[0]
        return HeadOutputs(self.place(learned), bandwidths, raw.sigmoid(), maps.get("semseg"))
