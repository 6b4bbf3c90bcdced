"""Aims: values that benchmarks should reach, compared with the tables that they wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.rows import harmonic_mean

STATISTICS: dict[str, Callable[[Any], float]] = {
    "lowest": lambda column: float(column.min()),
    "mean rate": harmonic_mean,
}
"""Name → a function from the values of a column to one value."""


@dataclass(frozen=True)
class Aim:
    """A bound for a value of a table.

    Attributes:
        text: What the value is.
        file: Name of the CSV file.
        column: Column of the value.
        statistic: One of `STATISTICS`, over all rows that match.
        at_least, at_most: The bound; one of them is given.
        where: Column → value of the rows that count.
        rows: Number of these rows in a whole table; a table with fewer is not compared.
    """

    text: str
    file: str
    column: str
    statistic: str = "lowest"
    at_least: float | None = None
    at_most: float | None = None
    where: Mapping[str, object] = field(default_factory=dict)
    rows: int = 1

    def measured(self, folder: Path) -> float | None:
        """Return the measured value, or None if the table is not whole."""
        file = folder / self.file
        if not file.exists():
            return None
        table = pd.read_csv(file)
        for column, value in self.where.items():
            table = table[table[column] == value]
        return STATISTICS[self.statistic](table[self.column]) if len(table) >= self.rows else None

    def row(self, folder: Path) -> dict[str, object]:
        """Return the aim beside its measured value; `met` is empty if nothing was measured."""
        value = self.measured(folder)
        bound = self.at_least if self.at_least is not None else self.at_most
        assert bound is not None, self.text
        met: bool | None = None
        if value is not None:
            met = value >= bound if self.at_least is not None else value <= bound
        return {
            "aim": self.text,
            "bound": "at least" if self.at_least is not None else "at most",
            "value": bound,
            "measured": value,
            "met": met,
        }


def compare(aims: Sequence[Aim], folder: Path) -> pd.DataFrame:
    """Return a row for each aim, with the values of the tables in a folder."""
    return pd.DataFrame([aim.row(folder) for aim in aims])
