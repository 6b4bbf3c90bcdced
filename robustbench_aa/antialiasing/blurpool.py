"""The layers of Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), sec. 3.

Subsampling discards what it cannot represent only if a low-pass filter came before it, so each
kind of downsampling is taken apart into a dense operation and a blurred subsampling:

    MaxPool(k, s)         →  MaxPool(k, 1), BlurPool(s)           (MaxBlurPool)
    Conv(k, s), ReLU      →  Conv(k, 1), ReLU, BlurPool(s)        (ConvBlurPool)
    AvgPool(k, s)         →  BlurPool(s)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FILTER_SIZES = (1, 2, 3, 4, 5, 6, 7)


def binomial(filter_size: int) -> list[float]:
    """The 1-D low-pass filter: binomial coefficients over their sum.

    >>> binomial(3)
    [0.25, 0.5, 0.25]

    Raises:
        ValueError: the filter size is not 1 to 7.
    """
    if filter_size not in FILTER_SIZES:
        raise ValueError(f"filter size {filter_size} does not exist; choose from 1 to 7")
    order = filter_size - 1
    return [math.comb(order, k) / 2**order for k in range(filter_size)]


class BlurPool(nn.Module):
    """A low-pass filter, then subsampling, channel by channel.

    Args:
        channels: of the input.
        filter_size: m; the filter is the outer product of two binomial ones of m coefficients.
            1 is plain subsampling, 2 is Rect-2, 3 is Tri-3, 5 is Bin-5.
        stride: of the subsampling.
    """

    filt: Tensor

    def __init__(self, channels: int, filter_size: int = 4, stride: int = 2) -> None:
        super().__init__()
        self.channels, self.filter_size, self.stride = channels, filter_size, stride
        line = torch.tensor(binomial(filter_size))
        self.register_buffer("filt", torch.outer(line, line).repeat(channels, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] → [N, C, ⌈H / stride⌉, ⌈W / stride⌉]; edges are mirrored."""
        before, after = (self.filter_size - 1) // 2, self.filter_size // 2
        padded = F.pad(x, (before, after, before, after), mode="reflect")
        return F.conv2d(padded, self.filt, stride=self.stride, groups=self.channels)

    def extra_repr(self) -> str:
        """The arguments, for the printed form."""
        return f"{self.channels}, filter_size={self.filter_size}, stride={self.stride}"


class MaxBlurPool(nn.Sequential):
    """Max-pooling without aliasing: the dense maximum, then a blurred subsampling.

    Args:
        channels: of the input.
        kernel_size: of the maximum.
        filter_size: of the blur.
        stride: of the subsampling.
    """

    def __init__(
        self, channels: int, kernel_size: int = 2, filter_size: int = 4, stride: int = 2
    ) -> None:
        super().__init__(
            nn.MaxPool2d(kernel_size, stride=1), BlurPool(channels, filter_size, stride)
        )
