"""Tables for a terminal: the CSV's figures, rounded, with their spread beside them."""

from __future__ import annotations

from typing import Any

import pandas as pd
from rich.table import Table

from robustbench_aa.report.leaderboard import Tables


def leaderboard_table(tables: Tables) -> Table:
    """The leaderboard; `±` is the standard deviation over training seeds."""
    return _table(tables.leaderboard, "leaderboard")


def dataset_table(tables: Tables, dataset: str) -> Table:
    """What has been measured on one data set: errors, consistency, or just the clean error."""
    for name, frame, arrange in (
        ("top-1 error", tables.corruptions, _by_severity),
        ("consistency", tables.consistency, lambda frame: frame.dropna(subset="consistency")),
    ):
        if not frame.empty and dataset in set(frame["dataset"]):
            return _table(arrange(frame), f"{name} on {dataset}")
    return leaderboard_table(tables)


def _by_severity(corruptions: pd.DataFrame) -> pd.DataFrame:
    """A row a model and corruption, a column a severity; cells that were measured only."""
    wide = corruptions.dropna(subset="error").pivot_table(
        index=["model", "corruption"], columns="severity", values="error", sort=False
    )
    wide.columns = pd.Index([f"severity {s}" if s else "clean" for s in wide.columns])
    return wide.reset_index()


def _table(frame: pd.DataFrame, title: str) -> Table:
    spread = {column: f"{column}_std" for column in frame if f"{column}_std" in frame}
    shown = [c for c in frame if not str(c).endswith(("_low", "_high", "_std"))]
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    for column in shown:
        table.add_column(str(column), justify="left" if frame[column].dtype == object else "right")
    for row in frame.to_dict("records"):
        table.add_row(*(_cell(row[c], row.get(spread.get(c, "")), str(c)) for c in shown))
    return table


def _cell(value: Any, spread: Any, column: str) -> str:
    if pd.isna(value):
        return "–"
    if not isinstance(value, float):
        return str(value)
    digits = 1 if "mce" in column else 4
    text = f"{value:.{digits}f}"
    return text if spread is None or pd.isna(spread) else f"{text} ± {spread:.{digits}f}"
