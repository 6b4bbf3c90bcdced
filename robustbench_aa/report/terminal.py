"""Tables for a terminal: the values of the CSV files, rounded, with their spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich.table import Table

from robustbench_aa.errors import one_line
from robustbench_aa.report.columns import value_columns
from robustbench_aa.report.rounding import format_rounded
from robustbench_aa.report.tables import Tables

HIDDEN = ("params_m", "images", "group")
"""Columns that a terminal has no room for."""


def leaderboard_table(tables: Tables) -> Table:
    """Return the leaderboard; `±` is followed by the standard deviation over training seeds.

    Published rows are marked with †. Their sources are left out for lack of room.
    """
    board = tables.leaderboard
    if "source" not in board:
        return render_table(board, "leaderboard")
    marked = board["model"].where(board["source"].isna(), board["model"] + " †")
    board = board.assign(model=marked).drop(columns="source")
    return render_table(board, "leaderboard; †: published, with its source in leaderboard.csv")


def dataset_table(tables: Tables, dataset: str) -> Table:
    """Return the results on one data set: errors, flips or consistency, or else the leaderboard."""
    for title, frame, arrange in (
        ("top-1 error", tables.corruptions, _by_severity),
        ("flip probability", tables.perturbations, lambda f: f.dropna(subset="flip_probability")),
        ("consistency", tables.consistency, lambda f: f.dropna(subset="accuracy")),
    ):
        if not frame.empty and dataset in set(frame["dataset"]):
            return render_table(arrange(frame), f"{title} on {dataset}")
    return leaderboard_table(tables)


def profile_table(seconds: Mapping[str, float]) -> Table:
    """Return the time that each stage of a session took, and its share of the elapsed time."""
    elapsed = seconds["wall"] or 1.0
    rows = [(stage, duration, duration / elapsed) for stage, duration in seconds.items()]
    return render_table(pd.DataFrame(rows, columns=["stage", "seconds", "share"]), "profile")


def render_table(frame: pd.DataFrame, title: str) -> Table:
    """Return a data frame as a table, without bounds and columns that take too much room."""
    names = [name for name in value_columns(frame) if name not in HIDDEN]
    table = Table(title=title, title_justify="left", box=None, header_style="bold")
    columns = {name: [_cell(row, name) for row in frame.to_dict("records")] for name in names}
    for name, cells in columns.items():
        left = not pd.api.types.is_numeric_dtype(frame[name])
        # headers may be folded, but neither numbers nor names
        width = max([len(cell) for cell in cells], default=0)
        table.add_column(
            name, justify="left" if left else "right", overflow="fold", min_width=width
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def _by_severity(corruptions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model and corruption, one column per severity that was evaluated."""
    wide = corruptions.dropna(subset="error").pivot_table(
        index=["model", "corruption"], columns="severity", values="error", sort=False
    )
    wide.columns = pd.Index([f"severity {s}" if s else "clean" for s in wide.columns])
    return wide.reset_index()


def _cell(row: Mapping[Any, Any], name: str) -> str:
    value, spread = row[name], row.get(f"{name}_std")
    if not isinstance(value, float):
        return "–" if pd.isna(value) else one_line(str(value))
    text = format_rounded(value, name)
    if spread is None or pd.isna(spread):
        return text
    return f"{text} ± {format_rounded(spread, name)}"
