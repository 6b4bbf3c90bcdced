"""Digital: what processing, scaling and storing do to a picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption


@corruption("digital")
def contrast(images: Tensor, _draws: RandomNumbers, factor: float) -> Tensor:
    """(x − mean of the channel) · factor + mean of the channel."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    return (images - mean) * factor + mean


@corruption("digital")
def pixelate(images: Tensor, _draws: RandomNumbers, scale: float) -> Tensor:
    """Box-averages down to `scale` times the size and box-samples back up, in 8-bit steps.

    Equal to Pillow's BOX resizing to the last bit.
    """
    height, width = images.shape[-2:]
    small = _box_resize(images.mul(255.0).round(), int(height * scale), int(width * scale))
    return _box_resize(small, height, width).div_(255.0)


@corruption("extra")
def saturate(images: Tensor, _draws: RandomNumbers, factor: float, offset: float) -> Tensor:
    """The saturation S of HSV becomes clip(S · factor + offset, 0, 1); hue and value stay.

    S is the depth of the other channels below the largest, so they move along that depth. Grey
    has no hue; the originals' conversion gives it hue 0, so an offset tints it red.
    """
    value = images.amax(dim=1, keepdim=True)
    depth = value - images
    deepest = depth.amax(dim=1, keepdim=True)
    saturation = deepest / value.clamp(min=torch.finfo(value.dtype).tiny)
    target = (saturation * factor + offset).clamp_(0.0, 1.0)
    red = torch.tensor([0.0, 1.0, 1.0]).to(images).view(1, 3, 1, 1)
    share = torch.where(deepest > 0, depth / deepest, red)
    return value - value * target * share


def _box_resize(images: Tensor, height: int, width: int) -> Tensor:
    """Pillow's BOX filter on whole numbers 0…255 held as floats: columns first, then rows."""
    planes = images.double()
    planes = _rounded(planes @ _box_weights(images.shape[-1], width).to(planes).T)
    planes = _rounded(_box_weights(images.shape[-2], height).to(planes) @ planes)
    return planes.to(images.dtype)


def _rounded(sums: Tensor) -> Tensor:
    """Fixed-point sums back to 8 bits, halves upwards."""
    return sums.add_(2.0**21).mul_(2.0**-22).floor_().clamp_(0.0, 255.0)


@lru_cache(maxsize=64)
def _box_weights(size: int, target: int) -> Tensor:
    """[target, size] float64: Pillow's weights, whole numbers of 2⁻²² (exact in its sums)."""
    step = size / target
    reach = max(step, 1.0) / 2.0
    weights = np.zeros((target, size))
    for row in range(target):
        centre = (row + 0.5) * step
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), size)
        offset = (np.arange(first, last) - centre + 0.5) / max(step, 1.0)
        inside = (offset > -0.5) & (offset <= 0.5)
        weights[row, first:last] = inside / inside.sum()
    return torch.from_numpy(np.floor(weights * 2.0**22 + 0.5))
