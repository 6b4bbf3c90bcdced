"""Columns of the report's tables."""

from __future__ import annotations

import pandas as pd

from robustbench_aa.report.leaderboard import ranking_column

STATISTICS = ("low", "high", "std")
"""Suffixes of columns that belong to another one: the bounds of its interval and its spread."""


def value_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of a table without the bounds and spreads of other columns.

    >>> value_columns(pd.DataFrame(columns=["mce_my_low", "error", "error_low"]))
    ['mce_my_low', 'error']
    """
    names = [str(name) for name in table]
    statistics = {f"{name}_{statistic}" for name in names for statistic in STATISTICS}
    return [name for name in names if name not in statistics]


COUNTS = (
    *("complete", "rank_group", "seeds", "params_m", "images"),
    *("conversion", "trained_on", "classes", "classes_present", "source"),
)
"""Columns of the leaderboard that are no metrics, in the order in which a reader needs them."""


def results_first(board: pd.DataFrame) -> pd.DataFrame:
    """Return a leaderboard with its metrics before the columns that say what was measured.

    The metric that ranks the models comes right after their names, since a printed data frame may
    show its first two and last two columns only. Its bounds follow; spreads over training seeds
    come after all metrics.
    """
    ranking = ranking_column(board)
    first = ["model", ranking, "rank", f"{ranking}_low", f"{ranking}_high"]
    others = {*first, *COUNTS, *(f"{name}_std" for name in value_columns(board))}
    metrics = [*first, *(name for name in board if name not in others)]
    spreads = [f"{name}_std" for name in metrics]
    return board[[name for name in (*metrics, *spreads, *COUNTS) if name in board]]
