"""The command line: parses, calls, prints. Each command imports what it needs when it runs."""

from __future__ import annotations

import dataclasses
import fnmatch
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_aa.errors import RobustbenchError, UnknownName, UsageError, cause, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from robustbench_aa.evaluation.session import Job
    from robustbench_aa.report import Tables
    from robustbench_aa.run import Run
    from robustbench_aa.suite import Suite


def main() -> None:
    """Runs the command line."""
    run_command(commands, "robustbench-aa")


def run_command(command: click.Command, prog_name: str | None = None) -> None:
    """Run a command; every error is one line on standard error, with its exit status.

    Of several signals in a row the first one counts: it interrupts, and the others are ignored
    while files are put in order.
    """
    received: list[int] = []

    def interrupt(number: int, _frame: object) -> None:
        received.append(number)
        if len(received) == 1:
            raise KeyboardInterrupt  # also for SIGTERM: Ray would change the status of an exit

    signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in the background of a shell
        signal.signal(signal.SIGINT, interrupt)
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    logging.addLevelName(logging.WARNING, "warning")
    try:
        status = command.main(prog_name=prog_name, standalone_mode=False)
    except RobustbenchError as error:
        _quit(str(error), error.exit_status)
    except click.ClickException as error:
        _quit(error.format_message(), error.exit_code)
    except OSError as error:
        _quit(str(error), 1)
    except (ImportError, MemoryError) as error:
        memory = "; is there too little memory (ulimit -v)?" if _is_short_of_memory(error) else ""
        _quit(f"{cause(error)}{memory}", 1)
    except (click.Abort, KeyboardInterrupt):
        first = received[0] if received else signal.SIGINT
        how = "terminated" if first == signal.SIGTERM else "interrupted"
        _quit(f"{how}; the same command resumes", 128 + first)
    except SystemExit as error:  # of a model's or a data set's code
        code = error.code if isinstance(error.code, int) and error.code else 1
        _quit(f"ended by SystemExit({error.code!r}), which a model or a data set raised", code)
    sys.exit(status if isinstance(status, int) else 0)


def _is_short_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or "memory" in text or "map segment" in text


def _quit(message: str, status: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(status)


def _options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Several options as one decorator, for the commands that share them."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


running = _options(
    click.option(
        *("--batch-size", "-b"),
        default=256,
        show_default=True,
        help="Frames a forward pass; halved where memory does not suffice.",
    ),
    click.option("--device", help="A torch device; a GPU if there is one by default."),
    click.option("--amp", is_flag=True, help="Mixed precision, which moves figures a little."),
    click.option("--amp-dtype", help="bfloat16, or float16; turns --amp on."),
    click.option("--channels-last", is_flag=True, help="Lay images out pixel by pixel."),
    click.option("--compile", "compiled", is_flag=True, help="Compile the models first."),
    click.option("--workers", "-j", type=int, help="Threads that decode; one a core by default."),
    click.option("--threads", type=int, help="CPU cores of a process; all, or one for each task."),
    click.option("--engine", default="local", show_default=True, help="Or ray: several processes."),
    click.option("--ray-address", help="Of a running cluster; RAY_ADDRESS, else this machine."),
    click.option("--profile", is_flag=True, help="Tell what the time went to."),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing."),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="robustbench-aa")
def commands() -> None:
    """Measures how robust image classifiers are, and how anti-aliasing changes that."""


@commands.command()
@click.argument("suite", default="digits")
@click.option("--output-dir", help="Of the run, or its URL; runs/SUITE by default.")
@click.option("--data-dir", help="Of data sets that are files; wins over the suite's.")
@click.option("--seed", type=int, help="Of the distortions' randomness; wins over the suite's.")
@click.option("--limit", type=int, help="At most this many images of each data set.")
@running
def benchmark(
    suite: str,
    output_dir: str | None,
    data_dir: str | None,
    seed: int | None,
    limit: int | None,
    **how: Any,
) -> int:
    """Evaluates a SUITE and reports on it; the same command again resumes.

    SUITE is the name of a shipped suite or a .toml file; digits, the embedded one, by default.
    """
    from robustbench_aa.suite import read_suite

    what = read_suite(suite)
    what = dataclasses.replace(
        what,
        seed=what.seed if seed is None else seed,
        limit=what.limit if limit is None else limit,
        data_dir=what.data_dir if data_dir is None else data_dir,
    )
    run = _carry_out(what, output_dir or f"runs/{what.name}", **how)
    return _print_report(run) if run else 0


@commands.command()
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    required=True,
    help="SOURCE:NAME[@WEIGHTS]; may be repeated.",
)
@click.option(
    "--dataset",
    "-d",
    "datasets",
    multiple=True,
    required=True,
    help="Data set to evaluate on (repeatable); see `robustbench-aa datasets`.",
)
@click.option(
    "--corruption", "corruptions", multiple=True, help="Evaluate only this corruption (repeatable)."
)
@click.option(
    "--severity",
    "severities",
    multiple=True,
    type=int,
    help="Evaluate only this severity, 1 to 5 (repeatable).",
)
@click.option(
    "--perturbation",
    "perturbations",
    multiple=True,
    help="Evaluate only this perturbation (repeatable).",
)
@click.option("--output-dir", default="runs/evaluate", show_default=True, help="Of the run.")
@click.option("--data-dir", help="Folder of a data set that is files.")
@click.option(
    "--classes", type=int, help="Number of classes, where class folders are numbers with gaps."
)
@click.option(
    "--corruption-backend", default="torch", show_default=True, help="Or imagecorruptions."
)
@click.option("--no-stored-jpeg", is_flag=True, help="Leave out ImageNet-C's final JPEG step.")
@click.option("--keep-ranking", is_flag=True, help="Keep all classes' order: Zipf distance.")
@click.option("--own-preprocessing", is_flag=True, help="Resize and crop as the models ask for.")
@click.option("--seed", default=0, show_default=True, help="Of the distortions' randomness.")
@click.option("--limit", type=int, help="At most this many images.")
@running
def evaluate(output_dir: str, no_stored_jpeg: bool, **given: Any) -> int:
    """Evaluate models on data sets, print a table for each and keep the predictions."""
    from robustbench_aa.report.terminal import dataset_table
    from robustbench_aa.suite import Suite

    asked = {of.name: given.pop(of.name) for of in dataclasses.fields(Suite) if of.name in given}
    suite = Suite(stored_jpeg=not no_stored_jpeg, **asked)
    run = _carry_out(suite, output_dir, **given)
    if run is None:
        return 0
    tables = run.tables()
    for dataset in suite.datasets:
        _console().print(dataset_table(tables, dataset))
    _print_warnings(tables)
    click.echo(f"predictions are in {run.directory}; robustbench-aa report {run.directory}")
    return _print_failures(run)


@commands.command()
@click.argument("directory", metavar="RUN")
@click.option(
    "--baseline", help="What CE is relative to: a model of the run, or alexnet or resnet50."
)
@click.option("--with-published", is_flag=True, help="Add the literature's figures, on ImageNet.")
@click.option("--latex", is_flag=True, help="Write leaderboard.tex too.")
def report(directory: str, baseline: str | None, with_published: bool, latex: bool) -> int:
    """Writes tables and figures of a RUN again, from its predictions."""
    from robustbench_aa.run import Run

    return _print_report(Run(directory), baseline, with_published, latex)


@commands.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--output-dir",
    "-o",
    metavar="RUN",
    required=True,
    help="A new or empty directory, or a run, which takes the others up.",
)
def merge(runs: tuple[str, ...], output_dir: str) -> None:
    """Joins RUNs that were made apart, by model, data set or corruption, into one.

    Runs that contradict each other are refused before anything is written; the RUNs stay.
    """
    from robustbench_aa.store.merge import merge_runs

    run = merge_runs(runs, output_dir, command=_command())
    click.echo(f"predictions are in {run.directory}; robustbench-aa report {run.directory}")


@commands.command()
@click.argument("directory", metavar="RUN")
@click.argument("a")
@click.argument("b")
@click.option(
    "--format", "form", default="table", type=click.Choice(["table", "csv", "json"]), help="Of it."
)
def compare(directory: str, a: str, b: str, form: str) -> None:
    """Compares models A and B of a RUN: paired differences, their intervals and p-values."""
    from robustbench_aa.metrics.comparison import in_words
    from robustbench_aa.report.rounding import in_full
    from robustbench_aa.report.terminal import plain_table
    from robustbench_aa.run import Run

    table = Run(directory).compare(a, b)
    if form == "csv":
        click.echo(table.to_csv(index=False, float_format=in_full, lineterminator="\n"), nl=False)
    elif form == "json":
        click.echo(table.to_json(orient="records", indent=1))
    else:
        _console().print(plain_table(table, f"a: {a}, b: {b}"))
        click.echo(in_words(table, a, b))


@commands.command()
@click.argument("pattern", default="*")
def models(pattern: str) -> None:
    """Lists the models that can be named, or those that match a PATTERN: 'torchvision:resnet*'."""
    from robustbench_aa.models import SOURCES, known_models

    known = [name for source in SOURCES for name in known_models(source)]
    matching = fnmatch.filter(known, pattern)
    if not matching:
        raise UnknownName("model", pattern, known)
    click.echo("\n".join(matching))


@commands.command()
@click.argument("model")
@click.option("--filter-size", default=4, show_default=True, help="Of every blur, 1 to 7.")
@click.option("--first-conv", is_flag=True, help="Convert a first strided convolution too.")
@click.option("--max-pool-kernel", type=int, help="A new kernel size; 2 in published ResNets.")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path))
def antialias(model: str, output: Path, **how: Any) -> None:
    """Writes the weights of MODEL in its anti-aliased form, and says what was replaced."""
    from robustbench_aa.antialiasing import antialias, replacements
    from robustbench_aa.models import load
    from robustbench_aa.models.checkpoint import write_converted

    try:
        smooth = antialias(load(model), **how)
    except ValueError as error:
        raise UsageError(str(error)) from error
    write_converted(smooth.module, output, how)
    for replacement in replacements(smooth.module):
        click.echo(replacement)
    click.echo(output)


@commands.command()
@click.option("--model", "-m", "models", multiple=True, required=True, help="May be repeated.")
@click.option("--dataset", "-d", required=True, help="Whose clean images are shifted.")
@click.option("--data-dir", help="Of a data set that is files.")
@click.option("--layers", multiple=True, help="Modules, or patterns of their names; all stages.")
@click.option("--max-shift", type=int, help="The largest offset; 31 px by default.")
@click.option("--limit", default=8, show_default=True, help="At most this many images.")
@click.option("--batch-size", "-b", default=256, show_default=True, help="Images a forward pass.")
@click.option("--device", help="A torch device; a GPU if there is one by default.")
@click.option("--output-dir", "-o", required=True, help="A folder, or its URL.")
def features(models: tuple[str, ...], dataset: str, output_dir: str, **how: Any) -> None:
    """Shows where MODELs lose shift-equivariance: internal feature distance, layer by layer."""
    from robustbench_aa.datasets import Request
    from robustbench_aa.features import measure_features, write_features
    from robustbench_aa.store.storage import on_disk, open_directory
    from robustbench_aa.support.progress import progress

    folder = open_directory(output_dir)
    request = Request(limit=how.pop("limit"), data_dir=how.pop("data_dir"))
    console = _console(stderr=True)
    maps = measure_features(
        models, dataset, request, show=lambda total: progress(total, console, "images"), **how
    )
    with on_disk(folder) as here:
        written = write_features(maps, here)
    for path in written:
        click.echo(folder / path.relative_to(here))


@commands.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--output", "-o", default="preview.png", show_default=True, type=Path)
@click.option("--seed", default=0, show_default=True, help="Of the corruptions' randomness.")
def preview(image: Path, output: Path, seed: int) -> None:
    """Draws a contact sheet: IMAGE under every corruption at every severity."""
    from robustbench_aa.preview import write_contact_sheet

    write_contact_sheet(image, output, seed)
    click.echo(output)


@commands.command()
@click.option("--dataset", "-d", required=True, help="One that is files.")
@click.option("--data-dir", required=True, help="Where they are.")
@click.option("--sample", type=int, help="Decode this many pictures of each cell; all by default.")
def verify(dataset: str, data_dir: str, sample: int | None) -> int:
    """Tells whether a data set is complete and can be read."""
    from rich.progress import Progress

    from robustbench_aa.datasets import verify_dataset
    from robustbench_aa.report.terminal import plain_table

    console = _console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        table, problems = verify_dataset(
            dataset, Path(data_dir), sample, lambda cells: bar.track(cells, description="")
        )
    _console().print(plain_table(table, f"{dataset} in {data_dir}"))
    for problem in problems:
        click.echo(f"wrong: {one_line(problem)}")
    if not problems:
        click.echo("nothing is wrong")
    return 1 if problems else 0


@commands.command()
def datasets() -> None:
    """Lists the data sets that can be named."""
    from robustbench_aa.datasets import DATASETS, open_dataset
    from robustbench_aa.types import kind

    for name, entry in DATASETS.items():
        if not entry.embedded:
            place = f"{entry.form} in --data-dir or {entry.variable}"
            click.echo(f"{name:<16}{place:<41}{entry.summary}")
            continue
        of = open_dataset(name)
        measures, count = kind(of.distortions), len(of.distortions)
        click.echo(f"{name:<16}{of.images:>7} images of {of.size} px  {measures}, {count} cells")


@commands.command()
def doctor() -> int:
    """Tells what a bug report should: versions, devices, folders and whether a self-test passes."""
    from robustbench_aa.cli.doctor import diagnose

    return 0 if diagnose(click.echo) else 1


def _carry_out(
    suite: Suite,
    output_dir: str,
    *,
    dry_run: bool,
    device: str | None,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    profile: bool,
    amp: bool,
    **inference: Any,
) -> Run | None:
    """Carries a suite out with a progress display; None for a dry run."""
    from robustbench_aa.evaluation.inference import Inference
    from robustbench_aa.evaluation.session import prepare
    from robustbench_aa.report.terminal import profile_table
    from robustbench_aa.support.progress import progress

    if ray_address:
        if engine != "ray":
            raise UsageError(f"--ray-address is of no use to --engine {engine}; add --engine ray")
        os.environ["RAY_ADDRESS"] = ray_address
    inference["amp_dtype"] = inference["amp_dtype"] or ("bfloat16" if amp else None)
    how = Inference(**inference)
    job = prepare(suite, output_dir, device, _command(), workers)
    passes = sum(item.passes for item in job.work)
    _print_plan(job, passes)
    if dry_run:
        return None
    with progress(passes, _console(stderr=True)) as advance:
        run = job.carry_out(how, engine, advance, profile)
    if profile:
        _console().print(profile_table(run.profile))
    return run


def _command() -> str:
    """The command line as it was typed."""
    return shlex.join(["robustbench-aa", *sys.argv[1:]])


def _print_plan(job: Job, passes: int) -> None:
    asked = sum(len(job.store.shards(cell.dataset)) for cell in job.cells) * len(job.classifiers)
    missing = sum(len(item.pending) for item in job.work)
    click.echo(
        f"{len(job.classifiers)} models × {len(job.cells)} cells: {asked - missing} of {asked} "
        f"prediction files are in {job.store.directory}, {passes:,} forward passes remain on "
        f"{job.device}"
    )


def _print_report(
    run: Run, baseline: str | None = None, with_published: bool = False, latex: bool = False
) -> int:
    from robustbench_aa.report.terminal import leaderboard_table

    tables = run.tables(baseline, with_published)
    written = run.write(tables, latex)
    _console().print(leaderboard_table(tables))
    _print_warnings(tables)
    for path in written:
        click.echo(path)
    return _print_failures(run)


def _print_warnings(tables: Tables) -> None:
    for warning in tables.warnings:
        click.echo(f"warning: {one_line(warning)}", err=True)


def _print_failures(run: Run) -> int:
    for failure in run.failures:
        click.echo(f"error: {one_line(str(failure))}", err=True)
    return 1 if run.failures else 0


def _console(stderr: bool = False) -> Console:
    from rich.console import Console

    # names are names: [brackets] are no markup in them, nor :colons: pictures
    console = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 240  # a file has no edge to wrap at
    return console
