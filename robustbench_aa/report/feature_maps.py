"""Feature distance as heat maps: a row per model, a column per layer, one colour scale."""

from __future__ import annotations

import pandas as pd

from robustbench_aa.report.drawing import Plot, new_figure

INCHES = 1.3
"""Height and width of a map."""


def draw_feature_maps(maps: pd.DataFrame) -> Plot:
    """Draw the feature distance of every layer of some models.

    Args:
        maps: The `distance` for each `model`, `layer` (its position is `order`) and offset `down`,
            `right`.
    """
    models = list(dict.fromkeys(maps["model"]))
    columns = maps.groupby("model")["layer"].nunique().max()
    with new_figure((INCHES * columns + 1.5, (INCHES + 0.4) * len(models) + 0.6)) as figure:
        grid = figure.subplots(len(models), columns, squeeze=False)
        top = maps["distance"].max() or 1.0
        for axes_row, model in zip(grid, models, strict=True):
            rows = maps[maps["model"] == model]
            layers = list(dict.fromkeys(rows.sort_values("order", kind="stable")["layer"]))
            for axes in axes_row[len(layers) :]:
                axes.set_axis_off()
            for axes, layer in zip(axes_row, layers, strict=False):
                distances = rows[rows["layer"] == layer]
                square = distances.pivot_table(index="down", columns="right", values="distance")
                image = axes.imshow(square, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
                axes.set_title(f"{layer}\n{distances['distance'].mean():.3f}", fontsize=7)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
            axes_row[0].set_ylabel(model, fontsize=8)
        bar = figure.colorbar(image, ax=grid, fraction=0.02, pad=0.01)
        bar.set_label("cosine distance of features", fontsize=8)
        figure.supxlabel(
            "offset to the right, from 0 px (vertical axis: down); mean above each map", fontsize=8
        )
    return Plot(
        figure,
        f"Feature distance of {', '.join(models)}: a map for each layer, from 0 (black, "
        f"equivariant) to {top:.2f}.",
    )
