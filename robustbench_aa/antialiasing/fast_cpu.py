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
        begin: Index of the first input that is missing in its sum.
        weights: Weight of each missing input.
    """

    place: int
    begin: int
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
            ends.append(End(place, begin, missing[begin:end]))
        return cls(blur, zero, ends)

    def to(self, dtype: torch.dtype) -> Axis:
        """Return a copy with another dtype."""
        ends = [dataclasses.replace(end, weights=end.weights.to(dtype)) for end in self.ends]
        return Axis(self.blur.to(dtype), self.zero.to(dtype), ends)


@dataclass(frozen=True)
class Border:
    """A row or column of the output that zero padding gets wrong.

    Attributes:
        axis: 2 for a row, 3 for a column.
        end: Its place, and the rows or columns of the input that are missing in its sums.
        matrix: The weighted sum of these, blurred along the other axis, [outputs, few · size].
    """

    axis: int
    end: End
    matrix: Tensor

    @classmethod
    def of(cls, end: End, axis: int, along: Tensor) -> Border:
        """Return the border at an end of an axis, where `along` is the matrix of the other one."""
        matrix = (end.weights[:, None] * along.unsqueeze(1)).flatten(1)
        return cls(axis, end, matrix)


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
        borders = [Border.of(end, 2, right.blur) for end in down.ends]
        borders += [Border.of(end, 3, down.zero) for end in right.ends]
        return partial(corrected, filt=filt, stride=stride, padding=padding, borders=borders)
    if x.dtype == torch.bfloat16 and x.is_contiguous() and max(x.shape[2:]) <= PRODUCTS_UP_TO:
        return partial(products, down=down, right=right)
    return None


def products(x: Tensor, down: Axis, right: Axis) -> Tensor:
    """Blur a contiguous x by a matrix product for each axis."""
    return down.blur @ (x @ right.blur.T)


def corrected(
    x: Tensor, filt: Tensor, stride: tuple[int, ...], padding: int, borders: list[Border]
) -> Tensor:
    """Blur by a convolution with zero padding, then correct the border."""
    y = F.conv2d(x, filt, None, stride, padding, groups=len(filt))
    contiguous = x.is_contiguous()
    for border in borders:
        end = border.end
        inputs = x.narrow(border.axis, end.begin, len(end.weights))
        if border.axis == 3:
            inputs = inputs.transpose(2, 3)
        if contiguous:
            missing = inputs.flatten(2) @ border.matrix.T
        else:
            missing = (border.matrix @ inputs.permute(0, 2, 3, 1).flatten(1, 2)).transpose(1, 2)
        y.select(border.axis, end.place).add_(missing)
    return y
