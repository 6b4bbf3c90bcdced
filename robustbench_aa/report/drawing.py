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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aa.report.tables import Tables

INK = "#1b1b1f"
"""The colour of lines and text."""
BASELINE = "#7b7f87"
"""The colour of the baseline, on the page as well."""
# the colours of Okabe and Ito, which colour-blind readers can distinguish; those of the page are
# darker, since they have to be seen against white and black
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
LINES = ("-", "--", ":", "-.")
COLUMN, PAGE = 3.5, 7.0
"""Widths of plots in inches: a column of a paper, and both columns."""
LABELLED = 6
"""The largest number of lines with a name at their end; more have a legend."""
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
    "font.size": 8,
    "axes.titlesize": "medium",
    "axes.labelsize": "medium",
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
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


def label_lines(figure: Figure, axes: Axes, styles: Styles) -> None:
    """Write the name of each model at the right end of its line; of many, draw a legend.

    Names that would overlap move apart, in the order of their lines.

    Args:
        figure: figure of the plot.
        axes: axes with one line per model, in the order of `styles`.
        styles: style of each model.
    """
    if len(styles) > LABELLED:
        legend(figure, styles)
        return
    bottom, top = axes.get_ylim()
    step = (top - bottom) * LINE_HEIGHT / axes.get_position().height / figure.get_figheight()
    found = [(np.asarray(line.get_xydata()), line) for line in axes.lines]
    last = [(points[-1], line) for points, line in found if len(points)]
    last = sorted((one for one in last if one[1].get_label() in styles), key=lambda one: one[0][1])
    ends = [float(point[1]) for point, _ in last]
    places: list[float] = []
    for end in ends:
        places.append(max(end, places[-1] + step) if places else end)
    shift = float(np.mean(ends) - np.mean(places)) if ends else 0.0
    for (point, line), place in zip(last, places, strict=True):
        axes.annotate(
            str(line.get_label()),
            (point[0], place + shift),
            (6, 0),
            textcoords="offset points",
            annotation_clip=False,
            va="center",
            color=line.get_color(),
            fontsize="small",
        )


LINE_HEIGHT = 0.13
"""The height of a line of small text in inches."""


def legend(figure: Figure, styles: Styles) -> None:
    """Draw the legend of all models above a plot."""
    lines = [mpl.lines.Line2D([], [], marker="o", **style) for style in styles.values()]
    columns = 3 if len(styles) > 3 and figure.get_figwidth() > COLUMN else 1
    figure.legend(lines, map(legend_label, styles), loc="outside upper center", ncols=columns)


def legend_label(model: str) -> str:
    """Return a label for a legend: matplotlib hides those that start with an underscore."""
    return f" {model}" if model.startswith("_") else model


def spread_out(count: int) -> np.ndarray:
    """Return the offsets of several models in one row of a plot, in rows."""
    return np.linspace(-0.3, 0.3, count) if count > 1 else np.zeros(1)


def inches(width: float, height: float, models: int, rows: float = 0.0) -> tuple[float, float]:
    """Return the size of a plot, with room for its legend and for more rows with every model."""
    return width, height + (0.06 if width > COLUMN else 0.17) * models + rows * models


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
