"""ResNet-20 for CIFAR-10, with each kind of downsampling.

He et al., "Deep Residual Learning for Image Recognition" (CVPR 2016), section 4.2, with 1×1
convolutions in the shortcuts of the two blocks that downsample. Convolutions pad with zeros, except
in the network of adaptive polyphase sampling, which is invariant to circular shifts only if all
padding is circular.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aa.antialiasing.fourier import FourierPool
from robustbench_aa.antialiasing.layers import BlurPool
from robustbench_aa.antialiasing.polyphase import PolyphaseDownsample


class Downsampling(NamedTuple):
    """The downsampling of a network.

    Attributes:
        layer: maps a number of channels to a layer that halves height and width; None for
            convolutions of stride 2.
        padding_mode: the padding of the 3×3 convolutions.
    """

    layer: Callable[[int], nn.Module] | None
    padding_mode: Literal["zeros", "circular"] = "zeros"


DOWNSAMPLINGS: Mapping[str, Downsampling] = {
    "plain": Downsampling(None),
    "lpf2": Downsampling(partial(BlurPool, filter_size=2)),
    "lpf3": Downsampling(partial(BlurPool, filter_size=3)),
    "lpf5": Downsampling(partial(BlurPool, filter_size=5)),
    "aps": Downsampling(partial(PolyphaseDownsample, padding_mode="circular"), "circular"),
    "flc": Downsampling(lambda _channels: FourierPool()),
}
"""The downsampling of each network by its name."""


class CircularPadding(torch.autograd.Function):
    """Circular padding by one pixel that keeps maps channels-last, forwards and backwards.

    With PyTorch's own padding, every later layer copies its input: training takes twice as long.
    """

    @staticmethod
    def forward(_context: Any, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H + 2, W + 2]."""
        x = torch.cat((x[:, :, -1:], x, x[:, :, :1]), 2)
        return torch.cat((x[..., -1:], x, x[..., :1]), 3)

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        """Add the gradients of the padding to those of the pixels that it repeats."""
        wide = gradient[..., 1:-1].contiguous(memory_format=torch.channels_last)
        wide[..., -1:] += gradient[..., :1]
        wide[..., :1] += gradient[..., -1:]
        inner = wide[:, :, 1:-1].contiguous(memory_format=torch.channels_last)
        inner[:, :, -1:] += wide[:, :, :1]
        inner[:, :, :1] += wide[:, :, -1:]
        return inner


class CircularConv2d(nn.Conv2d):
    """A 3×3 convolution with circular padding."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W]."""
        padded: Tensor = CircularPadding.apply(x)
        return nn.functional.conv2d(padded, self.weight, self.bias, self.stride)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut.

    A block that downsamples has a stride of 2 in its first convolution and in its shortcut. With a
    downsampling layer, the layer takes the place of both strides: after the first convolution's
    ReLU and before the convolution of the shortcut.

    Args:
        inputs, outputs: channels; the block downsamples if they differ.
        downsampling: the layer that replaces the strides, and the padding.
    """

    def __init__(self, inputs: int, outputs: int, downsampling: Downsampling) -> None:
        super().__init__()
        layer, padding_mode = downsampling
        halves = inputs != outputs
        stride = 2 if halves and layer is None else 1
        self.conv1 = convolution(inputs, outputs, stride, padding_mode)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = convolution(outputs, outputs, 1, padding_mode)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.down = self.shortcut_down = self.shortcut = None
        if halves:
            if layer is not None:
                self.down, self.shortcut_down = layer(outputs), layer(inputs)
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H, W], or to half the height and width."""
        main = torch.relu(self.norm1(self.conv1(x)))
        if isinstance(self.down, PolyphaseDownsample) and self.shortcut_down is not None:
            main, component = self.down.select(main)
            x = self.shortcut_down(x, component)
        elif self.down is not None and self.shortcut_down is not None:
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
        chosen = DOWNSAMPLINGS[downsampling]
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        super().__init__(
            convolution(3, widths[0], 1, chosen.padding_mode),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
            *(ResidualBlock(*pair, chosen) for pair in pairwise(widths)),
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


def convolution(
    inputs: int, outputs: int, stride: int, padding_mode: Literal["zeros", "circular"]
) -> nn.Conv2d:
    """Return a 3×3 convolution, initialised as He et al. did."""
    kind = CircularConv2d if padding_mode == "circular" else nn.Conv2d
    conv = kind(inputs, outputs, 3, stride, 1, bias=False, padding_mode=padding_mode)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
