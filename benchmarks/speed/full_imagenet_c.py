"""Measure a part of ImageNet-C and project all of it: `python -m benchmarks.speed.full_imagenet_c`.

A model evaluates the 75 standard cells of `imagenet-c-live` on photographs of 500 × 375 px, in one
whole shard. Every shard is the same work, so the time of the 50,000 validation images is that of 50
shards, after everything was loaded. With `--processes`, several processes on the same device
evaluate a shard each at the same time, as if they shared the images.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import click
import pandas as pd
import torch

from benchmarks.photographs import write_crops
from benchmarks.process import together
from benchmarks.rows import device_name, publish
from benchmarks.speed.evaluation_speed import SETTINGS
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.suite import Suite
from robustbench_aa.support.devices import choose_device
from robustbench_aa.types import COUNTED_CORRUPTIONS

OUTPUT = Path("results/performance/full_imagenet_c.csv")
IMAGES = 50_000
"""Validation images of ImageNet."""
WARM_UP = 256
"""Photographs of the evaluation that comes first: a whole batch of each corruption."""


def work(model: str, device: str, setting: str, photographs: Path) -> None:
    """Print `ready`, wait for a line on standard input, and print what the evaluation took.

    The line is the seconds until everything was loaded, the seconds of the evaluation and the
    number of frames. A small evaluation comes first, which warms up.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(
            [model],
            ["imagenet-c-live"],
            data_dir=str(photographs),
            corruptions=COUNTED_CORRUPTIONS,
        )
        session = prepare(suite, Path(folder) / "whole", device)
        loaded = time.perf_counter() - start
        few = dataclasses.replace(suite, limit=WARM_UP, severities=[3])
        evaluated(prepare(few, Path(folder) / "few", device), setting)
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.perf_counter()
        frames = evaluated(session, setting)
        print(loaded, time.perf_counter() - start, frames, flush=True)


def evaluated(session: Session, setting: str) -> int:
    """Evaluate what is missing and return the number of frames."""
    # without cells, no example pictures are made for a page: a run does that once, not per shard
    run = dataclasses.replace(session, cells=[]).run(SETTINGS[setting])
    if run.failures:
        raise click.ClickException(str(run.failures[0]))
    return sum(item.passes for item in session.work)


def measure(
    model: str, device: str, setting: str, processes: int, photographs: Path, count: int
) -> dict[str, object]:
    """Return the row of processes that evaluate side by side."""
    command = [sys.executable, "-m", __spec__.name, "--work", str(photographs)]
    command += ["--model", model, "--device", device, "--setting", setting]
    # as the command line of robustbench-aa does
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    lines = together([command] * processes, environment)
    found = [[float(word) for word in line.split()] for line in lines]
    loaded = max(times[0] for times in found)
    slowest = max(times[1] for times in found)
    shards = IMAGES / count / processes
    return {
        "model": model,
        "setting": setting,
        "processes": processes,
        "images": count,
        "frames": int(sum(times[2] for times in found)),
        "seconds": slowest,
        "frames_per_second": sum(times[2] for times in found) / slowest,
        "seconds_to_load": loaded,
        "projected_minutes": (loaded + shards * slowest) / 60,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


@click.command()
@click.option("--model", default="torchvision:resnet50@random", show_default=True)
@click.option("--device", default=choose_device)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    type=click.Choice(list(SETTINGS)),
    default=("bfloat16",),
    show_default=True,
    help="How frames go through the model (repeatable).",
)
@click.option("--photographs", default=1000, show_default=True, help="Photographs of the shard.")
@click.option("--processes", default=1, show_default=True, help="Processes side by side.")
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
@click.option("--work", "photographs_of_worker", type=click.Path(path_type=Path), hidden=True)
def main(
    model: str,
    device: str,
    settings: tuple[str, ...],
    photographs: int,
    processes: int,
    output: Path,
    photographs_of_worker: Path | None,
) -> None:
    """Measure a shard, and write a row for each setting and number of processes."""
    if photographs_of_worker:
        work(model, device, settings[0], photographs_of_worker)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "photographs"
        write_crops(place, photographs)
        for setting in settings:
            for number in sorted({1, processes}):
                rows.append(measure(model, device, setting, number, place, photographs))
                publish(pd.DataFrame(rows), output)


if __name__ == "__main__":
    main()
