"""Digital: the effects of processing, scaling and storing a picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption
from robustbench_aa.distortions.corruptions.displacement import sample
from robustbench_aa.distortions.corruptions.gaussian import gaussian
from robustbench_aa.distortions.corruptions.jpeg import through_jpeg


@corruption("digital")
def contrast(images: Tensor, _draws: RandomNumbers, factor: float) -> Tensor:
    """Scale the contrast: (x − mean of the channel) · factor + mean of the channel."""
    mean = images.mean(dim=(-2, -1), keepdim=True)
    return (images - mean) * factor + mean


@corruption("digital")
def elastic_transform(
    images: Tensor, draws: RandomNumbers, strength: float, sigma: float, jitter: float
) -> Tensor:
    """Apply an affine map that moves three points by at most `jitter` pixels, then bend smoothly.

    The displacements are uniform noise, blurred by a Gaussian of `sigma` pixels cut off at three,
    times `strength` pixels. Both samplings are bilinear and mirror the image at its edges.
    """
    height, width = images.shape[-2:]
    moves = draws.uniform(3, 2).mul(2.0).sub(1.0) * jitter
    right, down = (
        gaussian(draws.uniform(height, width).mul(2.0).sub(1.0), sigma, "symmetric", cut=3.0)
        * strength
        for _ in range(2)
    )
    y, x = (torch.arange(size, device=images.device).float() for size in (height, width))
    turned = sample(images, *_affine(moves, height, width), repeat_border=False)
    return sample(turned, y[:, None] + down, x + right, repeat_border=True)


@corruption("digital", in_bytes=True)
def jpeg_compression(images: Tensor, _draws: RandomNumbers, quality: int) -> Tensor:
    """Encode as JPEG with chroma of half the size, and decode."""
    return through_jpeg(images, quality)


@corruption("digital", in_bytes=True)
def pixelate(images: Tensor, _draws: RandomNumbers, scale: float) -> Tensor:
    """Average down to `scale` times the size and repeat back up, in 8-bit steps.

    The result equals Pillow's BOX resizing to the last bit.
    """
    height, width = images.shape[-2:]
    small = _box_resize(images.float(), int(height * scale), int(width * scale))
    return _box_resize(small.byte(), height, width)


@corruption("extra")
def saturate(images: Tensor, _draws: RandomNumbers, factor: float, offset: float) -> Tensor:
    """Change the saturation S of HSV to clip(S · factor + offset, 0, 1); keep hue and value.

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


def _affine(moves: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the (y, x) that every pixel comes from, [B, H, W] each.

    Args:
        moves: [B, 3, 2], the (x, y) by which three points around the middle move.
    """
    middle = torch.tensor([height // 2, width // 2], dtype=torch.float64)  # rounded, as published
    third = min(height, width) // 3
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]], dtype=torch.float64)
    points = middle + corners * third
    moved = points.to(torch.float32) + moves.cpu()
    known = torch.cat((moved.double(), torch.ones(len(moves), 3, 1, dtype=torch.float64)), dim=2)
    matrix = torch.linalg.solve(known, points.expand(len(moves), 3, 2)).mT.to(moves.device)
    across = torch.arange(width, device=moves.device, dtype=torch.float64)
    along = torch.arange(height, device=moves.device, dtype=torch.float64)
    x, y = (
        matrix[:, axis, 0, None, None] * across
        + (matrix[:, axis, 1, None] * along + matrix[:, axis, 2, None])[..., None]
        for axis in (0, 1)
    )
    return y.float(), x.float()


def _box_resize(images: Tensor, height: int, width: int) -> Tensor:
    """Apply Pillow's BOX filter to whole numbers 0 … 255: float32 to shrink, any dtype to grow."""
    across, down = _Box.between(images.shape[-1], width), _Box.between(images.shape[-2], height)
    return down.means(across.means(images, -1), -2)


@dataclass(frozen=True)
class _Box:
    """The pixels of an axis that Pillow's BOX filter covers for each place of the result.

    Attributes:
        first: [places], the first pixel that each covers.
        count: [places], how many pixels each covers, float32.
    """

    first: Tensor
    count: Tensor

    @classmethod
    @lru_cache(maxsize=64)
    def between(cls, size: int, places: int) -> _Box:
        """Return the box for a change from `size` pixels to `places`."""
        step = size / places
        reach = max(step, 1.0) / 2.0
        covered = np.zeros((places, size), dtype=np.float32)
        for place in range(places):
            centre = (place + 0.5) * step
            first, last = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), size)
            offset = (np.arange(first, last) - centre + 0.5) / max(step, 1.0)
            covered[place, first:last] = (offset > -0.5) & (offset <= 0.5)
        matrix = torch.from_numpy(covered)
        return cls(matrix.argmax(1), matrix.sum(1))

    def means(self, images: Tensor, axis: int) -> Tensor:
        """Return the mean of each place's pixels along an axis, halves rounded up; exact."""
        first, count = self.first.to(images.device), self.count.to(images.device)
        sums = images.index_select(axis, first)
        most = int(self.count.max())
        if most == 1:
            return sums
        count = count if axis == -1 else count[:, None]
        for further in range(1, most):  # boxes are small, so that adding them up beats a product
            pixels = (first + further).clamp_(max=images.shape[axis] - 1)
            sums.addcmul_(images.index_select(axis, pixels), (count > further).to(images.dtype))
        return sums.add_(count / 2).div_(count).floor_()
