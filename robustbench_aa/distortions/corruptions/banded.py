"""Products of images with matrices whose values lie near the diagonal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

ROWS = 16
"""Least number of rows that are multiplied at once; MKL adds in another order in fewer than 12."""
HALVED = range(193, 385)
"""Lengths of sums that MKL adds in halves, each from its first to its last term."""


@dataclass(frozen=True)
class Banded:
    """A matrix that is multiplied in blocks, without the zeros beside its band.

    Attributes:
        matrix: [places, pixels], float32.
        blocks: (first place, first pixel, values) of each block. Their order and their ends are
            such that a CPU adds the same terms in the same order as in the product with the whole
            matrix, so every bit of the result is the same.
    """

    matrix: Tensor
    blocks: tuple[tuple[int, int, Tensor], ...]

    @classmethod
    def of(cls, matrix: Tensor) -> Banded:
        """Return a matrix [places, pixels] with its blocks."""
        blocks = tuple(_blocks(matrix)) if matrix.shape[1] in HALVED else ()
        values = sum(block.numel() for _, _, block in blocks)
        narrow = 0 < values < matrix.numel() / 2
        return cls(matrix, blocks if narrow else ((0, 0, matrix),))

    def down(self, images: Tensor) -> Tensor:
        """Multiply every column of images [..., pixels, W]: [..., places, W]."""
        if images.device.type != "cpu":
            return self.matrix.to(images) @ images
        planes = images.reshape(-1, *images.shape[-2:])
        result = planes.new_zeros(len(planes), len(self.matrix), planes.shape[2])
        for place, pixel, values in self.blocks:
            rows, pixels = values.shape
            factors = values.expand(len(planes), -1, -1)
            result[:, place : place + rows].baddbmm_(factors, planes[:, pixel : pixel + pixels])
        return result.view(*images.shape[:-2], *result.shape[1:])

    def across(self, images: Tensor) -> Tensor:
        """Multiply every row of images [..., H, pixels]: [..., H, places]."""
        if images.device.type != "cpu":
            return images @ self.matrix.to(images).T
        lines = images.reshape(-1, images.shape[-1])
        result = lines.new_zeros(len(lines), len(self.matrix))
        for place, pixel, values in self.blocks:
            rows, pixels = values.shape
            part = lines[:, pixel : pixel + pixels]
            result[:, place : place + rows].addmm_(part, values.T)
        return result.view(*images.shape[:-1], result.shape[1])


def _blocks(matrix: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Yield blocks of at least `ROWS` rows, each within one half of the columns."""
    places, pixels = matrix.shape
    starts = range(0, places - ROWS + 1, ROWS)
    for start, stop in zip(starts, (*starts[1:], places), strict=True):
        rows = matrix[start:stop]
        for part in range(0, pixels, pixels // 2):
            (found,) = torch.where(rows[:, part : part + pixels // 2].any(dim=0))
            if len(found):
                first, last = part + int(found[0]), part + int(found[-1])
                yield start, first, rows[:, first : last + 1].contiguous()
