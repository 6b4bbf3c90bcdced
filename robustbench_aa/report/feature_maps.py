"""Feature distance as heat maps: a row a model, a column a layer, one colour scale."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

INCHES = 1.3
"""Height and width of a map."""


def draw_feature_maps(maps: pd.DataFrame, path: Path) -> Path:
    """Draws the feature distance of every layer of some models.

    Args:
        maps: a row a `model`, `layer` (its place is `order`) and offset `down`, `right`;
            `distance` is what is drawn.
        path: of the picture, a PNG or SVG file.
    """
    models = list(dict.fromkeys(maps["model"]))
    columns = maps.groupby("model")["layer"].nunique().max()
    size = (INCHES * columns + 1.5, (INCHES + 0.4) * len(models) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
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
        row[0].set_ylabel(model, fontsize=8)
    bar = figure.colorbar(image, ax=grid, fraction=0.02, pad=0.01)
    bar.set_label("cosine distance of features", fontsize=8)
    figure.supxlabel("offset to the right, 0 and more px (down: likewise); means above", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path
