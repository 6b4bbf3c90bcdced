"""What a corruption is, and where all of them are listed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from robustbench_aa.registry import Registry


class RandomNumbers(Protocol):
    """Where a corruption takes its randomness from: seeded streams, or a test's prepared arrays."""

    def uniform(self, *shape: int) -> Tensor:
        """[B, *shape] float32, uniform on [0, 1)."""

    def normal(self, *shape: int) -> Tensor:
        """[B, *shape] float32, standard normal."""


@dataclass(frozen=True)
class Corruption:
    """A corruption of ImageNet-C.

    Attributes:
        name: as published.
        family: its published group: `noise`, `blur`, `weather`, `digital`, or `extra` for the
            hold-out corruptions that no mean error counts.
        function: (images [B, 3, H, W] float32 in [0, 1], draws, *parameters of the severity) →
            images of the same shape, not yet clamped.
        in_bytes: whether the function takes and returns uint8 instead.
    """

    name: str
    family: str
    function: Callable[..., Tensor]
    in_bytes: bool = False


def to_bytes(images: Tensor) -> Tensor:
    """[0, 1] → uint8 as the originals do it: clamped, scaled by 255 and truncated."""
    return images.clamp(0.0, 1.0).mul_(255.0).byte()


def through_magick(images: Tensor) -> Tensor:
    """[0, 1] → multiples of 1/255 as ImageMagick gives them: rounded to 16 bits, cut to 8."""
    return images.mul(65535.0).add_(0.5).floor_().div_(257.0).floor_().div_(255.0)


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(
    family: str, in_bytes: bool = False
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers a function as the corruption of its own name."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        CORRUPTIONS.register(name, Corruption(name, family, function, in_bytes))
        return function

    return register
