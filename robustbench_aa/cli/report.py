"""The commands `report`, `compare`, `merge` and `export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from robustbench_aa.cli.options import command_line, console, say
from robustbench_aa.errors import UsageError, one_line

if TYPE_CHECKING:
    from robustbench_aa.report import Tables
    from robustbench_aa.run import Run


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1)
@click.option(
    *("--output-dir", "-o"),
    metavar="DIR",
    help="Folder of the report; required for several RUNs, RUN/report by default.",
)
@click.option(
    "--baseline",
    help="Model that corruption errors are relative to: one of the run, or the published alexnet "
    "or resnet50.",
)
@click.option("--with-published", is_flag=True, help="Append published ImageNet results.")
@click.option("--latex", is_flag=True, help="Also write leaderboard.tex.")
@click.option(
    "--figures",
    multiple=True,
    type=click.Choice(["pdf"]),
    help="Also write the plots in this format (repeatable).",
)
@click.option(
    "--index",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Write FOLDER/index.html, which links to the report of every run in FOLDER, instead of a "
    "report.",
)
def report(
    runs: tuple[str, ...], output_dir: str | None, index: Path | None, **options: Any
) -> int:
    """Write the tables, plots and page of one RUN or several.

    Several runs must have been made from the same data and with the same settings. They are
    compared in one leaderboard and not changed.
    """
    from robustbench_aa.joint_run import JointRun
    from robustbench_aa.run import Run

    if index is not None:
        if any(options.values()):
            raise UsageError("--index takes no other option; leave out the rest")
        return _write_index(index, runs, output_dir)
    if not runs:
        raise UsageError("name a RUN to report on, or a folder of runs by --index")
    if output_dir is not None:
        return print_report(JointRun(runs, output_dir), **options)
    if len(runs) > 1:
        raise UsageError("a report on several runs needs a folder; name it by --output-dir")
    return print_report(Run(runs[0]), **options)


def _write_index(folder: Path, runs: tuple[str, ...], output_dir: str | None) -> int:
    from robustbench_aa.report.index_page import write_index

    if runs or output_dir is not None:
        raise UsageError("--index writes into its own FOLDER; leave out RUN and --output-dir")
    click.echo(write_index(folder))
    return 0


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--output-dir",
    "-o",
    metavar="RUN",
    required=True,
    help="Directory or URL of the merged run: new, empty, or a run to add the others to.",
)
def merge(runs: tuple[str, ...], output_dir: str) -> None:
    """Merge RUNs of different models, data sets or corruptions.

    Runs that contradict each other are refused before anything is written. The RUNs themselves
    are not changed.
    """
    from robustbench_aa.run import merge_runs

    run = merge_runs(runs, output_dir, command=command_line())
    print_next_step(run)


@click.command()
@click.argument("directory", metavar="RUN")
@click.argument("a")
@click.argument("b")
@click.option(
    "--format",
    "output_format",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "json"]),
    help="Output format.",
)
def compare(directory: str, a: str, b: str, output_format: str) -> None:
    """Compare models A and B of a RUN.

    The table has the paired difference a − b of each metric, its interval and p-value.
    """
    from robustbench_aa.metrics.comparison import summarise
    from robustbench_aa.metrics.seed_intervals import COLUMNS as SEEDS
    from robustbench_aa.report.rounding import format_full
    from robustbench_aa.report.terminal import render_table
    from robustbench_aa.run import Run

    table = Run(directory).compare(a, b)
    if output_format == "csv":
        click.echo(
            table.to_csv(index=False, float_format=format_full, lineterminator="\n"), nl=False
        )
    elif output_format == "json":
        click.echo(table.to_json(orient="records", indent=1))
    else:
        unknown = [name for name in SEEDS if table[name].isna().all()]
        table = table.drop(columns=unknown)  # models with few training seeds have none
        keys, first = ("metric", "distortion"), ("difference", "low", "high", "p", "p_holm")
        console().print(render_table(table, f"a: {a}, b: {b}", keys, first))
        say(summarise(table, a, b))


@click.command()
@click.argument("directory", metavar="RUN")
@click.option(
    *("--output", "-o"),
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write.",
)
@click.option(
    "--format",
    "name",
    required=True,
    type=click.Choice(["timm-csv", "hf-eval-results", "latex", "markdown", "submission"]),
    help="Format of the file.",
)
@click.option(
    *("--model", "-m", "models"),
    multiple=True,
    help="Model to include (repeatable); all by default. For timm-csv and hf-eval-results.",
)
@click.option("--dataset", "-d", help="Data set of timm-csv; the only possible one by default.")
@click.option("--distortion", help="Distortion of timm-csv, such as fog/3; clean by default.")
@click.option(
    "--baseline",
    help="Baseline of corruption errors, as in report; not for timm-csv.",
)
def export(directory: str, output: Path, name: str, **options: Any) -> None:
    """Write the results of a RUN in the format of another tool.

    timm-csv has the columns of timm's result files, hf-eval-results the YAML for a model card of
    the Hugging Face Hub; latex and markdown are the leaderboard as a table. A submission is an
    archive of predictions that `verify` checks.
    """
    from robustbench_aa.export import export as write
    from robustbench_aa.run import Run

    run = Run(directory)
    write(run, output, name, **options)
    for note in run.limit_notes():
        say(note)
    click.echo(output)


def print_report(
    run: Run,
    baseline: str | None = None,
    with_published: bool = False,
    latex: bool = False,
    figures: Sequence[str] = (),
) -> int:
    """Write the report of a run, print its leaderboard and return the exit status."""
    from robustbench_aa.report.terminal import leaderboard_table

    tables = run.tables(baseline, with_published)
    written = run.write(tables, latex, figures)
    console().print(leaderboard_table(tables, run.report_folder / "leaderboard.csv"), "")
    print_notes(tables)
    print_warnings(tables)
    for path in written:
        click.echo(path)
    return print_failures(run)


def print_next_step(run: Run) -> None:
    """Print where the predictions are and the command that reports on them."""
    say(f"predictions are in {run.directory}; next: robustbench-aa report {run.directory}")


def print_notes(tables: Tables) -> None:
    """Print what the values of a report are about, a line for each note."""
    for note in tables.notes:
        click.echo(one_line(note))


def print_warnings(tables: Tables) -> None:
    """Print the warnings of a report on standard error, a line each."""
    for warning in tables.warnings:
        click.echo(f"warning: {one_line(warning)}", err=True)


def print_failures(run: Run) -> int:
    """Print the cells that failed on standard error and return the exit status."""
    for failure in run.failures:
        click.echo(f"error: {one_line(str(failure))}", err=True)
    return 1 if run.failures else 0
