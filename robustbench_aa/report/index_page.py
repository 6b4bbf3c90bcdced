"""The page of a folder of runs: what each measured, its best model, and a link to its report."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from robustbench_aa.errors import RunError, StoreError, UsageError, cause
from robustbench_aa.report.columns import value_columns
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.page import page_template
from robustbench_aa.report.page_plots import title
from robustbench_aa.report.rounding import format_rounded
from robustbench_aa.store.manifest import RUN, Manifest
from robustbench_aa.store.storage import write_whole
from robustbench_aa.support.training_seeds import groups

REPORT = Path("report", "index.html")
VALUES = ("clean_error", "mean_error", "mean_flip_probability", "mean_error_subset")
"""Metrics of the best model that the page shows, besides the one that ranks."""


@dataclass(frozen=True)
class Entry:
    """A run in the list.

    Attributes:
        name: path of the run in the folder.
        date: day of the latest session.
        models: names of its models, without training seeds.
        datasets: names of its data sets.
        link: relative URL of its page; empty if it has none.
        best: the models of the first rank.
        values: titles and values of some metrics of these models.
        problem: why the report cannot be shown; empty if it can.
    """

    name: str
    date: str
    models: list[str]
    datasets: list[str]
    link: str = ""
    best: str = ""
    values: tuple[tuple[str, str], ...] = ()
    problem: str = ""


def write_index(folder: Path) -> Path:
    """Write `index.html` with a row for each run in a folder, the newest first.

    The values are those of `leaderboard.csv` in the reports; no report is computed. The page has
    no script and makes no request.

    Args:
        folder: folder of the runs, at any depth.

    Returns:
        The path of the page.

    Raises:
        UsageError: the folder contains no run.
        StoreError: the page cannot be written.
    """
    entries = [_entry(path.parent, folder) for path in sorted(folder.rglob(RUN))]
    if not entries:
        raise UsageError(f"{folder} contains no run; name the folder that runs were written into")
    entries.sort(key=lambda entry: entry.date, reverse=True)
    page = folder / "index.html"
    html = page_template("index.html.jinja").render(title=folder.resolve().name, entries=entries)
    try:
        write_whole(page, lambda beside: beside.write_text(html, encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"cannot write {page} ({error.strerror or cause(error)})") from error
    return page


def _entry(run: Path, folder: Path) -> Entry:
    name = run.relative_to(folder).as_posix()
    date = f"{datetime.fromtimestamp((run / RUN).stat().st_mtime, UTC):%Y-%m-%d}"
    try:
        manifest = Manifest.read(run)
    except RunError as error:
        return Entry(name, date, [], [], problem=str(error))
    if manifest is None:
        return Entry(name, date, [], [], problem=f"{RUN} cannot be read")
    known = list(groups(manifest.models)), list(manifest.datasets)
    if not (run / REPORT).is_file():
        return Entry(name, date, *known, problem=f"no report yet: robustbench-aa report {run}")
    link = quote((Path(name) / REPORT).as_posix())
    try:
        board = pd.read_csv(run / "report" / "leaderboard.csv")
        return Entry(name, date, *known, link, *_best(board))
    except (OSError, ValueError, KeyError) as error:
        return Entry(name, date, *known, link, problem=f"leaderboard.csv: {cause(error)}")


def _best(board: pd.DataFrame) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Return the models of the first rank, and some metrics of the first of them."""
    first = board[board["rank"] == 1]
    ranking = ranking_column(board)
    if first.empty or ranking is None:
        return "", ()
    shown = dict.fromkeys([ranking, *(name for name in VALUES if name in value_columns(board))])
    row = first.iloc[0]
    values = ((title(name), format_rounded(float(row[name]), name)) for name in shown)
    return ", ".join(map(str, first["model"])), tuple(values)
