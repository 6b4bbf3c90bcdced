"""Faults of files: damaged predictions, and times from another clock."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks.reliability.sandbox import Fault, Sandbox, expect, predictions, times


def damaged(sandbox: Sandbox, change: Callable[[bytes], bytes], always: bool) -> Iterator[str]:
    """Change prediction files after a run has finished.

    Args:
        change: returns another content of a file.
        always: whether each change damages a file. A byte may lie where nothing depends on it.
    """
    output = "damaged"
    sandbox.check_resumes(output)
    files = predictions(sandbox.folder / output)
    chosen = sorted(random.sample(files, sandbox.count(20, 3)))
    for file in chosen:
        file.write_bytes(change(file.read_bytes()))
    before = times(files)
    ended = sandbox.benchmark(output).wait()
    expect(ended.status, 0, ended.last)
    sandbox.check_tables(sandbox.folder / output)
    again = [file for file, time in times(files).items() if time != before[file]]
    expect(again == chosen if always else set(again) <= set(chosen), True, f"again: {again}")
    named = [file for file in files if _name(file) in "\n".join(ended.lines)]
    expect(named, again, "files that are named")
    sandbox.check_resumes(output)
    effect = "" if always else ", the others hold the same predictions"
    yield from [f"{len(again)} were named and evaluated again{effect}"] * len(chosen)


def _name(file: Path) -> str:
    """Return the part of a path that messages contain in any working directory."""
    return "/".join(file.parts[file.parts.index("predictions") :])


def truncated(content: bytes) -> bytes:
    """Return the first half."""
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """Return the same with all bits of one random byte inverted."""
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


def clock_changed(sandbox: Sandbox) -> Iterator[str]:
    """Give files a time in 1970 or in 2106."""
    output = "clock"
    sandbox.check_resumes(output)
    for moment in (0, 2**32):
        files = predictions(sandbox.folder / output)
        for file in files:
            os.utime(file, (moment, moment))
        sandbox.check_resumes(output)
        expect(set(times(files).values()), {moment * 10**9}, "times")
        yield "nothing was evaluated again"


FAULTS: dict[str, Fault] = {
    "prediction files are truncated": partial(damaged, change=truncated, always=True),
    "prediction files have a flipped byte": partial(damaged, change=flipped, always=False),
    "the clock is changed": clock_changed,
}
