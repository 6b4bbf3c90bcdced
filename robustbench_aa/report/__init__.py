"""Reports: tables, figures and a page computed from the predictions alone, without torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from robustbench_aa.errors import RunError, StoreError, cause
from robustbench_aa.report.latex import latex_table
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.tables import Tables, make_tables
from robustbench_aa.store.storage import replaced, restore

__all__ = ["Tables", "make_tables", "write_report"]


def write_report(
    tables: Tables,
    folder: Path,
    title: str,
    samples: Mapping[str, Mapping[str, Sequence[bytes]]],
    latex: bool = False,
) -> list[Path]:
    """Write tables, figures and the page into a folder and return the paths of what was written.

    All of a report takes the place of an earlier one, or nothing does. Files of the folder that are
    not a report's, such as feature maps, stay.

    Args:
        title: of the page.
        samples: what the models saw, for the page.
        latex: whether `leaderboard.tex` is written too.

    Raises:
        RunError: the folder is or has a link, which might lead to anybody's files.
        StoreError: a file cannot be written; the earlier report stays as it was.
    """
    restore(folder)
    _check_links(folder)
    try:
        with replaced(folder) as new:
            _carry_over(folder, new)
            written = _write(tables, new, title, samples, latex)
            names = [path.relative_to(new) for path in written]
    except OSError as error:
        where = error.filename or folder
        raise StoreError(
            f"cannot write {where} ({error.strerror or cause(error)}); what was in {folder} stays"
        ) from error
    return [folder / name for name in names]


def _carry_over(folder: Path, new: Path) -> None:
    """Link what is in a folder and belongs to no report into the one that takes its place."""
    own = {*(f"{of.name}.csv" for of in fields(Tables)), "leaderboard.tex", "index.html"}
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
    samples: Mapping[str, Mapping[str, Sequence[bytes]]],
    latex: bool,
) -> list[Path]:
    # matplotlib is slow to load
    from robustbench_aa.report.feature_maps import draw_feature_maps, read_feature_maps
    from robustbench_aa.report.page import render_page
    from robustbench_aa.report.plots import draw_figures

    written = tables.write(folder)
    document = folder / "leaderboard.tex"
    if latex:
        document.write_text(latex_table(tables.leaderboard), encoding="utf-8")
        written.append(document)
    # published rows have a figure or two each, and no cells to draw
    drawn = draw_figures(replace(tables, leaderboard=own_rows(tables.leaderboard)))
    for name, figure in drawn.items():
        written += figure.write(folder / "figures" / name)
    if (maps := read_feature_maps(folder / "features")) is not None:
        drawn["features"] = draw_feature_maps(maps)
    page = folder / "index.html"
    page.write_text(render_page(title, tables, drawn, samples), encoding="utf-8")
    return [*written, page]


def _check_links(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            raise RunError(
                f"{path} is a link, and reports are not written through links; delete it"
            )
