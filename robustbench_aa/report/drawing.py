"""What all plots of a report have in common: their style, sizes, colours and legends."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from robustbench_aa.report.tables import Tables

INK = "#010203"
"""The colour of lines and text, and the first colour. The page replaces this exact near-black."""
# the colours of Okabe and Ito, which colour-blind readers can distinguish
COLOURS = (INK, "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2", "#CC79A7", "#F0E442")
LINES = ("-", "--", ":", "-.")
STYLE: Any = {
    **dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    ),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.color": "#808080",
    "legend.frameon": False,
    "legend.fontsize": "small",
    "font.size": 9,
    "text.parse_math": False,  # names of models may contain dollar signs
    "pdf.fonttype": 42,  # journals refuse the fonts of type 3
    "svg.hashsalt": "robustbench_aa",  # the same tables produce the same file
}
Styles = Mapping[str, Mapping[str, Any]]
"""The `color` and `linestyle` of each model, the same in every plot."""


@dataclass(frozen=True)
class Plot:
    """A matplotlib figure with a caption, which also serves as its alternative text."""

    figure: Figure
    caption: str

    @cached_property
    def svg(self) -> str:
        """The text of an SVG file with a transparent background."""
        file = io.StringIO()
        with mpl.rc_context(STYLE):
            self.figure.savefig(
                file, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
        return file.getvalue()

    def write(self, path: Path, formats: Sequence[str] = ()) -> list[Path]:
        """Write `<path>.png` and `<path>.svg` and return their paths.

        Args:
            path: path without the ending.
            formats: further formats of matplotlib, such as `pdf`.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
        with mpl.rc_context(STYLE):
            self.figure.savefig(png, dpi=200, metadata={"Software": None})
        self.figure.set_layout_engine("none")  # the layout is found, which took half of the time
        svg.write_text(self.svg, encoding="utf-8")
        others = [path.with_name(f"{path.name}.{each}") for each in formats]
        with mpl.rc_context(STYLE):
            for other in others:
                self.figure.savefig(other, metadata={"CreationDate": None, "Producer": None})
        return [png, svg, *others]


@contextmanager
def new_figure(inches: tuple[float, float]) -> Iterator[Figure]:
    """Create a figure of some width and height, in the common style."""
    with mpl.rc_context(STYLE):
        yield Figure(figsize=inches, layout="constrained")


def legend(figure: Figure, styles: Styles) -> None:
    """Draw the legend of all models above a plot."""
    lines = [mpl.lines.Line2D([], [], marker="o", ms=4, **style) for style in styles.values()]
    columns = 2 if len(styles) > 3 and figure.get_figwidth() > 5 else 1
    figure.legend(lines, map(legend_label, styles), loc="outside upper center", ncols=columns)


def legend_label(model: str) -> str:
    """Return a label for a legend: matplotlib hides those that start with an underscore."""
    return f" {model}" if model.startswith("_") else model


def spread_out(count: int) -> np.ndarray:
    """Return the offsets of several models in one row of a plot, in rows."""
    return np.linspace(-0.3, 0.3, count) if count > 1 else np.zeros(1)


def inches(width: float, height: float, models: int, rows: float = 0.0) -> tuple[float, float]:
    """Return the size of a plot, with room for its legend and for more rows with every model."""
    return width, height + (0.1 if width > 5 else 0.2) * models + rows * models


def has(table: pd.DataFrame, column: str) -> bool:
    """Return whether a table has any value in a column."""
    return column in table and bool(table[column].notna().any())


class PlotSpec(NamedTuple):
    """A specification of a plot.

    Attributes:
        possible: function that returns whether the tables contain the values of the plot.
        inches: function that returns the width and height for a number of models.
        draw: function that draws the plot into a figure.
        caption: description of the plot.
    """

    possible: Callable[[Tables], bool]
    inches: Callable[[int], tuple[float, float]]
    draw: Callable[[Figure, Tables, Styles], None]
    caption: str
