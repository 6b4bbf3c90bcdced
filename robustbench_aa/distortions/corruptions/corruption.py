"""The record of a corruption, and the registry of all corruptions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from robustbench_aa.errors import UsageError
from robustbench_aa.support.code import source_of
from robustbench_aa.support.pixels import divided
from robustbench_aa.support.registry import Registry


class RandomNumbers(Protocol):
    """A source of random numbers: seeded streams, or prepared arrays in a test."""

    def uniform(self, *shape: int) -> Tensor:
        """Return [B, *shape] float32, uniform on [0, 1)."""

    def normal(self, *shape: int) -> Tensor:
        """Return [B, *shape] float32, standard normal."""


@dataclass(frozen=True)
class Corruption:
    """A corruption of ImageNet-C.

    Attributes:
        name: the published name.
        group: the published group: `noise`, `blur`, `weather`, `digital`, or `extra` for the
            hold-out corruptions that no mean error counts.
        function: (images [B, 3, H, W] float32 in [0, 1], draws, *parameters of the severity) →
            images of the same shape, not yet clamped.
        in_bytes: whether the function takes and returns uint8 instead.
        version: the version of the definition, which is part of a run's identity. A change of
            pixels needs a new version; `tests/distortions/test_golden_pixels.py` proves that the
            pixels of a version stay.
        source: the SHA-256 of the file that defines it; empty for the package's own.
    """

    name: str
    group: str
    function: Callable[..., Tensor]
    in_bytes: bool = False
    version: int = 1
    source: str = ""


def check_bytes(images: Tensor | Sequence[Tensor]) -> None:
    """Refuse images that are not 8-bit pixels.

    Raises:
        UsageError: an image is not uint8.
    """
    for image in images if isinstance(images, Sequence) else (images,):
        if image.dtype != torch.uint8:
            raise UsageError(
                f"images are {str(image.dtype).removeprefix('torch.')}, not uint8; give the 8-bit "
                "pixels, 0 to 255, before any normalisation"
            )


def to_bytes(images: Tensor) -> Tensor:
    """Convert [0, 1] to uint8 as the published code does: clamp, scale by 255 and truncate."""
    return images.clamp(0.0, 1.0).mul_(255.0).byte()


def through_magick(images: Tensor) -> Tensor:
    """Round [0, 1] to multiples of 1/255 as ImageMagick does: to 16 bits, then cut to 8."""
    levels = divided(images.mul(65535.0).add_(0.5).floor_(), 257.0).floor_()
    return divided(levels, 255.0)


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(
    group: str, in_bytes: bool = False, version: int = 1
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Return a decorator that registers a function as the corruption with the function's name."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        source = source_of(function)
        CORRUPTIONS.register(name, Corruption(name, group, function, in_bytes, version, source))
        return function

    return register
