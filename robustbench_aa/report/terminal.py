"""Tables for a terminal: the values of the CSV files, rounded, in the width of the console.

No line is longer than the console is wide, and no column is lost: a table that does not fit is
turned or continues below. Names that are too long become numbers, which are explained below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from robustbench_aa.errors import one_line
from robustbench_aa.report.columns import value_columns
from robustbench_aa.report.leaderboard import RANKED_BY
from robustbench_aa.report.rounding import format_rounded
from robustbench_aa.report.tables import Tables

HIDDEN = ("params_m", "images", "group")
"""Columns that a terminal has no room for."""
TRAINED = "*"
"""The mark of a corruption that a model was trained on."""
GAP = 2
"""Spaces between two columns."""
Columns = Mapping[str, Sequence[str]]
"""The cells of each column, by its header."""


@dataclass(frozen=True)
class Listing:
    """A table that arranges itself in the width of the console that prints it.

    Attributes:
        title: the line above it.
        columns: its columns.
        keys: the columns that identify a row; every part of a table that is split begins with them.
        first: the columns that come first in a table that is split.
        side_by_side: whether the other columns are models.
        notes: lines below it.
    """

    title: str
    columns: Columns
    keys: Sequence[str]
    first: Sequence[str] = ()
    side_by_side: bool = False
    notes: Sequence[str] = ()

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """Yield the title, the parts of the table and the notes."""
        width = options.max_width
        shown, legend = self._with_short_names(width)
        yield Text(self.title, style="italic")
        for place, part in enumerate(shown._parts(width)):
            if place:
                yield Text()
            yield _table(part)
        for note in ("", *legend, *self.notes):
            yield Text(note)

    def _with_short_names(self, width: int) -> tuple[Listing, list[str]]:
        """Return the table with numbers for names that are too long, and a line for each of them.

        Names at the head of columns become numbers if the table would have to be split. A name at
        the beginning of a row becomes one if it takes more than half of the width.
        """
        if self.side_by_side:
            fits = _width(self.columns) <= width
            long = [] if fits else [name for name in self.columns if name not in self.keys]
        else:
            long = [name for name in self.columns.get("model", ()) if len(name) > width // 2]
        numbers = {name: f"[{place + 1}]" for place, name in enumerate(dict.fromkeys(long))}
        columns = {
            numbers.get(header, header): [numbers.get(cell, cell) for cell in cells]
            for header, cells in self.columns.items()
        }
        return replace(self, columns=columns), [f"{key} {name}" for name, key in numbers.items()]

    def _parts(self, width: int) -> list[Columns]:
        """Return the table as it is if it fits, else turned if that fits, else in parts."""
        if _width(self.columns) <= width:
            return [self.columns]
        turned = self._turned()
        if turned and _width(turned) <= width:
            return [turned]
        keys = {name: self.columns[name] for name in self.keys}
        parts: list[Columns] = [keys]
        for name in sorted(set(self.columns) - set(keys), key=self._importance):
            extended = {**parts[-1], name: self.columns[name]}
            if parts[-1] is not keys and _width(extended) > width:
                parts.append({**keys, name: self.columns[name]})
            else:
                parts[-1] = extended
        return parts

    def _turned(self) -> Columns:
        """Return the table with its models as columns; empty if it has no row for each model."""
        models = self.columns.get("model", ())
        if self.side_by_side or self.keys[-1] != "model" or len({*models}) < len(models):
            return {}
        others = [name for name in self.columns if name != "model"]
        cells = {
            model: [self.columns[name][place] for name in others]
            for place, model in enumerate(models)
        }
        return {"model": others, **cells}

    def _importance(self, name: str) -> tuple[bool, int]:
        return name not in self.first, [*self.columns].index(name)


def leaderboard_table(tables: Tables, file: Path | None = None) -> Listing:
    """Return the leaderboard.

    Published rows are marked with †. Their sources are left out for lack of room. The name of the
    baseline is left out of headers if it is longer than the word.

    Args:
        tables: tables of the run.
        file: the CSV file with all columns, to be named below the table; None if no report has
            been written.
    """
    board, title = tables.leaderboard, "leaderboard"
    if "source" in board:
        marked = board["model"].where(board["source"].isna(), board["model"] + " †")
        board = board.assign(model=marked).drop(columns="source")
        title += "; †: published, with its source in leaderboard.csv"
    whole = render_table(board, title, ("rank", "model"), RANKED_BY)
    headers = {name: _short_header(name, tables.baseline) for name in whole.columns}
    notes = []
    if shortened := [short for name, short in headers.items() if short != name]:
        notes.append(f"{', '.join(shortened)}: relative to {tables.baseline}")
    if any("±" in cell for cells in whole.columns.values() for cell in cells):
        notes.append("±: standard deviation over training seeds")
    hidden = ", ".join(name for name in HIDDEN if name in board)
    notes.append(f"with {hidden}, intervals: {file or 'leaderboard.csv, which the report writes'}")
    columns = {headers[name]: cells for name, cells in whole.columns.items()}
    return replace(whole, columns=columns, notes=notes)


def _short_header(name: str, baseline: str | None) -> str:
    """Return a column's name with `baseline` in place of a baseline's name that is longer."""
    if baseline is None or len(baseline) <= len("baseline"):
        return name
    start = name.removesuffix(f"_{baseline}")
    return name if start == name else f"{start}_baseline"


PARTS = (
    ("corruptions", "corruption", "error", "top-1 error"),
    ("perturbations", "perturbation", "flip_probability", "flip probability"),
    ("consistency", "protocol", "consistency", "consistency"),
)
"""The tables of single data sets: name, column of distortions, metric, and the metric's title."""


def dataset_table(tables: Tables, dataset: str) -> Listing | None:
    """Return the results on a data set, models side by side, or None for one of clean images.

    Errors are means over the severities that were evaluated for any model. A distortion that was
    not evaluated at all severities is marked with those.
    """
    for name, distortion, metric, title in PARTS:
        frame: pd.DataFrame = getattr(tables, name)
        if frame.empty or dataset not in set(frame["dataset"]):
            continue
        shown = {"model", "dataset", distortion, "severity", metric, *HIDDEN}
        others = [column for column in value_columns(frame) if column not in shown]
        title += f" on {dataset}"
        if "severity" in frame:
            title += ", mean over severities"
            others.insert(0, "each severity (also by --by-severity)")
        notes = [f"with {', '.join([*others, 'intervals'])}: {name}.csv, which the report writes"]
        if "trained_on" in frame:
            notes.append(f"{TRAINED}: the model was trained on this corruption")
        frame = frame[frame["dataset"] == dataset]
        means = _means(frame, distortion, metric, [*tables.leaderboard["model"]])
        return Listing(title, means, [distortion], side_by_side=True, notes=notes)
    return None


def severity_table(tables: Tables, dataset: str) -> Listing | None:
    """Return a data set's errors by severity, a row per model and corruption, or None."""
    frame = tables.corruptions
    if frame.empty or dataset not in set(frame["dataset"]):
        return None
    wide = (
        frame[frame["dataset"] == dataset]
        .dropna(subset="error")
        .pivot_table(index=["model", "corruption"], columns="severity", values="error", sort=False)
    )
    wide.columns = pd.Index([f"severity {s}" if s else "clean" for s in wide.columns])
    title = f"top-1 error on {dataset}"
    return render_table(wide.reset_index(), title, ("model", "corruption"))


def profile_table(seconds: Mapping[str, float]) -> Listing:
    """Return the time that each stage of a session took, and its share of the elapsed time."""
    elapsed = seconds["wall"] or 1.0
    rows = [(stage, duration, duration / elapsed) for stage, duration in seconds.items()]
    return render_table(pd.DataFrame(rows, columns=["stage", "seconds", "share"]), "profile")


def render_table(
    frame: pd.DataFrame, title: str, keys: Sequence[str] = (), first: Sequence[str] = ()
) -> Listing:
    """Return a data frame as a table, without bounds and columns that take too much room.

    Args:
        frame: the data; a column `X_std` is the spread of the column `X`.
        title: the line above the table.
        keys: as in `Listing`; the first column by default.
        first: as in `Listing`.
    """
    names = [name for name in value_columns(frame) if name not in HIDDEN]
    rows = frame.to_dict("records")
    columns = {name: [_cell(row, name) for row in rows] for name in names}
    return Listing(title, columns, [*keys] or names[:1], first)


def _means(
    frame: pd.DataFrame, distortion: str, metric: str, models: Sequence[str]
) -> dict[str, list[str]]:
    """Return the means over severities by distortion and model, as columns of text."""
    graded = frame if "severity" in frame else frame.assign(severity=0)
    found = graded[graded.groupby([distortion, "severity"])[metric].transform("count") > 0]
    means = found.groupby([distortion, "model"])[metric].agg(lambda cells: cells.mean(skipna=False))
    severities = found.groupby(distortion)["severity"].unique()
    rows = found[found["trained_on"]] if "trained_on" in found else found[:0]
    trained = {*zip(rows[distortion], rows["model"], strict=True)}
    columns: dict[str, list[str]] = {distortion: []}
    for name in found[distortion].unique():
        levels = sorted(severities[name])
        part = "" if levels in ([0], [1, 2, 3, 4, 5]) else f"/{','.join(map(str, levels))}"
        columns[distortion].append(f"{name}{part}")
        for model in models:
            value = float(means.get((name, model), float("nan")))
            mark = TRAINED if (name, model) in trained else ""
            columns.setdefault(model, []).append(format_rounded(value, metric) + mark)
    return columns


def _cell(row: Mapping[Any, Any], name: str) -> str:
    value, spread = row[name], row.get(f"{name}_std")
    if not isinstance(value, float):
        return "–" if pd.isna(value) else one_line(str(value))
    text = format_rounded(value, name)
    if spread is None or pd.isna(spread):
        return text
    return f"{text} ± {format_rounded(spread, name)}"


def _width(columns: Columns) -> int:
    widths = [max(map(cell_len, (name, *cells))) for name, cells in columns.items()]
    return sum(widths) + GAP * (len(widths) - 1)


def _table(columns: Columns) -> Table:
    """Return columns as a table; those of numbers are aligned to the right."""
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, GAP, 0, 0))
    for name, cells in columns.items():
        numbers = all(cell[:1] in "0123456789-–" or cell in ("True", "False") for cell in cells)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    return table
