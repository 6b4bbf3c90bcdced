"""Reports: tables, plots and a page, computed from predictions without torch."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from robustbench_aa.errors import RunError, StoreError, cause
from robustbench_aa.report.latex import latex_table
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.tables import Tables, make_tables
from robustbench_aa.store.storage import alone_in, replaced, restore
from robustbench_aa.store.thumbnails import Samples

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Tables", "make_tables", "write_report"]


def write_report(
    tables: Tables,
    folder: Path,
    title: str,
    samples: Samples,
    maps: pd.DataFrame | None = None,
    latex: bool = False,
    figures: Sequence[str] = (),
) -> list[Path]:
    """Write tables, plots and the page into a folder.

    A report replaces an earlier one completely or not at all. Nothing in the folder is read; other
    files in it, such as notes, remain.

    Args:
        tables: tables of the run.
        folder: folder of the report.
        title: title of the page.
        samples: images that the models saw, for the page.
        maps: feature maps of the run, for the page; None if there are none.
        latex: whether to write `leaderboard.tex` too.
        figures: formats of the plots besides PNG and SVG, such as `pdf`.

    Returns:
        Paths of the files written.

    Raises:
        RunError: the folder is or contains a symbolic link, which may lead to other files.
        StoreError: a file cannot be written. The earlier report remains as it was.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with alone_in(folder.parent):
            restore(folder)
            _check_links(folder)
            with replaced(folder) as new:
                _carry_over(folder, new)
                written = _write(tables, new, title, samples, maps, latex, figures)
                names = [path.relative_to(new) for path in written]
    except OSError as error:
        where = error.filename or folder
        raise StoreError(
            f"cannot write {where} ({error.strerror or cause(error)}); what was in {folder} stays"
        ) from error
    return [folder / name for name in names]


def _carry_over(folder: Path, new: Path) -> None:
    """Link files that belong to no report into the folder that replaces theirs."""
    own = {*(f"{table.name}.csv" for table in fields(Tables)), "leaderboard.tex", "index.html"}
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and name.as_posix() not in own and name.parts[0] != "figures":
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                (new / name).hardlink_to(path)
            except OSError:  # not every file system has hard links
                shutil.copy2(path, new / name)


def _write(
    tables: Tables,
    folder: Path,
    title: str,
    samples: Samples,
    maps: pd.DataFrame | None,
    latex: bool,
    figures: Sequence[str],
) -> list[Path]:
    # matplotlib is slow to load
    from robustbench_aa.report.page import render_page
    from robustbench_aa.report.plots import draw_plots

    written = tables.write(folder)
    document = folder / "leaderboard.tex"
    if latex:
        document.write_text(latex_table(tables.leaderboard), encoding="utf-8")
        written.append(document)
    # published rows have only a few values each
    plots = draw_plots(replace(tables, leaderboard=own_rows(tables.leaderboard)))
    for name, plot in plots.items():
        written += plot.write(folder / "figures" / name, figures)
    page = folder / "index.html"
    page.write_text(render_page(title, tables, samples, maps), encoding="utf-8")
    return [*written, page]


def _check_links(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise RunError(f"{path} is a symbolic link, and reports do not follow links; delete it")
