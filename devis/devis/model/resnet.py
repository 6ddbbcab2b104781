"""Residual backbone with frozen batch normalisation (spec 5.1).

Letters: B images, C channels, H and W size of the image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from devis.model.checkpointing import Checkpointed
from devis.ops.ms_deform_attn import is_plain

#: Channels of the stages /4, /8, /16 and /32.
CHANNELS = (256, 512, 1024, 2048)


class ResNet(Checkpointed):
    """ResNet v1.5 without its classifier; batch normalisation, stem and first stage are frozen.

    Args:
        name: resnet50 or resnet101.
        dilation: the last stage keeps the resolution of /16 and dilates its 3x3 convolutions.
    """

    channels = CHANNELS

    def __init__(self, name: str, *, dilation: bool = False) -> None:
        super().__init__()
        made = torchvision.models.get_model(
            name,
            weights=None,
            norm_layer=FrozenBatchNorm2d,
            replace_stride_with_dilation=[False, False, dilation],
        )
        self.conv1, self.bn1, self.relu, self.maxpool = (
            made.conv1,
            made.bn1,
            made.relu,
            made.maxpool,
        )
        self.layer1, self.layer2 = made.layer1, made.layer2
        self.layer3, self.layer4 = made.layer3, made.layer4
        for frozen in (self.conv1, self.layer1):
            frozen.requires_grad_(requires_grad=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to the four stages, (B, C, H/4, W/4) to (B, C, H/32, W/32)."""
        if not torch.is_grad_enabled() and not is_plain():
            return self._infer(images)
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                x = self.run(block, x)
            stages.append(x)
        return stages

    def _infer(self, images: Tensor) -> list[Tensor]:
        """The same with normalisations inside of the convolutions, and channels last in memory."""
        x = images.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(_folded(x, self.conv1, self.bn1).relu_())
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                shortcut = x
                if block.downsample is not None:
                    shortcut = _folded(x, block.downsample[0], block.downsample[1])
                x = _folded(x, block.conv1, block.bn1).relu_()
                x = _folded(x, block.conv2, block.bn2).relu_()
                x = _folded(x, block.conv3, block.bn3).add_(shortcut).relu_()
            stages.append(x)
        return stages


def _folded(x: Tensor, conv: nn.Conv2d, norm: FrozenBatchNorm2d) -> Tensor:
    """A convolution and the normalisation behind it as one convolution."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    weight = (conv.weight * scale[:, None, None, None]).to(memory_format=torch.channels_last)
    bias = norm.bias - norm.running_mean * scale
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation)
