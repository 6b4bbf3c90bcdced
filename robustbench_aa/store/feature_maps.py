"""Feature maps of a run: the feature distance of models, layer by layer, in `RUN/features/`."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aa.errors import RunError, cause
from robustbench_aa.store.manifest import RUN
from robustbench_aa.store.storage import exists, open_directory, readable

FILE = "feature_maps.parquet"
COLUMNS = {"model": str, "layer": str, "order": int, "down": int, "right": int, "distance": float}
LARGEST = 10_000_000
"""Rows of the file."""
MAPS = 250
"""Models, and layers of each model; matplotlib cannot draw more as one plot."""
REACH = 1024
"""Offsets in each direction, in pixels."""


def features_folder(output_dir: str | os.PathLike[str]) -> Path:
    """Return where feature maps are written: `RUN/features` for a run, else the folder itself.

    Raises:
        UsageError: The object storage cannot be reached.
    """
    folder = open_directory(output_dir)
    return folder / "features" if exists(folder / RUN) else folder


def read_feature_maps(run: Path) -> pd.DataFrame | None:
    """Return the feature maps of a run; None if there are none.

    Args:
        run: Directory of the run.

    Raises:
        RunError: The file is damaged, or contains something else.
        StoreError: The object storage does not answer.
    """
    path = run / "features" / FILE
    if (content := readable(path)) is None:
        return None
    try:
        with pq.ParquetFile(pa.BufferReader(content)) as file:
            if file.metadata.num_rows > LARGEST or {*COLUMNS} - {*file.schema_arrow.names}:
                raise ValueError("it contains something else")
            maps: pd.DataFrame = file.read([*COLUMNS]).to_pandas().astype(COLUMNS)
        models, layers = maps["model"].nunique(), maps.groupby("model")["layer"].nunique()
        if not models or max(models, layers.max()) > MAPS or not _are_valid(maps):
            raise ValueError("it contains no maps that can be drawn")
    except Exception as error:  # Arrow and pandas raise many kinds of errors for a damaged file
        raise RunError(f"{path} is damaged ({cause(error)}); delete it") from error
    return maps


def _are_valid(maps: pd.DataFrame) -> bool:
    return bool(maps[["down", "right"]].isin(range(REACH)).all(axis=None)) and bool(
        maps["distance"].between(0, 2 + 1e-3).all()  # the range of a cosine distance
    )
