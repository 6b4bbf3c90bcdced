"""Plots of a run for papers and for the page, made from the tables that are written as CSV."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, product
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aa.report.cell_tables import at_common_severities
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.tables import Tables
from robustbench_aa.types import CLEAN, Distortion, counted, training_seed

INK = "#010203"
"""The colour of lines and text, and the first colour. The page replaces this exact near-black."""
# the colours of Okabe and Ito, which colour-blind readers can distinguish
COLOURS = (INK, "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442")
LINES = ("-", "--", ":", "-.")
STYLE: Any = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.color": "#808080",
    "legend.frameon": False,
    "legend.fontsize": "small",
    "font.size": 9,
    "text.parse_math": False,  # names of models may contain dollar signs
    "svg.hashsalt": "robustbench_aa",  # the same tables produce the same file
}
Styles = Mapping[str, Mapping[str, Any]]
"""The `color` and `linestyle` of each model, the same in every plot."""


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure with a caption, which also serves as its alternative text."""

    figure: Figure
    caption: str

    @cached_property
    def svg(self) -> str:
        """The text of an SVG file with a transparent background."""
        file = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(
                file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
        return file.getvalue()

    def write(self, path: Path) -> list[Path]:
        """Write `<path>.png` and `<path>.svg` and return their paths."""
        path.parent.mkdir(parents=True, exist_ok=True)
        png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
        with mpl.rc_context(STYLE):
            self.figure.savefig(png, dpi=160, metadata={"Software": None})
        self.figure.set_layout_engine("none")  # the layout is found, which took half of the time
        svg.write_text(self.svg, encoding="utf-8")
        return [png, svg]


@contextmanager
def new_figure(inches: tuple[float, float]) -> Iterator[Figure]:
    """Create a figure of some width and height, in the common style."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=inches, layout="constrained")


def _draw_overview(figure: Figure, tables: Tables, styles: Styles) -> None:
    left, right = figure.subplots(1, 2)
    _error_by_severity(left, tables, styles)
    _consistency_against_accuracy(right, tables, styles)
    _legend(figure, styles)


def _draw_ranking(figure: Figure, tables: Tables, styles: Styles) -> None:
    """Draw the ranking metric of each model with its interval, the best at the top."""
    axes = figure.subplots()
    metric = ranking_column(tables.leaderboard) or ""
    rows = tables.intervals[tables.intervals["metric"] == metric].set_index("model")
    order = tables.leaderboard.dropna(subset="rank")["model"]
    for place, model in enumerate(order):
        row = rows.loc[model]
        axes.plot([row["low"], row["high"]], [place, place], color=styles[model]["color"], lw=2)
        axes.plot(row["value"], place, "o", color=styles[model]["color"])
    axes.set_yticks(range(len(order)), [_legend_label(model) for model in order])
    axes.invert_yaxis()
    axes.set_xlabel(metric.replace("_", " "))


def _draw_corruptions(figure: Figure, tables: Tables, styles: Styles) -> None:
    """Draw the error by severity, one panel per corruption."""
    table = tables.corruptions
    names = list(dict.fromkeys(table.loc[table["severity"] > 0, "corruption"]))
    rows, columns = -(-len(names) // COLUMNS), min(len(names), COLUMNS)
    if rows < 3:  # chosen corruptions
        width, height = figure.get_size_inches()
        figure.set_size_inches(max(4, width * columns / COLUMNS), height * (rows + 1) / 4)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    clean = table[table["severity"] == 0].set_index("model")["error"]
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(name, fontsize="small")
        for model, rows in table[table["corruption"] == name].groupby("model", sort=False):
            severities, errors = list(rows["severity"]), list(100 * rows["error"])
            if model in clean:
                severities, errors = [0, *severities], [100 * clean[model], *errors]
            marker = "o" if "mean_error_subset" in tables.leaderboard else ""
            axes.plot(severities, errors, lw=1.2, marker=marker, ms=3, **styles[model])
    figure.supxlabel("severity (0: clean)", fontsize="medium")
    figure.supylabel("error [%]", fontsize="medium")
    _legend(figure, styles)


def _draw_perturbations(figure: Figure, tables: Tables, styles: Styles) -> None:
    """Draw the flip probability with its interval, one row per perturbation."""
    axes = figure.subplots()
    table = tables.perturbations.dropna(subset="flip_probability")
    names = list(dict.fromkeys(table["perturbation"]))
    models = [model for model in styles if model in set(table["model"])]
    for model, offset in zip(models, _spread_out(len(models)), strict=True):
        rows = table[table["model"] == model]
        places = [names.index(name) + offset for name in rows["perturbation"]]
        low, high = 100 * rows["flip_probability_low"], 100 * rows["flip_probability_high"]
        axes.hlines(places, low, high, color=styles[model]["color"], lw=1.2)
        axes.plot(100 * rows["flip_probability"], places, "o", ms=4, color=styles[model]["color"])
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("flip probability [%]")
    _legend(figure, styles)


def _draw_consistency(figure: Figure, tables: Tables, styles: Styles) -> None:
    _consistency_against_accuracy(figure.subplots(), tables, styles)
    _legend(figure, styles)


def _draw_diagonal(figure: Figure, tables: Tables, styles: Styles) -> None:
    axes = figure.subplots()
    for model, rows in tables.diagonal.groupby("model", sort=False):
        axes.plot(rows["offset"], rows["label_probability"], lw=1.2, **styles[str(model)])
    axes.set(xlabel="offset along the diagonal [px]", ylabel="probability of the true class")
    _legend(figure, styles)


def _draw_calibration(figure: Figure, tables: Tables, styles: Styles) -> None:
    axes = figure.subplots()
    for model, rows in tables.calibration.groupby("model", sort=False):
        axes.plot(rows["severity"], rows["ece"], marker="o", ms=4, **styles[str(model)])
    axes.set(xlabel="severity (0: clean)", ylabel="expected calibration error")
    axes.set_ylim(bottom=0)
    _legend(figure, styles)


def _error_by_severity(axes: Axes, tables: Tables, styles: Styles) -> None:
    """Draw the mean error over the counted corruptions, or those of a subset, by severity."""
    table = tables.corruptions
    cells = _cells(table["corruption"], table["severity"])
    chosen = {*counted(dict.fromkeys(cells))}
    if "mean_error_subset" in tables.leaderboard:
        rows = tables.subset[tables.subset["metric"] == "mean_error_subset"]
        chosen = {CLEAN, *at_common_severities(_cells(rows["distortion"], rows["severity"]))}
    table = table[[cell in chosen for cell in cells]]
    by_severity = table.groupby(["model", "severity"], sort=False)["error"]
    # never a mean over the cells that happen to be there
    errors = by_severity.mean().where(by_severity.count() == by_severity.size()) * 100
    for model, style in styles.items():
        by_severity = errors[model].sort_index()
        axes.plot(by_severity.index, by_severity.values, marker="o", ms=4, **style)
    axes.set(xlabel="severity (0: clean)", ylabel="error, mean over corruptions [%]")


def _cells(names: pd.Series, severities: pd.Series) -> list[Distortion]:
    pairs = zip(names, severities, strict=True)
    return [Distortion("corruption", *pair) if pair[1] else CLEAN for pair in pairs]


def _consistency_against_accuracy(axes: Axes, tables: Tables, styles: Styles) -> None:
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
    """
    architectures = {name: name.partition(":")[2].partition("@")[0] for name in names}
    smooth = {name for name in names if name.rpartition("@")[2].startswith("lpf")}
    plain = {architectures[name]: name for name in names if name not in smooth}
    return {
        name: plain[architectures[name]]
        for name in names
        if name in smooth and architectures[name] in plain
    }


def consistency_column(leaderboard: pd.DataFrame) -> str:
    """Return the column of the consistency to draw: crops, the published protocol, if measured."""
    known = [c for c in ("consistency_crops", "consistency_circular") if c in leaderboard]
    return known[0] if known else ""


def _legend(figure: Figure, styles: Styles) -> None:
    lines = [mpl.lines.Line2D([], [], marker="o", ms=4, **style) for style in styles.values()]
    columns = 2 if len(styles) > 3 and figure.get_figwidth() > 5 else 1
    figure.legend(lines, map(_legend_label, styles), loc="outside upper center", ncols=columns)


def _legend_label(model: str) -> str:
    """Return a label for a legend: matplotlib hides those that start with an underscore."""
    return f" {model}" if model.startswith("_") else model


def _spread_out(count: int) -> np.ndarray:
    return np.linspace(-0.3, 0.3, count) if count > 1 else np.zeros(1)


COLUMNS = 5
"""The number of panels in a row."""


def _inches(width: float, height: float, models: int, rows: float = 0.0) -> tuple[float, float]:
    """Return the size of a plot, with room for its legend and for more rows with every model."""
    return width, height + (0.1 if width > 5 else 0.2) * models + rows * models


def _has(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(table[column].notna().any())


def _has_corrupted(tables: Tables) -> bool:
    table = tables.corruptions
    return not table.empty and _has(table[table["severity"] > 0], "error")


def _has_consistency(tables: Tables) -> bool:
    board = tables.leaderboard
    return _has(board, "clean_error") and _has(board, consistency_column(board))


class PlotSpec(NamedTuple):
    """A specification of a plot.

    Attributes:
        possible: function that returns whether the tables contain the values of the plot.
        inches: function that returns the width and height for a number of models.
        draw: function that draws the plot into a figure.
        caption: description of the plot.
    """

    possible: Callable[[Tables], bool]
    inches: Callable[[int], tuple[float, float]]
    draw: Callable[[Figure, Tables, Styles], None]
    caption: str


PLOTS = {
    "overview": PlotSpec(
        lambda tables: _has_corrupted(tables) and _has_consistency(tables),
        lambda models: _inches(9, 3.4, models),
        _draw_overview,
        "Left: error by severity, averaged over corruptions. Right: consistency under shifts "
        "against clean accuracy. Small dots are training seeds; arrows lead from a plain model to "
        "its anti-aliased form.",
    ),
    "ranking": PlotSpec(
        lambda tables: _has(tables.leaderboard, "rank"),
        lambda models: (7, 1.2 + 0.3 * models),
        _draw_ranking,
        "The metric that ranks the models, with its 95% interval over images.",
    ),
    "corruptions": PlotSpec(
        _has_corrupted,
        lambda models: _inches(9, 6.8, models),
        _draw_corruptions,
        "Error by severity, one panel per corruption.",
    ),
    "perturbations": PlotSpec(
        lambda tables: _has(tables.perturbations, "flip_probability"),
        lambda models: _inches(7, 4, models, rows=0.6),
        _draw_perturbations,
        "How often the top-1 class changes along a sequence, with 95% intervals over sequences.",
    ),
    "consistency": PlotSpec(
        _has_consistency,
        lambda models: _inches(6, 4, models),
        _draw_consistency,
        "Consistency under shifts against clean accuracy. Large dots are models, small dots their "
        "training seeds; arrows lead from a plain model to its anti-aliased form.",
    ),
    "diagonal": PlotSpec(
        lambda tables: _has(tables.diagonal, "label_probability"),
        lambda models: _inches(6, 3.4, models),
        _draw_diagonal,
        "Mean probability of the true class as the crop slides along the diagonal.",
    ),
    "calibration": PlotSpec(
        lambda tables: _has(tables.calibration, "ece"),
        lambda models: _inches(6, 3.4, models),
        _draw_calibration,
        "Expected calibration error by severity, averaged over corruptions.",
    ),
}


def draw_plots(tables: Tables) -> dict[str, Plot]:
    """Draw every plot for which the tables contain the values, and return them by name."""
    names = sorted(own_rows(tables.leaderboard)["model"])
    variants = ({"linestyle": line, "color": colour} for line, colour in product(LINES, COLOURS))
    styles = dict(zip(names, cycle(variants), strict=False))
    plots = {}
    for name, spec in PLOTS.items():
        if spec.possible(tables):
            with new_figure(spec.inches(len(styles))) as figure:
                spec.draw(figure, tables, styles)
            plots[name] = Plot(figure, spec.caption)
    return plots
