"""The Gaussian blur that several corruptions share."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Edges = Literal["edge", "symmetric"]
"""A mode of `numpy.pad`: repeat the border pixel, or mirror the image with its border pixel."""


def gaussian(images: Tensor, sigma: float, edges: Edges = "edge", cut: float = 4.0) -> Tensor:
    """Blur the last two axes by a Gaussian of standard deviation `sigma` pixels.

    Each axis is blurred by a matrix product; two products are faster than convolutions.

    Args:
        images: [..., H, W].
        sigma: the standard deviation, in pixels.
        edges: how images continue beyond their edges: `edge` or `symmetric`, as in `numpy.pad`.
        cut: the filter ends this many standard deviations from its middle.
    """
    height, width = (torch.from_numpy(_matrix(s, sigma, edges, cut)) for s in images.shape[-2:])
    return height.to(images) @ images @ width.to(images).T


@lru_cache(maxsize=32)
def _matrix(size: int, sigma: float, edges: Edges, cut: float) -> np.ndarray:
    """Return the matrix that blurs a column of pixels, [size, size]."""
    reach = int(cut * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2) if reach else np.ones(1)
    weight /= weight.sum()
    source = np.pad(np.arange(size), reach, mode=edges)
    matrix = np.zeros((size, size))
    for place, share in enumerate(weight):
        np.add.at(matrix, (np.arange(size), source[place : place + size]), share)
    return matrix
