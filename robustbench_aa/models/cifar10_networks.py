"""ResNet-20 for CIFAR-10, with each kind of downsampling.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2, with 1×1
convolutions in the shortcuts of the two blocks that downsample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from robustbench_aa.antialiasing import BlurPool

Downsampling = Callable[[int], nn.Module]
"""Maps a number of channels to a layer that halves height and width."""

DOWNSAMPLINGS: Mapping[str, Downsampling | None] = {
    "plain": None,
    "lpf2": partial(BlurPool, filter_size=2),
    "lpf3": partial(BlurPool, filter_size=3),
    "lpf5": partial(BlurPool, filter_size=5),
}
"""The downsampling of each network by its name; None for strided convolutions."""


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

    A block that downsamples has a stride of 2 in its first convolution and in its shortcut. With a
    downsampling layer, the layer takes the place of both strides: after the first convolution's
    ReLU and before the convolution of the shortcut.

    Args:
        inputs, outputs: channels; the block downsamples if they differ.
        downsampling: the layer that replaces the strides; None for strided convolutions.
    """

    def __init__(self, inputs: int, outputs: int, downsampling: Downsampling | None) -> None:
        super().__init__()
        halves = inputs != outputs
        stride = 2 if halves and downsampling is None else 1
        self.conv1 = convolution(inputs, outputs, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.down = self.shortcut_down = self.shortcut = None
        if halves:
            if downsampling is not None:
                self.down, self.shortcut_down = downsampling(outputs), downsampling(inputs)
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W], or to half the height and width."""
        main = torch.relu(self.norm1(self.conv1(x)))
        if self.down is not None and self.shortcut_down is not None:
            main, x = self.down(main), self.shortcut_down(x)
        if self.shortcut is not None:
            x = self.shortcut(x)
        return torch.relu(self.norm2(self.conv2(main)) + x)


class ResNet20(nn.Sequential):
    """0.27 million parameters: a 3×3 stem and three stages of 16, 32 and 64 channels.

    Args:
        downsampling: a key of `DOWNSAMPLINGS`.
    """

    def __init__(self, downsampling: str) -> None:
        layer = DOWNSAMPLINGS[downsampling]
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        super().__init__(
            convolution(3, widths[0]),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            *(ResidualBlock(*pair, layer) for pair in pairwise(widths)),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(widths[-1], 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, 32, 32] to logits [N, 10]."""
        x = x.contiguous(memory_format=torch.channels_last)  # faster on CPUs and GPUs
        for layer in self:
            x = layer(x)
        return x


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3×3 convolution, initialised as He et al. did."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
