"""Faults of Ray clusters: workers and nodes that are lost, and workers with other code."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import robustbench_aa
from benchmarks.reliability.sandbox import Command, Fault, Sandbox, expect, need, predictions

RAY = ("--engine", "ray")


def _await_predictions(run: Path, command: Command) -> None:
    """Wait until there are more prediction files than now, or until the command ends."""
    before = len(predictions(run))
    while command.is_running() and len(predictions(run)) <= before:
        time.sleep(0.1)


def workers(driver: Command) -> list[int]:
    """Return the processes that evaluate for a command."""
    listed = subprocess.run(
        ["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in rows}

    def is_descendant(pid: int) -> bool:
        while pid in parents and pid != driver.process.pid:
            pid = parents[pid]
        return pid == driver.process.pid

    evaluating = [int(pid) for pid, _, name in rows if name.startswith("ray::_evaluate")]
    return [pid for pid in evaluating if is_descendant(pid)]


def terminated(sandbox: Sandbox) -> Iterator[str]:
    """Send SIGTERM to the driver while its cluster is at work."""
    need("ray")
    for _ in range(sandbox.count(3)):
        command = sandbox.benchmark("ended", *RAY)
        _await_predictions(sandbox.folder / "ended", command)
        command.send(signal.SIGTERM)
        ended = command.wait()
        expect(ended.status, 143, ended.last)
        yield f"exit status {ended.status}, {ended.last!r}"
    sandbox.check_resumes("ended", *RAY)


def worker_killed(sandbox: Sandbox) -> Iterator[str]:
    """Kill a process that evaluates as soon as it has written a few predictions."""
    need("ray")
    killed = 0
    while killed < sandbox.count(10):
        output = f"ray{killed}"
        command = sandbox.benchmark(output, *RAY)
        while command.is_running() and killed < sandbox.count(10):
            _await_predictions(sandbox.folder / output, command)
            for worker in workers(command)[:1]:
                os.kill(worker, signal.SIGKILL)
                killed += 1
                yield "another process did its task"
        ended = command.wait()
        expect(ended.status, 0, ended.last)
        sandbox.check_tables(sandbox.folder / output)
        sandbox.check_resumes(output)


def _serve(driver: Connection) -> None:
    """Start a cluster of two nodes; remove one, and then the other, when the driver says so."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    driver.send(cluster.address)
    driver.recv()
    cluster.remove_node(other, allow_graceful=False)
    driver.send("removed")
    driver.recv()
    cluster.shutdown()


def node_lost(sandbox: Sandbox) -> Iterator[str]:
    """Remove one of a cluster's two nodes."""
    need("ray")
    # in a separate process: Ray's threads would not survive the forks of this one
    cluster, other_end = get_context("fork").Pipe()
    process = get_context("fork").Process(target=_serve, args=(other_end,))
    process.start()
    try:
        command = sandbox.benchmark("node", *RAY, "--ray-address", cluster.recv())
        _await_predictions(sandbox.folder / "node", command)
        cluster.send("remove")
        cluster.recv()
        ended = command.wait()
        expect(ended.status, 0, ended.last)
        sandbox.check_tables(sandbox.folder / "node")
        yield "the other node did its tasks"
    finally:
        cluster.send("end")
        process.join()
    sandbox.check_resumes("node")


def other_code(sandbox: Sandbox, file: str, change: Callable[[str], str]) -> Iterator[str]:
    """Let workers import another copy of the package.

    Args:
        file: of the package, which the copy has with a change.
        change: returns another text of the file.
    """
    need("ray")
    other = sandbox.folder / "other"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(Path(robustbench_aa.__file__).parent, other / "robustbench_aa")
    changed = other / "robustbench_aa" / file
    text = changed.read_text()
    expect(change(text) != text, True, f"{file} is another")
    changed.write_text(change(text))
    output = f"skewed-{Path(file).stem}"
    ended = sandbox.benchmark(output, *RAY, environment={"PYTHONPATH": str(other)}).wait()
    refused = "has another package code" in ended.last
    expect((ended.status, refused), (2, True), ended.last)
    expect(predictions(sandbox.folder / output), [], "predictions")
    sandbox.check_resumes(output, *RAY)
    yield "exit status 2, 'error: a Ray worker on … has another package code …'"


FAULTS: dict[str, Fault] = {
    "it is terminated while Ray works": terminated,
    "Ray workers are killed": worker_killed,
    "a Ray node is lost": node_lost,
    "Ray workers have another copy of the package": partial(
        other_code,
        file="metrics/aggregates.py",
        change=lambda text: f"{text}\n# another copy\n",
    ),
    "Ray workers have another version of a distortion": partial(
        other_code,
        file="distortions/perturbations.py",
        change=lambda text: text.replace("version: int = 1", "version: int = 2"),
    ),
}
