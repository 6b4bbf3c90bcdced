"""Data sets by name. Each file defines the entries of its data sets; they are registered here."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from robustbench_aa.datasets import (
    cifar,
    cifar10_p,
    digits,
    imagenet,
    imagenet_p,
    natural_shifts,
    tiny_imagenet,
)
from robustbench_aa.datasets.dataset import Dataset, Openable, Request
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict
from robustbench_aa.datasets.live import LiveDataset
from robustbench_aa.datasets.stored import StoredDataset
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.support.registry import Registry

__all__ = [
    "DATASETS",
    "Dataset",
    "DatasetEntry",
    "Openable",
    "Request",
    "load_dataset",
    "open_dataset",
    "register_dataset",
    "verify_dataset",
]

Function = TypeVar("Function", bound=Callable[..., Openable])
WHOLE = Request()
REGISTERED = "files"
"""The form of a data set that is defined outside this package."""
DATASETS: Registry[DatasetEntry] = Registry("data set")

for _entry in (
    *digits.ENTRIES,
    *imagenet.ENTRIES,
    *imagenet_p.ENTRIES,
    *natural_shifts.ENTRIES,
    *cifar.ENTRIES,
    *cifar10_p.ENTRIES,
    *tiny_imagenet.ENTRIES,
):
    DATASETS.register(_entry.name, _entry)


def load_dataset(
    name: str, data_dir: str | os.PathLike[str] | None = None, *, classes: int | None = None
) -> DatasetEntry:
    """Return a named data set as an object that knows the folder of its files.

    Nothing is read before a run opens it.

    >>> import robustbench_aa as rb
    >>> rb.load_dataset("digits-c").name
    'digits-c'

    Args:
        name: Name of the data set, as in `robustbench-aa datasets`.
        data_dir: Folder of its files. None means the folder in its environment variable, or that
            of the run.
        classes: Number of classes, if class folders are numbers with gaps; a number is then a
            label. None if the folders show the number of classes.

    Raises:
        UnknownName: There is no such data set.
        UsageError: The folder does not exist, or the data set is part of the package.
    """
    entry = DATASETS[name]
    if data_dir is None:
        return dataclasses.replace(entry, classes=classes)
    if entry.embedded:
        raise UsageError(f"data set {name} has no files; leave out data_dir")
    folder = Path(data_dir)
    if not folder.is_dir():
        raise UsageError(f"no folder {folder}; check data_dir")
    return dataclasses.replace(entry, data_dir=str(folder), classes=classes)


def register_dataset(
    name: str, *, summary: str = "", variable: str = ""
) -> Callable[[Function], Function]:
    """Return a decorator that registers a function under the name of a data set.

    The name then works like the names of the package's data sets. The function returns a data
    set as an object, such as an `ImageFolder` or an `ImageArrays`, which gets the name.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> @rb.register_dataset("grey-c", summary="grey squares under ImageNet-C's corruptions")
    ... def grey():
    ...     images = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    ...     return rb.ImageArrays(images, [0, 1, 2, 3], "grey", distortions="imagenet-c")
    >>> rb.load_dataset("grey-c").name
    'grey-c'

    Args:
        name: Name of the data set.
        summary: Content of the data set in a few words, for `robustbench-aa datasets`. Empty
            means the first line of the function's docstring.
        variable: Environment variable that names the folder of its files, which `--data-dir` and
            `data_dir` name too. The function is called with that folder, a `pathlib.Path`; or
            without arguments if no variable is given.

    Raises:
        UsageError: The package has a data set of this name.
    """
    if name in DATASETS and DATASETS[name].form != REGISTERED:
        raise UsageError(f"the package has a data set {name}; give yours another name")

    def register(function: Function) -> Function:
        def opened(entry: DatasetEntry, request: Request) -> Dataset:
            made = function(entry.folder(request)) if entry.variable else function()
            return _renamed(open_dataset(made, request), entry.name)

        shown = summary or (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        entry = DatasetEntry(name, shown, opened, form=REGISTERED, variable=variable)
        DATASETS.register(name, entry, replace=True)
        return function

    return register


def open_dataset(dataset: str | Openable, request: Request = WHOLE) -> Dataset:
    """Open a data set.

    Args:
        dataset: the name of a data set, or a data set as an object.
        request: the part to open.

    Raises:
        UnknownName: there is no such data set.
        UsageError: its folder is not named, does not exist, or does not hold the data set.
        DatasetError: a file cannot be read.
    """
    if isinstance(dataset, str):
        return DATASETS[dataset].open(request)
    if isinstance(dataset, os.PathLike) or not callable(getattr(dataset, "open", None)):
        raise UsageError(
            f"{dataset!r} is no data set; give a name such as 'digits-c', or an object such as "
            "robustbench_aa.ImageFolder(path)"
        )
    return dataset.open(request)


def _renamed(dataset: Dataset, name: str) -> Dataset:
    """Return a data set under another name."""
    if dataset.name == name:
        return dataset
    if isinstance(dataset, (LiveDataset, StoredDataset)):
        return dataclasses.replace(dataset, name=name)
    raise UsageError(f"data set {name} opens one of the name {dataset.name}; rename it")


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
    if name in DATASETS and DATASETS[name].form == REGISTERED:
        raise UsageError(
            f"data set {name} has no check of its files; --deep RUN compares them with a run's"
        )
    if name not in verifiers:
        raise UnknownName("data set of files", name, verifiers)
    if not root.is_dir():
        raise UsageError(f"no folder {root}; check --data-dir")
    if sample is not None and sample < 1:
        raise UsageError(f"--sample {sample} decodes nothing; use at least 1")
    return verifiers[name](root, sample, track)
