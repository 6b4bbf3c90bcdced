"""Comparison of a data set's images with those that the predictions of a run were made from."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import pandas as pd

from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.errors import DatasetError, UnknownName, UsageError
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import open_directory
from robustbench_aa.types import Distortion, Shard

Track = Callable[[Sequence[Cell]], Iterable[Cell]]
"""A function that yields the cells it is given and shows the progress."""


def compare_sources(
    directory: str | os.PathLike[str], name: str, data_dir: str, track: Track = iter
) -> tuple[pd.DataFrame, list[str]]:
    """Read all pictures that predictions were made from and compare their digests.

    Sizes and times of files are not trusted: every file is read.

    Args:
        directory: Directory of the run.
        name: Name of the data set.
        data_dir: Folder of its files.
        track: Shows the progress over the cells.

    Returns:
        A table with a row for each cell, and a line for each prediction file that was made from
        other pictures or does not record its pictures.

    Raises:
        RunError: There is no run in the directory.
        UnknownName: The run has no such data set.
        UsageError: The folder has another number of images than the run.
    """
    store = Store.of_run(open_directory(directory))
    if name not in store.manifest.datasets:
        raise UnknownName("data set of the run", name, store.manifest.datasets)
    dataset = open_dataset(name, _request(store.manifest, name, data_dir))
    images = store.manifest.datasets[name]["images"]
    if dataset.images != images:
        raise UsageError(
            f"{data_dir} has {dataset.images} images, and {directory} measured {images}; check "
            "--data-dir"
        )
    by_name = {str(distortion): distortion for distortion in dataset.distortions}
    rows, problems = [], []
    for cell in track(store.cells(name)):
        row, found = _compare(store, dataset, cell, by_name)
        if row["prediction_files"]:
            rows.append({"cell": str(cell.distortion), **row})
        problems += found
    return pd.DataFrame(rows), problems


def _request(manifest: Manifest, name: str, data_dir: str) -> Request:
    """Return a request for the images that a run measured; labels do not matter here."""
    described = manifest.datasets[name]
    numbered = described["labels"]["rule"] == "numbered folders"
    return Request(
        limit=described["images"],
        data_dir=data_dir,
        # the numbers of class folders may begin at 1
        classes=described["classes"] + 1 if numbered else None,
    )


def _compare(
    store: Store, dataset: Dataset, cell: Cell, by_name: Mapping[str, Distortion]
) -> tuple[dict[str, int], list[str]]:
    row = {"prediction_files": 0, "differ": 0}
    problems = []
    for shard in store.shards(cell.dataset):
        made_from = _made_from(store, cell, shard)
        if not made_from:
            continue
        now, fault = "", ""
        try:
            now = _digest(dataset, by_name.get(str(cell.distortion)), shard)
        except DatasetError as error:
            fault = str(error)
        for digest, files in made_from.items():
            row["prediction_files"] += len(files)
            if digest != now:
                row["differ"] += len(files)
                problems += [_problem(cell, shard, file, digest, fault) for file in files]
    return row, problems


def _made_from(store: Store, cell: Cell, shard: Shard) -> dict[str, list[str]]:
    """Return a shard's prediction files, by the digest of the pictures they were made from."""
    found = defaultdict(list)
    for model in store.manifest.models:
        if (origin := store.origin(model, cell, shard)) is not None:
            path = store.path(model, cell, shard)
            found[origin.get("sources_sha256", "")].append(str(path))
    return found


def _digest(dataset: Dataset, distortion: Distortion | None, shard: Shard) -> str:
    """Return the digest of the files that a shard's images are read from now.

    Raises:
        DatasetError: The files are missing or cannot be read.
    """
    if distortion is None:
        raise DatasetError(f"{dataset.name} does not have this cell")
    if distortion in dataset.missing:
        raise DatasetError(f"there is no {dataset.missing[distortion]}")
    return dataset.sources(distortion, shard)


def _problem(cell: Cell, shard: Shard, file: str, digest: str, fault: str) -> str:
    """Return a line about a prediction file whose pictures differ, are unknown or unreadable."""
    if not digest:
        return f"{file} does not say which pictures it was made from"
    if fault:
        return f"the images {shard} of {cell} cannot be compared with {file}: {fault}"
    return f"the images {shard} of {cell} are not those that {file} was made from"
