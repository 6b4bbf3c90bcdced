"""The Gaussian blur that several corruptions share."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Edges = Literal["edge", "symmetric"]
"""How numpy calls the continuation of an edge: `edge`, or `symmetric` (the border repeated)."""


def gaussian(images: Tensor, sigma: float, edges: Edges = "edge", cut: float = 4.0) -> Tensor:
    """A Gaussian of standard deviation `sigma` pixels over the last two axes.

    Blurring an axis is a product with a matrix, and two products are faster than convolutions.

    Args:
        edges: how images are continued: `edge` or `symmetric`, as in `numpy.pad`.
        cut: the filter ends this many standard deviations from its middle.
    """
    height, width = (torch.from_numpy(_matrix(s, sigma, edges, cut)) for s in images.shape[-2:])
    return height.to(images) @ images @ width.to(images).T


@lru_cache(maxsize=32)
def _matrix(size: int, sigma: float, edges: Edges, cut: float) -> np.ndarray:
    """[size, size]: a column of pixels after this is the blurred column."""
    reach = int(cut * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2) if reach else np.ones(1)
    weight /= weight.sum()
    source = np.pad(np.arange(size), reach, mode=edges)
    matrix = np.zeros((size, size))
    for place, share in enumerate(weight):
        np.add.at(matrix, (np.arange(size), source[place : place + size]), share)
    return matrix
