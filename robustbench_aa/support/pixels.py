"""Pixels as tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.errors import UsageError

TO_GIVE = (
    "give a uint8 tensor [N, 3, H, W] or [3, H, W], or a uint8 array [N, H, W, 3] or [H, W, 3]"
)


def divided(values: Tensor, by: float) -> Tensor:
    """Divide floats by a number in place, rounded as on a CPU.

    On a GPU, torch multiplies by the reciprocal of a number, which often differs in the last bit
    and moves values across a threshold. It divides by a tensor on the GPU.
    """
    return values.div_(values.new_full((), by))


def fractions(pixels: Tensor) -> Tensor:
    """Return 8-bit pixels on the scale of 0 to 1, as float32: pixel / 255."""
    return divided(pixels.float(), 255.0)


def square_size(images: Tensor, noun: str) -> int:
    """Return the height and width of square images [N, 3, H, W].

    Args:
        images: the images.
        noun: what they are, for messages.

    Raises:
        UsageError: they are not square.
    """
    height, width = images.shape[2:]
    if height != width:
        raise UsageError(f"{noun} are {height} × {width} px; crop them to squares")
    return width


def as_batch(images: Tensor | np.ndarray) -> Tensor:
    """Return images as a tensor [N, 3, H, W], uint8, which shares no memory with an array.

    Args:
        images: 8-bit RGB images: a tensor [N, 3, H, W] or [3, H, W], or a NumPy array
            [N, H, W, 3] or [H, W, 3].

    Raises:
        UsageError: the images have another type or shape, or there are none.
    """
    if isinstance(images, np.ndarray):
        order, channels, move = "[N, H, W, 3] or [H, W, 3]", -1, "numpy.moveaxis(images, -3, -1)"
    elif isinstance(images, Tensor):
        order, channels, move = "[N, 3, H, W] or [3, H, W]", -3, "images.movedim(-1, -3)"
    else:
        raise UsageError(f"images are of type {type(images).__name__}; {TO_GIVE}")
    shape = tuple(images.shape)
    if 0 in shape:
        raise UsageError(f"there are no images in an array of the shape {shape}")
    if len(shape) not in (3, 4) or shape[channels] != 3:
        moved = len(shape) in (3, 4) and shape[-4 - channels] == 3
        advice = f"; use {move}" if moved else ""
        raise UsageError(f"images have the shape {shape}, not {order}{advice}")
    if images.dtype not in (torch.uint8, np.uint8):
        dtype = str(images.dtype).removeprefix("torch.")
        raise UsageError(
            f"images are {dtype}, not uint8; give the 8-bit pixels, 0 to 255, before any "
            "normalisation"
        )
    if isinstance(images, np.ndarray):
        # a copy, since torch warns of arrays that cannot be written, such as those of Pillow
        images = torch.from_numpy(np.array(np.moveaxis(images, -1, -3), order="C"))
    return images.reshape(-1, *images.shape[-3:])
