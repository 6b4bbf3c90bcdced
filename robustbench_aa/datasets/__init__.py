"""Data sets by name. Each is one file and one registration here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from robustbench_aa.datasets import cifar, digits, imagenet, imagenet_p
from robustbench_aa.datasets.dataset import Dataset, Request
from robustbench_aa.support.registry import Registry

__all__ = ["DATASETS", "Dataset", "Request", "open_dataset"]

WHOLE = Request()
DATASETS: Registry[Callable[[Request], Dataset]] = Registry("data set")

for _name in digits.DISTORTIONS:
    DATASETS.register(_name, partial(digits.open_digits, _name))
for _name in imagenet.LIVE:
    DATASETS.register(_name, partial(imagenet.open_live, _name))
DATASETS.register("imagenet-c", imagenet.open_stored)
DATASETS.register("imagenet-p", imagenet_p.open_sequences)
for _name in cifar.LIVE:
    DATASETS.register(_name, partial(cifar.open_live, _name))
for _name in ("cifar10-c", "cifar100-c"):
    DATASETS.register(_name, partial(cifar.open_stored, _name))


def open_dataset(name: str, request: Request = WHOLE) -> Dataset:
    """Opens a data set.

    Args:
        name: as registered.

    Raises:
        UnknownName: no such data set.
        UsageError: its files are not named, not there, or not as they should be.
    """
    return DATASETS[name](request)
