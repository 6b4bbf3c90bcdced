"""The commands `benchmark` and `evaluate`."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import click

from robustbench_aa.cli.options import command_line, console, running
from robustbench_aa.cli.report import print_failures, print_report, print_warnings
from robustbench_aa.errors import UsageError

if TYPE_CHECKING:
    from robustbench_aa.evaluation.session import Job
    from robustbench_aa.run import Run
    from robustbench_aa.suite import Suite


@click.command()
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
    run = carry_out(what, output_dir or f"runs/{what.name}", **how)
    return print_report(run) if run else 0


@click.command()
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
    run = carry_out(suite, output_dir, **given)
    if run is None:
        return 0
    tables = run.tables()
    for dataset in suite.datasets:
        console().print(dataset_table(tables, dataset))
    print_warnings(tables)
    click.echo(f"predictions are in {run.directory}; robustbench-aa report {run.directory}")
    return print_failures(run)


def carry_out(
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
    job = prepare(suite, output_dir, device, command_line(), workers)
    passes = sum(item.passes for item in job.work)
    _print_plan(job, passes)
    if dry_run:
        return None
    with progress(passes, console(stderr=True)) as advance:
        run = job.carry_out(how, engine, advance, profile)
    if profile:
        console().print(profile_table(run.profile))
    return run


def _print_plan(job: Job, passes: int) -> None:
    asked = sum(len(job.store.shards(cell.dataset)) for cell in job.cells) * len(job.classifiers)
    missing = sum(len(item.pending) for item in job.work)
    click.echo(
        f"{len(job.classifiers)} models × {len(job.cells)} cells: {asked - missing} of {asked} "
        f"prediction files are in {job.store.directory}, {passes:,} forward passes remain on "
        f"{job.device}"
    )
