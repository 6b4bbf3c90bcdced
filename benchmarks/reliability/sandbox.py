"""A folder in which commands run in separate processes, and the tables that they must write."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import click

SUITE = """
models = ["digits:resnet@lpf3-seed0", "python:flaky:model"]
datasets = ["digits-shift", "digits-p"]
baseline = "digits:resnet@lpf3-seed0"
limit = 6
shard_size = 2
"""
SMALL = """
models = ["digits:resnet@lpf3-seed0"]
datasets = ["digits-shift"]
limit = 4
shard_size = 2
"""
FLAKY = '''
import builtins, os, torch, robustbench_aa as rb

ARGUMENTS = {
    "UnicodeDecodeError": ("utf-8", b"x", 0, 1, "a kernel failed"),
    "UnicodeEncodeError": ("utf-8", "x", 0, 1, "a kernel failed"),
    "UnicodeTranslateError": ("x", 0, 1, "a kernel failed"),
    "ExceptionGroup": ("a kernel failed", [ValueError()]),
}

def fail(fault, logits):
    if fault == "returns NaN":
        return logits * float("nan")
    if fault == "returns another shape":
        return logits[:, :9]
    if fault == "memory":
        if len(logits) > 7:
            raise torch.OutOfMemoryError("out of memory")
        return logits
    if fault.startswith("SystemExit"):
        raise SystemExit(0)
    raise getattr(builtins, fault)(*ARGUMENTS.get(fault, ("a kernel failed",)))

class Flaky(torch.nn.Module):
    """A network with random weights, which fails on some images if the environment asks for it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(10))
        self.layers(torch.zeros(1, 3, 32, 32))

    def forward(self, x):
        logits = self.layers(x)
        fault = os.environ.get("FAULT")
        return fail(fault, logits) if fault and logits[0, 0] > 0.3 else logits

def model():
    how = rb.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return rb.Classifier(Flaky(), name="flaky", input_size=32, classes=10, preprocessing=how)
'''
DIFFERS = "provenance.csv"
"""It records when and by which command predictions were made, so it differs between runs."""
_context = get_context("fork")


class Unavailable(Exception):
    """A fault that this machine cannot cause."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Attributes:
        status: exit status; negative for the signal that killed it.
        lines: what it wrote to standard error, at least one line.
    """

    status: int
    lines: list[str]

    @property
    def last(self) -> str:
        """Return the last line."""
        return self.lines[-1]


@dataclass
class Command:
    """A command at work."""

    process: BaseProcess
    errors: Path

    def is_running(self) -> bool:
        """Return whether the process has not ended yet."""
        return self.process.is_alive()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.process.is_alive() and self.process.pid:
            os.kill(self.process.pid, number)

    def wait(self) -> Ended:
        """Wait for the end."""
        self.process.join()
        text = self.errors.read_text(errors="replace")
        self.errors.unlink()
        status = self.process.exitcode
        return Ended(-99 if status is None else status, text.strip().splitlines() or [""])


@dataclass
class Sandbox:
    """A folder with suites, and the tables of undisturbed runs of them.

    Commands run in forks of this process, which has imported the package and has never used torch:
    a command then needs no three seconds to start.

    Attributes:
        folder: where commands run.
        quick: whether each fault is caused only a few times.
        seconds: how long the undisturbed benchmark takes.
    """

    folder: Path
    quick: bool = False
    seconds: float = 0.0
    expected: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _started: int = 0

    def prepare(self) -> None:
        """Write the suites and run them undisturbed."""
        import_all()
        (self.folder / "flaky.py").write_text(FLAKY)
        for name, text in (("suite", SUITE), ("small", SMALL)):
            (self.folder / f"{name}.toml").write_text(text)
            start = time.perf_counter()
            self.expect_tables(f"expected-{name}", name)
            if name == "suite":
                self.seconds = time.perf_counter() - start

    def expect_tables(self, output: str, suite: str, *more: str) -> None:
        """Run a suite undisturbed; its tables are those that later runs must write."""
        ended = self.benchmark(output, *more, suite=suite).wait()
        expect(ended.status, 0, f"the undisturbed run: {ended.last}")
        self.expected[suite] = tables(self.folder / output)

    def count(self, times: int, quick: int = 1) -> int:
        """Return how often a fault is caused."""
        return quick if self.quick else times

    def run(
        self,
        *arguments: str,
        before: Callable[[], None] = lambda: None,
        environment: dict[str, str] | None = None,
    ) -> Command:
        """Start a command in a fork.

        Args:
            arguments: of the command line.
            before: is called in the fork first.
            environment: variables that are set in the fork.
        """
        self._started += 1
        errors = self.folder / f"errors-{self._started}.txt"
        errors.touch()
        process_arguments = (self.folder, errors, arguments, before, environment or {})
        process = _context.Process(target=_command, args=process_arguments)
        process.start()
        return Command(process, errors)

    def benchmark(
        self,
        output: str,
        *more: str,
        suite: str = "suite",
        before: Callable[[], None] = lambda: None,
        environment: dict[str, str] | None = None,
    ) -> Command:
        """Start the benchmark of a suite."""
        command = ("benchmark", f"{suite}.toml", "--output-dir", output, *more)
        return self.run(*command, before=before, environment=environment)

    def check_resumes(
        self,
        output: str,
        *more: str,
        suite: str = "suite",
        environment: dict[str, str] | None = None,
        where: Path | None = None,
    ) -> None:
        """Run the same benchmark undisturbed and compare its tables, byte by byte.

        Args:
            where: the run's directory, if it is not the output in the sandbox.

        Raises:
            click.ClickException: it fails, or the tables differ.
        """
        ended = self.benchmark(output, *more, suite=suite, environment=environment).wait()
        if ended.status:
            raise click.ClickException(f"{output}: exit status {ended.status}: {ended.last}")
        self.check_tables(where or self.folder / output, suite)

    def check_tables(self, run: Path, suite: str = "suite") -> None:
        """Compare the tables of a run with those of an undisturbed one, byte by byte.

        Raises:
            click.ClickException: they differ.
        """
        found, expected = tables(run), self.expected[suite]
        if found != expected:
            names = found.keys() | expected.keys()
            differing = sorted(name for name in names if found.get(name) != expected.get(name))
            raise click.ClickException(f"{run}: {', '.join(differing)} differ")


Fault = Callable[[Sandbox], Iterator[str]]
"""A function that causes a fault repeatedly and yields the observation of each time."""


def need(*packages: str) -> None:
    """Check that optional packages are installed.

    Raises:
        Unavailable: one is missing.
    """
    for package in packages:
        if not importlib.util.find_spec(package):
            raise Unavailable(f"{package} is not installed")


def import_all() -> None:
    """Import what commands import while they run, so that forks have it."""
    from robustbench_aa import run, suite
    from robustbench_aa.cli import main
    from robustbench_aa.evaluation import session
    from robustbench_aa.report import page, plots, terminal

    assert all((main, session, run, suite, plots, page, terminal))


def _command(
    folder: Path,
    errors: Path,
    arguments: tuple[str, ...],
    before: Callable[[], None],
    environment: dict[str, str],
) -> None:
    from robustbench_aa.cli.main import main

    os.chdir(folder)
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(errors, os.O_WRONLY | os.O_APPEND), 2)
    sys.argv = [str(folder / "robustbench-aa"), *arguments]
    sys.path.insert(0, str(folder))
    before()
    main()


def tables(run: Path) -> dict[str, bytes]:
    """Return the CSV files of a run's report by name, without the provenance."""
    found = {file.name: file.read_bytes() for file in (run / "report").glob("*.csv")}
    return {name: content for name, content in found.items() if name != DIFFERS}


def expect(found: object, expected: object, description: str) -> None:
    """Check a value.

    Raises:
        click.ClickException: it is another one.
    """
    if found != expected:
        raise click.ClickException(f"{description}: {found!r} instead of {expected!r}")


def predictions(run: Path) -> list[Path]:
    """Return the prediction files of a run."""
    return sorted(run.rglob("*.parquet"))


def times(files: list[Path]) -> dict[Path, int]:
    """Return when files were last written, in nanoseconds."""
    return {file: file.stat().st_mtime_ns for file in files}
