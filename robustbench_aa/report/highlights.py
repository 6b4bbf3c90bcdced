"""The three metrics at the top of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.report.leaderboard import RANKED_BY, ranking_column
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.page_plots import title
from robustbench_aa.report.rounding import format_full
from robustbench_aa.report.tables import Tables

COUNT = 3
ORDER = (
    *("mean_flip_probability", "mean_flip_probability_subset", "consistency", "accuracy_worst"),
    *("clean_error", "fooled", "holdout_error"),
)
"""Metrics in the order in which they are chosen, after the one that ranks the models."""


@dataclass(frozen=True)
class Value:
    """A metric of a model.

    Attributes:
        model: name of the model.
        text: value in percent.
        interval: 95% interval in percent, or empty.
        order: unrounded value as in the CSV file.
    """

    model: str
    text: str
    interval: str
    order: str


@dataclass(frozen=True)
class Highlight:
    """A metric, its best value in the run and the baseline's.

    Attributes:
        metric: column of the metric.
        title: its title.
        best: the best value; of equal ones, that of the higher rank.
        baseline: the value of the baseline, if the run has one and it is not the best.
        lower_is_better: whether a smaller value is a better one.
    """

    metric: str
    title: str
    best: Value
    baseline: Value | None
    lower_is_better: bool


def highlights(tables: Tables) -> list[Highlight]:
    """Return up to three metrics of a run that some model has completed."""
    board = own_rows(tables.leaderboard)
    chosen = [metric for metric in _candidates(board) if board[metric].notna().any()]
    return [_highlight(metric, board, tables) for metric in chosen[:COUNT]]


def _candidates(board: pd.DataFrame) -> Iterator[str]:
    """Yield columns in the order in which they matter, of several protocols one."""
    ranking = ranking_column(board)
    if ranking:
        yield ranking
    for name in ORDER:
        columns = [str(column) for column in board if _metric_name(str(column)) == name]
        columns = [column for column in columns if not column.endswith(("_low", "_high", "_std"))]
        # of several protocols, the one that would rank the models
        columns.sort(key=lambda column: RANKED_BY.index(column) if column in RANKED_BY else 99)
        if columns and columns[0] != ranking:
            yield columns[0]


def _metric_name(column: str) -> str | None:
    metric = find_metric(column)
    return metric.name if metric else None


def _highlight(metric: str, board: pd.DataFrame, tables: Tables) -> Highlight:
    found = find_metric(metric)
    higher = bool(found and found.higher_is_better)
    values = board.set_index("model")[metric].dropna()
    best = str(values.idxmax() if higher else values.idxmin())
    base = tables.baseline
    shown = base if base in values.index and base != best else None
    return Highlight(
        metric,
        title(metric),
        _value(metric, best, tables),
        _value(metric, shown, tables) if shown else None,
        not higher,
    )


def _value(metric: str, model: str, tables: Tables) -> Value:
    rows = tables.intervals
    [row] = rows[(rows["model"] == model) & (rows["metric"] == metric)].to_dict("records")
    text, low, high = (f"{100 * row[key]:.1f}" for key in ("value", "low", "high"))
    interval = "" if pd.isna(row["low"]) else f"{low} to {high}"
    return Value(model, text, interval, format_full(row["value"]))
