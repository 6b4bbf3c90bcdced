"""The published anti-aliased ResNets, ResNeXts and WideResNets."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from robustbench_aa.antialiasing.layers import Blur, DenseMaxPool


def blur_resnet(network: ResNet, blur: Blur, pool_only: bool) -> None:
    """Blurs the max-pool and the blocks of stride 2, and the first convolution unless `pool_only`.

    The published max-pool has a kernel of 2, torchvision's one of 3.
    """
    channels = network.conv1.out_channels
    pool = (DenseMaxPool(2), blur(channels))
    if pool_only:
        network.maxpool = nn.Sequential(*pool)
    else:
        network.conv1.stride = (1, 1)
        network.maxpool = nn.Sequential(blur(channels), *pool)
    for stage in (network.layer2, network.layer3, network.layer4):
        _blur_block(stage[0], blur)


def _blur_block(block: BasicBlock | Bottleneck, blur: Blur) -> None:
    """The convolution behind the strided one and its ReLU takes the blur in front of it."""
    strided, next_one = ("conv2", "conv3") if isinstance(block, Bottleneck) else ("conv1", "conv2")
    conv, behind = getattr(block, strided), getattr(block, next_one)
    conv.stride = (1, 1)
    setattr(block, next_one, nn.Sequential(blur(behind.in_channels), behind))
    shortcut, norm = cast(Any, block.downsample)
    shortcut.stride = (1, 1)
    block.downsample = nn.Sequential(blur(shortcut.in_channels), shortcut, norm)
