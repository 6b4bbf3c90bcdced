"""The embedded networks' architectures: a small ResNet and a small VGG for 32-px images.

The ResNet has every kind of downsampling that anti-aliasing replaces: max-pooling after the stem,
strided convolutions in the blocks, average pooling in the shortcuts. The VGG is the network of the
paper's figure of internal features, with fewer channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_aa.antialiasing import BlurPool, MaxBlurPool
from robustbench_aa.antialiasing.layers import PaddingMode


def max_pool(
    channels: int, filter_size: int | None, padding_mode: PaddingMode = "reflect"
) -> nn.Module:
    """Return max-pooling of stride 2, anti-aliased if a filter size is given."""
    if filter_size is None:
        return nn.MaxPool2d(2)
    return MaxBlurPool(channels, 2, filter_size, padding_mode=padding_mode)


def strided_conv(
    inputs: int, outputs: int, stride: int, filter_size: int | None
) -> tuple[nn.Module, ...]:
    """Return convolution, norm and ReLU; anti-aliased, the stride moves to the blur after them."""
    blur = () if filter_size is None or stride == 1 else (BlurPool(outputs, filter_size, stride),)
    return (
        nn.Conv2d(inputs, outputs, 3, 1 if blur else stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        *blur,
    )


def average_pool(channels: int, filter_size: int | None) -> nn.Module:
    """Return average pooling of stride 2, anti-aliased if a filter size is given."""
    return nn.AvgPool2d(2) if filter_size is None else BlurPool(channels, filter_size)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

    Args:
        inputs, outputs: channels.
        stride: 1, or 2 for downsampling.
        filter_size: the filter size of the blur before downsampling; None for no blur.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, filter_size: int | None) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *strided_conv(inputs, outputs, stride, filter_size),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                average_pool(inputs, filter_size),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Sequential):
    """78,042 parameters: a stem and three residual blocks of 16, 32 and 64 channels.

    Args:
        filter_size: the filter size of every blur; None for the plain baseline.
    """

    def __init__(self, filter_size: int | None) -> None:
        super().__init__(
            *strided_conv(3, 16, 1, filter_size),
            max_pool(16, filter_size),
            ResidualBlock(16, 16, 1, filter_size),
            ResidualBlock(16, 32, 2, filter_size),
            ResidualBlock(32, 64, 2, filter_size),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 32, 32] to logits [N, 10]."""
        if not torch.is_grad_enabled():  # twice as fast on a CPU; training is unchanged
            x = x.contiguous(memory_format=torch.channels_last)
        for layer in self:
            x = layer(x)
        return x


class VGG(nn.Sequential):
    """55,746 parameters: five blocks of two convolutions, each followed by max-pooling.

    Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 4.1: VGG13
    with batch norm for 32-px images, whose only fully connected layer is the classifier.

    Args:
        filter_size: the filter size of the blur in every pooling; None for the plain baseline.
    """

    CHANNELS = (8, 16, 32, 32, 32)

    def __init__(self, filter_size: int | None) -> None:
        super().__init__()
        inputs = 3
        for block, outputs in enumerate(self.CHANNELS, start=1):
            for place in (1, 2):
                layers = strided_conv(inputs, outputs, 1, filter_size)
                self.add_module(f"conv{block}_{place}", nn.Sequential(*layers))
                inputs = outputs
            # the last map has one pixel, which cannot be reflected
            self.add_module(f"pool{block}", max_pool(outputs, filter_size, "replicate"))
        self.add_module("flatten", nn.Flatten())
        self.add_module("classifier", nn.Linear(inputs, 10))
