"""The numbers of the page's plots, rounded as in the CSV files."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.tables import Tables

COLUMNS = {
    "corruptions": (
        "model",
        "dataset",
        "corruption",
        "severity",
        "error",
        "error_low",
        "error_high",
    ),
    "corruption_means": ("model", "dataset", "corruption", "error", "error_low", "error_high"),
    "normalised": ("model", "baseline", "metric", "distortion", "value", "low", "high"),
    "differences": (
        *("model", "other", "metric", "distortion", "value", "other_value"),
        *("difference", "low", "high", "p", "p_holm"),
    ),
    "natural_shifts": ("model", "dataset", "error", "error_low", "error_high"),
    "perturbations": (
        *("model", "perturbation"),
        *("flip_probability", "flip_probability_low", "flip_probability_high"),
    ),
    "consistency": (
        *("model", "protocol", "accuracy"),
        *("accuracy_worst", "accuracy_worst_low", "accuracy_worst_high"),
    ),
    "diagonal": ("model", "offset", "label_probability"),
    "calibration": ("model", "severity", "ece"),
    "reliability": ("model", "severity", "predictions", "confidence", "accuracy"),
    "answers": (
        *("model", "dataset", "distortion", "severity", "image", "frame"),
        *("true_class", "predicted_class", "probability"),
    ),
}
"""The columns that the plots need of each table."""
DECIMALS = 6


def plot_data(tables: Tables) -> dict[str, Any]:
    """Return everything that the script of the page draws, as JSON.

    Returns:
        `models` in the order of the leaderboard, the `baseline` if it is one of them, `ranking`
        with the `metric`, its `title` and its `rows`, and the `tables`. A table has its columns by
        name. A column of text is a list of its different `values` and the `places` of the rows in
        it, since names are long and repeated.
    """
    models = list(own_rows(tables.leaderboard)["model"])
    return {
        "models": models,
        "baseline": tables.baseline if tables.baseline in models else None,
        "ranking": _ranking(tables),
        "tables": {
            name: _columns(getattr(tables, name), columns) for name, columns in COLUMNS.items()
        },
    }


def _ranking(tables: Tables) -> dict[str, Any]:
    board = own_rows(tables.leaderboard).dropna(subset="rank")
    metric = ranking_column(tables.leaderboard) or ""
    found = find_metric(metric)
    rows = tables.intervals
    if not rows.empty:
        rows = rows[rows["metric"] == metric].set_index("model")
    by_model = {
        model: {
            key: round(float(rows.loc[model, key]), DECIMALS) for key in ("value", "low", "high")
        }
        for model in board["model"]
    }
    groups = dict(zip(board["model"], board["rank_group"], strict=True))
    return {
        "metric": metric,
        "title": title(metric),
        "higher": bool(found and found.higher_is_better),
        "rows": [
            {"model": model, "group": int(groups[model])} | values
            for model, values in by_model.items()
        ],
    }


def title(column: str) -> str:
    """Return the title of a metric's column, with its protocol.

    >>> title("accuracy_worst_crops")
    'worst-case accuracy, crops'
    """
    metric = find_metric(column)
    if metric is None:
        return column
    protocol = column.removeprefix(metric.name).lstrip("_")
    return f"{metric.title}, {protocol}" if protocol else metric.title


def _columns(table: pd.DataFrame, columns: tuple[str, ...]) -> dict[str, Any]:
    return {name: _column(table[name]) for name in columns if name in table}


def _column(values: pd.Series) -> Any:
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype):
        places, names = pd.factorize(values)
        return {"values": [str(name) for name in names], "places": places.tolist()}
    if values.dtype.kind == "f":
        return [None if pd.isna(value) else round(value, DECIMALS) for value in values.tolist()]
    if values.hasnans:
        return [None if pd.isna(value) else int(value) for value in values]
    return values.tolist()
