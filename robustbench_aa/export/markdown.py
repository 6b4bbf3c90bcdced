"""The leaderboard as a Markdown table, for a README or a model card."""

from __future__ import annotations

from typing import Any

import pandas as pd

from robustbench_aa.report.columns import value_columns
from robustbench_aa.report.rounding import format_rounded


def markdown_table(leaderboard: pd.DataFrame) -> str:
    """Return a leaderboard as a table of GitHub-flavoured Markdown, rounded as on the page.

    `±` is followed by the standard deviation over training seeds. A missing value is a dash.
    """
    columns = value_columns(leaderboard)
    numbers = {str(name) for name in leaderboard.select_dtypes("number")}
    lines = [
        [_escaped(name) for name in columns],
        ["---:" if name in numbers else "---" for name in columns],
        *([_cell(row, name) for name in columns] for row in leaderboard.to_dict("records")),
    ]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _cell(row: dict[Any, Any], name: str) -> str:
    value, spread = row[name], row.get(f"{name}_std", float("nan"))
    if not isinstance(value, float):
        return "–" if pd.isna(value) else _escaped(str(value))
    text = format_rounded(value, name)
    return text if pd.isna(spread) else f"{text} ± {format_rounded(spread, name)}"


def _escaped(text: str) -> str:
    """Return a text in which no character has a meaning in Markdown."""
    return "".join(f"\\{char}" if char in r"\`*_{}[]<>|" else char for char in text)
