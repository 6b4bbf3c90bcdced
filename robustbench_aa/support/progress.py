"""Progress display: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

Advance = Callable[[object, int], None]
"""Callback for a finished part: its item, shown as text, and its count of frames or images."""
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(total: int, console: Console, noun: str = "frames") -> Iterator[Advance]:
    """Show how many of `total` frames are done, the rate and the remaining time.

    Args:
        total: Frames to process.
        console: Console to print on.
        noun: Plural of the counted unit.

    Yields:
        A callback to call after each finished part.
    """
    if _draws_bars(console) and total:
        with _bar(console) as bar:
            task = bar.add_task("", total=total, rate="")

            def advance(item: object, count: int) -> None:
                speed = bar.tasks[0].speed or 0.0
                bar.update(
                    task, advance=count, description=str(item), rate=f"{speed:,.0f} {noun}/s"
                )

            yield advance
    else:
        yield _Lines(total, console, noun).advance


@contextmanager
def progress_in_python(total: int, wanted: bool | None) -> Iterator[Advance]:
    """Show the progress of a call in Python on standard error.

    Args:
        total: Frames to process.
        wanted: Whether to show it; None means on a terminal and in a notebook.

    Yields:
        As `progress`.
    """
    console = Console(stderr=True, highlight=False, markup=False, emoji=False)
    if wanted or (wanted is None and (console.is_terminal or console.is_jupyter)):
        with progress(total, console) as advance:
            yield advance
    else:
        yield lambda _item, _count: None


def _draws_bars(console: Console) -> bool:
    """Return whether a bar can be drawn; rich needs ipywidgets for it in a notebook."""
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description:<32}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%  {task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
    )


class _Lines:
    """Progress as a line every ten seconds and one at the end."""

    def __init__(self, total: int, console: Console, noun: str) -> None:
        self._total, self._console, self._noun = total, console, noun
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, item: object, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last < SECONDS_BETWEEN_LINES and self._done < self._total:
            return
        self._last = now
        rate = self._done / max(now - self._start, 1e-9)
        left = (self._total - self._done) / rate
        self._console.print(
            f"{self._done:,} of {self._total:,} {self._noun}, {rate:,.0f}/s, {left:.0f} s left "
            f"({item})",
            highlight=False,
        )
