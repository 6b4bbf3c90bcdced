"""The cost of a command: its time, and the largest memory of its process."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

import click


def measured(command: Sequence[str]) -> dict[str, float]:
    """Run a command and return its `seconds`, `cpu_seconds` and `peak_mib`.

    CPU seconds are the sum over all cores; they hardly depend on the other load of the machine. The
    peak is the largest resident set. It includes at least the memory of this process, since the
    command starts as a copy of it.

    Raises:
        click.ClickException: The exit status of the command is not 0.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise click.ClickException(f"{' '.join(command)} ended with status {code}")
    return {
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_mib": usage.ru_maxrss / 1024,  # in KiB on Linux
    }
