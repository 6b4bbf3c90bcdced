"""Commands: the time and the largest memory of one, and several that work at the same time."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import click

LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
nowhere = subprocess.DEVNULL
code = subprocess.run(sys.argv[1:], stdout=nowhere, stderr=nowhere).returncode
seconds = time.perf_counter() - start
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
found = {
    "seconds": seconds,
    "cpu_seconds": usage.ru_utime + usage.ru_stime,
    "peak_mib": usage.ru_maxrss / 1024,  # in KiB on Linux
}
print(json.dumps({"code": code, "found": found}))
"""
"""Starts a command from a small process: a command begins as a copy of the process that starts it,
and the memory of that copy counts for its peak."""


def measured(command: Sequence[str]) -> dict[str, float]:
    """Run a command and return its `seconds`, `cpu_seconds` and `peak_mib`.

    CPU seconds are the sum over all cores; they hardly depend on the other load of the machine. The
    peak is the largest resident set.

    Raises:
        click.ClickException: The exit status of the command is not 0.
    """
    launcher = [sys.executable, "-I", "-c", LAUNCHER, *command]
    answer = json.loads(subprocess.run(launcher, check=True, stdout=subprocess.PIPE).stdout)
    if code := answer["code"]:
        raise click.ClickException(f"{shlex.join(command)} ended with status {code}")
    found: dict[str, float] = answer["found"]
    return found


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
