"""Plots of a run for papers and for the page, made from the tables that are written as CSV."""

from __future__ import annotations

from itertools import cycle, product

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aa.report.cell_tables import at_common_severities, one_clean
from robustbench_aa.report.drawing import (
    BASELINE,
    COLOURS,
    COLUMN,
    LABELLED,
    LINES,
    PAGE,
    Plot,
    PlotSpec,
    Styles,
    has,
    inches,
    label_lines,
    legend,
    legend_label,
    new_figure,
    spread_out,
)
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.shift_plots import (
    SHIFT_PLOTS,
    consistency_against_accuracy,
    has_consistency,
)
from robustbench_aa.report.tables import Tables
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion, counted


def _draw_overview(figure: Figure, tables: Tables, styles: Styles) -> None:
    left, right = figure.subplots(1, 2)
    _error_by_severity(left, tables, styles)
    consistency_against_accuracy(right, tables, styles)
    legend(figure, styles)


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
        axes.annotate(
            f"{row['value']:.3f}",
            (row["high"], place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.set_yticks(range(len(order)), [legend_label(model) for model in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.set_xlabel(metric.replace("_", " "))


def _draw_corruptions(figure: Figure, tables: Tables, styles: Styles) -> None:
    """Draw the error by severity, one panel per corruption."""
    table = one_clean(tables.corruptions)
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
    legend(figure, styles)


def _draw_perturbations(figure: Figure, tables: Tables, styles: Styles) -> None:
    """Draw the flip probability with its interval, one row per perturbation."""
    axes = figure.subplots()
    table = tables.perturbations.dropna(subset="flip_probability")
    names = list(dict.fromkeys(table["perturbation"]))
    models = [model for model in styles if model in set(table["model"])]
    for model, offset in zip(models, spread_out(len(models)), strict=True):
        rows = table[table["model"] == model]
        places = [names.index(name) + offset for name in rows["perturbation"]]
        low, high = 100 * rows["flip_probability_low"], 100 * rows["flip_probability_high"]
        axes.hlines(places, low, high, color=styles[model]["color"], lw=1.2)
        axes.plot(100 * rows["flip_probability"], places, "o", ms=4, color=styles[model]["color"])
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("flip probability [%]")
    legend(figure, styles)


def _draw_calibration(figure: Figure, tables: Tables, styles: Styles) -> None:
    axes = figure.subplots()
    for model, rows in tables.calibration.groupby("model", sort=False):
        axes.plot(rows["severity"], rows["ece"], marker="o", label=str(model), **styles[str(model)])
    axes.set(xlabel="severity (0: clean)", ylabel="expected calibration error")
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted(set(tables.calibration["severity"])))
    label_lines(figure, axes, styles)


def _error_by_severity(axes: Axes, tables: Tables, styles: Styles) -> None:
    """Draw the mean error over the counted corruptions, or those of a subset, by severity."""
    table = _of_one_set(tables.corruptions)
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
        axes.plot(by_severity.index, by_severity.values, marker="o", label=model, **style)
    axes.set(xlabel="severity (0: clean)", ylabel="error, mean over corruptions [%]")


def _of_one_set(table: pd.DataFrame) -> pd.DataFrame:
    """Return the errors on the first data set that has published corruptions, or on the first."""
    corrupted = table[table["severity"] > 0]
    published = corrupted[corrupted["corruption"].isin(COUNTED_CORRUPTIONS)]
    first = [*published["dataset"], *corrupted["dataset"]][:1]
    return one_clean(table[table["dataset"].isin(first) | (table["severity"] == 0)])


def _cells(names: pd.Series, severities: pd.Series) -> list[Distortion]:
    pairs = zip(names, severities, strict=True)
    return [Distortion("corruption", *pair) if pair[1] else CLEAN for pair in pairs]


COLUMNS = 5
"""The number of panels in a row."""


def _has_corrupted(tables: Tables) -> bool:
    table = tables.corruptions
    return not table.empty and has(table[table["severity"] > 0], "error")


PLOTS = {
    "overview": PlotSpec(
        lambda tables: _has_corrupted(tables) and has_consistency(tables),
        lambda models: inches(PAGE, 2.7, models),
        _draw_overview,
        "Left: error by severity, averaged over corruptions. Right: consistency under shifts "
        "against clean accuracy. Small dots are training seeds; arrows lead from a plain model to "
        "its anti-aliased form.",
    ),
    "ranking": PlotSpec(
        lambda tables: has(tables.leaderboard, "rank"),
        lambda models: (PAGE, 0.8 + 0.24 * models),
        _draw_ranking,
        "The metric that ranks the models, with its 95% interval over images.",
    ),
    "corruptions": PlotSpec(
        _has_corrupted,
        lambda models: inches(PAGE, 5.6, models),
        _draw_corruptions,
        "Error by severity, one panel per corruption.",
    ),
    "perturbations": PlotSpec(
        lambda tables: has(tables.perturbations, "flip_probability"),
        lambda models: inches(PAGE, 2.2, models, rows=0.5),
        _draw_perturbations,
        "How often the top-1 class changes along a sequence, with 95% intervals over sequences.",
    ),
    **SHIFT_PLOTS,
    "calibration": PlotSpec(
        lambda tables: has(tables.calibration, "ece"),
        lambda models: inches(COLUMN, 2.4, models if models > LABELLED else 0),
        _draw_calibration,
        "Expected calibration error by severity, averaged over corruptions.",
    ),
}


def draw_plots(tables: Tables) -> dict[str, Plot]:
    """Draw every plot for which the tables contain the values, and return them by name."""
    names = list(own_rows(tables.leaderboard)["model"])
    variants = cycle({"linestyle": line, "color": c} for line, c in product(LINES, COLOURS))
    grey = {"linestyle": "-", "color": BASELINE}
    styles = {name: grey if name == tables.baseline else next(variants) for name in names}
    plots = {}
    for name, spec in PLOTS.items():
        if spec.possible(tables):
            with new_figure(spec.inches(len(styles))) as figure:
                spec.draw(figure, tables, styles)
            plots[name] = Plot(figure, spec.caption)
    return plots
