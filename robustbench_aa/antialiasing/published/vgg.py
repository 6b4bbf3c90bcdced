"""The published anti-aliased VGGs, with and without batch norm."""

from __future__ import annotations

from torch import nn
from torchvision.models import VGG, AlexNet

from robustbench_aa.antialiasing.layers import Blur
from robustbench_aa.antialiasing.windows import DenseMaxPool


def blur_max_pools(network: VGG | AlexNet, blur: Blur) -> None:
    """Replace every max-pool of `features` by two layers, which shifts the indices after it."""
    layers: list[nn.Module] = []
    channels = 3
    for layer in network.features:
        channels = getattr(layer, "out_channels", channels)
        pooled = isinstance(layer, nn.MaxPool2d)
        layers += [DenseMaxPool(layer.kernel_size), blur(channels)] if pooled else [layer]
    network.features = nn.Sequential(*layers)
