"""Commands: the time and the largest memory of one, and several that work at the same time."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

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


def together(
    commands: Sequence[Sequence[str]], environment: Mapping[str, str] | None = None
) -> list[str]:
    """Run commands that start their work at the same time, and return the output of each.

    Each command prints `ready` and waits for a line on its standard input; all get it when all are
    ready. If one of them ends before, the others are ended too.

    Raises:
        click.ClickException: A command does not get ready, or its exit status is not 0.
    """
    with ExitStack() as stack:
        started: list[Any] = []
        for command in commands:
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            process = subprocess.Popen(command, env=environment, text=True, **pipes)
            stack.enter_context(process)
            stack.callback(process.kill)
            started.append(process)
        for process in started:
            if process.stdout.readline() != "ready\n":
                raise click.ClickException(f"{shlex.join(process.args)} did not start")
        for process in started:
            process.stdin.write("\n")
            process.stdin.flush()
        outputs = [process.communicate()[0] for process in started]
        for process in started:
            if process.returncode:
                code = process.returncode
                raise click.ClickException(f"{shlex.join(process.args)} ended with status {code}")
        return outputs
