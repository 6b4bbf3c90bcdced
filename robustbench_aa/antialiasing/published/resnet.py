"""The published anti-aliased ResNets, ResNeXts and WideResNets."""

from __future__ import annotations

from typing import Any, cast

from torch import nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from robustbench_aa.antialiasing.layers import Blur
from robustbench_aa.antialiasing.windows import DenseMaxPool


def blur_resnet(network: ResNet, blur: Blur, pool_only: bool) -> None:
    """Blur the max-pool, the blocks of stride 2 and, unless `pool_only`, the first convolution.

    The kernel size of the published max-pool is 2; torchvision's is 3.
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
    """Put a blur in front of the convolution that follows the strided one and its ReLU."""
    strided, next_one = ("conv2", "conv3") if isinstance(block, Bottleneck) else ("conv1", "conv2")
    conv, following = getattr(block, strided), getattr(block, next_one)
    conv.stride = (1, 1)
    setattr(block, next_one, nn.Sequential(blur(following.in_channels), following))
    shortcut, norm = cast(Any, block.downsample)
    shortcut.stride = (1, 1)
    block.downsample = nn.Sequential(blur(shortcut.in_channels), shortcut, norm)
