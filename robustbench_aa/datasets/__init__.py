"""Data sets by name. Each file defines the entries of its data sets; they are registered here."""

from __future__ import annotations

from pathlib import Path

from robustbench_aa.datasets import cifar, digits, imagenet, imagenet_p
from robustbench_aa.datasets.dataset import Dataset, Request
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.support.registry import Registry

__all__ = ["DATASETS", "Dataset", "DatasetEntry", "Request", "open_dataset", "verify_dataset"]

WHOLE = Request()
DATASETS: Registry[DatasetEntry] = Registry("data set")

for _entry in (
    *digits.ENTRIES,
    *imagenet.ENTRIES,
    *imagenet_p.ENTRIES,
    *cifar.ENTRIES,
):
    DATASETS.register(_entry.name, _entry)


def open_dataset(name: str, request: Request = WHOLE) -> Dataset:
    """Open a data set.

    Raises:
        UnknownName: there is no such data set.
        UsageError: its folder is not named, does not exist, or does not hold the data set.
        DatasetError: a file cannot be read.
    """
    return DATASETS[name].open(request)


def verify_dataset(
    name: str, root: Path, sample: int | None = None, track: Track = iter
) -> Verdict:
    """Check that the files of a data set are complete and can be read.

    Args:
        name: the data set.
        root: the folder of its files.
        sample: how many files of each cell to decode, evenly spread; None for all.
        track: shows progress over the cells.

    Returns:
        A table with a row per cell, and the problems, one line each.

    Raises:
        UnknownName: there is no such data set, or it is embedded.
        UsageError: the folder does not exist or holds no file of the data set.
    """
    verifiers = {entry.name: entry.verifier for entry in DATASETS.values() if entry.verifier}
    if name not in verifiers:
        raise UnknownName("data set of files", name, verifiers)
    if not root.is_dir():
        raise UsageError(f"no folder {root}; check --data-dir")
    if sample is not None and sample < 1:
        raise UsageError(f"--sample {sample} decodes nothing; use at least 1")
    return verifiers[name](root, sample, track)
