"""The leaderboard as a LaTeX table for documents that load booktabs."""

from __future__ import annotations

import pandas as pd

from robustbench_aa.metrics.metric import find_metric, is_normalised
from robustbench_aa.report.columns import value_columns

SPECIAL = str.maketrans(
    {char: f"\\{char}" for char in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    # other characters in LaTeX's original encoding, and brackets that start an optional argument
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}
)


def latex_table(leaderboard: pd.DataFrame) -> str:
    """Return the leaderboard as a `tabular`, with all values in percent with one decimal.

    `±` is followed by the standard deviation over training seeds. The best value of a column is
    bold, as are all that round to it. `--` is a missing value.
    """
    floats = set(map(str, leaderboard.select_dtypes("float"))) - {"params_m"}
    metrics = [column for column in value_columns(leaderboard) if column in floats]
    columns = {"model": leaderboard["model"].map(_escape)}
    columns |= {_header(column): _cells(leaderboard, column) for column in metrics}
    if "source" in leaderboard:
        columns["source"] = leaderboard["source"].map(_escape, na_action="ignore").fillna("")
    layout = "l" + "r" * len(metrics) + "l" * ("source" in columns)
    text: str = pd.DataFrame(columns).to_latex(index=False, escape=False, column_format=layout)
    return text


def _header(column: str) -> str:
    metric = find_metric(column)
    title, suffix = (metric.title, column[len(metric.name) + 1 :]) if metric else (column, "")
    if metric and metric.normalised:
        return rf"{title} ({_escape(suffix)}) [\%]"
    return rf"{' '.join([title, suffix]).strip().replace('_', ' ')} [\%]"


def _cells(leaderboard: pd.DataFrame, column: str) -> pd.Series:
    """Return the texts of a column."""
    metric = find_metric(column)
    percent = 1 if is_normalised(column) else 100
    values = (leaderboard[column] * percent).round(1)
    best = values.max() if metric and metric.higher_is_better else values.min()
    spreads = leaderboard.get(f"{column}_std", values * float("nan")) * percent
    cells = []
    for value, spread in zip(values, spreads, strict=True):
        text = rf"\textbf{{{value:.1f}}}" if value == best else f"{value:.1f}"
        text += "" if pd.isna(spread) else rf" $\pm$ {spread:.1f}"
        cells.append("--" if pd.isna(value) else text)
    return pd.Series(cells)


def _escape(text: str) -> str:
    return text.translate(SPECIAL)
