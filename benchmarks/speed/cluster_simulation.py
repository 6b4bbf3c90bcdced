"""Simulate a full study on many GPUs: `python -m benchmarks.speed.cluster_simulation`.

This is a simulation, not a measurement. Each worker that is free takes the next task of `--engine
ray`. The time of a task follows from `evaluation_speed.csv`, which was measured on a CPU, divided
by `--faster`, an assumed speed-up of a GPU. The size of a prediction is measured on a file of
random predictions.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Sequence
from itertools import cycle, groupby
from pathlib import Path

import click
import pandas as pd

from benchmarks.rows import publish
from benchmarks.speed import evaluation_speed
from benchmarks.speed.synthetic_run import synthetic_manifest, write_shard
from robustbench_aa.distortions import corruptions_at, frames, perturbations_at
from robustbench_aa.evaluation.engines.ray import tasks_of
from robustbench_aa.evaluation.loop import Work
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.types import CLEAN, Shard, shards

OUTPUT = Path("results/performance/cluster_simulation.csv")
IMAGES, SHARD, NETWORKS = 50_000, 1000, 50
GPUS = (8, 64, 512)


def study() -> list[Work]:
    """Return the work of all of ImageNet-C and ImageNet-P, in the order of evaluation."""
    names = tuple(f"network{place}" for place in range(NETWORKS))
    sets = {
        "imagenet-c-live": [CLEAN, *corruptions_at(224)],
        "imagenet-p-live": [
            perturbation
            for perturbation in perturbations_at(224)
            if not perturbation.name[-1].isdigit()
        ],
    }
    return [
        Work(Cell(dataset, distortion, frames(distortion, 224)), shard, names)
        for dataset, distortions in sets.items()
        for shard in shards(IMAGES, SHARD)
        for distortion in distortions
    ]


def seconds_by_network(networks: Sequence[str], faster: float) -> dict[str, float]:
    """Return seconds per frame of each network, from the measured networks in turn."""
    table = pd.read_csv(evaluation_speed.OUTPUT)
    ours = table.query("route == 'robustbench_aa' and setting == 'float32' and device == 'cpu'")
    seconds = 1 / (ours.groupby("model")["frames_per_second"].median() * faster)
    return dict(zip(networks, cycle(seconds), strict=False))


def task_seconds(task: list[Work], per_frame: dict[str, float]) -> float:
    """Return the time of a task, given the seconds per frame of each network."""
    return sum(item.frames * sum(per_frame[name] for name in item.pending) for item in task)


def simulate(tasks: list[float], workers: int, start: float) -> tuple[float, float]:
    """Return the makespan in seconds, and the mean share of it that workers are idle."""
    free = [start] * workers
    heapq.heapify(free)
    for seconds in tasks:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free), 1 - (sum(tasks) + start * workers) / (max(free) * workers)


def bytes_per_row() -> float:
    """Return the size of a prediction in a file with a thousand of them."""
    with tempfile.TemporaryDirectory() as folder:
        write_shard(Store(Path(folder), synthetic_manifest()), Shard(0, SHARD))
        files = list(Path(folder).rglob("*.parquet"))
        return sum(file.stat().st_size for file in files) / (SHARD * len(files))


@click.command()
@click.option(
    "--faster",
    default=130.0,
    show_default=True,
    help="Assumed speed-up of a GPU over the measured CPU.",
)
@click.option(
    "--start", default=120.0, show_default=True, help="Assumed seconds to load all networks."
)
def main(faster: float, start: float) -> None:
    """Simulate the study, and write a row for each number of GPUs."""
    work = study()
    per_frame = seconds_by_network(work[0].pending, faster)
    by_shard = groupby(work, key=lambda item: (item.cell.dataset, item.shard))
    whole = [task_seconds(list(items), per_frame) for _, items in by_shard]
    rows_per_network = sum(item.frames for item in work)
    files = len(work) * NETWORKS
    size = bytes_per_row()
    rows = []
    for gpus in GPUS:
        tasks = tasks_of(work, gpus)
        seconds = [task_seconds(task, per_frame) for task in tasks]
        makespan, idle = simulate(seconds, gpus, start)
        rows.append(
            {
                "gpus": gpus,
                "tasks": len(tasks),
                "longest_task_seconds": max(seconds),
                "makespan_hours": makespan / 3600,
                "idle_share": idle,
                "idle_share_of_whole_shards": simulate(whole, gpus, start)[1],
                "predictions": rows_per_network * NETWORKS,
                "files": files,
                "gigabytes": rows_per_network * NETWORKS * size / 1e9,
                "files_a_second": files / makespan,
            }
        )
    publish(pd.DataFrame(rows), OUTPUT)


if __name__ == "__main__":
    main()
