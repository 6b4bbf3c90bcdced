"""The published anti-aliased AlexNet."""

from __future__ import annotations

from torch import nn
from torchvision.models import AlexNet

from robustbench_aa.antialiasing.layers import Blur
from robustbench_aa.antialiasing.published.vgg import blur_max_pools


def blur_alexnet(network: AlexNet, blur: Blur, pool_only: bool) -> None:
    """Blur the max-pools and, unless `pool_only`, half of the first convolution's stride.

    With `pool_only` the published network has no ReLU after the first convolution, and the
    published checkpoints were trained without it.
    """
    blur_max_pools(network, blur)
    first, relu, *others = network.features
    if pool_only:
        network.features = nn.Sequential(first, *others)
    else:
        first.stride = (2, 2)
        network.features = nn.Sequential(first, relu, blur(first.out_channels), *others)
