"""Faults of files: damaged predictions, and times from another clock."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator

from benchmarks.reliability.sandbox import Fault, Sandbox, expect, predictions, times


def damaged(change: Callable[[bytes], bytes]) -> Fault:
    """Return the fault of prediction files that change after a run has finished."""

    def fault(sandbox: Sandbox) -> Iterator[str]:
        output = "damaged"
        sandbox.check_resumes(output)
        files = predictions(sandbox.folder / output)
        chosen = random.sample(files, sandbox.count(20, 3))
        for file in chosen:
            file.write_bytes(change(file.read_bytes()))
        ended = sandbox.run("report", output).wait()
        for file in chosen:
            expect(file.name in str(ended.lines), True, f"{file.name} is named")
        before = times(files)
        sandbox.check_resumes(output)
        again = [file for file, time in times(files).items() if time != before[file]]
        expect(again, sorted(chosen), "files that were evaluated again")
        yield from ["named, evaluated again"] * len(chosen)

    return fault


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
    "prediction files are truncated": damaged(truncated),
    "prediction files have a flipped byte": damaged(flipped),
    "the clock is changed": clock_changed,
}
