"""The leaderboard as a LaTeX table, for a document that loads booktabs."""

from __future__ import annotations

import pandas as pd

from robustbench_aa.report.terminal import BESIDE

NORMALISED = {"mce": "mCE", "relative_mce": "relative mCE", "mfr": "mFR", "mt5d": "mT5D"}
"""How figures whose names end with their baseline's are written."""
MORE_IS_BETTER = "consistency"
SPECIAL = str.maketrans(
    {of: f"\\{of}" for of in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    # what is another character in LaTeX's first encoding, or an argument after a line's end
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "[": "{[}", "]": "{]}"}
)


def latex_table(leaderboard: pd.DataFrame) -> str:
    """A `tabular` with a row a model; all figures are in percent, with one decimal.

    `±` is the standard deviation over training seeds. The best of a column is bold, and what reads
    like it; `--` is what there is not.
    """
    figures = [
        column
        for column in map(str, leaderboard.select_dtypes("float"))
        if column != "params_m" and not column.endswith(BESIDE)
    ]
    columns = {"model": leaderboard["model"].map(_escaped)}
    columns |= {_header(figure): _cells(leaderboard, figure) for figure in figures}
    if "source" in leaderboard:
        columns["source"] = leaderboard["source"].map(_escaped, na_action="ignore").fillna("")
    form = "l" + "r" * len(figures) + "l" * ("source" in columns)
    text: str = pd.DataFrame(columns).to_latex(index=False, escape=False, column_format=form)
    return text


def _header(figure: str) -> str:
    for name, written in NORMALISED.items():
        if figure.startswith(f"{name}_"):
            return rf"{written} ({_escaped(figure.removeprefix(f'{name}_'))}) [\%]"
    return rf"{figure.replace('_', ' ')} [\%]"


def _cells(leaderboard: pd.DataFrame, figure: str) -> pd.Series:
    """The text of a figure's cells."""
    percent = 1 if figure.startswith(tuple(f"{name}_" for name in NORMALISED)) else 100
    values = (leaderboard[figure] * percent).round(1)
    best = values.max() if figure.startswith(MORE_IS_BETTER) else values.min()
    spreads = leaderboard.get(f"{figure}_std", values * float("nan")) * percent
    cells = []
    for value, spread in zip(values, spreads, strict=True):
        text = rf"\textbf{{{value:.1f}}}" if value == best else f"{value:.1f}"
        text += "" if pd.isna(spread) else rf" $\pm$ {spread:.1f}"
        cells.append("--" if pd.isna(value) else text)
    return pd.Series(cells)


def _escaped(text: str) -> str:
    return text.translate(SPECIAL)
