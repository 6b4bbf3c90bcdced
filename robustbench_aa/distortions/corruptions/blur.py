"""Blur: every pixel becomes an average over a neighbourhood."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption


@corruption("extra")
def gaussian_blur(images: Tensor, _draws: RandomNumbers, sigma: float) -> Tensor:
    """A Gaussian of standard deviation `sigma` pixels, cut off at 4 sigma, edges replicated."""
    height, width = images.shape[-2:]
    rows = torch.from_numpy(_gaussian_matrix(height, sigma)).to(images)
    columns = (
        rows if width == height else torch.from_numpy(_gaussian_matrix(width, sigma)).to(images)
    )
    return rows @ images @ columns.T


@corruption("blur")
def defocus_blur(images: Tensor, _draws: RandomNumbers, radius: float, alias: float) -> Tensor:
    """A disk of `radius` pixels whose rim is softened by a Gaussian of deviation `alias`.

    Edges are mirrored without repeating the border pixel.
    """
    kernel = torch.from_numpy(_disk(radius, alias)).to(images)
    reach = kernel.shape[0] // 2
    planes = F.pad(images, (reach,) * 4, mode="reflect").flatten(0, 1).unsqueeze(1)
    return F.conv2d(planes, kernel[None, None]).view_as(images)


def _gaussian_matrix(size: int, sigma: float) -> np.ndarray:
    """[size, size]: a row of pixels times this is the blurred row."""
    reach = int(4.0 * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    weight = np.exp(-0.5 * (offset / sigma) ** 2)
    weight /= weight.sum()
    matrix = np.zeros((size, size))
    target = np.arange(size)
    for shift, share in zip(offset, weight, strict=True):
        np.add.at(matrix, (target, np.clip(target + shift, 0, size - 1)), share)
    return matrix


def _disk(radius: float, alias: float) -> np.ndarray:
    """A filled disk of sum 1, softened; odd height and width, no empty border."""
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
