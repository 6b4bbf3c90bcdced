"""What is lost when something breaks: `python -m benchmarks.faults`.

Every fault is brought about for real, on a benchmark of the embedded data in a process of its own.
Afterwards the same command is run again, undisturbed, and the tables must be those of a run that
nothing happened to, byte by byte: a difference ends it. Disks that are full or read-only are small
file systems in memory that only root may mount; they are left out for others.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pandas as pd

OUTPUT = Path("results/reliability/faults.csv")
SUITE = """
models = ["digits:resnet@baseline", "digits:resnet@lpf3", "python:flaky:model"]
datasets = ["digits-c", "digits-p", "digits-shift"]
baseline = "digits:resnet@baseline"
limit = 60
shard_size = 20
"""
FLAKY = '''
import os, torch, robustbench_aa as rb

class Flaky(torch.nn.Module):
    """A network of random weights, and what befalls it now and then."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))

    def forward(self, x):
        logits = self.layers(x)
        befalls = os.environ.get("FAULT")
        if befalls and logits[0, 0] > 0.3:
            if befalls == "raises":
                raise RuntimeError("a kernel failed")
            if befalls == "returns NaN":
                return logits * float("nan")
            if befalls == "returns another shape":
                return logits[:, :9]
            if befalls == "needs too much memory" and len(x) > 7:
                raise torch.OutOfMemoryError("out of memory")
        return logits

def model():
    how = rb.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return rb.Classifier(Flaky(), name="flaky", input_size=32, classes=10, preprocessing=how)
'''
UNTOLD = "provenance.csv"
"""It says when and how predictions were made, and rightly differs."""


@dataclass
class Place:
    """A folder with the suite, and the tables of the undisturbed run."""

    folder: Path
    tables: dict[str, bytes]
    seconds: float

    def start(self, output: str, *more: str, **environment: str) -> subprocess.Popen[str]:
        """The benchmark in a process."""
        command = [sys.executable, "-m", "robustbench_aa", "benchmark", "suite.toml"]
        return subprocess.Popen(
            [*command, "--output-dir", output, *more],
            cwd=self.folder,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Its exit status and what it said at last."""
        _, told = process.communicate()
        lines = told.strip().splitlines() or [""]
        return process.returncode, lines[-1]

    def mended(self, output: str, *more: str) -> None:
        """Runs the same command undisturbed and compares the tables.

        Raises:
            click.ClickException: they differ, or the command fails.
        """
        status, told = self.ended(self.start(output, *more))
        if status:
            raise click.ClickException(f"{output}: exit status {status}: {told}")
        if tables(self.folder / output) != self.tables:
            raise click.ClickException(f"{output}: the tables differ")


Fault = Callable[[Place], Iterator[str]]
"""Brings it about again and again, and yields what was seen each time."""


def tables(run: Path) -> dict[str, bytes]:
    """The CSV files of a run's report."""
    found = {file.name: file.read_bytes() for file in (run / "report").glob("*.csv")}
    return {name: content for name, content in found.items() if name != UNTOLD}


def expect(found: object, expected: object, what: str) -> None:
    """Raises click.ClickException: something else than expected was found."""
    if found != expected:
        raise click.ClickException(f"{what}: {found!r} instead of {expected!r}")


def signalled(number: signal.Signals, times: int, status: int) -> Fault:
    """The driver gets a signal at random moments until it has had enough of them."""

    def fault(place: Place) -> Iterator[str]:
        output, received = f"signal{number}", 0
        while times > received:
            process = place.start(output)
            time.sleep(random.uniform(1, place.seconds))
            process.send_signal(number)
            found, told = place.ended(process)
            if not found:  # it had ended before, and the next one begins anew
                place.mended(output)
                shutil.rmtree(place.folder / output)
                continue
            expect(found, status, output)
            received += 1
            yield f"exit status {found}" + (f", {told!r}" if number != signal.SIGKILL else "")
        place.mended(output)

    return fault


def befallen(what: str, said: str) -> Fault:
    """A model goes wrong on some images; the others go on."""

    def fault(place: Place) -> Iterator[str]:
        output = what.replace(" ", "-")
        status, told = place.ended(place.start(output, FAULT=what))
        expect(status, 1 if said else 0, output)
        expect(said in told, True, told)
        files = {f: f.stat().st_mtime_ns for f in (place.folder / output).rglob("*.parquet")}
        place.mended(output)
        expect({f: f.stat().st_mtime_ns for f in files}, files, "files evaluated again")
        yield f"exit status {status}, {told!r}" if said else "halved, the tables are the same"

    return fault


def damaged(change: Callable[[bytes], bytes]) -> Fault:
    """Prediction files of a finished run are changed."""

    def fault(place: Place) -> Iterator[str]:
        place.mended("damaged")
        files = sorted((place.folder / "damaged").rglob("*.parquet"))
        for file in random.sample(files, 20):
            file.write_bytes(change(file.read_bytes()))
            yield "named, evaluated again"
        place.mended("damaged")

    return fault


def flipped(content: bytes) -> bytes:
    """Other bits somewhere."""
    place = random.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]


@contextmanager
def file_system(place: Path, size: str) -> Iterator[None]:
    """A small one in memory."""
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def disk_full(place: Place) -> Iterator[str]:
    """There is no room while predictions are written."""
    disk = place.folder / "full"
    with file_system(disk, "1m"):
        for size in ("1m", "2m", "3m"):
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            status, told = place.ended(place.start("full/run"))
            expect((status, "No space left" in told), (1, True), told)
            yield f"exit status {status}, '{told[:20]}… (No space left on device) …'"
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        place.mended("full/run")


def read_only(place: Place) -> Iterator[str]:
    """Nothing can be written from the beginning."""
    disk = place.folder / "sealed"
    with file_system(disk, "100m"):
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        status, told = place.ended(place.start("sealed/run"))
        expect((status, "Read-only file system" in told), (2, True), told)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        place.mended("sealed/run")
        yield f"exit status {status}, '… (Read-only file system); choose another --output-dir'"


def at_once(place: Place) -> Iterator[str]:
    """The same command twice at the same time."""
    for output in ("twice", "twice-again", "twice-more"):
        one, two = place.start(output), place.start(output)
        ends = sorted([place.ended(one), place.ended(two)])
        expect([status for status, _ in ends], [0, 2], str(ends))
        place.mended(output)
        yield f"the second: exit status 2, {ends[1][1]!r}"


def clock_changed(place: Place) -> Iterator[str]:
    """Files are from a future, or from long ago."""
    place.mended("clock")
    for moment in (0, 2**32):
        files = sorted((place.folder / "clock").rglob("*.parquet"))
        for file in files:
            os.utime(file, (moment, moment))
        place.mended("clock")
        expect({file.stat().st_mtime for file in files}, {moment}, "times")
        yield "nothing is evaluated again"


def ray_terminated(place: Place) -> Iterator[str]:
    """The driver of a cluster at work gets SIGTERM."""
    for _ in range(3):
        process = place.start("ended", "--engine", "ray")
        await_predictions(place.folder / "ended", process)
        process.send_signal(signal.SIGTERM)
        status, told = place.ended(process)
        expect(status, 143, told)
        yield f"exit status {status}, {told!r}"
    place.mended("ended", "--engine", "ray")


def await_predictions(run: Path, process: subprocess.Popen[str]) -> None:
    """Waits until there are more than now, or until nobody makes any."""
    before = len(list(run.rglob("*.parquet")))
    while process.poll() is None and len(list(run.rglob("*.parquet"))) <= before:
        time.sleep(0.2)


def ray_worker(place: Place) -> Iterator[str]:
    """A process that evaluates is killed as soon as it has made a few predictions, ten times."""
    process = place.start("ray", "--engine", "ray")
    for _ in range(10):
        await_predictions(place.folder / "ray", process)
        listed = subprocess.run(["pgrep", "-f", "^ray::_evaluate"], capture_output=True, text=True)
        for worker in listed.stdout.split()[:1]:
            subprocess.run(["kill", "-9", worker], check=False)
            yield "its task is done by another"
    status, told = place.ended(process)
    expect(status, 0, told)
    place.mended("ray", "--engine", "ray")


def ray_node(place: Place) -> Iterator[str]:
    """One of a cluster's two nodes is lost."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        other = cluster.add_node(num_cpus=1)
        process = place.start("node", "--engine", "ray", "--ray-address", cluster.address)
        await_predictions(place.folder / "node", process)
        cluster.remove_node(other, allow_graceful=False)
        status, told = place.ended(process)
        expect(status, 0, told)
        yield "its tasks are done by the other node"
    finally:
        cluster.shutdown()
    place.mended("node")


FAULTS: dict[str, Fault] = {
    "the driver is killed (SIGKILL)": signalled(signal.SIGKILL, 30, -9),
    "it is interrupted (SIGINT)": signalled(signal.SIGINT, 5, 130),
    "it is terminated (SIGTERM)": signalled(signal.SIGTERM, 5, 143),
    "a model raises on some images": befallen("raises", "a kernel failed"),
    "a model returns NaN": befallen("returns NaN", "returned logits that are not finite"),
    "a model returns another shape": befallen("returns another shape", "instead of logits"),
    "memory runs out in some batches": befallen("needs too much memory", ""),
    "prediction files are truncated": damaged(lambda content: content[: len(content) // 2]),
    "prediction files have flipped bits": damaged(flipped),
    "two runs at once": at_once,
    "the clock is changed": clock_changed,
    "the disk is full": disk_full,
    "the disk is read-only": read_only,
    "it is terminated while Ray works": ray_terminated,
    "Ray workers are killed": ray_worker,
    "a Ray node is lost": ray_node,
}
ROOT_ONLY = ("the disk is full", "the disk is read-only")


def write(rows: dict[Any, Any]) -> None:
    """Writes a row for each fault that was brought about, now or earlier."""
    table = pd.DataFrame([rows[name] for name in FAULTS if name in rows])
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False)


@click.command()
@click.option("--only", multiple=True, help="A fault by name; may be repeated.")
def main(only: tuple[str, ...]) -> None:
    """Brings about every fault, writes a row for each, and keeps the rows of others."""
    # a shell's background commands are born to ignore it, and so would the benchmarks be
    signal.signal(signal.SIGINT, signal.default_int_handler)
    rows: dict[Any, Any] = {}
    if only and OUTPUT.exists():
        rows = {row["fault"]: row for row in pd.read_csv(OUTPUT).to_dict("records")}
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), {}, 0)
        (place.folder / "suite.toml").write_text(SUITE)
        (place.folder / "flaky.py").write_text(FLAKY)
        start = time.perf_counter()
        expect(place.ended(place.start("whole"))[0], 0, "the undisturbed run")
        place.seconds = time.perf_counter() - start
        place.tables = tables(place.folder / "whole")
        for name, fault in FAULTS.items():
            if (only and name not in only) or (name in ROOT_ONLY and os.geteuid()):
                continue
            seen = list(fault(place))
            rows[name] = {"fault": name, "times": len(seen), "seen": seen[-1]}
            click.echo(str(rows[name]))
            write(rows)
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()
