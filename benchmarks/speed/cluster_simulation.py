"""How a full study spreads over many GPUs: `python -m benchmarks.speed.cluster_simulation`.

A simulation, not a measurement: workers take the tasks of `--engine ray` in their order as they
become free. A shard's time is that of the networks of `evaluation_speed.csv`, measured on a CPU and
divided by how much faster a GPU is, which is an option below and stands for what was not measured.
The bytes of a prediction are measured here, on a file of random predictions.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Sequence
from itertools import cycle, groupby
from pathlib import Path

import click
import pandas as pd

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


def measured(networks: Sequence[str], faster: float) -> dict[str, float]:
    """Seconds a frame with everything included, of the measured networks in turn."""
    table = pd.read_csv(evaluation_speed.OUTPUT)
    ours = table.query("route == 'robustbench_aa' and dtype == 'float32' and device == 'cpu'")
    seconds = 1 / (ours.groupby("model")["frames_per_second"].median() * faster)
    return dict(zip(networks, cycle(seconds), strict=False))


def seconds_of(task: list[Work], of_frame: dict[str, float]) -> float:
    """Of a task, if its networks take so many seconds for a frame."""
    return sum(item.frames * sum(of_frame[name] for name in item.pending) for item in task)


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
@click.option("--faster", default=130.0, show_default=True, help="A GPU than the measured CPU.")
@click.option("--start", default=120.0, show_default=True, help="Seconds to load all networks.")
def main(faster: float, start: float) -> None:
    """Simulates the study and writes a row for each number of GPUs."""
    work = study()
    of_frame = measured(work[0].pending, faster)
    by_shard = groupby(work, key=lambda item: (item.cell.dataset, item.shard))
    whole = [seconds_of(list(items), of_frame) for _, items in by_shard]
    rows_each = sum(item.frames for item in work)
    files = len(work) * NETWORKS
    size = bytes_a_row()
    rows = []
    for gpus in GPUS:
        tasks = tasks_of(work, gpus)
        seconds = [seconds_of(task, of_frame) for task in tasks]
        makespan, idle = simulate(seconds, gpus, start)
        rows.append(
            {
                "gpus": gpus,
                "tasks": len(tasks),
                "longest_task_seconds": max(seconds),
                "makespan_hours": makespan / 3600,
                "idle_share": idle,
                "idle_share_of_whole_shards": simulate(whole, gpus, start)[1],
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
