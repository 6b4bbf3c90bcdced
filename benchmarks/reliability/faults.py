"""Cause faults in runs, and compare the results: `python -m benchmarks.reliability.faults`.

Every fault is caused for real, in a separate process. Afterwards the same command runs
undisturbed, and its tables must be those of a run that was never disturbed, byte by byte. Another
exit status than the expected one, or tables that differ, end the command with status 1.

Faults that this machine cannot cause, such as full disks without root, are left out.
"""

from __future__ import annotations

import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmarks.reliability import (
    contents,
    disk,
    files,
    models,
    processes,
    ray_cluster,
    storage,
)
from benchmarks.reliability.sandbox import Fault, Sandbox, Unavailable
from benchmarks.rows import write_table

OUTPUT = Path("results/reliability/faults.csv")
GROUPS = (processes, models, files, contents, disk, storage, ray_cluster)
FAULTS: dict[str, Fault] = {name: fault for group in GROUPS for name, fault in group.FAULTS.items()}


@click.command()
@click.option("--only", multiple=True, type=click.Choice([*FAULTS]), help="A fault (repeatable).")
@click.option("--quick", is_flag=True, help="Cause each fault only a few times.")
@click.option("--output", default=OUTPUT, show_default=True, type=click.Path(path_type=Path))
def main(only: tuple[str, ...], quick: bool, output: Path) -> None:
    """Cause faults and write a row for each; rows of faults that are left out stay."""
    # a shell starts background commands with SIGINT ignored, and forks would inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows: dict[Any, Any] = {}
    if output.exists():
        rows = {row["fault"]: row for row in pd.read_csv(output).to_dict("records")}
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder), quick)
        sandbox.prepare()
        for name in only or FAULTS:
            start = time.perf_counter()
            try:
                seen = list(FAULTS[name](sandbox))
            except Unavailable as error:
                click.echo(f"{name}: left out ({error})")
                continue
            rows[name] = {"fault": name, "times": len(seen), "seen": seen[-1]}
            seconds = time.perf_counter() - start
            click.echo(f"{name}: {len(seen)} times in {seconds:.0f} s; {seen[-1]}")
            write_table(pd.DataFrame([rows[fault] for fault in FAULTS if fault in rows]), output)
    click.echo(output)


if __name__ == "__main__":
    main()
