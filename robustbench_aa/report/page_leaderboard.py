"""The leaderboard on the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from robustbench_aa.metrics.baselines import BASELINES
from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.report.columns import value_columns
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.page_tables import TEXT, Cell, make_cell, make_number, records
from robustbench_aa.report.tables import Tables

VIEWS = {
    "overview": "Overview",
    "corruptions": "Errors",
    "perturbations": "Perturbations",
    "shifts": "Shifts",
    "run": "Models and run",
}
"""The choices of columns, each of which fits on a screen."""
VIEW_OF_METRIC = {
    **dict.fromkeys(("error", "clean_error", "mean_error", "mean_error_subset"), "corruptions"),
    **dict.fromkeys(("mean_error_other", "holdout_error", "mce", "mce_subset"), "corruptions"),
    **dict.fromkeys(("relative_mce", "ece", "ece_subset"), "corruptions"),
    **dict.fromkeys(("mean_flip_probability", "mean_flip_probability_subset"), "perturbations"),
    **dict.fromkeys(("mfr", "mt5d"), "perturbations"),
    **dict.fromkeys(("consistency", "accuracy_worst", "fooled"), "shifts"),
}
"""The choice of columns that a metric is in; all other columns are in `run`."""
OVERVIEW = (
    *("clean_error", "mean_error", "mean_error_subset", "mce"),
    *("mean_flip_probability", "mean_flip_probability_subset", "consistency", "accuracy_worst"),
)
"""Metrics of the overview; of several protocols, those of the first."""


def leaderboard_part(tables: Tables) -> dict[str, Any]:
    """Return the values of the leaderboard on the page.

    The page contains the normalised metrics for every baseline, and shows those for one.
    """
    board, relative = tables.leaderboard, tables.relative
    baselines = list(dict.fromkeys(relative["baseline"])) if not relative.empty else []
    metrics = list(dict.fromkeys(relative["metric"])) if not relative.empty else []
    normalised = {f"{metric}_{baseline}" for metric in metrics for baseline in baselines}
    ranking = ranking_column(board)
    plain = [name for name in value_columns(board) if name not in normalised]
    plain = _results_first(plain, ranking)
    place = plain.index("params_m")
    baseline = tables.baseline if tables.baseline in baselines else next(iter(baselines), None)
    choices = _choices(tables, baselines)
    intervals = {
        (row["model"], row["metric"]): {"low": row["low"], "high": row["high"]}
        for row in records(tables.intervals)
    }
    rows = []
    for row in records(board):
        cells = [make_cell(row | intervals.get((row["model"], name), {}), name) for name in plain]
        shown = choices[baseline].get(row["model"], {}) if baseline else {}
        cells[place:place] = [shown.get(name, Cell("–", relative=name)) for name in metrics]
        rows.append({"model": row["model"], "published": bool(row.get("source")), "cells": cells})
    columns = [{"name": name, "text": name in TEXT, "relative": ""} for name in plain]
    columns[place:place] = [{"name": name, "text": False, "relative": name} for name in metrics]
    views = _views([str(column["name"]) for column in columns], ranking)
    used = {view for names in views for view in names.split()}
    return {
        "rows": rows,
        "columns": [
            column | {"views": names} for column, names in zip(columns, views, strict=True)
        ],
        "views": {view: title for view, title in VIEWS.items() if view in used},
        "own": sum(not row["published"] for row in rows),
        "published": any(row["published"] for row in rows),
        "ranked_by": ranking,
        "baseline": baseline,
        "baselines": baselines,
        "relative": {
            name: {
                model: {metric: vars(cell) for metric, cell in by_metric.items()}
                for model, by_metric in models.items()
            }
            for name, models in choices.items()
        },
    }


def _choices(tables: Tables, baselines: Iterable[str]) -> dict[str, dict[str, dict[str, Cell]]]:
    """Return the cells of normalised metrics by baseline, model and metric."""
    choices: dict[str, dict[str, dict[str, Cell]]] = {name: {} for name in baselines}
    for row in records(tables.relative):
        by_metric = choices[row["baseline"]].setdefault(row["model"], {})
        by_metric[row["metric"]] = make_number(row, "value", row["metric"], row["metric"])
    return choices


def _results_first(columns: Sequence[str], ranking: str | None) -> list[str]:
    """Return the model, the metrics with the one that ranks the models first, and the rest."""
    first = [name for name in ("rank", "model", ranking or "") if name in columns]
    metrics = [name for name in columns if find_metric(name) and name not in first]
    return [*first, *metrics, *(name for name in columns if name not in {*first, *metrics})]


def _views(columns: Sequence[str], ranking: str | None) -> list[str]:
    """Return the choices that show each column, separated by spaces."""
    found, seen = [], set()
    for name in columns:
        metric = find_metric(name)
        key = metric.name if metric else name
        views = [VIEW_OF_METRIC.get(key, "run")]
        if name in ("rank", "model"):
            views = list(VIEWS)
        elif name in (ranking, "rank_group", "source") or (key in OVERVIEW and key not in seen):
            views.insert(0, "overview")
        seen.add(key)
        found.append(" ".join(dict.fromkeys(views)))
    used = {view for names in found for view in names.split() if names.split() != list(VIEWS)}
    return [" ".join(view for view in names.split() if view in used) for names in found]


def rests_on_unverified(tables: Tables) -> bool:
    """Return whether metrics rest on AlexNet's flip rates, which no primary source confirms."""
    relative = tables.relative
    if relative.empty:
        return False
    flips = relative["metric"].isin(["mfr", "mt5d"])
    return bool((flips & relative["baseline"].isin([*BASELINES])).any())
