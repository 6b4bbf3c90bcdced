"""How numbers are written: in full for files, rounded for people."""

from __future__ import annotations

import math
from typing import Any

PERCENT = ("mce_", "relative_mce_", "mfr_", "mt5d_")
"""How the names of normalised figures begin: percent, where all others are fractions."""


def in_full(value: Any) -> str:
    """Return a number as the CSV files have it; empty for NaN."""
    return "" if math.isnan(value) else _fixed(value, 6)


def rounded(value: float, column: str) -> str:
    """Return a number for people: a decimal for percent, four for fractions; a dash for NaN."""
    return "–" if math.isnan(value) else _fixed(value, 1 if column.startswith(PERCENT) else 4)


def _fixed(value: float, decimals: int) -> str:
    """A number with so many decimals; what rounds to zero has no sign."""
    text = f"{value:.{decimals}f}"
    return text if float(text) else text.lstrip("-")
