"""Columns of the report's tables."""

from __future__ import annotations

import pandas as pd

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
