"""Merging: one run of several that were made apart, on other machines or on other days."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from robustbench_aa.errors import DamagedShard, RunError
from robustbench_aa.run import Run
from robustbench_aa.store.manifest import RUN, Manifest
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import LOCK, exists, locked, open_directory, patiently
from robustbench_aa.types import Shard

Place = tuple[str, Cell, Shard]


def merge_runs(
    runs: Sequence[str | os.PathLike[str]],
    output_dir: str | os.PathLike[str],
    command: str | None = None,
) -> Run:
    """Joins runs: all their models, data sets and prediction files, which are copied.

    What two runs both have must be the same; of two files with the same predictions, that of the
    run named first stays. Nothing is written before everything has been read and found to go
    together. Interrupted, the same call goes on.

    Args:
        runs: directories. They stay as they are.
        output_dir: a new or empty directory, or a run, which takes the others up.
        command: the command line that asks for it, to be kept in `run.json`.

    Raises:
        RunError: there is no run in a directory, two contradict each other, a prediction file is
            damaged, or the output directory cannot be used; names it.
        SuiteError: together they have two data sets of a kind.
    """
    output = open_directory(output_dir)
    folders = [open_directory(run) for run in runs]
    # where there is no run yet, a refusal shall not even leave a folder
    planned = None if exists(output / RUN) else _planned(folders, output, command)
    with locked(output):
        if planned is None or exists(output / RUN):
            # an evaluation may write to a run; what is added to it must be read under the lock
            planned = _planned(folders, output, command)
        merged, chosen = planned
        merged.write_manifest()
        for file, place in chosen:
            if file != merged.path(*place):
                merged.adopt(file, *place)
    return Run(output)


def _planned(
    folders: Sequence[Path], output: Path, command: str | None
) -> tuple[Store, list[tuple[Path, Place]]]:
    """Return the run that is to be, and every file that is to be in it."""
    stores = _opened(folders, output)
    merged = Store(output, _joined(stores, command))
    merged.check_kinds()
    return merged, [*_chosen(stores, merged)]


def _opened(runs: Sequence[Path], output: Path) -> list[Store]:
    """The runs, the one in the output directory first."""
    stores = [Store.of_run(run) for run in runs if run.resolve() != output.resolve()]
    if exists(output / RUN):
        return [Store.of_run(output), *stores]
    left = {LOCK, f"{RUN}.tmp"}  # what a merge that was stopped at once leaves
    if any(name not in left for name in patiently(output, lambda: _names_in(output))):
        raise RunError(f"{output} is not empty and holds no run; choose another --output-dir")
    return stores


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _joined(stores: Sequence[Store], command: str | None) -> Manifest:
    """What `run.json` will say; runs of several suites are together of none."""
    for one, other in combinations(stores, 2):
        what = other.manifest.contradiction(one.manifest)
        if what:
            raise RunError(
                f"{one.directory} and {other.directory} cannot be merged: the first {what}; "
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
    """Every prediction file that is to be there, with its place."""
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


def _agreed(stores: Sequence[Store], place: Place) -> Path | None:
    """The first run's file with the predictions of a place, which all must share."""
    first, agreed = None, None
    for store in stores:
        try:
            table = store.read_shard(*place)
        except DamagedShard as error:
            raise RunError(f"{error}; delete it, or evaluate it again in its run") from error
        if table is None:
            continue
        if first is None:
            first, agreed = store.path(*place), table
        elif not table.equals(agreed):
            raise RunError(
                f"{first} and {store.path(*place)} hold different predictions; "
                "delete the one that is wrong"
            )
    return first
