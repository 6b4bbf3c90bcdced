"""Measure the cost of Ray, compared with the local engine: `python -m benchmarks.speed.engines`.

Each engine evaluates some images of the embedded benchmark as a whole process, start and report
included. They take turns on the same cores; `taskset` restricts a process and its workers to them.
The tables of all runs must be equal, byte by byte.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import pandas as pd

from benchmarks.process import measured
from benchmarks.reliability.sandbox import tables
from benchmarks.rows import publish
from robustbench_aa.datasets.pictures import cores

OUTPUT = Path("results/performance/engines.csv")


@dataclass(frozen=True)
class Case:
    """An engine, its number of workers, and the cores of each worker."""

    engine: str
    workers: int
    cores_each: int

    @property
    def cores(self) -> int:
        """Number of cores in use."""
        return self.workers * self.cores_each

    def seconds(self, limit: int, folder: Path) -> float:
        """Return the time of the benchmark into an empty folder, from its start to its report."""
        cpu_list = ",".join(map(str, sorted(os.sched_getaffinity(0))[: self.cores]))
        command = ["taskset", "--cpu-list", cpu_list, sys.executable, "-m", "robustbench_aa"]
        command += ["benchmark", "digits", "--limit", str(limit), "--output-dir", str(folder)]
        command += ["--engine", self.engine, "--threads", str(self.cores_each)]
        return measured(command)["seconds"]


def cases(available: int) -> list[Case]:
    """Return the cases: both engines on all cores and on one."""
    return [
        Case("local", 1, available),
        Case("ray", available, 1),
        Case("local", 1, 1),
        Case("ray", 1, 1),
    ]


def row(case: Case, seconds: Mapping[Case, list[float]]) -> dict[str, object]:
    """Return a row: the median, relative to the local engine and to Ray with one worker."""
    local = median(seconds[Case("local", 1, case.cores)])
    single = median(seconds[Case("ray", 1, 1)])
    return {
        "engine": case.engine,
        "workers": case.workers,
        "cores_each": case.cores_each,
        "seconds": median(seconds[case]),
        "over_local": median(seconds[case]) / local,
        "speed_up": single / median(seconds[case]),
        "repetitions": len(seconds[case]),
    }


@click.command()
@click.option("--limit", default=180, show_default=True, help="Number of images of each data set.")
@click.option("--repetitions", default=3, show_default=True)
def main(limit: int, repetitions: int) -> None:
    """Measure every case, those on one core once, and write a row for each."""
    seconds: dict[Case, list[float]] = {case: [] for case in cases(cores())}
    expected: dict[str, bytes] = {}
    for repetition in range(repetitions):
        for case, times in seconds.items():
            if repetition and case.cores == 1:
                continue
            with tempfile.TemporaryDirectory() as place:
                times.append(case.seconds(limit, Path(place)))
                click.echo(f"{case}: {times[-1]:.1f} s")
                found = tables(Path(place))
            expected = expected or found
            if found != expected:
                raise click.ClickException(f"{case}: the tables differ")
    publish(pd.DataFrame([row(case, seconds) for case in seconds]), OUTPUT)


if __name__ == "__main__":
    main()
