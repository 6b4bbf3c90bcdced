"""Numbers as text: six decimals in files, fewer for readers."""

from __future__ import annotations

import math
from typing import Any

from robustbench_aa.metrics.metric import is_normalised


def format_full(value: Any) -> str:
    """Return a number as in the CSV files; NaN is empty."""
    return "" if math.isnan(value) else _fixed(value, 6)


def format_rounded(value: float, column: str) -> str:
    """Return a number of a column for readers.

    Percents have one decimal, all other numbers four. NaN is a dash.
    """
    return "–" if math.isnan(value) else _fixed(value, 1 if is_normalised(column) else 4)


def _fixed(value: float, decimals: int) -> str:
    """Return a number with a fixed number of decimals; zero has no sign."""
    text = f"{value:.{decimals}f}"
    return text if float(text) else text.lstrip("-")
