"""Spatter: drops of water or mud on the lens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import RandomNumbers, corruption
from robustbench_aa.distortions.corruptions.gaussian import gaussian
from robustbench_aa.support.pixels import divided

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)

CANNY = (50, 150)
"""Gradient thresholds: of the neighbours of an edge, and of an edge."""
TANGENT = 13573
"""tan 22.5° in 2⁻¹⁵."""
FARTHEST = 20.0
"""The largest distance from an edge, in pixels; larger ones are cut off."""
STEPS = {
    **dict.fromkeys(((0, 1), (1, 0)), 65536),
    **dict.fromkeys(((1, 1), (1, -1)), 91750),
    **dict.fromkeys(((1, 2), (2, 1), (1, -2), (2, -1)), 143976),
}
"""The moves of OpenCV's 5×5 chamfer distance, (down, right), and their lengths in 2⁻¹⁶."""
RELIEF = ((-2.0, -1.0, 0.0), (-1.0, 1.0, 1.0), (0.0, 1.0, 2.0))


@corruption("extra")
def spatter(
    images: Tensor,
    draws: RandomNumbers,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: int,
) -> Tensor:
    """Add drops where blurred noise exceeds a threshold.

    Water adds light, which is shaded by a relief of the distance to the drops' edges; `strength`
    is its amount. Mud hides the image; `strength` is the deviation of the blur of its outline.
    """
    liquid = liquid_layer(draws, images.shape[-2:], mean, deviation, sigma)
    if mud:
        cover = gaussian((liquid > threshold).to(images), strength)
        cover = torch.where(cover < 0.8, 0.0, cover)
        return images * (1 - cover) + cover * _colour(MUD, images)
    return images + water(torch.where(liquid < threshold, 0.0, liquid), strength)


def liquid_layer(
    draws: RandomNumbers, shape: Sequence[int], mean: float, deviation: float, sigma: float
) -> Tensor:
    """Return blurred noise, [B, 1, *shape], whose large values become drops."""
    noise = draws.normal(*shape).mul_(deviation).add_(mean).unsqueeze(1)
    return gaussian(noise, sigma)


def water(liquid: Tensor, strength: float) -> Tensor:
    """Return the light that drops add, [B, 3, H, W], where a layer [B, 1, H, W] is not zero."""
    liquid = liquid.mul(255.0).floor_().remainder_(256.0)  # to 8 bits, with numpy's wrap-around
    # one image at a time fits into a CPU's cache
    parts = liquid.split(1) if liquid.device.type == "cpu" else (liquid,)
    light = torch.cat([part * _relief(edge_distance(canny(part))) for part in parts])
    light = light / light.amax(dim=(2, 3), keepdim=True).clamp(min=1.0)  # there may be no drops
    return light * strength * _colour(WATER, light)


def _colour(values: tuple[float, ...], images: Tensor) -> Tensor:
    return torch.tensor(values).to(images).view(3, 1, 1)


def canny(images: Tensor) -> Tensor:
    """Detect edges as `cv2.Canny` does: [B, 1, H, W] of whole numbers 0 … 255 → bool."""
    wide = F.pad(images, (1,) * 4, mode="replicate")
    smooth_down = wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]
    smooth_right = wide[..., :-2] + 2 * wide[..., 1:-1] + wide[..., 2:]
    right = (smooth_down[..., 2:] - smooth_down[..., :-2]).int()
    down = (smooth_right[..., 2:, :] - smooth_right[..., :-2, :]).int()
    breadth, depth = right.abs(), down.abs()
    size = breadth + depth
    framed = F.pad(size, (1,) * 4)

    def at(y: int, x: int) -> Tensor:
        return framed[..., 1 + y : 1 + y + images.shape[-2], 1 + x : 1 + x + images.shape[-1]]

    steep, flat = depth << 15, breadth * TANGENT
    horizontal = steep < flat
    vertical = steep > flat + (breadth << 16)
    falling = (right ^ down) >= 0
    across = (size > at(0, -1)) & (size >= at(0, 1))
    along = (size > at(-1, 0)) & (size >= at(1, 0))
    down_right = (size > at(-1, -1)) & (size > at(1, 1))
    down_left = (size > at(-1, 1)) & (size > at(1, -1))
    # selected by bits, since no CPU foresees the branches of `torch.where`
    diagonal = falling & down_right | ~falling & down_left
    highest = horizontal & across | ~horizontal & (vertical & along | ~vertical & diagonal)
    candidates = highest & (size > CANNY[0])
    edges = candidates & (size > CANNY[1])
    while True:
        wide = F.pad(edges, (1,) * 4)
        rows = wide[..., :-2, :] | wide[..., 1:-1, :] | wide[..., 2:, :]
        grown = (rows[..., :-2] | rows[..., 1:-1] | rows[..., 2:]) & candidates
        if torch.equal(grown, edges):
            return edges
        edges = grown


def edge_distance(edges: Tensor) -> Tensor:
    """Return the chamfer distance to the next edge, at most 20 px: [B, 1, H, W] bool → float.

    A shortest path consists of steps of one move and of a neighbouring move. Every number of steps
    is a sum of powers of two, so leaps of 1, 2, 4, … steps, each tried once in each direction,
    find it. A margin as wide as the largest distance lets a leap be a shift of the flat array:
    no path from one row or image to the next is short enough to count.
    """
    height, width = edges.shape[-2:]
    margin = int(FARTHEST)
    wide = F.pad(edges, (0, margin, margin, margin))
    distance = FARTHEST * (~wide).to(torch.float32).flatten()
    spare = torch.empty_like(distance)
    leap = 1
    while leap <= FARTHEST:
        for (down, right), length in STEPS.items():
            cost = leap * length / 65536
            if cost < FARTHEST:
                _leap(distance, spare, leap * (down * wide.shape[-1] + right), cost)
        leap *= 2
    return distance.view(wide.shape)[..., margin : margin + height, :width]


def _leap(distance: Tensor, spare: Tensor, shift: int, cost: float) -> None:
    """Shorten distances, in place, by paths through the places `shift` before and after."""
    here = distance[shift:-shift]
    way = torch.minimum(distance[: -2 * shift], distance[2 * shift :], out=spare[: len(here)])
    torch.minimum(here, way.add_(cost), out=here)


def _relief(distance: Tensor) -> Tensor:
    """Shade distances from the upper left, in OpenCV's 8-bit steps; [B, 1, H, W] each."""
    levels = _mean3(distance).floor()
    levels = _equalised(levels.long()).to(distance)
    wide = F.pad(levels, (1,) * 4, mode="reflect")
    height, width = levels.shape[-2:]
    shaded = torch.zeros_like(levels)
    for y, row in enumerate(RELIEF):  # whole numbers, for which this is faster than a convolution
        for x, weight in enumerate(row):
            shaded.add_(wide[..., y : y + height, x : x + width], alpha=weight)
    shaded.clamp_(0.0, 255.0)
    return _mean3(shaded).round_()


def _mean3(images: Tensor) -> Tensor:
    wide = F.pad(images, (1,) * 4, mode="reflect")
    rows = wide[..., :-2, :] + wide[..., 1:-1, :] + wide[..., 2:, :]
    return divided(rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:], 9.0)


def _equalised(levels: Tensor) -> Tensor:
    """Equalise the histogram of whole numbers 0 … 255, as OpenCV's `equalizeHist` does."""
    images, pixels = len(levels), levels[0].numel()
    own = levels + 256 * torch.arange(images, device=levels.device).view(-1, 1, 1, 1)
    histogram = torch.bincount(own.flatten(), minlength=256 * images).view(images, 256)
    lowest = (histogram > 0).int().argmax(dim=1, keepdim=True)
    lowest_count = histogram.gather(1, lowest)
    others = pixels - lowest_count
    table = (histogram.cumsum(1) - lowest_count) * (255.0 / others.clamp(min=1))
    table = table.round().clamp_(0.0, 255.0)
    table = torch.where(others > 0, table, torch.arange(256.0, device=levels.device))
    return table.flatten().index_select(0, own.flatten()).view_as(levels)
