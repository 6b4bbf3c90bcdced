"""Measure two processes on one machine, with and without `OMP_WAIT_POLICY=PASSIVE`.

`python -m benchmarks.speed.side_by_side`: each process runs forward passes of a network with random
weights on all cores, first alone and then two at a time. Threads of OpenMP wait for work by
spinning unless the policy is passive; beside another process, they take the cores that it needs.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from pathlib import Path

import click
import pandas as pd
import torch
from torchvision.models import get_model

from benchmarks.process import together
from benchmarks.rows import publish

OUTPUT = Path("results/performance/side_by_side.csv")
VARIABLE = "OMP_WAIT_POLICY"
POLICIES = ("default", "passive")
BATCH = 8
"""Images of a forward pass, of 224 px."""


def work(network: str, seconds: float) -> None:
    """Print `ready`, wait for a line on standard input, and print frames per second."""
    model = get_model(network, weights=None).eval()
    images = torch.rand(BATCH, 3, 224, 224)
    with torch.inference_mode():
        for _ in range(3):
            model(images)
        print("ready", flush=True)
        sys.stdin.readline()
        start = time.perf_counter()
        passes = 0
        while time.perf_counter() - start < seconds:
            model(images)
            passes += 1
        print(passes * BATCH / (time.perf_counter() - start), flush=True)


def rates(network: str, policy: str, processes: int, seconds: float) -> list[float]:
    """Return the frames per second of processes that start at the same time."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if policy != "default":
        environment[VARIABLE] = policy.upper()
    command = [sys.executable, "-m", __spec__.name, "--work", "--network", network]
    command += ["--seconds", str(seconds)]
    return [float(rate) for rate in together([command] * processes, environment)]


def measure(network: str, seconds: float, repetitions: int) -> pd.DataFrame:
    """Return a row for each policy; the policies take turns.

    Returns:
        The columns `network`, `wait_policy`, `alone` (frames per second of a single process),
        `beside` (of each of two processes, on average) and `ratio` (of `beside` to half of `alone`
        under the default policy, which is the fair share), all medians.
    """
    alone: dict[str, list[float]] = {policy: [] for policy in POLICIES}
    beside: dict[str, list[float]] = {policy: [] for policy in POLICIES}
    for _ in range(repetitions):
        for policy in POLICIES:
            alone[policy] += rates(network, policy, 1, seconds)
            beside[policy].append(statistics.mean(rates(network, policy, 2, seconds)))
    share = statistics.median(alone["default"]) / 2
    rows = [
        {
            "network": network,
            "wait_policy": policy,
            "alone": statistics.median(alone[policy]),
            "beside": statistics.median(beside[policy]),
            "ratio": statistics.median(beside[policy]) / share,
        }
        for policy in POLICIES
    ]
    return pd.DataFrame(rows)


@click.command()
@click.option("--network", default="mobilenet_v2", show_default=True, help="torchvision's name.")
@click.option("--seconds", default=10.0, show_default=True, help="Duration of a measurement.")
@click.option("--repetitions", default=5, show_default=True, help="Measurements of each kind.")
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
@click.option("--work", "working", is_flag=True, hidden=True)
def main(network: str, seconds: float, repetitions: int, output: Path, working: bool) -> None:
    """Measure one process alone and two side by side."""
    if working:
        work(network, seconds)
    else:
        publish(measure(network, seconds, repetitions), output, digits=2)


if __name__ == "__main__":
    main()
