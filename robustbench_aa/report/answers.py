"""What each network answered on the images that the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pandas as pd

from robustbench_aa.errors import DamagedShard
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.support.training_seeds import groups

SEQUENCES = 3
"""The number of sequences of each perturbation."""
COLUMNS = {
    "image": "image",
    "frame": "frame",
    "label": "true_class",
    "top1": "predicted_class",
    "top1_probability": "probability",
}
"""The columns of the predictions, and their names in the table."""


def answers(store: Store) -> pd.DataFrame:
    """Return the predictions on the first images of every data set.

    They are those on the first image, clean and corrupted, of every network; and those on the
    frames of the first `SEQUENCES` sequences, of the first network of every model. Damaged or
    missing predictions have no rows.

    Returns:
        One row per network (`model`), `dataset`, `distortion`, `severity` (0 for none), `image` and
        `frame`: its `true_class` (empty without labels), the `predicted_class` and the
        `probability` of the latter.
    """
    tables = [
        _rows(store, network, cell, images)
        for dataset in store.manifest.datasets
        for cell in store.cells(dataset)
        for network, images in _asked(store, cell)
    ]
    found = [table for table in tables if table is not None]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _asked(store: Store, cell: Cell) -> Iterator[tuple[str, int]]:
    """Yield the networks whose answers are shown for a cell, and the number of images."""
    kind = cell.distortion.kind
    if kind == "perturbation":
        for networks in groups(store.manifest.models).values():
            yield networks[0], SEQUENCES
    elif kind != "shift":
        for network in store.manifest.models:
            yield network, 1


def _rows(store: Store, network: str, cell: Cell, images: int) -> pd.DataFrame | None:
    first = store.shards(cell.dataset)[0]
    with suppress(DamagedShard):  # the cell is incomplete, which the report says already
        table = store.read_shard(network, cell, first, [*COLUMNS])
        if table is not None:
            shown = table.slice(0, images * cell.frames).to_pandas()
            if not store.is_labelled(cell.dataset):
                shown["label"] = pd.NA
            distortion = cell.distortion
            shown.insert(0, "severity", distortion.severity or 0)
            shown.insert(0, "distortion", distortion.name)
            shown.insert(0, "dataset", cell.dataset)
            shown.insert(0, "model", network)
            renamed: pd.DataFrame = shown.rename(columns=COLUMNS)
            return renamed
    return None
