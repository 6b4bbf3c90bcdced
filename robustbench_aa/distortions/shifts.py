"""Shifts: the same picture somewhere else, for measuring consistency."""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 4
"""How far a 32-px image is shifted circularly in each direction, in pixels."""


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
