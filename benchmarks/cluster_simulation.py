"""How a full study spreads over many GPUs: `python -m benchmarks.cluster_simulation`.

A simulation, not a measurement: workers take the tasks of `--engine ray` in their order as they
become free. What it knows of the real world are the bytes of a prediction, measured here on a file
of random predictions, and the options below, which stand for what was not measured.
"""

from __future__ import annotations

import heapq
import tempfile
from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.synthetic_run import synthetic_manifest, write_shard
from robustbench_aa.distortions import corruptions_at, frames, perturbations_at
from robustbench_aa.engines.ray import tasks_of
from robustbench_aa.evaluation import Work
from robustbench_aa.store import Cell, Store
from robustbench_aa.types import CLEAN, Shard, shards

OUTPUT = Path("results/performance/cluster_simulation.csv")
IMAGES, SHARD, NETWORKS = 50_000, 1000, 50
GPUS = (8, 64, 512)


def study() -> list[Work]:
    """ImageNet-C and ImageNet-P in full, in the order of a plan."""
    names = tuple(f"network{place}" for place in range(NETWORKS))
    sets = {
        "imagenet-c-live": [CLEAN, *corruptions_at(224)],
        "imagenet-p-live": [of for of in perturbations_at(224) if not of.name[-1].isdigit()],
    }
    return [
        Work(Cell(dataset, of, frames(of, 224)), shard, names)
        for dataset, distortions in sets.items()
        for shard in shards(IMAGES, SHARD)
        for of in distortions
    ]


def seconds_of(task: list[Work], speed: dict[str, float], distorted: float) -> float:
    """Frames are distorted once for all models of an item; reading is overlapped."""
    return sum(
        max(item.frames / distorted, sum(item.frames / speed[name] for name in item.pending))
        for item in task
    )


def simulate(tasks: list[float], workers: int, start: float) -> tuple[float, float]:
    """The makespan in seconds, and the share of it that workers are idle in the mean."""
    free = [start] * workers
    heapq.heapify(free)
    for seconds in tasks:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free), 1 - (sum(tasks) + start * workers) / (max(free) * workers)


def bytes_a_row() -> float:
    """Of a prediction in a file of a thousand."""
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Store(Path(folder), synthetic_manifest()), Shard(0, SHARD))
        files = list(Path(folder).rglob("*.parquet"))
        return sum(file.stat().st_size for file in files) / (SHARD * len(files))


@click.command()
@click.option("--speed", default=3000.0, show_default=True, help="Frames a second, the median.")
@click.option("--distorted", default=20_000.0, show_default=True, help="Distorted a second.")
@click.option("--start", default=120.0, show_default=True, help="Seconds to load all networks.")
def main(speed: float, distorted: float, start: float) -> None:
    """Simulates the study and writes a row for each number of GPUs."""
    draws = np.random.default_rng(0)
    work = study()
    of_network = {
        name: speed * float(factor)
        for name, factor in zip(
            work[0].pending, np.exp(draws.normal(0, 0.7, NETWORKS)), strict=True
        )
    }
    rows_each = sum(item.frames for item in work)
    files = len(work) * NETWORKS
    size = bytes_a_row()
    rows = []
    for gpus in GPUS:
        tasks = tasks_of(work, gpus)
        seconds = [seconds_of(task, of_network, distorted) for task in tasks]
        makespan, idle = simulate(seconds, gpus, start)
        rows.append(
            {
                "gpus": gpus,
                "tasks": len(tasks),
                "longest_task_seconds": max(seconds),
                "makespan_hours": makespan / 3600,
                "idle_share": idle,
                "predictions": rows_each * NETWORKS,
                "files": files,
                "gigabytes": rows_each * NETWORKS * size / 1e9,
                "files_a_second": files / makespan,
            }
        )
    table = pd.DataFrame(rows)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.3f")
    click.echo(table.to_string(index=False))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()
