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
    """

    name: str
    family: str
    function: Callable[..., Tensor]


CORRUPTIONS: Registry[Corruption] = Registry("corruption")


def corruption(family: str) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Registers a function as the corruption of its own name."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        CORRUPTIONS.register(name, Corruption(name, family, function))
        return function

    return register
