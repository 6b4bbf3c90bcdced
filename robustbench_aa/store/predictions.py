"""A prediction file: its columns, its footer, and the checks when it is read."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from robustbench_aa.errors import DamagedShard
from robustbench_aa.store.seal import SEAL, UNSEALED, is_intact, sealed
from robustbench_aa.store.storage import write_whole
from robustbench_aa.types import NO_LABEL

TOP = tuple(f"top{rank}" for rank in range(1, 6))
"""The columns of the most likely classes."""
SCHEMA = pa.schema(
    [
        ("image", pa.int32()),
        ("frame", pa.int16()),
        ("label", pa.int32()),
        *((name, pa.int32()) for name in TOP),
        ("top1_probability", pa.float32()),
        ("label_probability", pa.float32()),
    ]
)
"""A prediction. `top1` to `top5` are classes, most likely first; −1 beyond the last class."""
RANKING = "ranking"
"""The optional column of all classes, most likely first."""
UNSHIFTED_PROBABILITY = "unshifted_probability"
"""The optional column of shifts: the probability of the class of the frame without a shift."""
FAST = {"compression": "snappy", "use_dictionary": [f"{RANKING}.list.element"]}
"""How files are written: a tenth larger than with zstd and more dictionaries, but read in half the
time."""
ROUNDING = 1e-5
"""By how much a probability may exceed 1."""
FOOTER = b"robustbench_aa"
"""The key of the footer in a file's metadata."""
_UNREADABLE = (pa.ArrowException, OSError, KeyError, ValueError, TypeError, RecursionError)
"""What reading a damaged file can raise."""


class Content(NamedTuple):
    """Digests of the images that a shard's predictions were made from.

    Attributes:
        sources_sha256: of the bytes that the images were read from.
        frames_sha256: of the frames that the models saw; rounding can change them.
        stamp_sha256: of the files' sizes and modification times; empty where there are no files.
    """

    sources_sha256: str = ""
    frames_sha256: str = ""
    stamp_sha256: str = ""


class Footer(BaseModel):
    """The footer of a prediction file: what its predictions belong to and were made with.

    Files of earlier versions lack some of the last five entries.

    Attributes:
        identity: everything that the predictions depend on.
        environment: versions, decoders, device and precision.
        command: the command line of the session; empty for a session in Python.
        decoded_sha256: the digest of a few decoded images of the data set.
        sources_sha256, frames_sha256, stamp_sha256: as in `Content`.
    """

    model_config = ConfigDict(strict=True)

    identity: dict[str, Any]
    environment: dict[str, str]
    command: str = ""
    decoded_sha256: str = ""
    sources_sha256: str = ""
    frames_sha256: str = ""
    stamp_sha256: str = ""

    def provenance(self) -> dict[str, str]:
        """Return the environment and the other recorded entries, without the identity."""
        recorded = self.model_dump(exclude={"identity", "environment"}, exclude_unset=True)
        return self.environment | recorded


@dataclass(frozen=True)
class Layout:
    """The size and form of a prediction file.

    Attributes:
        images: number of images.
        frames: number of frames of each image.
        classes: number of classes of the model.
        ranked: whether the file has the `RANKING` column.
        shifted: whether the file has the `UNSHIFTED_PROBABILITY` column.
        labelled: whether the images have labels. Otherwise, every label is `NO_LABEL`, and its
            probability is NaN.
    """

    images: int
    frames: int
    classes: int
    ranked: bool
    shifted: bool = False
    labelled: bool = True

    @property
    def rows(self) -> int:
        """The number of predictions."""
        return self.images * self.frames

    @property
    def schema(self) -> pa.Schema:
        """The columns of the file."""
        schema = SCHEMA
        if self.shifted:
            schema = schema.append(pa.field(UNSHIFTED_PROBABILITY, pa.float32()))
        if self.ranked:
            schema = schema.append(pa.field(RANKING, pa.list_(pa.uint16(), self.classes)))
        return schema


def empty_columns(layout: Layout) -> dict[str, np.ndarray]:
    """Return uninitialised columns for the predictions of a file."""
    columns = {
        field.name: np.empty(layout.rows, field.type.to_pandas_dtype())
        for field in layout.schema
        if field.name != RANKING
    }
    if layout.ranked:
        columns[RANKING] = np.empty((layout.rows, layout.classes), np.uint16)
    return columns


def write_predictions(
    path: Path, columns: Mapping[str, np.ndarray], layout: Layout, footer: Mapping[str, Any]
) -> None:
    """Write a prediction file with its seal, which appears under its name whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps({**footer, SEAL: UNSEALED})
    schema = layout.schema.with_metadata({FOOTER: text})
    table = pa.table([_column(columns[field.name], field.type) for field in schema], schema=schema)
    file = io.BytesIO()
    pq.write_table(table, file, write_page_checksum=True, **FAST)
    content = sealed(file.getvalue())
    write_whole(path, lambda beside: beside.write_bytes(content))


def _column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def read_footer(content: bytes) -> Footer | None:
    """Return the footer of a prediction file without reading its predictions; None if damaged."""
    try:
        metadata = pq.read_metadata(pa.BufferReader(content)).metadata
        return as_footer((metadata or {})[FOOTER])
    except _UNREADABLE:
        return None


def as_footer(text: bytes) -> Footer | None:
    """Return a footer from its JSON; None if it lacks an entry, or has one of another type."""
    try:
        return Footer.model_validate_json(text)
    except ValueError:
        return None


def read_content(
    content: bytes, path: Path, layout: Layout, identity: Mapping[str, Any]
) -> Content:
    """Return the digests of a prediction file after checking that its predictions are valid.

    They are decoded only if the seal does not show that they are as they were written.

    Args:
        content, path, layout, identity: as in `read_predictions`.

    Raises:
        DamagedShard: the file is damaged, or belongs to another run; names the path.
    """
    if is_intact(content):
        with _opened(content, path, layout, identity) as (_, text):
            pass
    else:
        _, text = read_predictions(content, path, layout, identity)
    footer = json.loads(text)
    return Content(*(str(footer.get(name, "")) for name in Content._fields))


def read_predictions(
    content: bytes,
    path: Path,
    layout: Layout,
    identity: Mapping[str, Any],
    columns: Sequence[str] | None = None,
) -> tuple[pa.Table, bytes]:
    """Return the predictions of a file after checking that they are valid, and its footer's JSON.

    A file whose seal is intact is as it was written, so that only the columns in question are
    decoded and checked. Any other file is decoded and checked whole.

    Args:
        content: the bytes of the file.
        path: the file's name in messages.
        layout: the expected size and form.
        identity: the expected entry `identity` of the footer.
        columns: the columns to return, `image` and `frame` among them; None for all.

    Raises:
        DamagedShard: the file is damaged, or belongs to another run; names the path.
    """
    with _opened(content, path, layout, identity) as (file, text):
        # these files are small: to start threads for their columns takes longer than to read
        table = file.read(columns=columns if is_intact(content) else None, use_threads=False)
    problem = problem_of(table, layout) if table.num_rows == layout.rows else "too few rows"
    if problem:
        raise DamagedShard(f"prediction file {path} has {problem}")
    if layout.shifted and UNSHIFTED_PROBABILITY not in table.column_names:
        unknown = pa.array(np.full(layout.rows, np.nan, np.float32))
        table = table.append_column(UNSHIFTED_PROBABILITY, unknown)
    return table if columns is None else table.select(columns), text


@contextmanager
def _opened(
    content: bytes, path: Path, layout: Layout, identity: Mapping[str, Any]
) -> Iterator[tuple[pq.ParquetFile, bytes]]:
    """Open a prediction file with its footer's JSON, and check all but its predictions."""
    try:
        with pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True) as file:
            text = (file.schema_arrow.metadata or {})[FOOTER]
            if json.loads(text)["identity"] != identity:
                raise DamagedShard(f"prediction file {path} belongs to another run")
            known = (layout.schema, replace(layout, shifted=False).schema)  # an earlier version's
            if file.schema_arrow.remove_metadata() not in known:
                raise DamagedShard(f"prediction file {path} has unexpected columns")
            rows = file.metadata.num_rows
            if rows != layout.rows:
                raise DamagedShard(f"prediction file {path} has {rows} rows, not {layout.rows}")
            yield file, text
    except _UNREADABLE as error:
        raise DamagedShard(f"damaged prediction file {path}") from error


def problem_of(table: pa.Table, layout: Layout) -> str | None:
    """Return why no evaluation can have made a table of predictions, or None if it is valid.

    Args:
        table: columns of a prediction file, `image` and `frame` among them.
        layout: the expected size and form.
    """
    if any(column.null_count for column in table.columns):
        return "missing values"
    columns = {name: table[name].to_numpy() for name in table.column_names if name != RANKING}
    places = columns["frame"].reshape(-1, layout.frames)
    images = columns["image"].reshape(-1, layout.frames)
    ordered = (places == np.arange(layout.frames)).all() and (images == images[:, :1]).all()
    if not ordered or not are_distinct(images[:, 0]):
        return "images or frames that are repeated or out of order"
    problem = _problem_of_classes(columns, layout) or _problem_of_probabilities(columns, layout)
    if problem or RANKING not in table.column_names:
        return problem
    return _problem_of_ranking(table[RANKING], layout.classes)


def _problem_of_classes(columns: Mapping[str, np.ndarray], layout: Layout) -> str | None:
    classes, known = layout.classes, min(5, layout.classes)
    label = columns.get("label")
    if label is not None and not layout.labelled and not (label == NO_LABEL).all():
        return "labels, and the images have none"
    named = [*TOP[:known], *(["label"] if layout.labelled else [])]
    for values in (columns[name] for name in named if name in columns):
        if values.min() < 0 or values.max() >= classes:
            return f"classes outside 0 to {classes - 1}"
    if any((columns[name] != -1).any() for name in TOP[known:] if name in columns):
        return f"more than {classes} classes"
    return None


def _problem_of_probabilities(columns: Mapping[str, np.ndarray], layout: Layout) -> str | None:
    named = [name for name in columns if name.endswith("_probability")]
    if not layout.labelled:
        named = [name for name in named if name != "label_probability"]
    for values in (columns[name] for name in named):
        if not (values.min() >= 0 and values.max() <= 1 + ROUNDING):  # NaN too
            return "probabilities outside 0 to 1"
    return None


def _problem_of_ranking(column: pa.ChunkedArray, classes: int) -> str | None:
    ranking = column.combine_chunks().flatten()
    if ranking.null_count:
        return "missing values"
    order = np.sort(ranking.to_numpy().reshape(-1, classes), axis=1)
    return "repeated classes in a ranking" if (order != np.arange(classes)).any() else None


def are_distinct(numbers: np.ndarray) -> bool:
    """Return whether no number is repeated."""
    ascending = bool((np.diff(numbers) > 0).all())  # the usual case, quick to check
    return ascending or len(np.unique(numbers)) == len(numbers)
