"""Reports: tables and figures computed from the predictions alone, without torch."""

from __future__ import annotations

from pathlib import Path

from robustbench_aa.report.tables import Tables, make_tables

__all__ = ["Tables", "make_tables", "write_report"]


def write_report(tables: Tables, folder: Path) -> list[Path]:
    """Writes tables and figures into a folder and returns the paths of what was written."""
    from robustbench_aa.report.figures import draw_overview  # matplotlib is slow to load

    figure = draw_overview(tables, folder / "figures" / "overview.png")
    return [*tables.write(folder), *([figure] if figure else [])]
