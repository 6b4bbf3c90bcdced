"""Fast blurs on a CPU without gradients: the same sums, in less time.

A depthwise convolution is cheap, but the copy that pads its input costs as much again. Blurring and
subsampling an axis is a linear map, so there are two ways to avoid the copy:

    corrected   the convolution pads with zeros, which needs no copy, and the missing part of the
                border rows and columns is added: y = (D₀ + E) x (R₀ + F)ᵀ, where E and F are zero
                except in the border rows
    products    y = D x Rᵀ, with one matrix for each axis: for bfloat16, whose convolutions are slow
                and whose corrections would round twice

`benchmarks/speed/antialias_cost.py` measures which one is fastest, or neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

FastBlur = Callable[[Tensor], Tensor]

LARGEST = 512
"""Largest height or width for which the matrices save time."""
PRODUCTS_UP_TO = 128
"""Largest height or width for which products are faster than a convolution in bfloat16."""


@dataclass(frozen=True)
class End:
    """An output position of an axis that zero padding gets wrong.

    Attributes:
        place: Index of the position.
        begin, end: Range of the inputs that are missing in its sum.
        weights: Weight of each missing input, [end − begin].
    """

    place: int
    begin: int
    end: int
    weights: Tensor


@dataclass(frozen=True)
class Axis:
    """Blur and subsampling of an axis as a linear map.

    Attributes:
        blur: Matrix with the layer's padding, [outputs, inputs].
        zero: Matrix with zero padding, [outputs, inputs].
        ends: Positions where the two differ.
    """

    blur: Tensor
    zero: Tensor
    ends: list[End]

    @classmethod
    def from_identity(cls, line: Tensor, padded: Tensor, zero_padded: Tensor, stride: int) -> Axis:
        """Return the axis whose matrices are the blurred identity.

        Args:
            line: The filter, [1, 1, filter size].
            padded, zero_padded: The identity [size, 1, size] with the layer's padding and with
                zeros.
            stride: Stride of the subsampling.
        """
        blur, zero = (
            F.conv1d(identity, line, stride=stride).squeeze(1).T.contiguous()
            for identity in (padded, zero_padded)
        )
        ends = []
        for place in (blur != zero).any(1).nonzero().flatten().tolist():
            missing = blur[place] - zero[place]
            inputs = missing.nonzero().flatten().tolist()
            begin, end = inputs[0], inputs[-1] + 1
            ends.append(End(place, begin, end, missing[begin:end]))
        return cls(blur, zero, ends)

    def to(self, dtype: torch.dtype) -> Axis:
        """Return a copy with another dtype."""
        ends = [dataclasses.replace(end, weights=end.weights.to(dtype)) for end in self.ends]
        return Axis(self.blur.to(dtype), self.zero.to(dtype), ends)


def fastest(
    x: Tensor, down: Axis, right: Axis, filt: Tensor, stride: tuple[int, ...], padding: int
) -> FastBlur | None:
    """Return the fastest blur [N, C, H, W] → [N, C, outputs, outputs] for inputs like x.

    Args:
        x: An input with the size, dtype and memory format in question.
        down, right: Linear maps of height and width.
        filt: Filter [C, 1, m, m].
        stride, padding: Stride and zero padding of a convolution with `filt`.

    Returns:
        A function, or None if padding and convolving is fastest.
    """
    bare = not (down.ends or right.ends)
    if bare or x.dtype in (torch.float32, torch.float64):
        return partial(corrected, down=down, right=right, filt=filt, stride=stride, padding=padding)
    if x.dtype == torch.bfloat16 and x.is_contiguous() and max(x.shape[2:]) <= PRODUCTS_UP_TO:
        return partial(products, down=down, right=right)
    return None


def products(x: Tensor, down: Axis, right: Axis) -> Tensor:
    """Blur a contiguous x by a matrix product for each axis."""
    return down.blur @ (x @ right.blur.T)


def corrected(
    x: Tensor, down: Axis, right: Axis, filt: Tensor, stride: tuple[int, ...], padding: int
) -> Tensor:
    """Blur by a convolution with zero padding, then correct the border."""
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
    """Map [N, C, few, size] to [N, C, outputs]: a weighted sum, blurred along the other axis."""
    matrix = (weights[:, None] * along.unsqueeze(1)).flatten(1)  # [outputs, few · size]
    if contiguous:
        return inputs.flatten(2) @ matrix.T
    return (matrix @ inputs.permute(0, 2, 3, 1).flatten(1, 2)).transpose(1, 2)
