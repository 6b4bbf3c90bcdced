"""Reports: tables, figures and a page computed from the predictions alone, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from robustbench_aa.errors import RunError
from robustbench_aa.report.latex import latex_table
from robustbench_aa.report.published import own_rows
from robustbench_aa.report.tables import Tables, make_tables

__all__ = ["Tables", "make_tables", "write_report"]


def write_report(
    tables: Tables,
    folder: Path,
    title: str,
    samples: Mapping[str, Mapping[str, Sequence[bytes]]],
    latex: bool = False,
) -> list[Path]:
    """Writes tables, figures and the page into a folder and returns the paths of what was written.

    Args:
        title: of the page.
        samples: what the models saw, for the page.
        latex: whether `leaderboard.tex` is written too.

    Raises:
        RunError: the folder is or has a link, which might lead to anybody's files.
    """
    _check_links(folder)
    # matplotlib is slow to load
    from robustbench_aa.report.feature_maps import draw_feature_maps, read_feature_maps
    from robustbench_aa.report.figures import draw_figures
    from robustbench_aa.report.page import render_page

    written = tables.write(folder)
    document = folder / "leaderboard.tex"
    document.unlink(missing_ok=True)
    if latex:
        document.write_text(latex_table(tables.leaderboard), encoding="utf-8")
        written.append(document)
    # published rows have a figure or two each, and no cells to draw
    drawn = draw_figures(replace(tables, leaderboard=own_rows(tables.leaderboard)))
    for old in (folder / "figures").glob("*"):
        old.unlink()
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
