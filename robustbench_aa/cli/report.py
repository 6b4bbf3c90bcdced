"""The commands `report`, `compare` and `merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from robustbench_aa.cli.options import command_line, console
from robustbench_aa.errors import one_line

if TYPE_CHECKING:
    from robustbench_aa.report import Tables
    from robustbench_aa.run import Run


@click.command()
@click.argument("directory", metavar="RUN")
@click.option(
    "--baseline", help="What CE is relative to: a model of the run, or alexnet or resnet50."
)
@click.option("--with-published", is_flag=True, help="Add the literature's figures, on ImageNet.")
@click.option("--latex", is_flag=True, help="Write leaderboard.tex too.")
def report(directory: str, baseline: str | None, with_published: bool, latex: bool) -> int:
    """Writes tables and figures of a RUN again, from its predictions."""
    from robustbench_aa.run import Run

    return print_report(Run(directory), baseline, with_published, latex)


@click.command()
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

    run = merge_runs(runs, output_dir, command=command_line())
    click.echo(f"predictions are in {run.directory}; robustbench-aa report {run.directory}")


@click.command()
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
        console().print(plain_table(table, f"a: {a}, b: {b}"))
        click.echo(in_words(table, a, b))


def print_report(
    run: Run, baseline: str | None = None, with_published: bool = False, latex: bool = False
) -> int:
    """Write the report of a run, print its leaderboard and return the exit status."""
    from robustbench_aa.report.terminal import leaderboard_table

    tables = run.tables(baseline, with_published)
    written = run.write(tables, latex)
    console().print(leaderboard_table(tables))
    print_warnings(tables)
    for path in written:
        click.echo(path)
    return print_failures(run)


def print_warnings(tables: Tables) -> None:
    """Print the warnings of a report on standard error, a line each."""
    for warning in tables.warnings:
        click.echo(f"warning: {one_line(warning)}", err=True)


def print_failures(run: Run) -> int:
    """Print the cells that failed on standard error and return the exit status."""
    for failure in run.failures:
        click.echo(f"error: {one_line(str(failure))}", err=True)
    return 1 if run.failures else 0
