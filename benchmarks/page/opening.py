"""How fast pages open: `python -m benchmarks.page.opening RUN...`.

It needs Playwright and its Chromium, as the tests of the page do. The pages must exist.
"""

from __future__ import annotations

import statistics
from importlib import import_module
from pathlib import Path
from typing import Any

import click

WINDOW = {"width": 1300, "height": 900}
PAINTED = """
() => new Promise((resolve) => {
  const plots = document.querySelectorAll("[data-plot] svg").length;
  // the second frame begins after the first one was painted
  requestAnimationFrame(() => requestAnimationFrame(() => resolve([performance.now(), plots])));
})
"""
"""Returns milliseconds since the navigation began, and the number of plots."""


def open_once(browser: Any, page: Path) -> tuple[float, int]:
    """Open a page in a new window.

    Returns:
        Milliseconds until all plots were painted, and their number.
    """
    window = browser.new_context(viewport=WINDOW)
    opened = window.new_page()
    opened.goto(page.as_uri(), wait_until="load")
    milliseconds, plots = opened.evaluate(PAINTED)
    window.close()
    return milliseconds, plots


@click.command()
@click.argument(
    "runs", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--browser", help="Chromium to use; Playwright's own by default.")
@click.option("--times", default=5, show_default=True, help="Number of times to open each page.")
def main(runs: tuple[Path, ...], browser: str | None, times: int) -> None:
    """Print how long the page of each of RUNS takes to open, as a table in Markdown."""
    click.echo("| run | size | plots | opens in | slowest |")
    click.echo("|---|---|---|---|---|")
    with import_module("playwright.sync_api").sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for run in runs:
            page = (run / "report" / "index.html").resolve()
            found = [open_once(opened, page) for _ in range(times)]
            seconds = [milliseconds / 1000 for milliseconds, _ in found]
            size = f"{page.stat().st_size / 1e6:.1f} MB"
            median, most = statistics.median(seconds), max(seconds)
            click.echo(f"| {run.name} | {size} | {found[0][1]} | {median:.2f} s | {most:.2f} s |")
        opened.close()


if __name__ == "__main__":
    main()
