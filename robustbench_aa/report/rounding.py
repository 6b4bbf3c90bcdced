"""How numbers are written: in full for files, rounded for people."""

from __future__ import annotations

import math

PERCENT = ("mce_", "relative_mce_", "mfr_", "mt5d_")
"""How the names of normalised figures begin: percent, where all others are fractions."""


def in_full(value: float) -> str:
    """As the CSV files have it; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.6f}"


def rounded(value: float, column: str) -> str:
    """For people: a decimal for percent, four for fractions; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return f"{value:.{1 if column.startswith(PERCENT) else 4}f}"
