"""Blur: each pixel becomes an average over its neighbourhood."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import (
    RandomNumbers,
    corruption,
    through_magick,
    to_bytes,
)
from robustbench_aa.distortions.corruptions.displacement import (
    apart,
    blur_along,
    copied_from,
    side_by_side,
    zoom,
)
from robustbench_aa.distortions.corruptions.gaussian import gaussian
from robustbench_aa.support.pixels import divided, fractions

AT_ONCE = 16
"""Images that are zoomed at once on a CPU."""
TRANSFORMED = 2
"""Images that are Fourier-transformed at once on a CPU: few enough to fit into its cache."""


@corruption("blur")
def glass_blur(
    images: Tensor, draws: RandomNumbers, sigma: float, reach: int, passes: int
) -> Tensor:
    """Blur, shuffle neighbours that are at most `reach` pixels apart, and blur again.

    The blurred image is truncated to 8 bits before it is shuffled, as in the originals.
    """
    height, width = images.shape[-2:]
    rows, columns = height - 2 * reach, width - 2 * reach
    offsets = draws.uniform(passes, rows, columns, 2).mul_(2 * reach).int().sub_(reach)
    source = copied_from(offsets, height, width, reach)
    blurred = to_bytes(gaussian(images, sigma)).flatten(2)
    shuffled = blurred.gather(2, source.unsqueeze(1).expand_as(blurred)).view_as(images)
    return gaussian(fractions(shuffled), sigma)


@corruption("blur")
def motion_blur(images: Tensor, draws: RandomNumbers, radius: int, sigma: float) -> Tensor:
    """Blur by half a Gaussian along a line of −45 to 45 degrees, in ImageMagick's 8 bits."""
    degrees = draws.uniform().mul(90.0).sub(45.0)
    return through_magick(blur_along(images, radius, sigma, degrees))


@corruption("blur")
def zoom_blur(images: Tensor, _draws: RandomNumbers, stop: float, step: float) -> Tensor:
    """Average the image and its zooms by 1, 1 + step, … below `stop`."""
    factors = np.arange(1.0, stop, step)
    means = []
    # few enough at a time to fit into a CPU's cache
    for part in images.split(AT_ONCE) if images.device.type == "cpu" else (images,):
        planes = side_by_side(part)
        total = planes.clone()
        for factor in factors:
            total += zoom(planes, float(factor))
        means.append(apart(divided(total, len(factors) + 1), part))
    return torch.cat(means)


@corruption("extra")
def gaussian_blur(images: Tensor, _draws: RandomNumbers, sigma: float) -> Tensor:
    """Blur by a Gaussian of standard deviation `sigma` pixels; edges are replicated."""
    return gaussian(images, sigma)


@corruption("blur")
def defocus_blur(images: Tensor, _draws: RandomNumbers, radius: float, alias: float) -> Tensor:
    """Blur by a disk of `radius` pixels that a Gaussian of deviation `alias` softens.

    Edges are mirrored without repeating the border pixel.
    """
    kernel = torch.from_numpy(_disk(radius, alias)).to(images)
    reach = kernel.shape[0] // 2
    height, width = (length + 2 * reach for length in images.shape[-2:])
    sizes = [_fast_length(length) for length in (height, width)]
    factors = torch.fft.rfft2(kernel, sizes)
    result = torch.empty_like(images)
    at_once = TRANSFORMED if images.device.type == "cpu" else max(len(images), 1)
    for part, place in zip(images.split(at_once), result.split(at_once), strict=True):
        wide = F.pad(part, (reach,) * 4, mode="reflect")
        blurred = torch.fft.irfft2(torch.fft.rfft2(wide, sizes).mul_(factors), sizes)
        place.copy_(blurred[..., 2 * reach : height, 2 * reach : width])
    return result


def _fast_length(length: int) -> int:
    """Return the next length with a fast Fourier transform: 2ⁿ times 1, 3, 5, 9 or 15."""
    return min(odd << max(0, (-(-length // odd) - 1).bit_length()) for odd in (1, 3, 5, 9, 15))


def _disk(radius: float, alias: float) -> np.ndarray:
    """Return a softened disk of sum 1, of odd height and width and without an empty border."""
    reach = max(8, math.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk: np.ndarray = (x**2 + y**2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    softening = 1 if radius <= 8 else 2  # a 3×3 Gaussian for small disks, 5×5 for large ones
    offset = np.arange(-softening, softening + 1)
    weight = np.exp(-0.5 * (offset / alias) ** 2)
    weight /= weight.sum()
    for axis in (0, 1):
        mirrored = np.pad(
            disk, [(softening,) * 2 if axis == a else (0, 0) for a in (0, 1)], "reflect"
        )
        windows = np.lib.stride_tricks.sliding_window_view(mirrored, len(weight), axis=axis)
        disk = windows @ weight
    margin = int(np.argmax(disk.any(axis=1)))
    return disk[margin : disk.shape[0] - margin, margin : disk.shape[1] - margin]
