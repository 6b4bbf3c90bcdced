"""Read damaged files: `python -m benchmarks.reliability.fuzz --cases 10000 --seed 0`.

Valid files of every kind that the program reads are damaged at random, and read. A case works, or a
`RobustbenchError` of one line refuses it. Anything else is a defect, which is printed with the
command that repeats it: another exception, ten CPU seconds, a minute of waiting, a gigabyte of
memory, predictions that changed unnoticed, a path outside the run. Nothing is downloaded: cases
cannot open connections. The exit status is 1 if there was a defect.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn
from unittest.mock import patch

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.reliability.fuzz_runs import Try
from benchmarks.reliability.fuzz_targets import TARGETS
from robustbench_aa.cli.main import run_command
from robustbench_aa.errors import RobustbenchError, UnknownName

CPU_SECONDS = 10.0
"""The limit of a case, of all threads together; a busy machine does not lengthen it."""
WALL_SECONDS = 60.0
"""The limit of a case that waits, for example for a pipe."""
MEMORY = 2**30
"""The limit by which a case may raise the peak memory of its process, in bytes."""
CHUNK = 50
"""The number of cases in a task of a worker process."""


@dataclass
class Outcome:
    """The results of some cases."""

    cases: int = 0
    worked: int = 0
    refused: int = 0
    slowest: float = 0.0
    defects: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add the results of other cases."""
        self.cases += other.cases
        self.worked += other.worked
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)
        self.defects += other.defects


class TooSlow(BaseException):
    """The time limit of a case; no part of the program catches a BaseException of this kind."""


def run_cases(target: str, folder: Path, seed: int, start: int, stop: int) -> Outcome:
    """Run cases of a target; the seed and the number of a case determine it completely."""
    attempt, found = _prepare(target, folder), Outcome()
    place = list(TARGETS).index(target)
    for case in range(start, stop):
        random = np.random.default_rng([seed, place, case])
        memory, clock = peak(), time.process_time()
        found.cases += 1
        defect = None
        try:
            with _limited():
                attempt(random)
            found.worked += 1
        except RobustbenchError as error:
            found.refused += 1
            if not str(error).isprintable():
                defect = f"a message that is not one line: {error!r}"
        except (Exception, TooSlow) as error:
            defect = f"{type(error).__name__}: {error}"
        seconds, more = time.process_time() - clock, peak() - memory
        found.slowest = max(found.slowest, seconds)
        if more > MEMORY:
            defect = f"{more / 2**20:,.0f} MiB of memory"
        if seconds > CPU_SECONDS:
            defect = f"{seconds:.1f} CPU seconds"
        if defect:
            again = f"--target {target} --seed {seed} --first {case} --cases 1"
            found.defects.append(f"{target}: {defect} ({again})")
    return found


@cache
def _prepare(target: str, folder: Path) -> Try:
    own = folder / f"{target}-{os.getpid()}"
    own.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TARGETS[target][0](own)


@contextmanager
def _limited() -> Iterator[None]:
    """Refuse connections, hide warnings and raise `TooSlow` at the time limit."""

    def ring(*_signal: object) -> NoReturn:
        raise TooSlow

    def refuse(*_arguments: object) -> NoReturn:
        raise OSError("there is no network here")

    with patch.object(socket.socket, "connect", refuse), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        timers = (
            (signal.ITIMER_PROF, signal.SIGPROF, CPU_SECONDS),
            (signal.ITIMER_REAL, signal.SIGALRM, WALL_SECONDS),
        )
        before = {number: signal.signal(number, ring) for _, number, _ in timers}
        for timer, _, seconds in timers:
            signal.setitimer(timer, seconds)
        try:
            yield
        finally:
            for timer, number, _ in timers:
                signal.setitimer(timer, 0)
                signal.signal(number, before[number])


def peak() -> int:
    """Return the peak memory of this process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _begin() -> None:
    """Prepare a worker process: silence libraries, but print what ends the process."""
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)
    os.environ["HF_HUB_OFFLINE"] = "1"


def fuzz(targets: dict[str, int], seed: int, first: int = 0) -> pd.DataFrame:
    """Run cases of each target on all cores; return a row for each target with its `defects`."""
    outcomes = {target: Outcome() for target in targets}
    cores = len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(cores, get_context("spawn"), _begin) as workers,
    ):
        futures: dict[Future[Outcome], tuple[str, int]] = {}
        for target, cases in targets.items():
            for start in range(first, first + cases, CHUNK):
                stop = min(start + CHUNK, first + cases)
                task = partial(run_cases, target, Path(folder), seed, start, stop)
                futures[workers.submit(task)] = target, start
        for future, (target, start) in futures.items():
            try:
                outcomes[target].add(future.result())
            except BrokenProcessPool:
                again = f"--target {target} --seed {seed} --first {start} --cases {CHUNK}"
                outcomes[target].defects.append(f"{target}: a process ended ({again})")
    rows = [{"target": target, **vars(outcome)} for target, outcome in outcomes.items()]
    return pd.DataFrame(rows)


@click.command()
@click.option("--cases", default=10000, show_default=True, help="Number of cases of all targets.")
@click.option("--seed", default=0, show_default=True, help="Seed of the damage.")
@click.option("--target", help="Run only this target.")
@click.option("--first", default=0, show_default=True, help="Number of the first case.")
def main(cases: int, seed: int, target: str | None, first: int) -> int:
    """Read damaged files and print a table of the results."""
    if target and target not in TARGETS:
        raise UnknownName("target", target, TARGETS)
    shares = {name: max(1, cases * share // 100) for name, (_, share) in TARGETS.items()}
    table = fuzz({target: cases} if target else shares, seed, first)
    shown = table.drop(columns="defects").rename(columns={"slowest": "slowest_seconds"})
    click.echo(shown.to_string(index=False, float_format="%.2f"))
    click.echo(f"{table['cases'].sum():,} cases, {table['defects'].map(len).sum()} defects")
    for defects in table["defects"]:
        for defect in defects[:20]:
            click.echo(defect, err=True)
    return 1 if table["defects"].map(len).any() else 0


if __name__ == "__main__":
    run_command(main)
