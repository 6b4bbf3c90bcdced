"""Figures of a run, drawn from the same tables that are written as CSV."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aa.report.tables import Tables
from robustbench_aa.types import training_seed

# Okabe and Ito's colours, which colour-blind readers can tell apart
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442")


def draw_overview(tables: Tables, path: Path) -> Path | None:
    """Draws error by severity and consistency against accuracy, model by model.

    Returns:
        The path of the PNG; None, and no file, when the run measured neither.
    """
    board = tables.leaderboard
    panels = []
    if not tables.corruptions.empty:
        panels.append(_error_by_severity)
    if {"clean_error", "consistency_circular"} <= set(board):
        panels.append(_consistency_against_accuracy)
    path.unlink(missing_ok=True)
    if not panels:
        return None
    figure = Figure(figsize=(5.2 * len(panels), 3.8), layout="constrained")
    colours = {m: COLOURS[i % len(COLOURS)] for i, m in enumerate(sorted(board["model"]))}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, tables, colours)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
    return path


def _error_by_severity(axes: Axes, tables: Tables, colours: dict[str, str]) -> None:
    """Over the corruptions that published means count."""
    counted = tables.corruptions[tables.corruptions["family"] != "extra"]
    errors = counted.groupby(["model", "severity"], sort=False)["error"].mean() * 100
    for model, colour in colours.items():
        of_model = errors[model].sort_index()
        axes.plot(of_model.index, of_model.values, "o-", color=colour, label=model)
    axes.set(xlabel="severity (0: clean)", ylabel="error, mean over corruptions [%]")
    axes.legend(fontsize="small", frameon=False)


def _consistency_against_accuracy(axes: Axes, tables: Tables, colours: dict[str, str]) -> None:
    """Large: means over training seeds. Small: each seed."""
    for table, size in ((tables.seeds, 18), (tables.leaderboard, 90)):
        for row in table.to_dict("records"):
            model = row["model"] if row["model"] in colours else training_seed(row["model"])[0]
            at = 100 * (1 - row["clean_error"]), 100 * row["consistency_circular"]
            axes.scatter(*at, s=size, color=colours[model], alpha=0.9 if size > 50 else 0.5)
    axes.set(xlabel="clean accuracy [%]", ylabel="consistency under circular shifts [%]")
