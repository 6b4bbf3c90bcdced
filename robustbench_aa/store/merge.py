"""Merging runs that were made on other machines or other days into one."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import pyarrow as pa

from robustbench_aa.errors import DamagedShard, RunError
from robustbench_aa.store.kinds import check_kinds
from robustbench_aa.store.manifest import RUN, Manifest
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import LOCK, exists, locked, open_directory, patiently
from robustbench_aa.types import Shard

Place = tuple[str, Cell, Shard]
"""The model, the cell and the shard of a prediction file."""


def merge(
    runs: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    command: str | None = None,
) -> Path:
    """Merge runs as `run.merge_runs` does, and return the output directory.

    Where runs hold the same predictions, the file of the first one is copied.
    """
    output = open_directory(output_dir)
    folders = [open_directory(run) for run in runs]
    # a refusal must not leave an empty folder, so a new run is planned before it is locked
    planned = None if exists(output / RUN) else _planned(folders, output, command)
    with locked(output):
        if planned is None or exists(output / RUN):
            # an evaluation may be writing to this run, so it is read again under the lock
            planned = _planned(folders, output, command)
        merged, chosen = planned
        merged.write_manifest()
        for file, place in chosen:
            if file != merged.path(*place):
                merged.adopt(file, *place)
    return output


def _planned(
    folders: Sequence[Path], output: Path, command: str | None
) -> tuple[Store, list[tuple[Path, Place]]]:
    """Return the merged run, and each prediction file to copy with its place."""
    stores = _opened(folders, output)
    merged = Store(output, _joined(stores, command))
    check_kinds(merged.manifest)
    return merged, [*_chosen(stores, merged)]


def _opened(runs: Sequence[Path], output: Path) -> list[Store]:
    """Return the runs, with the one in the output directory first."""
    stores = [Store.of_run(run) for run in runs if run.resolve() != output.resolve()]
    if exists(output / RUN):
        return [Store.of_run(output), *stores]
    left = {LOCK, f"{RUN}.tmp"}  # left by an interrupted merge
    if any(name not in left for name in patiently(output, lambda: _names_in(output))):
        raise RunError(f"{output} is not empty and holds no run; choose another --output-dir")
    return stores


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _joined(stores: Sequence[Store], command: str | None) -> Manifest:
    """Return the merged manifest; it has a suite only if all runs have the same one."""
    for one, other in combinations(stores, 2):
        reason = other.manifest.contradiction(one.manifest)
        if reason:
            raise RunError(
                f"{one.directory} and {other.directory} cannot be merged: the first {reason}; "
                "leave one of them out"
            )
    suites = {store.manifest.suite for store in stores}
    joined = stores[0].manifest
    for store in stores[1:]:
        manifest = dataclasses.replace(store.manifest, suite=None)
        joined = manifest.joined(joined, stores[0].directory)
    suite = suites.pop() if len(suites) == 1 else None
    return dataclasses.replace(joined, suite=suite, command=command)


def _chosen(stores: Sequence[Store], merged: Store) -> Iterator[tuple[Path, Place]]:
    """Yield each prediction file of the merged run, with its place."""
    for dataset in merged.manifest.datasets:
        for model in merged.manifest.models:
            holders = [
                store
                for store in stores
                if dataset in store.manifest.datasets and model in store.manifest.models
            ]
            for cell in merged.cells(dataset):
                for shard in merged.shards(dataset):
                    file = _agreed(holders, (model, cell, shard))
                    if file is not None:
                        yield file, (model, cell, shard)


def _same(one: pa.Table, other: pa.Table) -> bool:
    """Return whether predictions are equal; missing values, as without labels, are."""
    return bool(one.equals(other) or one.to_pandas().equals(other.to_pandas()))


def _agreed(stores: Sequence[Store], place: Place) -> Path | None:
    """Return the first file for a place, after checking that all runs agree on it."""
    first, agreed = None, None
    for store in stores:
        try:
            table = store.read_shard(*place)
        except DamagedShard as error:
            raise RunError(f"{error}; delete the file, or evaluate it again in its run") from error
        if table is None:
            continue
        if first is None:
            first, agreed = store.path(*place), table
        elif not _same(table, agreed):
            raise RunError(
                f"{first} and {store.path(*place)} hold different predictions; "
                "delete the one that is wrong"
            )
    return first
