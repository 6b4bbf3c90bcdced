"""Feature distance as heat maps: a row a model, a column a layer, one colour scale."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from robustbench_aa.errors import RunError, cause
from robustbench_aa.report.plots import Drawn, drawing
from robustbench_aa.support.files import is_plain

INCHES = 1.3
"""Height and width of a map."""
FILE = "feature_maps.parquet"
"""How the file of maps is called, beside the report or by itself."""
COLUMNS = {"model": str, "layer": str, "order": int, "down": int, "right": int, "distance": float}
LARGEST = 10_000_000
"""Rows of the file."""
MAPS = 250
"""Models, and layers of each: what matplotlib can draw as one picture."""
REACH = 1024
"""Offsets in each direction, in pixels."""


def read_feature_maps(folder: Path) -> pd.DataFrame | None:
    """The feature distances that lie in a folder; None if there are none.

    Raises:
        RunError: the file is damaged, or none of feature distances.
    """
    path = folder / FILE
    if not is_plain(path):
        return None
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_rows > LARGEST or {*COLUMNS} - {*file.schema_arrow.names}:
                raise ValueError("it holds something else")
            maps: pd.DataFrame = file.read([*COLUMNS]).to_pandas().astype(COLUMNS)
        models, layers = maps["model"].nunique(), maps.groupby("model")["layer"].nunique()
        if not models or max(models, layers.max()) > MAPS or not _are_sound(maps):
            raise ValueError("it holds no maps that can be drawn")
    except Exception as error:  # Arrow and pandas raise whatever they like of a damaged file
        raise RunError(f"{path} is damaged ({cause(error)}); delete it") from error
    return maps


def _are_sound(maps: pd.DataFrame) -> bool:
    return bool(maps[["down", "right"]].isin(range(REACH)).all(axis=None)) and bool(
        maps["distance"].between(0, 2 + 1e-3).all()  # of a cosine
    )


def draw_feature_maps(maps: pd.DataFrame) -> Drawn:
    """Draws the feature distance of every layer of some models.

    Args:
        maps: a row a `model`, `layer` (its place is `order`) and offset `down`, `right`;
            `distance` is what is drawn.
    """
    models = list(dict.fromkeys(maps["model"]))
    columns = maps.groupby("model")["layer"].nunique().max()
    with drawing((INCHES * columns + 1.5, (INCHES + 0.4) * len(models) + 0.6)) as figure:
        grid = figure.subplots(len(models), columns, squeeze=False)
        top = maps["distance"].max() or 1.0
        for row, model in zip(grid, models, strict=True):
            of_model = maps[maps["model"] == model]
            layers = list(dict.fromkeys(of_model.sort_values("order", kind="stable")["layer"]))
            for axes in row[len(layers) :]:
                axes.set_axis_off()
            for axes, layer in zip(row, layers, strict=False):
                of_layer = of_model[of_model["layer"] == layer]
                square = of_layer.pivot_table(index="down", columns="right", values="distance")
                image = axes.imshow(square, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
                axes.set_title(f"{layer}\n{of_layer['distance'].mean():.3f}", fontsize=7)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
            row[0].set_ylabel(model, fontsize=8)
        bar = figure.colorbar(image, ax=grid, fraction=0.02, pad=0.01)
        bar.set_label("cosine distance of features", fontsize=8)
        figure.supxlabel(
            "offset to the right, 0 and more px (down: likewise); means above", fontsize=8
        )
    return Drawn(
        figure,
        f"Feature distance of {', '.join(models)}: a map a layer, from 0 (black, equivariant) to "
        f"{top:.2f}.",
    )
