"""The published anti-aliased MobileNetV2."""

from __future__ import annotations

from torch import nn
from torchvision.models import MobileNetV2
from torchvision.models.mobilenetv2 import InvertedResidual

from robustbench_aa.antialiasing.layers import Blur


def blur_mobilenet(network: MobileNetV2, blur: Blur) -> None:
    """Blur after every depthwise convolution of stride 2; the first convolution keeps its stride.

    The published classifier has no dropout, so its linear layer has index 0.
    """
    for block in network.features:
        if isinstance(block, InvertedResidual) and block.stride == 2:
            expansion, depthwise, *projection = block.conv
            depthwise[0].stride = (1, 1)
            smooth = blur(depthwise[0].out_channels)
            block.conv = nn.Sequential(expansion, depthwise, smooth, *projection)
    network.classifier = nn.Sequential(network.classifier[-1])
