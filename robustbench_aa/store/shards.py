"""The shards of a run: prediction files, the only state.

A run has one Parquet file for each model, data set, distortion and shard. A file appears under its
name only when it is whole. It carries page checksums and the identity of everything its predictions
depend on, so that neither a torn write nor predictions of other weights, data or seed are counted.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from robustbench_aa.errors import DamagedShard, RunError, StoreError, cause
from robustbench_aa.store.dataset_schema import distortion_of, folder_of
from robustbench_aa.store.kinds import check_kinds
from robustbench_aa.store.limits import check_size
from robustbench_aa.store.manifest import RECORDED, RUN, Manifest
from robustbench_aa.store.predictions import (
    Content,
    Layout,
    are_distinct,
    as_footer,
    empty_columns,
    read_content,
    read_footer,
    read_predictions,
    write_predictions,
)
from robustbench_aa.store.storage import each, patiently, readable, unwritable, write_whole
from robustbench_aa.types import (
    NO_LABELS,
    Distortion,
    Shard,
    is_default,
    shards,
    unshifted,
)

NO_CONTENT = Content()
_log = logging.getLogger(__name__)


class Cell(NamedTuple):
    """A distortion of a data set, for which the predictions of a model are complete or not."""

    dataset: str
    distortion: Distortion
    frames: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.distortion}"


def _has_predictions(folder: Path) -> bool:
    return next(iter(folder.rglob("*.parquet")), None) is not None


class Store:
    """The prediction files of one run.

    Args:
        directory: the run's directory.
        manifest: the run's manifest.

    Attributes:
        members, notes: as in `JoinedStore`; a single run has none.
    """

    members: Mapping[str, Sequence[tuple[Store, str]]] = MappingProxyType({})
    notes: Sequence[str] = ()

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self._origins: dict[Path, dict[str, str]] = {}

    @classmethod
    def of_run(cls, directory: Path) -> Store:
        """Open an existing run for reading.

        Raises:
            RunError: the directory holds no run, `run.json` cannot be read, or it describes far
                more predictions than there are.
            SuiteError: the run has two data sets of one kind.
        """
        manifest = Manifest.read(directory)
        if manifest is None:
            raise RunError(f"no run in {directory} (there is no run.json); check the path")
        store = cls(directory, manifest)
        check_kinds(manifest)
        check_size(directory, manifest)
        return store

    def join_earlier(self) -> None:
        """Join the manifest with that of the run in the directory, if there is one.

        Raises:
            RunError: The run that is there contradicts the manifest, or has one of its models under
                another name.
        """
        earlier = Manifest.read(self.directory)
        if earlier is None:
            return
        # a data set without predictions may change, for example when its bad files were removed
        held = [pair for pair in product(earlier.models, earlier.datasets) if self.holds(*pair)]
        earlier = earlier.restricted({dataset for _, dataset in held})
        # and so may a model, for example when all of its cells failed
        empty = (earlier.models.keys() & self.manifest.models) - {model for model, _ in held}
        earlier = earlier.without(empty)
        self.manifest.check_names(earlier, self.directory)
        self.manifest = self.manifest.joined(earlier, self.directory)

    def holds(self, model: str, dataset: str) -> bool:
        """Return whether a model has any prediction file on a data set."""
        folder = self.directory / "predictions" / folder_of(model) / folder_of(dataset)
        return patiently(folder, partial(_has_predictions, folder))

    def write_manifest(self) -> None:
        """Write `run.json`.

        Raises:
            RunError: the directory cannot be written.
        """
        text = self.manifest.to_json()
        try:
            write_whole(
                self.directory / RUN,
                lambda beside: beside.write_text(text, encoding="utf-8"),
            )
        except OSError as error:
            raise unwritable(self.directory, error) from error

    def cells(self, dataset: str) -> list[Cell]:
        """Return all distortions of a data set, evaluated or not."""
        return [
            Cell(dataset, distortion_of(entry), entry["frames"])
            for entry in self.manifest.datasets[dataset]["distortions"]
        ]

    def selected(self, dataset: str) -> frozenset[Distortion]:
        """Return the distortions of a data set that the sessions of the run asked for."""
        known = {str(cell.distortion): cell.distortion for cell in self.cells(dataset)}
        default = [name for name, distortion in known.items() if is_default(distortion)]
        return frozenset(known[name] for name in self.manifest.selected.get(dataset, default))

    def shards(self, dataset: str) -> list[Shard]:
        """Return the shards of a data set."""
        return shards(self.manifest.datasets[dataset]["images"], self.manifest.shard_size)

    def path(self, model: str, cell: Cell, shard: Shard) -> Path:
        """Return the path of a shard's prediction file, which need not exist."""
        folders = folder_of(model), folder_of(cell.dataset), str(cell.distortion)
        return self.directory.joinpath("predictions", *folders, f"{shard}.parquet")

    def has(self, model: str, cell: Cell, shard: Shard) -> bool:
        """Return whether a shard has whole predictions."""
        return self.content(model, cell, shard) is not None

    def content(self, model: str, cell: Cell, shard: Shard) -> Content | None:
        """Return what the predictions of a shard were made from; None unless they are whole.

        A damaged file is logged as a warning.

        Raises:
            StoreError: the file cannot be read now.
        """
        path = self.path(model, cell, shard)
        if (content := readable(path)) is None:
            return None
        layout, identity = self._layout(model, cell, shard), self._identity(model, cell, shard)
        try:
            return read_content(content, path, layout, identity)
        except DamagedShard as error:
            _log.warning("%s; the shard counts as missing and will be evaluated again", error)
            return None

    def commit(
        self,
        model: str,
        cell: Cell,
        shard: Shard,
        columns: Mapping[str, np.ndarray],
        content: Content = NO_CONTENT,
    ) -> None:
        """Write the predictions of a shard, whole or not at all.

        Args:
            columns: predictions by column, as `empty_columns` makes them.
            content: what the predictions were made from.

        Raises:
            StoreError: the disk is full, or the directory can no longer be written.
        """
        footer = {
            "identity": self._identity(model, cell, shard),
            "environment": self.manifest.environment,
            "decoded_sha256": self.manifest.decoded.get(cell.dataset, ""),
            "command": self.manifest.command or "",
            **content._asdict(),
        }
        path = self.path(model, cell, shard)
        try:
            write_predictions(path, columns, self._layout(model, cell, shard), footer)
        except OSError as error:
            raise StoreError(
                f"cannot write {path} ({error.strerror or cause(error)}); fix this, then run the "
                "same command again to resume"
            ) from error

    def adopt(self, file: Path, model: str, cell: Cell, shard: Shard) -> None:
        """Copy a prediction file of another run, unchanged."""
        path = self.path(model, cell, shard)
        content = patiently(file, file.read_bytes)
        write_whole(path, lambda beside: beside.write_bytes(content))

    def origin(self, model: str, cell: Cell, shard: Shard) -> dict[str, str] | None:
        """Return the provenance of a shard, from the footer of its file alone.

        Returns:
            The environment, the command (empty for a session in Python), the digest of decoded
            images and the fields of `Content`; None if the file is missing, truncated or belongs
            to another run.

        Raises:
            StoreError: the file cannot be read now.
        """
        path = self.path(model, cell, shard)
        if path in self._origins:  # the file has just been read
            return self._origins.pop(path)
        if (content := readable(path)) is None:
            return None
        footer = read_footer(content)
        if footer is None or footer.identity != self._identity(model, cell, shard):
            return None
        return footer.provenance()

    def read(self, model: str, cell: Cell, columns: Sequence[str]) -> pd.DataFrame | None:
        """Return the predictions of a cell; None while any shard of it is missing or damaged.

        Raises:
            StoreError: a file cannot be read now.
        """
        names = [*dict.fromkeys(["image", "frame", *columns])]
        tables: list[pa.Table] = []
        places = [(model, cell, shard, names) for shard in self.shards(cell.dataset)]
        try:
            for table in each(self.directory, lambda place: self.read_shard(*place), places):
                if table is None:
                    return None
                tables.append(table)
        except DamagedShard as error:
            _log.warning("%s; the cell stays empty until it is evaluated again", error)
            return None
        whole = pa.concat_tables(tables)
        if not are_distinct(whole["image"].to_numpy()[:: cell.frames]):
            _log.warning(
                "prediction files of %s, %s share images; the cell stays empty", model, cell
            )
            return None
        frame: pd.DataFrame = whole.select(list(columns)).to_pandas()
        return frame

    def read_shard(
        self, model: str, cell: Cell, shard: Shard, columns: Sequence[str] | None = None
    ) -> pa.Table | None:
        """Return the predictions of a shard; None if its file does not exist.

        Args:
            columns: the columns to return, `image` and `frame` among them; None for all.

        Raises:
            DamagedShard: the file is damaged, or belongs to another run; names it.
            StoreError: the file cannot be read now.
        """
        path = self.path(model, cell, shard)
        if (content := readable(path)) is None:
            return None
        layout, identity = self._layout(model, cell, shard), self._identity(model, cell, shard)
        table, text = read_predictions(content, path, layout, identity, columns)
        if footer := as_footer(text):
            self._origins[path] = footer.provenance()
        return table

    def is_labelled(self, dataset: str) -> bool:
        """Return whether the images of a data set have labels."""
        rule: str = self.manifest.datasets[dataset]["labels"]["rule"]
        return rule != NO_LABELS

    def empty_columns(self, model: str, cell: Cell, shard: Shard) -> dict[str, np.ndarray]:
        """Return uninitialised columns for the predictions of a shard."""
        return empty_columns(self._layout(model, cell, shard))

    def _layout(self, model: str, cell: Cell, shard: Shard) -> Layout:
        classes = self.manifest.models[model]["classes"]
        images = shard.stop - shard.start
        shifted = unshifted(cell.distortion, cell.frames) is not None
        ranked, labelled = self.manifest.keep_ranking, self.is_labelled(cell.dataset)
        return Layout(images, cell.frames, classes, ranked, shifted, labelled)

    def _identity(self, model: str, cell: Cell, shard: Shard) -> dict[str, Any]:
        described = self.manifest.models[model].items()
        return {
            "schema": self.manifest.schema,
            "seed": self.manifest.seed,
            "model": {key: value for key, value in described if key not in RECORDED},
            "dataset": self.manifest.datasets[cell.dataset]["sha256"],
            "distortion": str(cell.distortion),
            "version": cell.distortion.version,
            "source": cell.distortion.source,
            "shard": list(shard),
            "images": self.manifest.datasets[cell.dataset]["images"],
        }
