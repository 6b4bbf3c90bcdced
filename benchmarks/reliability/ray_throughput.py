"""Kill workers of a large run again and again: `python -m benchmarks.reliability.ray_throughput`.

Fifty small networks are evaluated on all cells of `digits-c` by two Ray workers on two cores, first
undisturbed, and then with a worker killed every half minute. The rows have the predictions per
second, from the start of the command to its last prediction. The tables of both reports must be
equal, byte by byte.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import click
import pandas as pd

from benchmarks.reliability.ray_cluster import RAY, workers
from benchmarks.reliability.sandbox import (
    Command,
    Sandbox,
    expect,
    import_all,
    predictions,
    tables,
    times,
)
from benchmarks.rows import publish

OUTPUT = Path("results/reliability/ray_throughput.csv")
DATASET = "digits-c"
CELLS = 96
"""19 corruptions at five severities, and the clean images."""
WORKERS = 2
NETWORKS = """
import torch, robustbench_aa as rb

def network(seed):
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(128, 10),
    )
    how = rb.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return rb.Classifier(layers, name=f"small-{seed}", input_size=32, classes=10, preprocessing=how)

def __getattr__(name):
    return lambda: network(int(name.removeprefix("small")))
"""


def suite(models: int, images: int) -> str:
    """Return a suite of small networks on the images of a data set, in one shard."""
    names = [f"python:networks:small{seed}" for seed in range(models)]
    return (
        f'models = {names}\ndatasets = ["{DATASET}"]\nbaseline = "{names[0]}"\n'
        f"limit = {images}\nshard_size = {images}\n"
    )


def disturbed(command: Command, every: float) -> int:
    """Wait for the end of a command, kill one of its workers at intervals, and count the kills.

    Args:
        command: evaluates on Ray.
        every: seconds between two kills; 0 kills none.
    """
    kills, due = 0, time.monotonic() + every
    while command.is_running():
        time.sleep(0.2)
        if every and time.monotonic() >= due:
            for worker in workers(command)[:1]:
                os.kill(worker, signal.SIGKILL)
                kills += 1
                due += every
    return kills


def evaluate(sandbox: Sandbox, output: str, every: float) -> tuple[float, int]:
    """Run the suite; return the seconds from its start to its last prediction, and the kills."""
    two_cores = sorted(os.sched_getaffinity(0))[:WORKERS]
    start = time.time()
    command = sandbox.benchmark(
        output, *RAY, suite="many", before=partial(os.sched_setaffinity, 0, two_cores)
    )
    kills = disturbed(command, every)
    ended = command.wait()
    expect(ended.status, 0, ended.last)
    last = max(times(predictions(sandbox.folder / output)).values())
    return last / 1e9 - start, kills


@click.command()
@click.option("--models", default=50, show_default=True)
@click.option("--images", default=797, show_default=True)
@click.option("--every", default=30.0, show_default=True, help="Seconds between two kills.")
@click.option("--output", default=OUTPUT, show_default=True, type=click.Path(path_type=Path))
def main(models: int, images: int, every: float, output: Path) -> None:
    """Evaluate undisturbed and disturbed, compare the tables, and write a row for each."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        sandbox = Sandbox(Path(place))
        import_all()
        (sandbox.folder / "networks.py").write_text(NETWORKS)
        (sandbox.folder / "many.toml").write_text(suite(models, images))
        for name, interval in (("undisturbed", 0.0), ("killed", every)):
            seconds, kills = evaluate(sandbox, name, interval)
            sandbox.expected.setdefault("many", tables(sandbox.folder / name))
            sandbox.check_tables(sandbox.folder / name, "many")
            rows.append(
                {
                    "run": name,
                    "models": models,
                    "cells": CELLS,
                    "images": images,
                    "prediction_files": len(predictions(sandbox.folder / name)),
                    "workers": WORKERS,
                    "kills": kills,
                    "seconds": seconds,
                    "predictions_per_second": models * CELLS * images / seconds,
                    "relative": rows[0]["seconds"] / seconds if rows else 1.0,
                }
            )
            click.echo(f"{name}: {seconds:.0f} s, {kills} kills")
    publish(pd.DataFrame(rows), output)


if __name__ == "__main__":
    main()
