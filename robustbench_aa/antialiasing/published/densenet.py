"""The published anti-aliased DenseNets."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn
from torchvision.models import DenseNet

from robustbench_aa.antialiasing.layers import Blur
from robustbench_aa.antialiasing.windows import DenseMaxPool


def blur_densenet(network: DenseNet, blur: Blur, pool_only: bool) -> None:
    """Blur all pools and, unless `pool_only`, the first convolution."""
    stem = network.features.conv0
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for name, layer in network.features.named_children():
        if name == "pool0":
            if not pool_only:
                layers["ds0"] = blur(stem.out_channels)
            layers["max0"] = DenseMaxPool(layer.kernel_size, layer.padding)
            layer = blur(stem.out_channels)
        elif name.startswith("transition"):
            layer.pool = blur(layer.conv.out_channels)
        layers[name] = layer
    network.features = nn.Sequential(layers)
    if not pool_only:
        stem.stride = (1, 1)
