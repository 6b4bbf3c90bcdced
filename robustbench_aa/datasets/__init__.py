"""Data sets by name. Each is one file and one registration here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from robustbench_aa.datasets import digits
from robustbench_aa.datasets.dataset import Dataset
from robustbench_aa.registry import Registry

__all__ = ["DATASETS", "Dataset", "open_dataset"]

DATASETS: Registry[Callable[[int | None, int], Dataset]] = Registry("data set")

for _name in digits.DISTORTIONS:
    DATASETS.register(_name, partial(digits.open_digits, _name))


def open_dataset(name: str, limit: int | None = None, seed: int = 0) -> Dataset:
    """Opens a data set.

    Args:
        name: as registered.
        limit: at most this many images, evenly spread over the whole; None for all.
        seed: of the distortions' randomness.

    Raises:
        UnknownName: no such data set.
    """
    return DATASETS[name](limit, seed)
