"""Predictions: the columns that they have in a file, and what no evaluation writes there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

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
ROUNDING = 1e-5
"""By how much a probability may exceed 1."""


class Content(NamedTuple):
    """What the predictions of a shard were made from.

    Attributes:
        sources_sha256: of the bytes that its images were read from.
        frames_sha256: of the frames that the models saw, which rounding can change.
        stamp_sha256: of its files' sizes and times; empty where there are no files.
    """

    sources_sha256: str = ""
    frames_sha256: str = ""
    stamp_sha256: str = ""


def schema_of(ranked: int) -> pa.Schema:
    """The columns, with the ranking of so many classes; 0 for none."""
    if not ranked:
        return SCHEMA
    return SCHEMA.append(pa.field(RANKING, pa.list_(pa.uint16(), ranked)))


def empty_rows(count: int, ranked: int) -> dict[str, np.ndarray]:
    """The columns with room for so many predictions.

    Args:
        ranked: as in `schema_of`.
    """
    rows = {field.name: np.empty(count, field.type.to_pandas_dtype()) for field in SCHEMA}
    if ranked:
        rows[RANKING] = np.empty((count, ranked), np.uint16)
    return rows


def as_table(rows: Mapping[str, np.ndarray], schema: pa.Schema) -> pa.Table:
    """The columns as a table of a schema."""
    return pa.table([_column(rows[of.name], of.type) for of in schema], schema=schema)


def _column(values: np.ndarray, kind: pa.DataType) -> pa.Array:
    if values.ndim == 1:
        return pa.array(values, kind)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])


def fault_of(table: pa.Table, frames: int, classes: int) -> str | None:
    """What no evaluation writes, in words: of such predictions a figure would be wrong.

    Args:
        table: of the columns of a schema, whole images.
        frames: of each image.
        classes: that the model has.
    """
    if any(column.null_count for column in table.columns):
        return "holes"
    columns = {name: table[name].to_numpy() for name in SCHEMA.names}
    places = columns["frame"].reshape(-1, frames)
    images = columns["image"].reshape(-1, frames)
    ordered = (places == np.arange(frames)).all() and (images == images[:, :1]).all()
    if not ordered or not are_distinct(images[:, 0]):
        return "images or frames twice, or in disorder"
    known = min(5, classes)
    top = np.stack([columns[f"top{rank}"] for rank in range(1, 6)])
    lowest, highest = top[:known].min(), max(top.max(), columns["label"].max())
    if min(lowest, columns["label"].min()) < 0 or highest >= classes:
        return f"classes that are not 0 to {classes - 1}"
    if (top[known:] != -1).any():
        return "more classes than there are"
    probabilities = np.stack([columns["top1_probability"], columns["label_probability"]])
    if not (probabilities.min() >= 0 and probabilities.max() <= 1 + ROUNDING):  # NaN too
        return "probabilities that are not 0 to 1"
    return _fault_of_ranking(table[RANKING], classes) if RANKING in table.schema.names else None


def _fault_of_ranking(column: pa.ChunkedArray, classes: int) -> str | None:
    ranking = column.combine_chunks().flatten()
    if ranking.null_count:
        return "holes"
    order = np.sort(ranking.to_numpy().reshape(-1, classes), axis=1)
    return "classes twice in a ranking" if (order != np.arange(classes)).any() else None


def are_distinct(numbers: np.ndarray) -> bool:
    """Whether no number is there twice."""
    ascending = bool((np.diff(numbers) > 0).all())  # which is quick to see
    return ascending or len(np.unique(numbers)) == len(numbers)
