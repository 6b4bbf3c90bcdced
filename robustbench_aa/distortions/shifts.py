"""Shifts: the same picture at other positions.

Two kinds of shifts answer two questions. A circular shift moves the pixels that leave the picture
to its other side; it tests a network's arithmetic. A crop of a larger picture loses pixels on one
side and gains new ones on the other, as in front of a camera that moves.

| protocol | frames | source |
|---|---|---|
| `crops` | five pairs of crops at random positions | Zhang, ICML 2019, section 4 |
| `neighbours` | the middle crop and the eight crops one pixel away | Azulay and Weiss, JMLR 2019 |
| `diagonal` | crops along the diagonal, one pixel apart | Zhang, ICML 2019, figure 1 |
| `circular` | all circular shifts of at most four pixels along each axis | Zhang, ICML 2019 |
| `circular32` | five pairs of circular shifts by −32 to 31 pixels | Chaman, Dokmanić, CVPR 2021 |
| `halfpixel` | the picture and its eight shifts by half a pixel | Michaeli et al., CVPR 2023 |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from robustbench_aa.distortions.rng import Draws
from robustbench_aa.errors import UnknownName

REACH = 4
"""The largest shift of `circular` in each direction, in pixels."""
WIDE_REACH = 32
"""The largest shift of `circular32` in each direction, in pixels."""
MARGIN = 32
"""The difference between the sizes of photographs and of crops, in pixels: 256 and 224."""
PAIRS = 5
"""The pairs of frames per image of `crops` and `circular32`."""
AROUND = ((0, 0), *((dy, dx) for dy, dx in product((-1, 0, 1), repeat=2) if (dy, dx) != (0, 0)))
"""No step, then a step in each of eight directions: (down, right)."""
TIE = 1e-6
"""Values this close below a half are rounded up."""


@dataclass(frozen=True)
class Protocol:
    """A way to shift an image.

    Attributes:
        make: a function (images, size, draws) → [B, F, 3, size, size].
        frames: a function size → F.
        moves_camera: whether the frames are crops of a larger picture.
        version: the version of the definition; a change of pixels needs a new one.
    """

    make: Callable[[Tensor, int, Draws], Tensor]
    frames: Callable[[int], int]
    moves_camera: bool
    version: int = 1


def margin(size: int) -> int:
    """Return by how much a picture is larger than its crops of `size` pixels.

    Photographs have 256 px for crops of 224 px. Small pictures have an eighth more than their
    crops: 36 px for 32 px. The margin is even, so that there is a crop in the middle.
    """
    return MARGIN if size > 4 * MARGIN else max(2, size // 16 * 2)


def shift_frames(protocol: str, size: int) -> int:
    """Return how many frames of `size` pixels a shift protocol makes of an image.

    Raises:
        UnknownName: there is no such protocol.
    """
    if protocol not in PROTOCOLS:
        raise UnknownName("shift protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol].frames(size)


def shift(images: Tensor, protocol: str, size: int, draws: Draws) -> Tensor:
    """Return the frames of a shift protocol.

    Args:
        images: [B, 3, H, W], uint8, of `size` or `size + margin(size)` pixels. Crops of images
            that are not larger than the frames are crops of the enlarged images.
        protocol: a key of `PROTOCOLS`.
        size: height and width of the frames, in pixels.
        draws: a source of random numbers for these images.

    Returns:
        [B, F, 3, size, size], uint8.
    """
    chosen = PROTOCOLS[protocol]
    if not chosen.moves_camera:
        border = (images.shape[-1] - size) // 2
        images = images[..., border : border + size, border : border + size]
    elif images.shape[-1] == size:
        images = enlarged(images, size + margin(size))
    return chosen.make(images, size, draws)


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


def random_circular_shifts(images: Tensor, size: int, draws: Draws) -> Tensor:
    """Return five pairs of circular shifts by random offsets, [B, 10, C, size, size].

    Each offset is uniform on −32 to 31 pixels along each axis, and drawn for each image. Frames 2k
    and 2k + 1 are a pair.
    """
    drawn = draws.uniform(2 * PAIRS, 2).mul(2 * WIDE_REACH).long().sub(WIDE_REACH)
    places = torch.arange(size, device=images.device)
    # a pixel that moves down by dy comes from dy pixels above
    rows, columns = ((places - drawn[..., axis, None]) % size for axis in range(2))
    each = torch.arange(len(images), device=images.device).view(-1, 1, 1, 1)
    pixels_last = images.permute(0, 2, 3, 1)[each, rows[..., :, None], columns[..., None, :]]
    return pixels_last.permute(0, 1, 4, 2, 3).contiguous()


def half_pixel_shifts(images: Tensor, size: int, draws: Draws) -> Tensor:
    """Return each image and its circular shifts by half a pixel, [B, 9, C, size, size].

    The frames follow `AROUND`; frame 0 is the image. A shift is that of the periodic band-limited
    signal through the pixels, rounded to 8 bits. This equals a shift by one pixel of the picture
    enlarged twofold in Fourier space, then subsampled.
    """
    by_half = {step: _fractional_shift(size, step / 2).to(images.device) for step in (-1, 0, 1)}
    pixels = images.double()
    across = {step: pixels @ matrix.T for step, matrix in by_half.items()}
    frames = [by_half[dy] @ across[dx] for dy, dx in AROUND]
    # sums round differently from one processor to another, and so would halves without the excess
    return torch.stack(frames, dim=1).add_(0.5 + TIE).floor_().clamp_(0, 255).byte()


def _fractional_shift(size: int, offset: float) -> Tensor:
    """Return the matrix that shifts a periodic signal by a fraction of a pixel, float64.

    For an even size, the highest frequency is both a positive and a negative one; it keeps the
    mean of both phases, so that the signal stays real.
    """
    frequencies = torch.fft.fftfreq(size, dtype=torch.float64)
    phases = torch.exp(-2j * torch.pi * frequencies * offset)
    if size % 2 == 0:
        phases[size // 2] = phases[size // 2].real.clone()
    unit = torch.fft.ifft(phases).real
    return torch.stack([unit.roll(place) for place in range(size)], dim=1)


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


def neighbour_crops(images: Tensor, size: int, draws: Draws) -> Tensor:
    """Return the middle crop and the eight crops one pixel away, [B, 9, C, size, size].

    The frames follow `AROUND`; frame 0 is the middle.
    """
    middle = (images.shape[-1] - size) // 2
    corners = [(middle + dy, middle + dx) for dy, dx in AROUND]
    return torch.stack([images[..., y : y + size, x : x + size] for y, x in corners], dim=1)


def diagonal_crops(images: Tensor, size: int) -> Tensor:
    """Return crops from the upper left to the lower right corner, one pixel apart."""
    places = range(images.shape[-1] - size + 1)
    return torch.stack([images[..., p : p + size, p : p + size] for p in places], dim=1)


def enlarged(images: Tensor, size: int) -> Tensor:
    """Return images enlarged bilinearly, [B, C, size, size] uint8.

    The arithmetic is that of whole numbers, so that every device makes the same pixels.

    Args:
        images: [B, C, H, H], uint8, smaller than `size`.
        size: height and width of the result, in pixels; at most 1,448.
    """
    old = images.shape[-1]
    # the middle of a new pixel, in units of 1 / (2 · size) of an old pixel's width
    centres = (2 * torch.arange(size, device=images.device) + 1) * old - size
    first = centres.clamp_(0, 2 * size * (old - 1)).div(2 * size, rounding_mode="floor")
    weight = (centres - first * 2 * size).int()
    second = (first + 1).clamp_(max=old - 1)

    def across(values: Tensor) -> Tensor:
        return values[..., first] * (2 * size - weight) + values[..., second] * weight

    both = across(across(images.int().mT).mT)
    whole = 4 * size**2
    return both.add_(whole // 2).div_(whole, rounding_mode="floor").byte()


PROTOCOLS: Mapping[str, Protocol] = {
    "crops": Protocol(crops, lambda _: 2 * PAIRS, moves_camera=True),
    "circular": Protocol(
        lambda images, _size, _draws: circular_shifts(images),
        lambda _: (2 * REACH + 1) ** 2,
        moves_camera=False,
    ),
    "diagonal": Protocol(
        lambda images, size, _: diagonal_crops(images, size),
        lambda size: margin(size) + 1,
        moves_camera=True,
    ),
    "circular32": Protocol(random_circular_shifts, lambda _: 2 * PAIRS, moves_camera=False),
    "halfpixel": Protocol(half_pixel_shifts, lambda _: len(AROUND), moves_camera=False),
    "neighbours": Protocol(neighbour_crops, lambda _: len(AROUND), moves_camera=True),
}
"""Shift protocols by name."""
