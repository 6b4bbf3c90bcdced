"""Comparison of a data set's images with those that the predictions of a run were made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd

from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.datasets.image_lists import read_image_list
from robustbench_aa.errors import DatasetError, UnknownName, UsageError
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import open_directory
from robustbench_aa.types import NO_LABELS, Distortion, Shard

Track = Callable[[Sequence[Cell]], Iterable[Cell]]
"""A function that yields the cells it is given and shows the progress."""


def compare_sources(
    directory: str | os.PathLike[str],
    name: str,
    data_dir: str,
    track: Track = iter,
    images: str | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Read all pictures that predictions were made from and compare their digests.

    Sizes and times of files are not trusted: every file is read.

    Args:
        directory: Directory of the run.
        name: Name of the data set.
        data_dir: Folder of its files.
        track: Shows the progress over the cells.
        images: File that lists the images that the run measured. None means that it had no list.

    Returns:
        A table with a row for each cell, and a line for each prediction file that was made from
        other pictures or does not record its pictures.

    Raises:
        RunError: There is no run in the directory.
        UnknownName: The run has no such data set.
        UsageError: The folder has another number of images than the run, or the run measured
            another list of images.
    """
    store = Store.of_run(open_directory(directory))
    if name not in store.manifest.datasets:
        raise UnknownName("data set of the run", name, store.manifest.datasets)
    request = request_of(store.manifest, name, data_dir, images)
    measured = store.manifest.datasets[name]
    if measured.get("image_list_sha256", "") != request.listed:
        listed = measured.get("image_list_sha256", "")[:12] or "no list"
        raise UsageError(
            f"{directory} measured the images of {listed}, and not those of {images or 'no list'}; "
            "give the same list by --images"
        )
    dataset = open_dataset(name, request)
    if dataset.images != measured["images"]:
        raise UsageError(
            f"{data_dir} has {dataset.images} images, and {directory} measured "
            f"{measured['images']}; check --data-dir"
        )
    rows, problems = [], []
    for cell in track(store.cells(name)):
        compared = [*_compare(store, dataset, cell)]
        found = [problem for problem in compared if problem]
        if compared:
            row = {"cell": str(cell.distortion), "prediction_files": len(compared)}
            rows.append(row | {"differ": len(found)})
        problems += found
    return pd.DataFrame(rows), problems


def request_of(
    manifest: Manifest, name: str, data_dir: str | None, images: str | None = None
) -> Request:
    """Return a request for the images that a run measured, with its seed.

    Args:
        manifest: the run.
        name: the data set.
        data_dir: its folder.
        images: the list of the images, if the run measured one.
    """
    described = manifest.datasets[name]
    rule = described["labels"]["rule"]
    return Request(
        limit=described["images"],
        seed=manifest.seed,
        images=read_image_list(images) if images else None,
        data_dir=data_dir,
        # the numbers of class folders may begin at 1
        classes=described["classes"] + 1 if rule == "numbered folders" else None,
        unlabelled=rule == NO_LABELS,
    )


def _compare(store: Store, dataset: Dataset, cell: Cell) -> Iterator[str]:
    """Yield the problem of each prediction file of a cell; an empty text if it has none."""
    by_name = {str(distortion): distortion for distortion in dataset.distortions}
    distortion = by_name.get(str(cell.distortion))
    for shard in store.shards(cell.dataset):
        made_from = _made_from(store, cell, shard)
        if not made_from:
            continue
        now, fault = "", ""
        try:
            now = _digest(dataset, distortion, shard)
        except DatasetError as error:
            fault = str(error)
        for file, digest in made_from.items():
            same = digest and digest == now
            yield "" if same else _problem(cell, shard, file, digest, fault)


def _made_from(store: Store, cell: Cell, shard: Shard) -> dict[str, str]:
    """Return the digest of the pictures that each prediction file of a shard was made from."""
    origins = {
        str(store.path(model, cell, shard)): store.origin(model, cell, shard)
        for model in store.manifest.models
    }
    return {file: one.get("sources_sha256", "") for file, one in origins.items() if one is not None}


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
