"""The store: prediction files, the only state of a run.

One Parquet file for each model, data set, distortion and shard. It appears under its name only
when it is whole, and it carries page checksums and the identity of everything its predictions
depend on: neither a torn write nor predictions of other weights, data or seed are ever counted.
"""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aa.errors import DamagedShard, RunError, StoreError, SuiteError, cause
from robustbench_aa.store.manifest import RUN, Manifest
from robustbench_aa.store.predictions import (
    Content,
    are_distinct,
    as_table,
    empty_rows,
    fault_of,
    schema_of,
)
from robustbench_aa.store.schema import distortion_of, folder_of
from robustbench_aa.store.storage import (
    each,
    readable,
    unreadable_now,
    unwritable,
    write_whole,
)
from robustbench_aa.types import Distortion, Shard, kind, shards

PROMISED_FILES, PROMISED_OUTCOMES = 100_000, 20_000_000
"""What a run may promise before it has anything to show for it."""
FILES_A_FILE, OUTCOMES_A_BYTE = 1000, 100
"""How much more it may promise than there is; a prediction takes several bytes."""
_METADATA_KEY = b"robustbench_aa"
_UNREADABLE = (pa.ArrowException, OSError, KeyError, ValueError, TypeError, RecursionError)
"""What reading a file of somebody else's raises, and what is told in it."""
RECENT = ("command", "decoded_sha256")
"""What the footers of prediction files may lack."""
NOTHING = Content()
_log = logging.getLogger(__name__)


class Cell(NamedTuple):
    """A distortion of a data set: what one model's predictions are complete for, or not."""

    dataset: str
    distortion: Distortion
    frames: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.distortion}"


def _check_readable(path: Path, error: Exception) -> None:
    """Tell a file that the system cannot read now from one that is damaged.

    Raises:
        StoreError: the error is the system's, which says nothing about the file's content.
    """
    # pyarrow's own errors have no number; a damaged footer may ask for a place that is not there
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise unreadable_now(path, error) from error


def _images(described: Mapping[str, Any]) -> str:
    """Return which images a data set has, in words."""
    return f"{described['collection']} of {described['classes']} classes"


class Store:
    """The prediction files of one run.

    Args:
        directory: of the run.
        manifest: what it measures.
    """

    def __init__(self, directory: Path, manifest: Manifest) -> None:
        self.directory = directory
        self.manifest = manifest

    @classmethod
    def of_run(cls, directory: Path) -> Store:
        """Opens an existing run for reading.

        Raises:
            RunError: there is none, its `run.json` cannot be read, or it promises far more
                predictions than there are.
            SuiteError: it has two data sets of a kind.
        """
        manifest = Manifest.read(directory)
        if manifest is None:
            raise RunError(f"no run in {directory} (it has no run.json); check the path")
        store = cls(directory, manifest)
        store.check_kinds()
        store._check_promises()
        return store

    def _check_promises(self) -> None:
        """A report takes time and memory for what is missing too, so that has its bounds."""
        files = outcomes = 0
        for of in self.manifest.datasets.values():
            pairs = len(self.manifest.models) * len(of["distortions"])
            files += pairs * -(-of["images"] // self.manifest.shard_size)
            outcomes += pairs * of["images"]
        if files <= PROMISED_FILES and outcomes <= PROMISED_OUTCOMES:
            return
        there = (self.directory / "predictions").rglob("*.parquet")
        sizes = [file.stat().st_size for file in there if not file.is_symlink()]
        if files > max(PROMISED_FILES, FILES_A_FILE * len(sizes)) or outcomes > max(
            PROMISED_OUTCOMES, OUTCOMES_A_BYTE * sum(sizes)
        ):
            raise RunError(
                f"{self.directory / 'run.json'} promises {files:,} prediction files of "
                f"{outcomes:,} outcomes, and there are {len(sizes):,} of {sum(sizes):,} bytes; "
                "evaluate more of it first"
            )

    @classmethod
    def continued(cls, directory: Path, manifest: Manifest) -> Store:
        """Starts a run, or takes up the one that is there, without writing anything yet.

        Raises:
            RunError: the run that is there contradicts the manifest.
        """
        store = cls(directory, manifest)
        store.join_earlier()
        return store

    def join_earlier(self) -> None:
        """Join the manifest with that of the run in the directory, if there is one.

        Raises:
            RunError: The run that is there contradicts the manifest.
        """
        earlier = Manifest.read(self.directory)
        if earlier is None:
            return
        # what was never predicted may change, such as a data set whose bad files were removed
        held = Store(self.directory, earlier)
        datasets = {name: of for name, of in earlier.datasets.items() if held.holds(name)}
        earlier = replace(earlier, datasets=datasets)
        self.manifest = self.manifest.joined(earlier, self.directory)

    def holds(self, dataset: str) -> bool:
        """Return whether there is any prediction file of a data set."""
        folder = self.directory / "predictions"
        return any(
            next((folder / folder_of(model) / folder_of(dataset)).rglob("*.parquet"), None)
            for model in self.manifest.models
        )

    def write_manifest(self) -> None:
        """Writes `run.json`.

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
        """All that a data set defines, whether or not it has been evaluated."""
        return [
            Cell(dataset, distortion_of(entry), entry["frames"])
            for entry in self.manifest.datasets[dataset]["distortions"]
        ]

    def kinds(self) -> dict[str, str]:
        """The run's data set of each kind: `corruption`, `shift`, `clean`."""
        return {
            kind(cell.distortion for cell in self.cells(dataset)): dataset
            for dataset in self.manifest.datasets
        }

    def check_kinds(self) -> None:
        """Check that one leaderboard can show all of the run's data sets.

        It has one column for a metric, so a run has one data set of each kind, and ranks models by
        what they make of the same images.

        Raises:
            SuiteError: two data sets are of a kind, or of different images; names both.
        """
        first = next(iter(self.manifest.datasets))
        for name, described in self.manifest.datasets.items():
            of = kind(cell.distortion for cell in self.cells(name))
            other = self.kinds()[of]
            if other != name:
                raise SuiteError(
                    f"{name} and {other} both measure {of}; give them an --output-dir each"
                )
            one, two = (_images(of) for of in (self.manifest.datasets[first], described))
            if one != two:
                raise SuiteError(
                    f"{first} has {one} and {name} has {two}, which cannot share a leaderboard; "
                    "give them an --output-dir each"
                )

    def shards(self, dataset: str) -> list[Shard]:
        """The ranges that a data set's images are divided into."""
        return shards(self.manifest.datasets[dataset]["images"], self.manifest.shard_size)

    def path(self, model: str, cell: Cell, shard: Shard) -> Path:
        """Where the predictions of a shard lie or will lie."""
        folder = self.directory / "predictions" / folder_of(model) / folder_of(cell.dataset)
        return folder / str(cell.distortion) / f"{shard}.parquet"

    def has(self, model: str, cell: Cell, shard: Shard) -> bool:
        """Return whether the predictions of a shard are there and whole."""
        return self.content(model, cell, shard) is not None

    def content(self, model: str, cell: Cell, shard: Shard) -> Content | None:
        """Return what the predictions of a shard were made from; None unless they are whole.

        A damaged file is warned of.

        Raises:
            StoreError: the file cannot be read now.
        """
        try:
            table = self.read_shard(model, cell, shard)
        except DamagedShard as error:
            _log.warning("%s; the shard counts as missing and is evaluated again", error)
            return None
        if table is None:
            return None
        told = json.loads(table.schema.metadata[_METADATA_KEY])
        return Content(*(str(told.get(name, "")) for name in Content._fields))

    def commit(
        self,
        model: str,
        cell: Cell,
        shard: Shard,
        rows: Mapping[str, np.ndarray],
        content: Content = NOTHING,
    ) -> None:
        """Stores the predictions of a shard: afterwards they are there whole, or not at all.

        Args:
            rows: the columns of the store's `schema`.
            content: what they were made from.

        Raises:
            StoreError: the disk is full, or the directory cannot be written any more.
        """
        told = {
            "identity": self._identity(model, cell, shard),
            "environment": self.manifest.environment,
            "decoded_sha256": self.manifest.decoded.get(cell.dataset, ""),
            "command": self.manifest.command or "",
            **content._asdict(),
        }
        metadata = {_METADATA_KEY: json.dumps(told)}
        table = as_table(rows, self._schema(model)).replace_schema_metadata(metadata)
        path = self.path(model, cell, shard)
        try:
            write_whole(
                path,
                lambda beside: pq.write_table(
                    table, beside, compression="zstd", write_page_checksum=True
                ),
            )
        except OSError as error:
            raise StoreError(
                f"cannot write {path} ({error.strerror or cause(error)}); when that is mended, the "
                "same command resumes"
            ) from error

    def adopt(self, file: Path, model: str, cell: Cell, shard: Shard) -> None:
        """Takes over a whole prediction file of another run, as it is."""
        path = self.path(model, cell, shard)
        write_whole(path, lambda beside: beside.write_bytes(file.read_bytes()))

    def origin(self, model: str, cell: Cell, shard: Shard) -> dict[str, str] | None:
        """What the predictions of a shard were made with, by its file's footer alone.

        Returns:
            The environment, the command (empty for a session from Python), the hash of a few
            decoded pictures and the parts of a `Content`; None where the file is missing,
            truncated or of another run.

        Raises:
            StoreError: the file cannot be read now.
        """
        path = self.path(model, cell, shard)
        if (source := readable(path)) is None:
            return None
        try:
            told = json.loads((pq.read_metadata(source).metadata or {})[_METADATA_KEY])
            if told["identity"] != self._identity(model, cell, shard):
                return None
            recent = {key: told[key] for key in (*RECENT, *Content._fields) if key in told}
            origin = {**told["environment"], **recent}
            json.dumps(origin, ensure_ascii=False).encode()  # halves of characters are no text
        except _UNREADABLE as error:
            _check_readable(path, error)
            return None
        return origin if all(isinstance(value, str) for value in origin.values()) else None

    def read(self, model: str, cell: Cell, columns: Iterable[str]) -> pd.DataFrame | None:
        """The predictions of a cell, or None while any shard of it is missing or damaged.

        Raises:
            StoreError: a file cannot be read now.
        """
        tables: list[pa.Table] = []
        places = [(model, cell, shard) for shard in self.shards(cell.dataset)]
        try:
            for table in each(self.directory, lambda of: self.read_shard(*of), places):
                if table is None:
                    return None
                tables.append(table)
        except DamagedShard as error:
            _log.warning("%s; its cell stays empty until it is evaluated again", error)
            return None
        whole = pa.concat_tables(tables)
        if not are_distinct(whole["image"].to_numpy()[:: cell.frames]):
            _log.warning("prediction files of %s, %s share images; it stays empty", model, cell)
            return None
        frame: pd.DataFrame = whole.select(list(columns)).to_pandas()
        return frame

    def read_shard(self, model: str, cell: Cell, shard: Shard) -> pa.Table | None:
        """The predictions of a shard in the store's `schema`; None if they are not there.

        Raises:
            DamagedShard: its file is not whole, or not of this run; names it.
            StoreError: it cannot be read now.
        """
        path = self.path(model, cell, shard)
        if (source := readable(path)) is None:
            return None
        expected = (shard.stop - shard.start) * cell.frames
        try:
            with pq.ParquetFile(source, page_checksum_verification=True) as file:
                told = json.loads((file.schema_arrow.metadata or {})[_METADATA_KEY])["identity"]
                if told != self._identity(model, cell, shard):
                    raise DamagedShard(f"prediction file {path} is of another run")
                if file.schema_arrow.remove_metadata() != self._schema(model):
                    raise DamagedShard(f"prediction file {path} has other columns")
                rows = file.metadata.num_rows
                if rows != expected:
                    raise DamagedShard(f"prediction file {path} has {rows} rows, not all")
                table = file.read()
        except _UNREADABLE as error:
            _check_readable(path, error)
            raise DamagedShard(f"damaged prediction file {path}") from error
        whole = table.num_rows == expected
        fault = fault_of(table, cell.frames, self._classes(model)) if whole else "too few rows"
        if fault:
            raise DamagedShard(f"prediction file {path} has {fault}")
        return table

    def empty_rows(self, model: str, count: int) -> dict[str, np.ndarray]:
        """The columns of a model's predictions with room for so many."""
        return empty_rows(count, self._ranked(model))

    def _schema(self, model: str) -> pa.Schema:
        return schema_of(self._ranked(model))

    def _ranked(self, model: str) -> int:
        """How many classes the model's predictions hold the order of."""
        return self._classes(model) if self.manifest.keep_ranking else 0

    def _classes(self, model: str) -> int:
        classes: int = self.manifest.models[model]["classes"]
        return classes

    def _identity(self, model: str, cell: Cell, shard: Shard) -> dict[str, Any]:
        return {
            "schema": self.manifest.schema,
            "seed": self.manifest.seed,
            "model": self.manifest.models[model],
            "dataset": self.manifest.datasets[cell.dataset]["sha256"],
            "distortion": str(cell.distortion),
            "version": cell.distortion.version,
            "source": cell.distortion.source,
            "shard": list(shard),
            "images": self.manifest.datasets[cell.dataset]["images"],
        }
