"""Pooling windows at every place: the dense operation that comes before a subsampling."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pair(size: int | Sequence[int]) -> tuple[int, int]:
    """Return a size as (height, width): one number stands for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


@dataclass(frozen=True)
class Window:
    """The windows of a convolution or a pooling.

    Attributes:
        kernel_size, stride, padding, dilation, ceil_mode: See `torch.nn.MaxPool2d`.
    """

    kernel_size: int | tuple[int, int]
    stride: int | tuple[int, int]
    padding: int | tuple[int, int] = 0
    dilation: int | tuple[int, int] = 1
    ceil_mode: bool = False

    def sides(self, size: tuple[int, int], *, whole: bool) -> tuple[int, int, int, int]:
        """Return the padding (left, right, top, bottom) of a map for windows at every place.

        The result of the dense windows, subsampled, has the size of the strided operation.

        Args:
            size: Height and width of the map.
            whole: Whether the dense result must be as large as the map, where its subsampling then
                has the size of the strided operation. If it has not, or for False, only the last
                window of `ceil_mode` is completed.
        """
        windows = map(pair, (self.kernel_size, self.stride, self.padding, self.dilation))
        top, left = (
            self._ends(length, kernel, stride, padding, dilation, whole=whole)
            for length, kernel, stride, padding, dilation in zip(size, *windows, strict=True)
        )
        return (*left, *top)

    def _ends(
        self, size: int, kernel: int, stride: int, padding: int, dilation: int, *, whole: bool
    ) -> tuple[int, int]:
        reach = dilation * (kernel - 1)
        free = size + 2 * padding - reach - 1  # how far the first window can move
        windows = -(-free // stride) if self.ceil_mode else free // stride
        if windows * stride >= size + padding:
            windows -= 1  # torch drops a window that begins beyond the input
        if whole and windows + 1 == -(-size // stride) and padding <= reach:
            return padding, reach - padding
        return padding, padding + max(0, windows * stride - free)


class WindowPad(nn.Module):
    """The padding that dense windows need, so that they replace strided ones.

    Args:
        window: The strided windows.
        mode: `circular`; `minus_infinity` for max-pools; or `replicate`, which only completes the
            last window of `ceil_mode`.
    """

    def __init__(
        self, window: Window, mode: Literal["circular", "replicate", "minus_infinity"]
    ) -> None:
        super().__init__()
        self.window, self.mode = window, mode

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to the padded map."""
        size = (x.shape[2], x.shape[3])
        left, right, top, bottom = self.window.sides(size, whole=self.mode == "circular")
        if self.mode == "minus_infinity":
            return F.pad(x, (left, right, top, bottom), value=-math.inf)
        if self.mode == "replicate":
            return F.pad(x, (0, right - left, 0, bottom - top), mode="replicate")
        return F.pad(x, (left, right, top, bottom), mode="circular")

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"{self.window}, mode={self.mode}"


class DenseMaxPool(nn.MaxPool2d):
    """Max-pooling of stride 1.

    On a CPU without gradients it pools one axis after the other: the maximum is separable, and the
    maximum of shifted views is ten times as fast there as torch's own max-pool.

    Args:
        kernel_size, padding, dilation: See `torch.nn.MaxPool2d`.
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
    ) -> None:
        super().__init__(kernel_size, 1, padding, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, H + 2·padding − dilation·(kernel − 1), …]."""
        if x.device.type != "cpu" or torch.is_grad_enabled():
            dense: Tensor = super().forward(x)
            return dense
        sizes = (pair(size) for size in (self.kernel_size, self.padding, self.dilation))
        for axis, (kernel, padding, dilation) in enumerate(zip(*sizes, strict=True), 2):
            if padding:
                sides = (padding, padding) if axis == 3 else (0, 0, padding, padding)
                x = F.pad(x, sides, value=-math.inf)
            length = x.shape[axis] - dilation * (kernel - 1)
            views = (x.narrow(axis, dilation * place, length) for place in range(kernel))
            x = functools.reduce(torch.maximum, views)
        return x


def dense_max_pool(window: Window, *, circular: bool) -> list[nn.Module]:
    """Return the layers of a max-pool at every place.

    Args:
        window: The strided windows.
        circular: Whether windows continue on the other side of the map; otherwise the border cuts
            them off.
    """
    if not circular and not window.ceil_mode:
        return [DenseMaxPool(window.kernel_size, window.padding, window.dilation)]
    pad = WindowPad(window, "circular" if circular else "minus_infinity")
    return [pad, DenseMaxPool(window.kernel_size, 0, window.dilation)]


def dense_average_pool(
    window: Window, *, circular: bool, count_include_pad: bool = True
) -> list[nn.Module]:
    """Return the layers of an average pool at every place.

    Args:
        window: The strided windows.
        circular: Whether windows continue on the other side of the map; otherwise zeros surround
            it, and its last rows and columns repeat where `ceil_mode` completes a window.
        count_include_pad: Whether the means count the zeros.
    """
    kernel, padding = window.kernel_size, window.padding
    if circular:
        return [WindowPad(window, "circular"), nn.AvgPool2d(kernel, 1)]
    dense = nn.AvgPool2d(kernel, 1, padding, count_include_pad=count_include_pad)
    if not window.ceil_mode:
        return [dense]
    return [WindowPad(window, "replicate"), dense]
