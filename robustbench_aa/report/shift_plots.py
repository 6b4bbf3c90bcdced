"""Plots of the metrics of shifts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aa.report.drawing import (
    COLUMN,
    LABELLED,
    PAGE,
    PlotSpec,
    Styles,
    has,
    inches,
    label_lines,
    legend,
)
from robustbench_aa.report.leaderboard import RANKED_BY
from robustbench_aa.report.tables import Tables
from robustbench_aa.support.training_seeds import training_seed

ANTIALIASED = ("lpf", "aps", "lps", "flc", "asap", "ddac")
"""How names of weights of anti-aliased networks begin."""


def _draw_consistency(figure: Figure, tables: Tables, styles: Styles) -> None:
    consistency_against_accuracy(figure.subplots(), tables, styles)
    legend(figure, styles)


def _draw_diagonal(figure: Figure, tables: Tables, styles: Styles) -> None:
    axes = figure.subplots()
    for model, rows in tables.diagonal.groupby("model", sort=False):
        axes.plot(rows["offset"], rows["label_probability"], label=str(model), **styles[str(model)])
    axes.set(xlabel="offset along the diagonal [px]", ylabel="probability of the true class")
    label_lines(figure, axes, styles)


def _draw_worst_case(figure: Figure, tables: Tables, styles: Styles) -> None:
    """Draw worst-case accuracy with its interval against accuracy, one panel per protocol."""
    table = tables.consistency.dropna(subset="accuracy_worst")
    panels = {str(name): rows for name, rows in table.groupby("protocol", sort=False)}
    columns = min(2, len(panels))
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, (protocol, rows) in zip(grid.flat, panels.items(), strict=False):
        axes.set_title(protocol, fontsize="small")
        axes.axline((0, 0), slope=1, color="#808080", lw=0.8, linestyle=":")
        for row in rows.to_dict("records"):
            colour, accuracy = styles[row["model"]]["color"], 100 * row["accuracy"]
            bounds = 100 * row["accuracy_worst_low"], 100 * row["accuracy_worst_high"]
            axes.vlines(accuracy, *bounds, color=colour, lw=1.2)
            axes.plot(accuracy, 100 * row["accuracy_worst"], "o", ms=5, color=colour)
        axes.set_xlim(_with_room(rows["accuracy"], rows["accuracy"]))
        axes.set_ylim(_with_room(rows["accuracy_worst_low"], rows["accuracy_worst_high"]))
        axes.locator_params(nbins=5)
    figure.supxlabel("accuracy, mean over shifts [%]", fontsize="medium")
    figure.supylabel("accuracy at the worst shift [%]", fontsize="medium")
    legend(figure, styles)


def _with_room(lows: pd.Series, highs: pd.Series) -> tuple[float, float]:
    """Return limits in percent of an axis that shows fractions, or intervals of them."""
    low, high = 100 * lows.min(), 100 * highs.max()
    room = 0.1 * (high - low) + 0.5
    return low - room, high + room


def consistency_against_accuracy(axes: Axes, tables: Tables, styles: Styles) -> None:
    """Draw models as large dots, training seeds as small ones, and arrows to anti-aliased forms."""
    column = consistency_column(tables.leaderboard)
    own = tables.leaderboard[tables.leaderboard["model"].isin(styles)]
    places = {}
    for table, size in ((tables.seeds, 14), (own, 70)):
        for row in table.to_dict("records"):
            model = row["model"] if row["model"] in styles else training_seed(row["model"])[0]
            places[row["model"]] = 100 * (1 - row["clean_error"]), 100 * row[column]
            alpha = 0.9 if size > 50 else 0.5
            axes.scatter(*places[row["model"]], s=size, color=styles[model]["color"], alpha=alpha)
    for smooth, plain in antialiased_from(styles).items():
        if np.isfinite([places[smooth], places[plain]]).all():
            arrow = {"arrowstyle": "->", "color": styles[smooth]["color"], "shrinkB": 5, "lw": 1.2}
            axes.annotate("", places[smooth], places[plain], arrowprops=arrow)
    protocol = column.removeprefix("consistency_")
    axes.set(xlabel="clean accuracy [%]", ylabel=f"consistency ({protocol}) [%]")


def antialiased_from(names: Mapping[str, object]) -> dict[str, str]:
    """Return the plain model of the same architecture for each anti-aliased model that has one.

    >>> antialiased_from(dict.fromkeys(["torchvision:vgg16@random", "antialiased:vgg16@lpf3", "a"]))
    {'antialiased:vgg16@lpf3': 'torchvision:vgg16@random'}
    >>> antialiased_from(dict.fromkeys(["digits:resnet@baseline", "digits:resnet@aps-seed0"]))
    {'digits:resnet@aps-seed0': 'digits:resnet@baseline'}
    """
    architectures = {name: name.partition(":")[2].partition("@")[0] for name in names}
    smooth = {name for name in names if name.rpartition("@")[2].startswith(ANTIALIASED)}
    plain = {architectures[name]: name for name in names if name not in smooth}
    return {
        name: plain[architectures[name]]
        for name in names
        if name in smooth and architectures[name] in plain
    }


def consistency_column(leaderboard: pd.DataFrame) -> str:
    """Return the column of the consistency to draw, in the order in which they rank models."""
    known = [c for c in RANKED_BY if c.startswith("consistency_") and c in leaderboard]
    return known[0] if known else ""


def has_consistency(tables: Tables) -> bool:
    """Return whether a leaderboard has the values of the plot of consistency."""
    board = tables.leaderboard
    return has(board, "clean_error") and has(board, consistency_column(board))


SHIFT_PLOTS = {
    "consistency": PlotSpec(
        has_consistency,
        lambda models: inches(COLUMN, 2.8, models),
        _draw_consistency,
        "Consistency under shifts against clean accuracy. Large dots are models, small dots their "
        "training seeds; arrows lead from a plain model to its anti-aliased form.",
    ),
    "worst_case": PlotSpec(
        lambda tables: has(tables.consistency, "accuracy_worst"),
        lambda models: inches(PAGE, 5, models),
        _draw_worst_case,
        "Worst-case accuracy, the share of images that are classified correctly at every shift of "
        "a protocol, with its 95% interval, against the accuracy over all shifts. On the dotted "
        "line, no shift changes whether an image is classified correctly. Each panel "
        "has its own axes.",
    ),
    "diagonal": PlotSpec(
        lambda tables: has(tables.diagonal, "label_probability"),
        lambda models: inches(COLUMN, 2.4, models if models > LABELLED else 0),
        _draw_diagonal,
        "Mean probability of the true class as the crop slides along the diagonal.",
    ),
}
