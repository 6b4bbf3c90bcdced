"""The published anti-aliased AlexNet."""

from __future__ import annotations

from torch import nn
from torchvision.models import AlexNet

from robustbench_aa.antialiasing.layers import Blur
from robustbench_aa.antialiasing.published.vgg import blur_max_pools


def blur_alexnet(network: AlexNet, blur: Blur, pool_only: bool) -> None:
    """Blurs the max-pools, and half of the first convolution's stride unless `pool_only`.

    With `pool_only` the published network also lacks the ReLU after the first convolution; the
    checkpoints of that kind were trained without it.
    """
    blur_max_pools(network, blur)
    first, relu, *others = network.features
    if pool_only:
        network.features = nn.Sequential(first, *others)
    else:
        first.stride = (2, 2)
        network.features = nn.Sequential(first, relu, blur(first.out_channels), *others)
