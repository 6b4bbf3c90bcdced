"""The command `gate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from robustbench_aa.cli.options import console, say
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.gate import PASS, UNDECIDED, read_limit

HELP = {
    "max_rise": "Largest allowed rise of a metric from the old model to the new one (repeatable).",
    "max_fall": "Largest allowed fall of a metric from the old model to the new one (repeatable).",
    "min": "Smallest allowed value of a metric of the new model (repeatable).",
    "max": "Largest allowed value of a metric of the new model (repeatable).",
}


def _limit_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for kind, text in reversed(HELP.items()):
        flag = "--" + kind.replace("_", "-")
        command = click.option(flag, kind, metavar="METRIC=X", multiple=True, help=text)(command)
    return command


@click.command()
@click.argument("runs", metavar="RUN [OLD_RUN]", nargs=-1, required=True)
@click.option("--model", "-m", required=True, help="New model, by its name in RUN.")
@click.option("--against", "-a", help="Old model, by its name in OLD_RUN or RUN.")
@_limit_options
@click.option("--suite", help="Suite with a table [gate] of rules; options replace its limits.")
@click.option("--allow-undecided", is_flag=True, help="Exit with status 0 if no rule fails.")
@click.option(
    *("--output", "-o"),
    multiple=True,
    type=click.Path(path_type=Path),
    help="File to write: .md for a pull request, .xml for JUnit, or .json (repeatable).",
)
def gate(
    runs: tuple[str, ...],
    model: str,
    against: str | None,
    suite: str | None,
    allow_undecided: bool,
    output: tuple[Path, ...],
    **options: tuple[str, ...],
) -> int:
    """Decide whether a new model is robust enough.

    Every rule gets a verdict from the 95% interval of its metric: pass, fail, or undecided because
    of too few images. The exit status is 0 if all rules pass and otherwise 1. OLD_RUN is another
    run on the same data with the old model.
    """
    from robustbench_aa.report.gate import FORMATS, explain, gate_table, summary
    from robustbench_aa.run import Run

    if len(runs) > 2:
        raise UsageError(f"{len(runs)} runs are given; give one, or those of both models")
    for file in output:
        if file.suffix not in FORMATS:
            raise UnknownName(f"format of {file}", file.suffix, FORMATS)
    limits = _limits(suite, options)
    run, *others = map(Run, runs)
    found = run.gate(model, against, others[0] if others else None, **limits)
    console().print(gate_table(found))
    for result in found.results:
        if result.verdict != PASS:
            say(explain(result))
    say(summary(found))
    for file in output:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(FORMATS[file.suffix](found, allow_undecided), encoding="utf-8")
        click.echo(file)
    return int(found.verdict not in ((PASS, UNDECIDED) if allow_undecided else (PASS,)))


def _limits(suite: str | None, options: dict[str, tuple[str, ...]]) -> dict[str, dict[str, float]]:
    """Return the limits by kind of rule: those of a suite, and those of options in their place."""
    from robustbench_aa.suite import read_suite

    given: dict[str, dict[str, float]] = {}
    if suite is not None:
        found = read_suite(suite).gate
        if found is None:
            raise UsageError(f"suite {suite} has no table [gate]; add one with rules")
        given = {kind: dict(by_metric) for kind, by_metric in found.items()}
    for kind, texts in options.items():
        given[kind] = given.get(kind, {}) | _distinct(kind, map(read_limit, texts))
    return given


def _distinct(kind: str, limits: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric, limit in limits:
        if metric in found:
            raise UsageError(f"--{kind.replace('_', '-')} {metric} is given twice; give it once")
        found[metric] = limit
    return found
