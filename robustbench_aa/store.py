"""The store: prediction files, the only state of a run.

One Parquet file for each model, data set, distortion and shard. It appears under its name only
when it is whole, and it carries page checksums and the identity of everything its predictions
depend on: neither a torn write nor predictions of other weights, data or seed are ever counted.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from robustbench_aa.errors import DamagedShard, RunError, StoreError, SuiteError, cause
from robustbench_aa.manifest import Manifest
from robustbench_aa.types import Distortion, Shard, kind, shards

SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("frame", pa.int16()),
        ("label", pa.int32()),
        *((f"top{rank}", pa.int32()) for rank in range(1, 6)),
        ("top1_probability", pa.float32()),
        ("label_probability", pa.float32()),
    ]
)
"""A prediction. `top1` to `top5` are classes, the likeliest first; −1 beyond the last class."""
RANKING = "ranking"
"""A further column of runs that keep it: all classes, the likeliest first."""


_METADATA_KEY = b"robustbench_aa"
_log = logging.getLogger(__name__)


class Cell(NamedTuple):
    """A distortion of a data set: what one model's predictions are complete for, or not."""

    dataset: str
    distortion: Distortion
    frames: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.distortion}"


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
            RunError: there is none, or its `run.json` cannot be read.
        """
        manifest = Manifest.read(directory)
        if manifest is None:
            raise RunError(f"no run in {directory} (it has no run.json); check the path")
        return cls(directory, manifest)

    @classmethod
    def continued(cls, directory: Path, manifest: Manifest) -> Store:
        """Starts a run, or takes up the one that is there, without writing anything yet.

        Raises:
            RunError: the run that is there contradicts the manifest.
        """
        earlier = Manifest.read(directory)
        return cls(directory, manifest.joined(earlier, directory) if earlier else manifest)

    def write_manifest(self) -> None:
        """Writes `run.json`.

        Raises:
            RunError: the directory cannot be written.
        """
        text = self.manifest.to_json()
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            _write_atomically(self.directory / "run.json", lambda beside: beside.write_text(text))
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(
            f"cannot write to {self.directory} ({error.strerror}); choose another --output-dir"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes from writing to the run, also on other machines that share it.

        Raises:
            RunError: another process is at work on it, or the directory cannot be written.
        """
        lock = FileLock(self.directory / ".lock", timeout=0)
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"another process is at work on {self.directory}; wait for it, or choose another "
                "--output-dir"
            ) from error
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            yield
        finally:
            lock.release()

    def cells(self, dataset: str) -> list[Cell]:
        """All that a data set defines, whether or not it has been evaluated."""
        return [
            Cell(
                dataset,
                Distortion(entry["family"], entry["name"], entry["severity"]),
                entry["frames"],
            )
            for entry in self.manifest.datasets[dataset]["distortions"]
        ]

    def kinds(self) -> dict[str, str]:
        """The run's data set of each kind: `corruption`, `shift`, `clean`."""
        return {
            kind(cell.distortion for cell in self.cells(dataset)): dataset
            for dataset in self.manifest.datasets
        }

    def check_kinds(self) -> None:
        """A leaderboard has one column for a figure, so a run has one data set for each kind.

        Raises:
            SuiteError: it has two of a kind; names both.
        """
        for name in self.manifest.datasets:
            of = kind(cell.distortion for cell in self.cells(name))
            other = self.kinds()[of]
            if other != name:
                raise SuiteError(
                    f"{name} and {other} both measure {of}; give them an --output-dir each"
                )

    def shards(self, dataset: str) -> list[Shard]:
        """The ranges that a data set's images are divided into."""
        return shards(self.manifest.datasets[dataset]["images"], self.manifest.shard_size)

    def path(self, model: str, cell: Cell, shard: Shard) -> Path:
        """Where the predictions of a shard lie or will lie."""
        folder = self.directory / "predictions" / _folder(model) / _folder(cell.dataset)
        return folder / str(cell.distortion) / f"{shard}.parquet"

    def has(self, model: str, cell: Cell, shard: Shard) -> bool:
        """Whether the predictions of a shard are there and whole; a damaged file is told of."""
        try:
            return self.read_shard(model, cell, shard) is not None
        except DamagedShard as error:
            _log.warning("%s; the shard counts as missing and is evaluated again", error)
            return False

    def commit(self, model: str, cell: Cell, shard: Shard, rows: Mapping[str, np.ndarray]) -> None:
        """Stores the predictions of a shard: afterwards they are there whole, or not at all.

        Args:
            rows: the columns of the store's `schema`.

        Raises:
            StoreError: the disk is full, or the directory cannot be written any more.
        """
        told = {
            "identity": self._identity(model, cell, shard),
            "environment": self.manifest.environment,
            "decoded_sha256": self.manifest.decoded.get(cell.dataset, ""),
            "command": self.manifest.command or "",
        }
        schema = self._schema(model)
        columns = [_column(rows[field.name], field.type) for field in schema]
        table = pa.table(columns, schema=schema.with_metadata({_METADATA_KEY: json.dumps(told)}))
        path = self.path(model, cell, shard)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(
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
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_atomically(path, lambda beside: shutil.copyfile(file, beside))

    def origin(self, model: str, cell: Cell, shard: Shard) -> dict[str, str] | None:
        """What the predictions of a shard were made with, by its file's footer alone.

        Returns:
            The environment, the command (empty for a session from Python) and the hash of a few
            decoded pictures; None where the file is missing, truncated or of another run.
        """
        path = self.path(model, cell, shard)
        if not path.exists():
            return None
        try:
            told = json.loads((pq.read_metadata(path).metadata or {})[_METADATA_KEY])
            if told["identity"] != self._identity(model, cell, shard):
                return None
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return None
        recent = {key: told[key] for key in ("command", "decoded_sha256") if key in told}
        return {**told["environment"], **recent}

    def read(self, model: str, cell: Cell, columns: Iterable[str]) -> pd.DataFrame | None:
        """The predictions of a cell, or None while any shard of it is missing or damaged."""
        tables = []
        for shard in self.shards(cell.dataset):
            try:
                table = self.read_shard(model, cell, shard)
            except DamagedShard as error:
                _log.warning("%s; its cell stays empty until it is evaluated again", error)
                return None
            if table is None:
                return None
            tables.append(table.select(list(columns)))
        frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
        return frame

    def read_shard(self, model: str, cell: Cell, shard: Shard) -> pa.Table | None:
        """The predictions of a shard in the store's `schema`; None if they are not there.

        Raises:
            DamagedShard: its file is not whole, or not of this run; names it.
        """
        path = self.path(model, cell, shard)
        if not path.exists():
            return None
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                told = json.loads((file.schema_arrow.metadata or {})[_METADATA_KEY])["identity"]
                table = file.read()
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise DamagedShard(f"damaged prediction file {path}") from error
        if told != self._identity(model, cell, shard):
            raise DamagedShard(f"prediction file {path} is of another run")
        if table.schema.remove_metadata() != self._schema(model):
            raise DamagedShard(f"prediction file {path} has other columns")
        if table.num_rows != (shard.stop - shard.start) * cell.frames:
            raise DamagedShard(f"prediction file {path} has {table.num_rows} rows, not all")
        return table

    def empty_rows(self, model: str, count: int) -> dict[str, np.ndarray]:
        """The columns of a model's predictions with room for so many."""
        rows = {field.name: np.empty(count, field.type.to_pandas_dtype()) for field in SCHEMA}
        if self.manifest.keep_ranking:
            rows[RANKING] = np.empty((count, self.manifest.models[model]["classes"]), np.uint16)
        return rows

    def _schema(self, model: str) -> pa.Schema:
        if not self.manifest.keep_ranking:
            return SCHEMA
        classes = self.manifest.models[model]["classes"]
        return SCHEMA.append(pa.field(RANKING, pa.list_(pa.uint16(), classes)))

    def _identity(self, model: str, cell: Cell, shard: Shard) -> dict[str, Any]:
        return {
            "schema": self.manifest.schema,
            "seed": self.manifest.seed,
            "model": self.manifest.models[model],
            "dataset": self.manifest.datasets[cell.dataset]["sha256"],
            "distortion": str(cell.distortion),
            "shard": list(shard),
        }


def _column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def _folder(name: str) -> str:
    """A name as one folder: what a path cannot carry is percent-encoded."""
    encoded = quote(name, safe=" :@+=,()[]")
    return "%2E" + encoded[1:] if encoded.startswith(".") else encoded


def _write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes beside the path, makes it durable, then gives it its name in one step."""
    beside = path.with_name(path.name + ".tmp")
    try:
        write(beside)
        _flush(beside)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
