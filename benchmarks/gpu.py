"""Test and measure on a GPU, within minutes: `python -m benchmarks.gpu`.

The tests that need a GPU and the benchmarks of speed run one after the other, as listed in
`gpu.toml`. Each is a separate process with a time limit and a log, so that a step that fails or
hangs does not stop the others. After each step the table of all steps is written, and the
benchmarks write their own rows as they go: if the command is killed, the finished results remain.
At the end the aims of `gpu.toml` are printed beside the measured values. Nothing is downloaded.

Without a GPU the commands are tried on the CPU with small sizes, and their tables are thrown away.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from configparser import ConfigParser
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.aims import Aim, compare
from benchmarks.rows import device_name, write_table
from robustbench_aa.support.devices import choose_device

OUTPUT = Path("results/gpu")
STEPS = Path(__file__).with_suffix(".toml")
EXTRAS = ("av", "pytest", "scikit-image", "scikit-learn")
"""Packages that some steps need in addition to the requirements of the project."""
SHORTEST = 1.0
"""Seconds; a step with less time left is not started."""
TIMED_OUT, SKIPPED = "timed out", "skipped"
LONGEST_LINE = 200
Row = dict[str, object]


@dataclass(frozen=True)
class Step:
    """A command of the Python interpreter.

    Attributes:
        name: Name of its row and its log.
        arguments: Arguments of the interpreter.
        minutes: Time limit in minutes, if all steps together may take 15 minutes.
    """

    name: str
    arguments: tuple[str, ...]
    minutes: float


def read_steps(file: Path, device: str, output: Path) -> list[Step]:
    """Read the steps of a TOML file, with the options of the command filled in.

    On a CPU they have small sizes, and those that have none are left out.
    """
    size = "small" if torch.device(device).type == "cpu" else "sizes"
    values = {
        "device": device,
        "output": shlex.quote(str(output)),
        "gpu_tests": shlex.join(_gpu_tests()),
    }
    steps = []
    for entry in tomllib.loads(file.read_text(encoding="utf-8"))["steps"]:
        if size not in entry and "sizes" in entry:
            continue
        arguments = _filled(entry["arguments"], values | {"sizes": entry.get(size, "")})
        steps.append(Step(entry["name"], tuple(arguments), entry["minutes"]))
    return steps


def read_aims(file: Path) -> list[Aim]:
    """Read the aims of a TOML file."""
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("aims", [])
    return [Aim(**entry) for entry in entries]


def _filled(arguments: str, values: dict[str, str]) -> list[str]:
    for name, value in values.items():
        arguments = arguments.replace(f"{{{name}}}", value)
    return shlex.split(arguments)


def missing_packages() -> list[str]:
    """Return the packages that steps need and that are not installed."""
    setup = ConfigParser()
    setup.read("setup.cfg")
    lines = setup["options"]["install_requires"].split()
    needed = [re.split("[<>=]", line)[0] for line in lines]
    return [name for name in (*needed, *EXTRAS) if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _gpu_tests() -> list[str]:
    """Return the test files with tests for a GPU: others may need missing packages."""
    files = sorted(Path("tests").rglob("test_*.py"))
    return [str(file) for file in files if "pytest.mark.gpu" in file.read_text(encoding="utf-8")]


def run_steps(steps: Sequence[Step], folder: Path, seconds: float, device: str) -> Iterator[Row]:
    """Run steps one after the other, and yield a row for each.

    A step may use its share of the time that is left, so that time that it does not need goes to
    the later steps.

    Args:
        steps: The steps.
        folder: Folder of the logs.
        seconds: Time limit of all steps together.
        device: Torch device, which the rows name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {"device": device_name(device), "torch": torch.__version__}
    end = time.monotonic() + seconds
    for place, step in enumerate(steps):
        whole = sum(later.minutes for later in steps[place:])
        start = time.monotonic()
        limit = (end - start) * step.minutes / whole
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
    """Run a step and return its exit status, or `TIMED_OUT`.

    At the end all of its processes are killed and its temporary files are removed.
    """
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch,
        log.open("w", encoding="utf-8") as output,
    ):
        process = subprocess.Popen(
            [sys.executable, *step.arguments],
            # the command line of robustbench-aa sets the policy too
            env={"OMP_WAIT_POLICY": "PASSIVE"}
            | os.environ
            | {"TMPDIR": scratch, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group, which can be killed as a whole
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
    """Return the last meaningful line of a log; benchmarks end with the name of their file."""
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [line for raw in lines if (line := raw.strip(" =")) and not line.endswith(".csv")]
    return found[-1][:LONGEST_LINE] if found else ""


@click.command()
@click.option(
    "--minutes", default=15.0, show_default=True, help="Time limit of all steps together."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help=f"Folder of the tables [default: {OUTPUT}, or none on a CPU].",
)
@click.option("--device", help="Torch device [default: cuda if available, otherwise cpu].")
@click.option("--step", "names", multiple=True, help="Run only this step (repeatable).")
@click.option(
    "--steps",
    "file",
    default=STEPS,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="TOML file of the steps [default: gpu.toml beside this module].",
)
def main(
    minutes: float, output: Path | None, device: str | None, names: tuple[str, ...], file: Path
) -> None:
    """Run the tests that need a GPU and the benchmarks of speed on it.

    The exit status is 1 if a step fails or exceeds its time limit. With --step, the rows of the
    other steps stay.
    """
    device = choose_device(device)
    on_cpu = torch.device(device).type == "cpu"
    if missing := missing_packages():
        click.echo(f"not installed: {', '.join(missing)}; the steps that need them will fail")
    if on_cpu:
        click.echo("no GPU: the steps run on the CPU with small sizes, and aims are not compared")
    with tempfile.TemporaryDirectory() as scratch:
        folder = output or (Path(scratch) if on_cpu else OUTPUT)
        steps = read_steps(file, device, folder)
        known = [step.name for step in steps]
        for name in names:
            if name not in known:
                raise click.UsageError(f"no step {name!r}; choose from {', '.join(known)}")
        chosen = [step for step in steps if not names or step.name in names]
        aims = [] if on_cpu else read_aims(file)
        done = run_all(chosen, known, aims, folder, 60 * minutes, device)
    if not done:
        raise click.exceptions.Exit(1)


def run_all(
    steps: Sequence[Step],
    known: Sequence[str],
    aims: Sequence[Aim],
    folder: Path,
    seconds: float,
    device: str,
) -> bool:
    """Run steps, write the tables of steps and aims after each, and return whether all succeeded.

    Args:
        steps: The steps to run.
        known: Names of all steps; earlier rows of those that do not run are kept.
        aims: The aims to compare.
        folder: Folder of the tables and the logs.
        seconds: Time limit of all steps together.
        device: Torch device.
    """
    table = folder / "steps.csv"
    running = {step.name for step in steps}
    earlier: list[Any] = pd.read_csv(table).to_dict("records") if table.exists() else []
    rows: dict[str, Row] = {row["step"]: row for row in earlier if row["step"] not in running}
    failed = False
    for row in run_steps(steps, folder, seconds, device):
        rows[str(row["step"])] = row
        ordered = [rows[name] for name in known if name in rows]
        write_table(pd.DataFrame(ordered), table, digits=1)
        if aims:
            write_table(compare(aims, folder), folder / "aims.csv")
        click.echo(f"{row['step']}: {row['status']} ({row['seconds']:.0f} s) {row['last_line']}")
        failed = failed or row["status"] not in (0, SKIPPED)
    if aims:
        click.echo(compare(aims, folder).to_string(index=False))
    click.echo(table)
    return not failed


if __name__ == "__main__":
    # unlike the signal's default action, an exit also ends the current step
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    main()
