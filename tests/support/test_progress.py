from __future__ import annotations

import io

from rich.console import Console

from robustbench_aa.store.shards import Cell
from robustbench_aa.support import progress as module
from robustbench_aa.support.progress import progress
from robustbench_aa.types import Distortion

CELL = Cell("digits-c", Distortion("corruption", "gaussian_noise", 3), 1)


def shown(terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    with progress(100, console) as advance:
        for _ in range(4):
            advance(CELL, 25)
    return file.getvalue()


def test_a_terminal_gets_a_bar_with_rate_and_time() -> None:
    text = shown(terminal=True)
    assert "digits-c gaussian_noise/3" in text
    assert "100%" in text
    assert "frames/s" in text
    assert "left:" in text


def test_a_file_gets_a_line_at_the_end_and_every_few_seconds(monkeypatch: object) -> None:
    (line,) = shown(terminal=False).splitlines()
    assert line.startswith("100 of 100 frames, ")
    assert line.endswith("0 s left (digits-c gaussian_noise/3)")
    assert "\r" not in line
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)  # type: ignore[attr-defined]
    assert len(shown(terminal=False).splitlines()) == 4
