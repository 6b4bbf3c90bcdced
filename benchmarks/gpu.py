"""What a GPU does, in minutes: `python -m benchmarks.gpu`.

The tests that need a GPU and the benchmarks of speed run one after the other. Each is a process of
its own with a time limit and a log, so that one that fails or hangs does not stop the others. A
table of all steps is written after each of them, and the benchmarks write their own rows as they
go: what is finished is kept when the run is killed. Nothing is downloaded.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
import torch

from benchmarks.rows import device_name, write_table

OUTPUT = Path("results/gpu")
LIVE = ("imagenet-c-live", "imagenet-p-live", "image-folder", "imagenet-shift")
SHORTEST = 1.0
"""Seconds; a step with less time left is not started."""
TIMED_OUT, SKIPPED = "timed out", "skipped"
LONGEST_LINE = 200
Row = dict[str, object]


@dataclass(frozen=True)
class Step:
    """A command of the Python interpreter.

    Attributes:
        name: of its row and its log.
        arguments: of the interpreter.
        share: of the time, relative to the shares of the other steps.
    """

    name: str
    arguments: tuple[str, ...]
    share: float


def all_steps(device: str, folder: Path) -> list[Step]:
    """Return all steps; those whose duration is least certain come last and get what is left."""

    def benchmark(module: str, *options: str) -> tuple[str, ...]:
        output = str(folder / f"{module}.csv")
        return (
            "-m",
            f"benchmarks.speed.{module}",
            "--device",
            device,
            "--output",
            output,
            *options,
        )

    def evaluation(model: str, datasets: Iterable[str], photographs: int) -> tuple[str, ...]:
        chosen = [word for name in datasets for word in ("--dataset", name)]
        how = ("--model", f"torchvision:{model}@random", "--photographs", str(photographs))
        return benchmark("evaluation_speed", "--no-peers", *how, *chosen)

    digits = "digits:resnet@baseline-seed0"
    return [
        Step("tests", ("-m", "pytest", "-m", "gpu", *_files_of_gpu_tests()), 4),
        Step("corruption_speed", benchmark("corruption_speed", "--batch", "256"), 2),
        Step("antialias_cost", benchmark("antialias_cost", "--batch", "64"), 2),
        Step("switches", benchmark("switches", "--model", digits), 2),
        Step("evaluation_resnet50", evaluation("resnet50", LIVE, 256), 5),
        Step("evaluation_mobilenet_v2", evaluation("mobilenet_v2", LIVE, 256), 3),
        # the files are made first, by the CPU
        Step("evaluation_stored", evaluation("resnet50", ["imagenet-c"], 48), 2),
        Step("evaluation_videos", evaluation("resnet50", ["imagenet-p"], 16), 1),
    ]


def _files_of_gpu_tests() -> list[str]:
    """Return the files with marked tests: others may need packages that are not installed."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(file) for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]


def carry_out(steps: Sequence[Step], folder: Path, seconds: float, device: str) -> Iterator[Row]:
    """Run steps one after the other and yield a row for each.

    A step may take its share of the time that is left, so that what one does not need goes to those
    after it.

    Args:
        folder: of the logs.
        seconds: for all steps together.
        device: a torch device, whose name the rows tell.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {"device": device_name(device), "torch": torch.__version__}
    end = time.monotonic() + seconds
    for place, step in enumerate(steps):
        shares = sum(later.share for later in steps[place:])
        start = time.monotonic()
        limit = (end - start) * step.share / shares
        log = folder / f"{step.name}.log"
        log.unlink(missing_ok=True)
        status = SKIPPED if limit < SHORTEST else _run(step, log, limit)
        yield {
            "step": step.name,
            "command": shlex.join(("python", *step.arguments)),
            **about,
            "status": status,
            "seconds": time.monotonic() - start,
            "last_line": last_line(log),
        }


def _run(step: Step, log: Path, limit: float) -> int | str:
    """Return the exit status of a step that ended within its limit, or `TIMED_OUT`.

    All that it started ends with it, and its temporary files are removed.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        log.open("w", encoding="utf-8") as output,
    ):
        process = subprocess.Popen(
            [sys.executable, *step.arguments],
            env=os.environ | {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of processes that can be killed together
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return TIMED_OUT
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def last_line(log: Path) -> str:
    """Return the last line of a log that tells something; benchmarks end with their file's name."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [line for raw in lines if (line := raw.strip(" =")) and not line.endswith(".csv")]
    return found[-1][:LONGEST_LINE] if found else ""


def measure(steps: Sequence[Step], folder: Path, seconds: float, device: str) -> bool:
    """Run steps, write `steps.csv` after each, and return whether none failed or timed out."""
    rows: list[Row] = []
    for row in carry_out(steps, folder, seconds, device):
        rows.append(row)
        write_table(pd.DataFrame(rows), folder / "steps.csv", digits=1)
        click.echo(f"{row['step']}: {row['status']} ({row['seconds']:.0f} s) {row['last_line']}")
    return all(row["status"] in (0, SKIPPED) for row in rows)


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="For all steps together.")
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
@click.option(
    "--device", default="cuda", show_default=True, help="`cpu` tries the commands without a GPU."
)
def main(minutes: float, output: Path, device: str) -> None:
    """Run the tests that need a GPU and the benchmarks of speed on it."""
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        click.echo("no GPU: nothing to measure")
        return
    whole = measure(all_steps(device, output), output, 60 * minutes, device)
    click.echo(output / "steps.csv")
    if not whole:
        raise click.exceptions.Exit(1)


if __name__ == "__main__":
    # an exit, unlike the signal's own action, also ends the step that is at work
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
