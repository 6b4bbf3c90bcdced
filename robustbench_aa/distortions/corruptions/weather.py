"""Weather: the effects of light, air and water on a picture."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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
    side_by_side,
    zoom,
)
from robustbench_aa.distortions.corruptions.frost_images import frost_photographs
from robustbench_aa.support.pixels import fractions

GREY = (0.299, 0.587, 0.114)


@corruption("weather")
def snow(
    images: Tensor,
    draws: RandomNumbers,
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
    radius: int,
    sigma: float,
    share: float,
) -> Tensor:
    """Add flakes of enlarged noise that fall at −135 to −45 degrees to a whitened image.

    The layer of flakes is truncated to 8 bits before its motion blur and rounded to 8 bits after.
    """
    layer = snow_layer(draws, images.shape[-2:], mean, deviation, factor, threshold)
    degrees = draws.uniform().mul(90.0).sub(135.0)
    flakes = through_magick(blur_along(layer, radius, sigma, degrees))
    pale = images * share + whitened(images) * (1 - share)
    return pale + flakes + flakes.flip(-2, -1)


def snow_layer(
    draws: RandomNumbers,
    shape: Sequence[int],
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
) -> Tensor:
    """Return flakes at rest, [B, 1, *shape]: enlarged noise above a threshold, in 8 bits."""
    noise = draws.normal(*shape).mul(deviation).add(mean).unsqueeze(1)
    layer = apart(zoom(side_by_side(noise), factor), noise)
    layer = torch.where(layer < threshold, 0.0, layer)
    return fractions(to_bytes(layer))


def whitened(images: Tensor) -> Tensor:
    """Raise each pixel to at least 1.5 times its grey value plus 0.5."""
    grey = torch.tensor(GREY).to(images).view(3, 1, 1).mul(images).sum(1, keepdim=True)
    return torch.maximum(images, grey * 1.5 + 0.5)


@corruption("weather")
def frost(
    images: Tensor, draws: RandomNumbers, image_share: float, frost_share: float, scale: float
) -> Tensor:
    """Add a crop of one of five photographs of frost to the darkened image.

    There are six photographs; the published code never draws the last one.

    Args:
        images: [B, 3, H, W].
        draws: a source of random numbers for these images.
        image_share, frost_share: the factors of the image and of the photograph.
        scale: the scale of the photographs.
    """
    height, width = images.shape[-2:]
    photographs = frost_photographs(scale)[:5]
    number, row, column = (draws.uniform().tolist() for _ in range(3))
    crops = []
    for n, y, x in zip(number, row, column, strict=True):
        photograph = photographs[int(n * len(photographs))]
        top = int(y * (photograph.shape[-2] - height))
        left = int(x * (photograph.shape[-1] - width))
        crops.append(photograph[:, top : top + height, left : left + width])
    layer = fractions(torch.stack(crops).to(images.device))
    return images * image_share + layer * frost_share


@corruption("weather")
def fog(images: Tensor, draws: RandomNumbers, amount: float, decay: float, size: int) -> Tensor:
    """Add a cloud of fractal noise and scale the brightest value back."""
    height, width = images.shape[-2:]
    corner = images.new_zeros(len(images), 1, 1)
    cloud = _plasma(corner, draws, size, decay)[:, None, :height, :width]
    brightest = images.amax(dim=(1, 2, 3), keepdim=True)
    return (images + cloud * amount).mul_(brightest / (brightest + amount))


@corruption("weather")
def brightness(images: Tensor, _draws: RandomNumbers, amount: float) -> Tensor:
    """Add `amount` to the value V of HSV, clipped to [0, 1]; keep hue and saturation.

    V is the largest channel and the other two follow it in proportion, so the hue is not needed.
    Black has no hue and becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    brighter = (value + amount).clamp_(0.0, 1.0)
    return torch.where(value > 0, images * (brighter / value), brighter)


def _plasma(corner: Tensor, draws: RandomNumbers, size: int, decay: float) -> Tensor:
    """Return the diamond-square fractal on a torus, [B, size, size] in [0, 1].

    The middle of each square and then of each diamond becomes the mean of its four neighbours plus
    a random disturbance, which shrinks by `decay` as the squares halve.

    Args:
        corner: [B, 1, 1], zeros.
    """
    disturbance = 100.0

    def disturbed(neighbours: Tensor) -> Tensor:
        noise = draws.uniform(*neighbours.shape[1:]).mul_(2.0).sub_(1.0)
        return neighbours / 4 + noise * disturbance**2

    while corner.shape[1] < size:
        side = corner + corner.roll(-1, 1)
        middle = disturbed(side + side.roll(-1, 2))
        top = disturbed(middle + middle.roll(1, 1) + corner + corner.roll(-1, 2))
        left = disturbed(middle + middle.roll(1, 2) + corner + corner.roll(-1, 1))
        finer = corner.new_empty(len(corner), 2 * corner.shape[1], 2 * corner.shape[2])
        finer[:, ::2, ::2], finer[:, ::2, 1::2] = corner, top
        finer[:, 1::2, ::2], finer[:, 1::2, 1::2] = left, middle
        corner = finer
        disturbance /= decay
    lowest = corner.amin(dim=(1, 2), keepdim=True)
    return (corner - lowest) / (corner.amax(dim=(1, 2), keepdim=True) - lowest)
