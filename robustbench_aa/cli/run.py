"""The commands `benchmark` and `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from robustbench_aa.cli.options import (
    OverridingCommand,
    SuiteCommand,
    command_line,
    console,
    running_options,
    say,
)
from robustbench_aa.cli.report import (
    print_failures,
    print_next_step,
    print_notes,
    print_report,
    print_warnings,
)
from robustbench_aa.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from robustbench_aa.evaluation.session import Session
    from robustbench_aa.run import Run
    from robustbench_aa.suite import Suite


@click.command(cls=OverridingCommand)
@click.argument("suite", default="digits")
@click.option("--output-dir", help="Directory or URL of the run; runs/SUITE by default.")
@running_options
def benchmark(suite: str, output_dir: str | None, **options: Any) -> int:
    """Evaluate a SUITE and write its report.

    SUITE is the name of a suite that comes with the package (digits by default) or a .toml file.
    Options replace the suite's values. The same command resumes an interrupted run.
    """
    from robustbench_aa.suite import FIELDS, read_suite

    changes = {name: options.pop(name) for name in FIELDS if name in options}
    given = {name: value for name, value in changes.items() if value not in (None, ())}
    chosen = read_suite(suite).with_values(given)
    run = _evaluate(chosen, output_dir or f"runs/{chosen.name}", **options)
    return print_report(run) if run else 0


@click.command(cls=SuiteCommand)
@click.option(
    "--output-dir",
    default="runs/evaluate",
    show_default=True,
    help="Directory or URL of the run.",
)
@click.option("--by-severity", is_flag=True, help="Print the errors at each severity as well.")
@running_options
def evaluate(output_dir: str, by_severity: bool, **options: Any) -> int:
    """Evaluate models on data sets and print a summary.

    The predictions are kept for reports. The same command resumes an interrupted run.
    """
    from robustbench_aa.report.terminal import dataset_table, leaderboard_table, severity_table
    from robustbench_aa.suite import FIELDS, Suite

    suite = Suite(**{name: options.pop(name) for name in FIELDS if name in options})
    run = _evaluate(suite, output_dir, **options)
    if run is None:
        return 0
    tables = run.tables()
    for selection in suite.selections():
        for make in (dataset_table, severity_table) if by_severity else (dataset_table,):
            if table := make(tables, selection.name):
                console().print(table, "")
    console().print(leaderboard_table(tables), "")
    print_notes(tables)
    print_warnings(tables)
    print_next_step(run)
    return print_failures(run)


def _evaluate(
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
    """Evaluate a suite with a progress display and return the run, or None for a dry run."""
    from robustbench_aa.evaluation.engines import ENGINES
    from robustbench_aa.evaluation.inference import Inference
    from robustbench_aa.evaluation.session import TRACE, prepare
    from robustbench_aa.report.terminal import profile_table
    from robustbench_aa.support.bottleneck import bottleneck
    from robustbench_aa.support.process import environment_variables, keep_freed_memory
    from robustbench_aa.support.progress import progress

    if engine not in ENGINES:
        raise UnknownName("engine", engine, ENGINES)
    if ray_address and engine != "ray":
        raise UsageError(f"--ray-address has no effect with --engine {engine}; use --engine ray")
    if profile and engine != "local":
        raise UsageError(f"--profile times no stage of --engine {engine}; use --engine local")
    inference["amp_dtype"] = inference["amp_dtype"] or ("bfloat16" if amp else None)
    settings = Inference(**inference)
    session = prepare(suite, output_dir, device, command_line(), workers)
    passes = sum(item.passes for item in session.work)
    _print_plan(session, passes)
    if dry_run:
        return None
    if session.device.startswith("cpu"):
        keep_freed_memory()
    address = {"RAY_ADDRESS": ray_address} if ray_address else {}
    with environment_variables(address), progress(passes, console(stderr=True)) as advance:
        run = session.run(settings, engine, advance, profile)
    if profile:
        console().print(profile_table(run.profile), "")
        used = [option for option, on in settings.switches().items() if on]
        say(bottleneck(run.profile, session.device, used))
        say(f"When each stage ran: {run.directory / TRACE} (open it in https://ui.perfetto.dev)")
    return run


def _print_plan(session: Session, passes: int) -> None:
    per_model = sum(len(session.store.shards(cell.dataset)) for cell in session.cells)
    needed = per_model * len(session.classifiers)
    missing = sum(len(item.pending) for item in session.work)
    say(
        f"{len(session.classifiers)} models × {len(session.cells)} cells: {needed - missing} of "
        f"{needed} prediction files are in {session.store.directory}, {passes:,} forward passes "
        f"remain on {session.device}"
    )
