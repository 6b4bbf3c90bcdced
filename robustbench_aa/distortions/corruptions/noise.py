"""Noise: independent disturbances of every pixel and channel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption


@corruption("noise")
def gaussian_noise(images: Tensor, draws: RandomNumbers, sigma: float) -> Tensor:
    """x + N(0, sigma²)."""
    return images + draws.normal(*images.shape[1:]) * sigma


@corruption("noise")
def shot_noise(images: Tensor, draws: RandomNumbers, photons: float) -> Tensor:
    """Poisson(x · photons) / photons: the photon noise of a sensor."""
    return poisson(images, photons, draws.uniform(*images.shape[1:])) / photons


@corruption("noise")
def impulse_noise(images: Tensor, draws: RandomNumbers, amount: float) -> Tensor:
    """Salt and pepper: each value becomes 0 or 1, evenly, with probability `amount`."""
    hit = draws.uniform(*images.shape[1:]) < amount
    salt = draws.uniform(*images.shape[1:]) < 0.5
    return torch.where(hit, salt.to(images.dtype), images)


@corruption("extra")
def speckle_noise(images: Tensor, draws: RandomNumbers, sigma: float) -> Tensor:
    """x + x · N(0, sigma²)."""
    return images + images * draws.normal(*images.shape[1:]) * sigma


def poisson(images: Tensor, scale: float, uniform: Tensor) -> Tensor:
    """Poisson counts of mean `images` · `scale` by inversion of the distribution function.

    8-bit images have 256 levels, hence 256 distribution functions: laid end to end, the one of
    level v raised by v, they are one increasing sequence that a single search inverts.

    Args:
        images: [...], float32 multiples of 1/255 in [0, 1].
        scale: the mean count of a white value.
        uniform: [...], in [0, 1).

    Returns:
        [...], float32: the smallest k whose distribution function exceeds `uniform`.
    """
    level = images.mul(255.0).round()
    functions = torch.from_numpy(_poisson_functions(scale)).to(images.device)
    steps = functions.shape[1]
    found = torch.searchsorted(
        (functions + torch.arange(256, device=images.device).unsqueeze(1)).flatten(),
        level.double() + uniform.double(),
        right=True,
    )
    return found.sub_(level.long() * steps).clamp_(max=steps - 1).to(images.dtype)


def _poisson_functions(scale: float) -> np.ndarray:
    """[256, K] float64: P(count ≤ k) for the mean scale · v/255 of every level v."""
    mean = scale * np.arange(256) / 255.0
    count = np.arange(1, int(scale + 10 * np.sqrt(scale)) + 20)
    with np.errstate(divide="ignore"):  # level 0 is black: its logarithm is −inf, its count 0
        log_ratio = np.log(mean)[:, None] - np.log(count)
    log_first = -mean[:, None]
    log_mass = np.concatenate((log_first, log_first + np.cumsum(log_ratio, axis=1)), axis=1)
    functions: np.ndarray = np.minimum(np.cumsum(np.exp(log_mass), axis=1), 1.0)
    return functions
