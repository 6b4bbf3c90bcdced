"""Displacement: samples between pixels, along a line, and from a shuffled neighbourhood."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.support.pixels import divided

VECTOR = 16
"""Values that a CPU interpolates at once; in a smaller remainder the last bit may differ."""


def side_by_side(images: Tensor) -> Tensor:
    """Return the planes of images [B, C, H, W] as channels of one image, channels last.

    In this layout torch interpolates fastest, and with the same result on any number of threads.

    Returns:
        [1, N, H, W], where N is B · C rounded up to a multiple of 16; the last planes are empty.
    """
    planes = images.flatten(0, 1)
    missing = -len(planes) % VECTOR
    full = F.pad(planes, (0, 0, 0, 0, 0, missing)).unsqueeze(0)
    return full.contiguous(memory_format=torch.channels_last)


def apart(planes: Tensor, images: Tensor) -> Tensor:
    """Undo `side_by_side`: return planes in the shape of the images that they came from."""
    return planes[0, : images.shape[0] * images.shape[1]].contiguous().view(images.shape)


def zoom(planes: Tensor, factor: float) -> Tensor:
    """Enlarge the middle of planes from `side_by_side`, bilinearly and corner to corner.

    The middle is rounded up to whole pixels, so the result may be larger than the image. It is
    trimmed, as in ImageNet-C's scripts with `scipy.ndimage.zoom`.
    """
    sizes = planes.shape[-2:]
    cuts = [math.ceil(size / factor) for size in sizes]
    (top, left), (height, width) = ((s - c) // 2 for s, c in zip(sizes, cuts, strict=True)), cuts
    middle = planes[..., top : top + height, left : left + width]
    enlarged = F.interpolate(
        middle,
        size=[round(cut * factor) for cut in cuts],
        mode="bilinear",
        align_corners=True,
    )
    top, left = ((big - size) // 2 for big, size in zip(enlarged.shape[-2:], sizes, strict=True))
    return enlarged[..., top : top + sizes[0], left : left + sizes[1]]


def sample(images: Tensor, y: Tensor, x: Tensor, *, repeat_border: bool) -> Tensor:
    """Sample mirrored images bilinearly.

    Args:
        images: [B, C, H, W].
        y, x: [B, H', W'], in pixels; the middle of the first pixel is 0.
        repeat_border: whether the mirror lies outside the border pixel (True) or on its middle.
    """
    places = []
    for place, size in ((x, images.shape[-1]), (y, images.shape[-2])):
        # from −1 to 1, as `grid_sample` counts
        scaled = divided(2 * place + 1, size) if repeat_border else divided(2 * place, size - 1)
        places.append(scaled - 1)
    return F.grid_sample(
        images,
        torch.stack(places, dim=-1),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=not repeat_border,
    )


def blur_along(images: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """Blur by half a Gaussian along a line from every pixel; edges are replicated.

    The 2 · radius + 1 samples are at whole pixels, as in ImageMagick.

    Args:
        images: [B, C, H, W].
        radius: half the length of the line, in pixels.
        sigma: the standard deviation of the Gaussian, in pixels.
        degrees: [B], the direction of each image's line; 0 is to the right, 90 down.
    """
    taps = 2 * int(radius) + 1
    weights = [math.exp(-0.5 * (place / sigma) ** 2) for place in range(taps)]
    shares = [weight / sum(weights) for weight in weights]
    turns = [math.radians(angle) for angle in degrees.tolist()]
    places = np.arange(taps)[:, None]
    down, right = (
        taps - 1 + np.ceil(places * np.array([way(turn) for turn in turns]) - 0.5).astype(int)
        for way in (math.sin, math.cos)
    )
    padded = F.pad(images, (taps - 1,) * 4, mode="replicate")
    add = add_slices if images.device.type == "cpu" else add_gathered
    return add(padded, images.shape[-2:], down, right, shares)


def add_slices(
    padded: Tensor, shape: Sequence[int], down: np.ndarray, right: np.ndarray, shares: list[float]
) -> Tensor:
    """Return weighted sums of shifted images, one slice at a time, which is fast on a CPU.

    Args:
        padded: [B, C, H', W'].
        shape: H and W of the result.
        down, right: [taps, B], where the slice of each image begins.
        shares: the weight of each tap.
    """
    height, width = shape
    found = padded.new_zeros(*padded.shape[:2], height, width)
    for image, wide, ys, xs in zip(found, padded, down.T.tolist(), right.T.tolist(), strict=True):
        for y, x, share in zip(ys, xs, shares, strict=True):
            image.add_(wide[:, y : y + height, x : x + width], alpha=share)
    return found


def add_gathered(
    padded: Tensor, shape: Sequence[int], down: np.ndarray, right: np.ndarray, shares: list[float]
) -> Tensor:
    """Return the sums of `add_slices` with a few steps for each tap, which is fast on a GPU."""
    height, width = shape
    row = padded.shape[-1]
    inside = torch.arange(height)[:, None] * row + torch.arange(width)
    inside = inside.flatten().to(padded.device)
    first = torch.from_numpy(down * row + right).to(padded.device)
    pixels = padded.flatten(2)
    found = pixels.new_zeros(*pixels.shape[:2], height * width)
    for begin, share in zip(first, shares, strict=True):
        places = (begin[:, None] + inside).unsqueeze(1).expand_as(found)
        found.add_(pixels.gather(2, places), alpha=share)
    return found.view(*padded.shape[:2], height, width)


def copied_from(offsets: Tensor, height: int, width: int, reach: int) -> Tensor:
    """Return where the pixels of a locally shuffled image come from.

    The published code visits the pixels from the last to the first. It is meant to swap a pixel
    with a neighbour, but copies the neighbour over it, because its two array views alias. A
    neighbour that was visited before has received another value already, so values travel in
    chains within a pass. Pointer doubling follows each chain to its beginning.

    Args:
        offsets: [B, passes, rows, columns, 2], int32: (right, down), in the order of the
            visits, for the pixels that are at least `reach` away from the right and lower border
            and more than `reach` from the left and upper border.
        reach: the largest offset, in pixels.

    Returns:
        [B, height · width], int64: the position that each pixel's value comes from.
    """
    images, pixels = len(offsets), height * width
    count = images * pixels
    # all positions of all images in the order of the visits, which is backwards: what a place
    # holds after a pass (below `count`), then what it held before
    chain = torch.arange(2 * count, dtype=torch.int32, device=offsets.device)
    after = chain[:count]
    rows, columns = (slice(reach - 1, size - reach - 1) for size in (height, width))
    visited = after.view(images, height, width)[:, rows, columns]
    own = visited.clone()
    y, x = (torch.arange(size).to(own) for size in own.shape[1:])
    after += count
    source = chain[:count] - count
    for right, down in (step.unbind(-1) for step in offsets.unbind(1)):
        row, column, move = y[:, None] - down, x - right, down * width + right
        unchanged = (move <= 0) | (row < 0) | (column < 0) | (column >= len(x))
        torch.add(own - move, unchanged.int(), alpha=count, out=visited)
        while after.amin() < count:
            after.copy_(chain.index_select(0, after))
        source = source.index_select(0, after - count)
    return (pixels - 1 - source.view(images, pixels) % pixels).flip(1).long()
