"""The network: key encoder, value encoder, projections and decoder (spec section 2).

Letters in shape comments: B batch, K objects, T frames, H W image size, h w = H/16 W/16.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stcn.model.blocks import Fuser, conv3x3
from stcn.model.decoder import Decoder
from stcn.model.resnet import BasicBlock, Bottleneck, KeyEncoder, ValueTrunk


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; the defaults are those of every published checkpoint.

    Attributes:
        others_channel: the value encoder also sees the sum of the other objects' masks. Stage 0
            is trained without it.
        cbam: attention block in the fuser of the value encoder.
        key_block: "bottleneck" (ResNet-50) or "basic" (ResNet-18 like).
        key_stem: channels after the first convolution of the key encoder.
        key_widths: block widths of the three key stages.
        key_depths: blocks in the three key stages.
        value_widths: block widths of the three value stages.
        value_depths: blocks in the three value stages.
        key_dim: channels of the matching key.
        value_dim: channels of a memory value.
        thin_dim: channels of the query feature that joins the read-out in the decoder.
        decoder_widths: channels after compress, up_16_8 and up_8_4.
    """

    others_channel: bool = True
    cbam: bool = True
    key_block: str = "bottleneck"
    key_stem: int = 64
    key_widths: tuple[int, int, int] = (64, 128, 256)
    key_depths: tuple[int, int, int] = (3, 4, 6)
    value_widths: tuple[int, int, int] = (64, 128, 256)
    value_depths: tuple[int, int, int] = (2, 2, 2)
    key_dim: int = 64
    value_dim: int = 512
    thin_dim: int = 512
    decoder_widths: tuple[int, int, int] = (512, 256, 256)


class ValueEncoder(ValueTrunk):
    """Memory value of a frame and one object's mask (spec section 2.2)."""

    def __init__(self, config: NetworkConfig, key_channels: int) -> None:
        super().__init__(
            5 if config.others_channel else 4, config.value_widths, config.value_depths
        )
        self.fuser = Fuser(config.value_widths[2], key_channels, config.value_dim, cbam=config.cbam)

    def forward(self, frame: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """Encodes K masks of one frame, or one mask for each frame of a batch.

        Args:
            frame: (B or 1, 3, H, W).
            f16: the key encoder's output, (B or 1, C, h, w).
            masks: (B or K, 1 or 2, H, W): the object and, if the network takes it, the others.

        Returns:
            (B or K, value_dim, h, w).
        """
        frame = frame.expand(masks.shape[0], -1, -1, -1)
        x = self.trunk(torch.cat([frame, masks], 1))
        return self.fuser(x, f16)


class KeyProjection(nn.Module):
    """f16 to the matching key."""

    def __init__(self, in_channels: int, key_dim: int) -> None:
        super().__init__()
        self.key_proj = conv3x3(in_channels, key_dim)

    def forward(self, f16: Tensor) -> Tensor:
        """(B, C, h, w) to (B, key_dim, h, w)."""
        return self.key_proj(f16)


@dataclass
class FrameFeatures:
    """What the key encoder gives for B frames; see `STCN.encode_key`."""

    key: Tensor  # B, key_dim, h, w
    thin: Tensor  # B, thin_dim, h, w
    f16: Tensor
    f8: Tensor
    f4: Tensor

    def select(self, i: int) -> FrameFeatures:
        """Features of the i-th frame, batch 1."""
        parts = (self.key, self.thin, self.f16, self.f8, self.f4)
        return FrameFeatures(*(part[i : i + 1] for part in parts))


class STCN(nn.Module):
    """All learned parts of STCN; the memory itself has no parameters."""

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or NetworkConfig()
        blocks: dict[str, type[BasicBlock] | type[Bottleneck]]
        blocks = {"bottleneck": Bottleneck, "basic": BasicBlock}
        block = blocks[config.key_block]
        c4, c8, c16 = (width * block.expansion for width in config.key_widths)
        self.key_encoder = KeyEncoder(block, config.key_stem, config.key_widths, config.key_depths)
        self.value_encoder = ValueEncoder(config, c16)
        self.key_proj = KeyProjection(c16, config.key_dim)
        self.key_comp = conv3x3(c16, config.thin_dim)
        self.decoder = Decoder(config.value_dim + config.thin_dim, c8, c4, config.decoder_widths)

    def encode_key(self, frames: Tensor) -> FrameFeatures:
        """Everything about frames (B, 3, H, W) that does not depend on masks."""
        f16, f8, f4 = self.key_encoder(frames)
        return FrameFeatures(self.key_proj(f16), self.key_comp(f16), f16, f8, f4)

    def encode_value(self, frame: Tensor, f16: Tensor, masks: Tensor) -> Tensor:
        """Memory values of K objects of one frame.

        Args:
            frame: (1, 3, H, W).
            f16: (1, C, h, w).
            masks: soft masks of all objects, (K, 1, H, W).

        Returns:
            (K, value_dim, h, w).
        """
        if self.config.others_channel:
            others = masks.sum(0, keepdim=True) - masks if len(masks) > 1 else masks * 0
            masks = torch.cat([masks, others], 1)  # K, 2, H, W
        return self.value_encoder(frame, f16, masks)

    def decode(self, readout: Tensor, features: FrameFeatures) -> Tensor:
        """Mask logits (K, 1, H, W) of K read-outs (K, value_dim, h, w) for one frame."""
        return self.decoder.decode_objects(readout, features.thin, features.f8, features.f4)
