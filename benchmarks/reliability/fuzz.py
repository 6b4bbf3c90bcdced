"""Read damaged files: `python -m benchmarks.reliability.fuzz --cases 10000 --seed 0`.

Valid files of every kind that the program reads are damaged at random, and read. A case works, or a
`RobustbenchError` of one line refuses it. Anything else is a defect, which is printed with the
command that repeats it: another exception, ten seconds, a gigabyte of memory, predictions that
changed unnoticed, a path outside the run. Nothing is downloaded: cases cannot open connections. The
exit status is 1 if there was a defect.
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

SECONDS = 10.0
"""That a case may take."""
MEMORY = 2**30
"""Bytes that a case may add to what the process has had at most."""
CHUNK = 50
"""Cases that a process is given at once."""


@dataclass
class Outcome:
    """What became of some cases."""

    cases: int = 0
    worked: int = 0
    refused: int = 0
    slowest: float = 0.0
    defects: list[str] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Adds what became of others."""
        self.cases += other.cases
        self.worked += other.worked
        self.refused += other.refused
        self.slowest = max(self.slowest, other.slowest)
        self.defects += other.defects


class TooSlow(BaseException):
    """A case's time is over; no part of the program takes this for an error of its own."""


def tried(target: str, folder: Path, seed: int, start: int, stop: int) -> Outcome:
    """Tries some cases of a target; the case's number and the seed tell all of it."""
    attempt, found = _made(target, folder), Outcome()
    place = list(TARGETS).index(target)
    for case in range(start, stop):
        random = np.random.default_rng([seed, place, case])
        memory, clock = peak(), time.perf_counter()
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
        seconds, more = time.perf_counter() - clock, peak() - memory
        found.slowest = max(found.slowest, seconds)
        if more > MEMORY:
            defect = f"{more / 2**20:,.0f} MiB of memory"
        if seconds > SECONDS:
            defect = f"{seconds:.1f} s"
        if defect:
            again = f"--target {target} --seed {seed} --first {case} --cases 1"
            found.defects.append(f"{target}: {defect} ({again})")
    return found


@cache
def _made(target: str, folder: Path) -> Try:
    own = folder / f"{target}-{os.getpid()}"
    own.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return TARGETS[target][0](own)


@contextmanager
def _limited() -> Iterator[None]:
    """Without connections, warnings or words, and no longer than a case may take."""

    def ring(*_signal: object) -> NoReturn:
        raise TooSlow

    def refuse(*_arguments: object) -> NoReturn:
        raise OSError("there is no network here")

    with patch.object(socket.socket, "connect", refuse), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _begin() -> None:
    """In each process: only what ends it is told of; libraries say a word to each damaged file."""
    faulthandler.enable(os.fdopen(os.dup(2), "w"))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    torch.set_num_threads(1)
    os.environ["HF_HUB_OFFLINE"] = "1"


def fuzz(targets: dict[str, int], seed: int, first: int = 0) -> pd.DataFrame:
    """Tries so many cases of each target, on all cores; a row a target, with its `defects`."""
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
                task = partial(tried, target, Path(folder), seed, start, stop)
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
@click.option("--cases", default=10000, show_default=True, help="In all.")
@click.option("--seed", default=0, show_default=True)
@click.option("--target", help="Only this.")
@click.option("--first", default=0, show_default=True, help="The number of the first case of each.")
def main(cases: int, seed: int, target: str | None, first: int) -> int:
    """Tries damaged files and prints what became of them."""
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
