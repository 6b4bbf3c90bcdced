"""Blurring on a CPU without gradients: the same sums, several times as fast.

A depthwise convolution costs little; the copy that pads its input costs as much again. Blurring
and subsampling an axis is a linear map, so there are two ways around the copy:

    products    y = D x Rᵀ, with the matrices of both axes: best on small maps
    corrected   the convolution continues the input by zeros itself, and what the border rows and
                columns lack is added: y = (D₀ + E) x (R₀ + F)ᵀ, where E and F have one row an end

The choice between them, and of neither, is as measured by `benchmarks/antialias_cost.py`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

Way = Callable[[Tensor], Tensor]

LARGEST = 512
"""Height and width beyond which the matrices would cost more than they save."""
PRODUCTS_UP_TO = {
    (torch.float32, True): 64,
    (torch.float64, True): 64,
    (torch.bfloat16, True): 128,
    (torch.float32, False): 32,
    (torch.float64, False): 32,
}
"""Type and whether contiguous → the height and width up to which products are fastest."""


@dataclass(frozen=True)
class End:
    """An output place of an axis that zero padding gets wrong.

    Attributes:
        place: its index.
        begin, end: the inputs that it lacks,
        weights: and how much of each.
    """

    place: int
    begin: int
    end: int
    weights: Tensor


@dataclass(frozen=True)
class Axis:
    """What blurring and subsampling does to an axis.

    Attributes:
        blur: [outputs, inputs], with the layer's padding.
        zero: likewise, with zeros as padding.
        ends: where the two differ.
    """

    blur: Tensor
    zero: Tensor
    ends: list[End]

    @classmethod
    def of(cls, line: Tensor, padded: Tensor, zero_padded: Tensor, stride: int) -> Axis:
        """The blur of an identity [size, 1, size] that was padded either way.

        Args:
            line: the filter, [1, 1, filter size].
        """
        blur, zero = (
            F.conv1d(identity, line, stride=stride).squeeze(1).T.contiguous()
            for identity in (padded, zero_padded)
        )
        ends = []
        for place in (blur != zero).any(1).nonzero().flatten().tolist():
            lacking = blur[place] - zero[place]
            inputs = lacking.nonzero().flatten().tolist()
            begin, end = inputs[0], inputs[-1] + 1
            ends.append(End(place, begin, end, lacking[begin:end]))
        return cls(blur, zero, ends)

    def to(self, dtype: torch.dtype) -> Axis:
        """The same in another type."""
        ends = [dataclasses.replace(end, weights=end.weights.to(dtype)) for end in self.ends]
        return Axis(self.blur.to(dtype), self.zero.to(dtype), ends)


def fastest(
    x: Tensor, down: Axis, right: Axis, filt: Tensor, stride: tuple[int, ...], padding: int
) -> Way | None:
    """How inputs like x are best blurred: [N, C, H, W] → [N, C, outputs, outputs].

    Args:
        x: tells size, type and memory format.
        down, right: what is to be done to its last two axes.
        filt, padding: [C, 1, m, m] of an odd m, and the zeros that a convolution of it adds.

    Returns:
        None where nothing here is faster than padding and convolving.
    """
    bare = not (down.ends or right.ends)
    small = max(x.shape[2:]) <= PRODUCTS_UP_TO.get((x.dtype, x.is_contiguous()), 0)
    if small and not (bare and (x.dtype == torch.bfloat16 or not x.is_contiguous())):
        return partial(products, down=down, right=right)
    if bare or x.dtype in (torch.float32, torch.float64):
        return partial(corrected, down=down, right=right, filt=filt, stride=stride, padding=padding)
    return None


def products(x: Tensor, down: Axis, right: Axis) -> Tensor:
    """The matrices of both axes, one after the other, in the memory format of x."""
    if x.is_contiguous():
        return down.blur @ (x @ right.blur.T)
    images, channels, height, width = x.shape
    rows = down.blur @ x.permute(0, 2, 3, 1).reshape(images, height, width * channels)
    blurred = right.blur @ rows.view(images, -1, width, channels)
    return blurred.permute(0, 3, 1, 2)


def corrected(
    x: Tensor, down: Axis, right: Axis, filt: Tensor, stride: tuple[int, ...], padding: int
) -> Tensor:
    """A convolution with padding of its own, and what it lacks at the ends."""
    y = F.conv2d(x, filt, None, stride, padding, groups=len(filt))
    contiguous = x.is_contiguous()
    for end in down.ends:
        inputs = x[:, :, end.begin : end.end]
        y[:, :, end.place] += _weighted(inputs, end.weights, right.blur, contiguous)
    for end in right.ends:
        inputs = x[..., end.begin : end.end].transpose(2, 3)
        y[..., end.place] += _weighted(inputs, end.weights, down.zero, contiguous)
    return y


def _weighted(inputs: Tensor, weights: Tensor, along: Tensor, contiguous: bool) -> Tensor:
    """[N, C, few, size] → [N, C, outputs]: summed by weight, and blurred along the other axis."""
    matrix = (weights[:, None] * along.unsqueeze(1)).flatten(1)  # [outputs, few · size]
    if contiguous:
        return inputs.flatten(2) @ matrix.T
    return (matrix @ inputs.permute(0, 2, 3, 1).flatten(1, 2)).transpose(1, 2)
