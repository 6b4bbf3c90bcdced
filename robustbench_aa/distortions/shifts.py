"""Shifts: the same picture at other positions, to measure consistency.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 4 and figure 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_aa.distortions.rng import Draws
from robustbench_aa.errors import UnknownName

REACH = 4
"""The largest circular shift in each direction, in pixels."""
MARGIN = 32
"""The difference between the sizes of photographs and of crops, in pixels: 256 and 224."""
PAIRS = 5
"""Pairs of crops per photograph."""
VERSION = 1
"""The version of the protocols; a change of pixels needs a new one."""


def shift_frames(protocol: str) -> int:
    """Return how many frames a shift protocol makes of an image.

    Raises:
        UnknownName: there is no such protocol.
    """
    if protocol not in FRAMES:
        raise UnknownName("shift protocol", protocol, FRAMES)
    return FRAMES[protocol]


FRAMES = {"circular": (2 * REACH + 1) ** 2, "crops": 2 * PAIRS, "diagonal": MARGIN + 1}


def shift(images: Tensor, protocol: str, size: int, draws: Draws) -> Tensor:
    """Return the frames of a shift protocol.

    Args:
        images: [B, 3, H, W], uint8; 32 px larger than the frames if the protocol takes crops.
        protocol: `circular`, `crops` or `diagonal`.
        size: height and width of the frames, in pixels.
        draws: a source of random numbers for these images.

    Returns:
        [B, F, 3, size, size], uint8.
    """
    if protocol == "crops":
        return crops(images, size, draws)
    if protocol == "diagonal":
        return diagonal_crops(images, size)
    border = (images.shape[-1] - size) // 2
    return circular_shifts(images[..., border : border + size, border : border + size])


def circular_shifts(images: Tensor, reach: int = REACH) -> Tensor:
    """Return all circular shifts of at most `reach` pixels along each axis.

    Args:
        images: [B, C, H, W].
        reach: the largest shift in pixels.

    Returns:
        [B, (2·reach + 1)², C, H, W]. Frame (dy + reach) · (2·reach + 1) + (dx + reach) is moved
        dy pixels down and dx to the right; the frame in the middle is the image itself.
    """
    offsets = range(-reach, reach + 1)
    shifted = [torch.roll(images, (dy, dx), dims=(-2, -1)) for dy in offsets for dx in offsets]
    return torch.stack(shifted, dim=1)


def crops(images: Tensor, size: int, draws: Draws) -> Tensor:
    """Return five pairs of crops at independent random positions, [B, 10, C, size, size].

    Frames 2k and 2k + 1 are a pair.
    """
    room = images.shape[-1] - size
    corners = draws.uniform(2 * PAIRS, 2).mul(room).long().tolist()
    return torch.stack(
        [
            torch.stack([image[:, y : y + size, x : x + size] for y, x in places])
            for image, places in zip(images, corners, strict=True)
        ]
    )


def diagonal_crops(images: Tensor, size: int) -> Tensor:
    """Return crops from the upper left to the lower right corner, one pixel apart."""
    places = range(images.shape[-1] - size + 1)
    return torch.stack([images[..., p : p + size, p : p + size] for p in places], dim=1)
