"""Reports: tables and figures computed from the predictions alone, without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from robustbench_aa.report.latex import latex_table
from robustbench_aa.report.published import own_rows
from robustbench_aa.report.tables import Tables, make_tables

__all__ = ["Tables", "make_tables", "write_report"]


def write_report(tables: Tables, folder: Path, latex: bool = False) -> list[Path]:
    """Writes tables and figures into a folder and returns the paths of what was written.

    Args:
        latex: whether `leaderboard.tex` is written too.
    """
    from robustbench_aa.report.figures import draw_overview  # matplotlib is slow to load

    written = tables.write(folder)
    document = folder / "leaderboard.tex"
    document.unlink(missing_ok=True)
    if latex:
        document.write_text(latex_table(tables.leaderboard), encoding="utf-8")
        written.append(document)
    # published rows have a figure or two each, and no cells to draw
    own = replace(tables, leaderboard=own_rows(tables.leaderboard))
    figure = draw_overview(own, folder / "figures" / "overview.png")
    return [*written, *([figure] if figure else [])]
