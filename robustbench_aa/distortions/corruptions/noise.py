"""Noise: independent disturbances of every pixel and channel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption
from robustbench_aa.support.pixels import divided

PARTS = 4096
"""Parts of the unit interval in a table of Poisson counts."""


@corruption("noise")
def gaussian_noise(images: Tensor, draws: RandomNumbers, sigma: float) -> Tensor:
    """Add Gaussian noise: x + N(0, sigma²)."""
    return images + draws.normal(*images.shape[1:]) * sigma


@corruption("noise")
def shot_noise(images: Tensor, draws: RandomNumbers, photons: float) -> Tensor:
    """Add the photon noise of a sensor: Poisson(x · photons) / photons."""
    return divided(poisson(images, photons, draws.uniform(*images.shape[1:])), photons)


@corruption("noise")
def impulse_noise(images: Tensor, draws: RandomNumbers, amount: float) -> Tensor:
    """Set each value to 0 or 1, equally likely, with probability `amount`."""
    kept = draws.uniform(*images.shape[1:]).ge_(amount)
    salt = draws.uniform(*images.shape[1:]).lt_(0.5)
    return salt.lerp_(images, kept)  # faster than `torch.where`, and exact at weights 0 and 1


@corruption("extra")
def speckle_noise(images: Tensor, draws: RandomNumbers, sigma: float) -> Tensor:
    """Add noise in proportion to the value: x + x · N(0, sigma²)."""
    return images + images * draws.normal(*images.shape[1:]) * sigma


def poisson(images: Tensor, scale: float, uniform: Tensor) -> Tensor:
    """Draw Poisson counts of mean `images` · `scale` by inverting the distribution function.

    8-bit images have 256 levels, hence 256 distribution functions. The unit interval is divided
    into parts. In most parts a function has no step, so a table holds the count. In the others the
    count is found by a binary search: with v added to the function of level v, the 256 functions
    end to end are one increasing sequence.

    Args:
        images: [...], float32 multiples of 1/255 in [0, 1].
        scale: the mean count of a white value.
        uniform: [...], in [0, 1).

    Returns:
        [...], float32: the smallest k whose distribution function exceeds `uniform`.
    """
    functions, table = (part.to(images.device) for part in _poisson_tables(scale))
    level = images.flatten().mul(255.0).round_().int()
    uniform = uniform.flatten()
    count = table.index_select(0, uniform.mul(float(PARTS)).int().add_(level, alpha=PARTS))
    (unsure,) = torch.where(count < 0)
    level = level[unsure]
    steps = functions.numel() // 256
    found = torch.searchsorted(functions, level + uniform[unsure].double(), right=True)
    count[unsure] = found.sub_(level * steps).clamp_(max=steps - 1).to(count.dtype)
    return count.to(images.dtype).view_as(images)


@lru_cache(maxsize=10)
def _poisson_tables(scale: float) -> tuple[Tensor, Tensor]:
    """Return the functions end to end, [256 · K], and a table of counts, [256 · PARTS].

    A count of −1 marks a part of the interval with more than one count.
    """
    functions = _poisson_functions(scale)
    edges = np.arange(PARTS + 1) / PARTS
    counts = np.empty((256, PARTS), dtype=np.int16)
    for level, function in enumerate(functions):
        first = np.searchsorted(function, edges[:-1], side="right")
        last = np.searchsorted(function, edges[1:], side="left")
        counts[level] = np.where(first == last, first, -1)
    whole = functions + np.arange(256)[:, None]
    return torch.from_numpy(whole.ravel()), torch.from_numpy(counts.ravel())


def _poisson_functions(scale: float) -> np.ndarray:
    """Return P(count ≤ k) for the mean scale · v/255 of every level v, [256, K] float64."""
    mean = scale * np.arange(256) / 255.0
    count = np.arange(1, int(scale + 10 * np.sqrt(scale)) + 20)
    with np.errstate(divide="ignore"):  # black: the logarithm of its mean is −inf
        log_ratio = np.log(mean)[:, None] - np.log(count)
    log_first = -mean[:, None]
    log_mass = np.concatenate((log_first, log_first + np.cumsum(log_ratio, axis=1)), axis=1)
    functions: np.ndarray = np.minimum(np.cumsum(np.exp(log_mass), axis=1), 1.0)
    return functions
