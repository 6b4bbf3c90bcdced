"""Shifts: the same picture somewhere else, for measuring consistency.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 4 and figure 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustbench_aa.distortions.rng import Draws
from robustbench_aa.errors import UnknownName

REACH = 4
"""How far images are shifted circularly in each direction, in pixels."""
MARGIN = 32
"""By how much photographs are larger than the crops of them, in pixels: 256, 224."""
PAIRS = 5
"""Of crops, of each photograph."""
VERSION = 1
"""Of the protocols, as a corruption's."""


def shift_frames(protocol: str) -> int:
    """How many frames a shift protocol makes of an image."""
    if protocol not in FRAMES:
        raise UnknownName("shift protocol", protocol, FRAMES)
    return FRAMES[protocol]


FRAMES = {"circular": (2 * REACH + 1) ** 2, "crops": 2 * PAIRS, "diagonal": MARGIN + 1}


def shift(images: Tensor, protocol: str, size: int, draws: Draws) -> Tensor:
    """The frames of a shift protocol.

    Args:
        images: [B, 3, H, W], uint8; larger than the frames by 32 px where crops are taken.
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
    """Every circular shift of at most `reach` pixels along each axis.

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
    """Five pairs of crops, each placed independently of all others and of other images.

    Frames 2k and 2k + 1 are a pair.
    """
    room = images.shape[-1] - size
    corners = draws.uniform(2 * PAIRS, 2).mul(room).long().tolist()
    return torch.stack(
        [
            torch.stack([image[:, y : y + size, x : x + size] for y, x in of_image])
            for image, of_image in zip(images, corners, strict=True)
        ]
    )


def diagonal_crops(images: Tensor, size: int) -> Tensor:
    """Crops from the upper left to the lower right corner, a pixel further each."""
    places = range(images.shape[-1] - size + 1)
    return torch.stack([images[..., p : p + size, p : p + size] for p in places], dim=1)
