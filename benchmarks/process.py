"""What a command costs: its seconds, and the most memory that its process held."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence

import click


def measured(command: Sequence[str]) -> dict[str, float]:
    """Runs a command to its end: `seconds`, `cpu_seconds` and `peak_mib`, the largest resident set.

    CPU seconds are of all cores together, and hardly depend on what else the machine does. The peak
    is never below what this process holds, from which the other one starts.

    Raises:
        click.ClickException: it ended with another status than 0.
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
        "peak_mib": usage.ru_maxrss / 1024,  # Linux counts in KiB
    }
