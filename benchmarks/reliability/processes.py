"""Faults of processes: signals, kills, and two commands at once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.reliability.sandbox import Command, Ended, Fault, Sandbox, expect


def signalled(
    sandbox: Sandbox, numbers: tuple[signal.Signals, ...], times: int, status: int
) -> Iterator[str]:
    """Send signals to a process at random moments.

    Args:
        numbers: sent one after the other.
        times: how often.
        status: the expected exit status.
    """
    output, received = f"signal{numbers[0]}-{len(numbers)}", 0
    while received < sandbox.count(times):
        ended = _interrupted(sandbox, output, numbers)
        if not ended.status:  # the command was faster; the next one starts from nothing
            sandbox.check_resumes(output)
            shutil.rmtree(sandbox.folder / output)
            continue
        expect(ended.status, status, f"{output}: {ended.last}")
        if status > 0:
            expect(sum(line.startswith("error:") for line in ended.lines), 1, str(ended.lines))
        received += 1
        yield f"exit status {ended.status}" + (f", {ended.last!r}" if status > 0 else "")
    sandbox.check_resumes(output)


def _interrupted(sandbox: Sandbox, output: str, numbers: tuple[signal.Signals, ...]) -> Ended:
    command = sandbox.benchmark(output)
    time.sleep(random.uniform(0.15, sandbox.seconds))
    for number in numbers:
        command.send(number)
        time.sleep(0.01)
    return command.wait()


def kill_at_rename(rename: int) -> None:
    """Kill this process when it is about to rename a file for the nth time, counted from 0."""
    seen = 0

    def watch(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "os.rename":
            if seen == rename:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(watch)


def at_each_rename(start: Callable[[Callable[[], None]], Command], step: int = 1) -> Iterator[None]:
    """Start a command repeatedly, and kill it at its first rename, its second, and so on.

    Args:
        start: starts the command; its argument is to be called in the process first.
        step: the distance between two renames at which it is killed.
    """
    for rename in range(0, 10_000, step):
        ended = start(partial(kill_at_rename, rename)).wait()
        if not ended.status:
            return
        expect(ended.status, -signal.SIGKILL, ended.last)
        yield


def merge_killed(sandbox: Sandbox) -> Iterator[str]:
    """Kill `merge` before each of its renames; the same command then finishes it."""
    suite = (sandbox.folder / "suite.toml").read_text().splitlines()
    models = ("digits:resnet@lpf3-seed0", "python:flaky:model")
    for part, model in enumerate(models):
        folder = sandbox.folder / f"part{part}"
        folder.mkdir()
        rest = [line for line in suite if not line.startswith(("models", "baseline"))]
        (folder / "suite.toml").write_text("\n".join([f'models = ["{model}"]', *rest]))
        command = ("benchmark", f"part{part}/suite.toml", "--output-dir", f"part{part}/run")
        expect(sandbox.run(*command).wait().status, 0, model)
    merge = ("merge", "part0/run", "part1/run", "--output-dir", "merged")

    def start(before: Callable[[], None]) -> Command:
        return sandbox.run(*merge, before=before)

    for _ in at_each_rename(start, sandbox.count(1, 40)):
        expect(sandbox.run(*merge).wait().status, 0, "merge")
        expect(sandbox.run("report", "merged", "--baseline", models[0]).wait().status, 0, "report")
        sandbox.check_tables(sandbox.folder / "merged")
        shutil.rmtree(sandbox.folder / "merged")
        yield "the same command finished it"


def report_killed(sandbox: Sandbox) -> Iterator[str]:
    """Kill `report` before each of its renames; the earlier report or the new one is whole."""
    output = "reported"
    sandbox.check_resumes(output)
    for _ in at_each_rename(lambda before: sandbox.run("report", output, before=before)):
        expect(sandbox.run("report", output).wait().status, 0, "report")
        sandbox.check_tables(sandbox.folder / output)
        yield "the same command wrote it again"


def at_once(sandbox: Sandbox) -> Iterator[str]:
    """Start the same command twice at the same time."""
    for place in range(sandbox.count(3)):
        output = f"twice{place}"
        commands = [sandbox.benchmark(output) for _ in range(2)]
        ends = sorted((command.wait() for command in commands), key=lambda end: end.status)
        expect([end.status for end in ends], [0, 2], str(ends))
        sandbox.check_resumes(output)
        yield f"the second: exit status 2, {ends[1].last!r}"


FAULTS: dict[str, Fault] = {
    **{
        name: partial(signalled, numbers=numbers, times=times, status=status)
        for name, numbers, times, status in (
            ("a process is killed (SIGKILL)", (signal.SIGKILL,), 200, -signal.SIGKILL),
            ("it is interrupted (SIGINT)", (signal.SIGINT,), 10, 130),
            ("it is terminated (SIGTERM)", (signal.SIGTERM,), 10, 143),
            # in this order: of two pending signals, Python handles the lower number first
            ("SIGINT and SIGTERM in a row", (signal.SIGINT, signal.SIGTERM), 10, 130),
        )
    },
    "merge is killed at each rename": merge_killed,
    "report is killed at each rename": report_killed,
    "two runs at once": at_once,
}
