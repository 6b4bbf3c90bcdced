"""Distort images in memory, with the same pixels as a run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import numpy as np
from torch import Tensor

from robustbench_aa.distortions import corruptions_at, distort, perturbations_at
from robustbench_aa.distortions.perturbations import TABLES, table_of
from robustbench_aa.distortions.severities import check_severity
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.pixels import as_batch, square_size

Images = TypeVar("Images", Tensor, np.ndarray)
"""A tensor with the channels first, or a NumPy array with the channels last."""


def corrupt(
    images: Images,
    corruption: str,
    severity: int = 3,
    seed: int = 0,
    *,
    index: int | Iterable[int] = 0,
    stored_jpeg: bool = False,
) -> Images:
    """Corrupt images with a corruption of ImageNet-C, or with a registered one.

    The pixels are those that a run with the same seed makes of a data set's images at the positions
    `index`. (A run numbers images by their position in the whole data set, also if a limit leaves
    images out.) They do not depend on the other images of the batch.

    Severities were published for 32 px (CIFAR-10-C), 64 px (Tiny-ImageNet-C), 224 px and 299 px
    (ImageNet-C). Images of 17 to 45 px use those of 32 px, 46 to 119 px those of 64 px, 120 to
    258 px those of 224 px, and 259 to 597 px those of 299 px.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> images = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    >>> foggy = rb.corrupt(images, "fog", severity=3, seed=0)
    >>> foggy.shape, foggy.dtype
    (torch.Size([4, 3, 32, 32]), torch.uint8)
    >>> torch.equal(rb.corrupt(images[2], "fog", severity=3, index=2), foggy[2])
    True

    Args:
        images: Square 8-bit RGB images on any device: a tensor [N, 3, H, W] or [3, H, W], or a
            NumPy array [N, H, W, 3] or [H, W, 3], such as that of a picture opened by Pillow. They
            stay unchanged.
        corruption: Name of the corruption, such as `fog`.
        severity: 1 to 5.
        seed: Seed of the randomness.
        index: Positions of the images in their data set, on which the randomness depends. One
            number is the position of the first image; the others follow it.
        stored_jpeg: Whether to store the images as JPEG of quality 85 at last, as ImageNet-C did
            and `imagenet-c-live` does.

    Returns:
        Images of the same type, shape and device.

    Raises:
        UnknownName: There is no such corruption.
        UsageError: The images have another type or shape, no severities were published for their
            size, or another argument is wrong.
    """
    batch = as_batch(images)
    size = square_size(batch, "images")
    cells = {(cell.name, cell.severity): cell for cell in corruptions_at(size)}
    severity = whole_number("severity", severity)
    check_severity(severity)
    if (corruption, severity) not in cells:
        raise UnknownName("corruption", corruption, dict.fromkeys(name for name, _ in cells))
    how = cells[corruption, severity]
    places, seed = _places(index, len(batch)), whole_number("seed", seed)
    frames = distort(batch, how, places, seed, size, stored_jpeg=stored_jpeg)
    return _like(images, frames[:, 0])


def perturb(
    images: Images,
    perturbation: str,
    seed: int = 0,
    *,
    size: int | None = None,
    index: int | Iterable[int] = 0,
) -> Images:
    """Make sequences of slightly different frames of images, as in ImageNet-P.

    The pixels are those that a run with the same seed makes of a data set's images at the positions
    `index`.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> images = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    >>> rb.perturb(images, "tilt", seed=0).shape
    torch.Size([4, 31, 3, 32, 32])

    Args:
        images: 8-bit RGB images, as in `corrupt`, square or not. Perturbations that move an image
            use all of it, and others the middle.
        perturbation: Name of the perturbation, such as `tilt`.
        seed: Seed of the randomness.
        size: Height and width of the frames, 32, 64 or 224 px, the sizes of CIFAR-10-P,
            Tiny-ImageNet-P and ImageNet-P. None means 224 for images that are as large, and
            otherwise the shorter side of the images. At 64 px, `motion_blur` blurs the whole image
            and then shrinks it, as Tiny-ImageNet-P did.
        index: As in `corrupt`.

    Returns:
        Tensor [N, F, 3, size, size] or [F, 3, size, size], or an array with the channels last, on
        the device of the images. The number of frames F depends on the perturbation.

    Raises:
        UnknownName: There is no such perturbation.
        UsageError: The images have another type or shape, no perturbations were published for
            their size, or another argument is wrong.
    """
    batch = as_batch(images)
    shorter = min(batch.shape[2:])
    size = min(shorter, max(TABLES)) if size is None else whole_number("size", size, least=1)
    known = table_of(size)
    if size > shorter:
        raise UsageError(f"frames of {size} px do not fit into images of {shorter} px")
    if perturbation not in known:
        raise UnknownName("perturbation", perturbation, known)
    (how,) = (cell for cell in perturbations_at(size) if cell.name == perturbation)
    places, seed = _places(index, len(batch)), whole_number("seed", seed)
    return _like(images, distort(batch, how, places, seed, size))


def _like(images: Images, frames: Tensor) -> Images:
    """Return frames as the images were given: alone or several, with the channels first or last."""
    if images.ndim == 3:
        frames = frames[0]
    if isinstance(images, Tensor):
        return frames
    return np.ascontiguousarray(frames.movedim(-3, -1).numpy())


def _places(index: int | Iterable[int], count: int) -> list[int]:
    """Return the position of each image."""
    if isinstance(index, Iterable):
        places = [whole_number("index", place, least=0) for place in index]
    else:
        first = whole_number("index", index, least=0)
        places = [*range(first, first + count)]
    if len(places) != count:
        raise UsageError(f"index has {len(places)} positions for {count} images; give one for each")
    return places
