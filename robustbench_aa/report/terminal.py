"""Tables for a terminal: the CSV's figures, rounded, with their spread beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from robustbench_aa.errors import one_line
from robustbench_aa.report.rounding import rounded
from robustbench_aa.report.tables import Tables

WIDE = ("params_m", "images", "group")
"""Columns that a terminal has no room for."""
BESIDE = ("_low", "_high", "_std")
"""How the names of columns end that tell how sure the figure of the same name is."""


def leaderboard_table(tables: Tables) -> Table:
    """The leaderboard; `±` is the standard deviation over training seeds.

    Published rows are marked; a terminal has no room for their sources.
    """
    board = tables.leaderboard
    if "source" not in board:
        return _table(board, "leaderboard")
    marked = board["model"].where(board["source"].isna(), board["model"] + " †")
    board = board.assign(model=marked).drop(columns="source")
    return _table(board, "leaderboard; †: published, with its source in leaderboard.csv")


def dataset_table(tables: Tables, dataset: str) -> Table:
    """What has been measured on one data set: errors, consistency, or just the clean error."""
    for name, frame, arrange in (
        ("top-1 error", tables.corruptions, _by_severity),
        ("flip probability", tables.perturbations, lambda f: f.dropna(subset="flip_probability")),
        ("consistency", tables.consistency, lambda frame: frame.dropna(subset="consistency")),
    ):
        if not frame.empty and dataset in set(frame["dataset"]):
            return _table(arrange(frame), f"{name} on {dataset}")
    return leaderboard_table(tables)


def plain_table(frame: pd.DataFrame, title: str) -> Table:
    """Any table."""
    return _table(frame, title)


def profile_table(seconds: Mapping[str, float]) -> Table:
    """What a session's time went to, as shares of the wall clock's."""
    wall = seconds["wall"] or 1.0
    rows = [(stage, of, of / wall) for stage, of in seconds.items()]
    return _table(pd.DataFrame(rows, columns=["stage", "seconds", "share"]), "profile")


def _by_severity(corruptions: pd.DataFrame) -> pd.DataFrame:
    """A row a model and corruption, a column a severity; cells that were measured only."""
    wide = corruptions.dropna(subset="error").pivot_table(
        index=["model", "corruption"], columns="severity", values="error", sort=False
    )
    wide.columns = pd.Index([f"severity {s}" if s else "clean" for s in wide.columns])
    return wide.reset_index()


def _table(frame: pd.DataFrame, title: str) -> Table:
    names = [c for c in map(str, frame) if not c.endswith(BESIDE) and c not in WIDE]
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    columns = {name: [_cell(row, name) for row in frame.to_dict("records")] for name in names}
    for name, cells in columns.items():
        left = not pd.api.types.is_numeric_dtype(frame[name])
        # a header may be folded, a figure or a name may not
        width = max([len(cell) for cell in cells], default=0)
        table.add_column(
            name, justify="left" if left else "right", overflow="fold", min_width=width
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _cell(row: Mapping[Any, Any], name: str) -> str:
    value, spread = row[name], row.get(f"{name}_std")
    if not isinstance(value, float):
        return "–" if pd.isna(value) else one_line(str(value))
    text = rounded(value, name)
    return text if spread is None or pd.isna(spread) else f"{text} ± {rounded(spread, name)}"
