"""What Ray costs beside the local engine: `python -m benchmarks.speed.engines`.

Some images of the embedded benchmark as whole processes, with their start and their report. Both
engines do it on the same cores, in turn; `taskset` keeps a process and its workers on one of them.
All tables must be the same to the byte.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import pandas as pd

from benchmarks.reliability.sandbox import tables
from robustbench_aa.datasets.pictures import cores

OUTPUT = Path("results/performance/engines.csv")


@dataclass(frozen=True)
class Case:
    """A way to do the same work."""

    engine: str
    workers: int
    cores_each: int

    @property
    def cores(self) -> int:
        """That are computed on."""
        return self.workers * self.cores_each

    def seconds(self, limit: int, folder: Path) -> float:
        """The time of the benchmark into an empty folder, from its start to its report."""
        on = ",".join(map(str, sorted(os.sched_getaffinity(0))[: self.cores]))
        command = ["taskset", "--cpu-list", on, sys.executable, "-m", "robustbench_aa"]
        command += ["benchmark", "digits", "--limit", str(limit), "--output-dir", str(folder)]
        command += ["--engine", self.engine, "--threads", str(self.cores_each)]
        start = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise click.ClickException(f"{self}: exit status {ended.returncode}: {ended.stderr}")
        return time.perf_counter() - start


def cases(available: int) -> list[Case]:
    """Both engines on all cores and on one."""
    return [
        Case("local", 1, available),
        Case("ray", available, 1),
        Case("local", 1, 1),
        Case("ray", 1, 1),
    ]


def row(case: Case, seconds: Mapping[Case, list[float]]) -> dict[str, object]:
    """The median, beside the local engine's on as many cores and Ray's with one worker."""
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
@click.option("--limit", default=180, show_default=True, help="Images of each data set.")
@click.option("--repetitions", default=3, show_default=True)
def main(limit: int, repetitions: int) -> None:
    """Measures every way in turn, those on one core once, and writes a row for each."""
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
    table = pd.DataFrame([row(case, seconds) for case in seconds])
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.3f")
    click.echo(table.to_string(index=False))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()
