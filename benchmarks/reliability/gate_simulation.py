"""Simulate how often a gate errs: `python -m benchmarks.reliability.gate_simulation`.

Outcomes of 500 images are drawn from distributions whose true means are known, and the limits of
the rules are placed at, below or above them. The package's own functions give the verdicts. A gate
errs if it fails though every true value is within its limit, or passes though one is beyond.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pandas as pd

from benchmarks.reliability.simulated import (
    Sampler,
    consistency,
    discordant,
    error_differences,
    flip_differences,
    true_errors,
)
from benchmarks.rows import publish
from robustbench_aa.gate import FAIL, PASS, UNDECIDED, Rule
from robustbench_aa.metrics.bootstrap import (
    Difference,
    Resampled,
    mean_and_p,
    paired_difference,
    resampled_sums,
)
from robustbench_aa.metrics.gate import Gate, LimitTest, judge

OUTPUT = Path("results/reliability/gate.csv")
IMAGES = 500
CHUNK = 100
"""Data sets in memory at a time."""


class Quantity(NamedTuple):
    """A quantity that a rule limits.

    Attributes:
        kind: the kind of rule.
        sampler: function that draws its value on each image.
        truth: its true value.
    """

    kind: str
    sampler: Sampler
    truth: float


QUANTITIES: Mapping[str, Quantity] = {
    "clean_error": Quantity("max_rise", partial(discordant, 0.06, 0.05), 0.01),
    "mean_error": Quantity(
        "max_rise",
        partial(error_differences, 0.05),
        float((true_errors(0.0) - true_errors(0.05)).mean()),
    ),
    "mean_flip_probability": Quantity("max_rise", partial(flip_differences, "few frames"), 0.0),
    "consistency_crops": Quantity("min", partial(consistency, 0.3), 1 - 0.3 / 4),
}
"""Quantities by metric."""
FAR = 0.2
"""The distance of a limit that is certainly met."""
CASES: Mapping[str, Mapping[str, float]] = {
    **{f"{metric} at its limit": {metric: 0.0} for metric in QUANTITIES},
    "all four at their limits": dict.fromkeys(QUANTITIES, 0.0),
    "one of four at its limit": dict.fromkeys(QUANTITIES, FAR) | {"mean_error": 0.0},
    "all four within by 0.01": dict.fromkeys(QUANTITIES, 0.01),
    "all four within by 0.05": dict.fromkeys(QUANTITIES, 0.05),
    "one of four beyond by 0.01": dict.fromkeys(QUANTITIES, FAR) | {"mean_error": -0.01},
    "one of four beyond by 0.05": dict.fromkeys(QUANTITIES, FAR) | {"mean_error": -0.05},
}
"""By how much the true value of each metric is within its limit."""


def simulate(trials: int) -> Iterator[dict[str, object]]:
    """Yield a row for each case: the shares of the gates that pass, fail and are undecided."""
    random = np.random.default_rng(0)
    drawn = {
        metric: np.concatenate(
            [
                quantity.sampler(random, count, IMAGES).reshape(count, IMAGES)
                for count in _chunks(trials)
            ]
        )
        for metric, quantity in QUANTITIES.items()
    }
    resampled = {
        metric: resampled_sums(values.T)
        for metric, values in drawn.items()
        if QUANTITIES[metric].kind != "min"
    }
    for case, slacks in CASES.items():
        tests = [_tests(metric, slack, drawn, resampled) for metric, slack in slacks.items()]
        verdicts = [Gate("new", "old", judge(each)).verdict for each in zip(*tests, strict=True)]
        shares = {one: verdicts.count(one) / trials for one in (PASS, FAIL, UNDECIDED)}
        yield {"case": case, "rules": len(slacks), "images": IMAGES, "gates": trials, **shares}


def _chunks(trials: int) -> list[int]:
    return [min(CHUNK, trials - start) for start in range(0, trials, CHUNK)]


def _tests(
    metric: str,
    slack: float,
    drawn: Mapping[str, np.ndarray],
    resampled: Mapping[str, Resampled],
) -> Sequence[LimitTest]:
    """Return the tests of a rule on all data sets, the true value being within by `slack`."""
    kind, _, truth = QUANTITIES[metric]
    rule = Rule(kind, metric, truth - slack if kind == "min" else truth + slack)
    nothing, tests = float("nan"), []
    for trial, values in enumerate(drawn[metric]):
        found: Difference
        if metric in resampled:
            sums, added = resampled[metric]
            one = Resampled(sums[:, trial], added)
            found = paired_difference(values, one, margin=rule.limit)
        else:
            found = mean_and_p(values, rule.limit)
        tests.append(LimitTest(rule, IMAGES, nothing, nothing, found))
    return tests


@click.command()
@click.option("--trials", default=2000, show_default=True, help="Number of gates in each case.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=OUTPUT,
    show_default=True,
    help="CSV file to write.",
)
def main(trials: int, output: Path) -> None:
    """Simulate all cases, and print and write a table with a row for each."""
    publish(pd.DataFrame(simulate(trials)), output, digits=4)


if __name__ == "__main__":
    main()
