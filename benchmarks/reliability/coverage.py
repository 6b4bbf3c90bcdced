"""Simulate the coverage of intervals: `python -m benchmarks.reliability.coverage`.

The coverage is the share of data sets for which an interval contains the true value. Data sets are
drawn from distributions whose true means are known, and the package's own functions compute the
intervals. For comparison, other methods are applied to the same data sets:

- to all: the percentile bootstrap, `bootstrap_*`;
- to single cells: Clopper and Pearson's exact interval, `clopper_pearson_*`;
- to other means over images: Wilson's interval without `unseen` images, `without_unseen_*`.

The coverage of single cells is exact: every possible data set is weighted by its probability. In
the other cases it is estimated from 1,000 or 2,000 data sets: a coverage of 95% has a standard
error of 0.5 to 0.7 percentage points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.reliability.simulated import (
    CORRUPTED,
    FLIP_SIZES,
    WITH_CLEAN,
    Sampler,
    consistency,
    discordant,
    error_differences,
    errors,
    flip_differences,
    flips,
    mean_flip_size,
    top5_distances,
    true_errors,
)
from benchmarks.rows import write_table
from robustbench_aa.metrics.aggregates import Aggregates, normalised_aggregates
from robustbench_aa.metrics.bootstrap import (
    LEVEL,
    Interval,
    Resampled,
    mean_interval,
    paired_difference,
    resampled_means,
    resampled_sums,
    wilson,
)
from robustbench_aa.metrics.cell_means import CellMeans, MeansByKind
from robustbench_aa.metrics.estimates import Sample, normalised_intervals
from robustbench_aa.metrics.per_image import Outcomes
from robustbench_aa.types import CLEAN, Distortion

OUTPUT = Path("results/reliability/coverage.csv")
TRIALS = 2000
"""Data sets for each mean and each difference."""
RATIO_TRIALS = 1000
"""Data sets for each ratio."""
CHUNK = 100
"""Data sets in memory at a time."""
DISCORDANT = ((0.01, 0.01), (0.05, 0.05), (0.2, 0.2), (0.05, 0.01), (0.1, 0.0))
"""Shares of the images on which only the first, and only the second of two models is wrong."""
FLIP_RATIOS = (
    ((0.1, 0.2), "one frame", 1),
    ((0.1, 0.2), "few frames", 1),
    ((0.1, 0.2), "any number alike", 1),
    ((0.02, 0.1), "few frames", 1),
    ((0.1, 0.2), "few frames", 10),
)
"""Shares of the sequences with flips (model, baseline), sizes of flips, number of perturbations."""
Row = dict[str, object]
Table = TypeVar("Table", CellMeans, Outcomes)


def coverage_row(
    case: str,
    images: int,
    truth: float,
    intervals: Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> Row:
    """Return the coverage and the mean width of intervals.

    Args:
        case: name of the case.
        images: number of images in a data set.
        truth: true value.
        intervals: bounds [trials, 2] by the prefix of a method's columns. NaN if a data set has no
            interval.
        weights: probability of each data set, [trials]; None if all are equally probable.
    """
    row: Row = {"case": case, "n": images, "truth": truth, "nominal": 1 - LEVEL}
    for prefix, bounds in intervals.items():
        exists = ~np.isnan(bounds).any(axis=1)
        low, high = bounds[exists].T
        chosen = None if weights is None else weights[exists]
        contains = (low <= truth) & (truth <= high)
        row[f"{prefix}coverage"] = np.average(contains, weights=chosen)
        row[f"{prefix}mean_width"] = np.average(high - low, weights=chosen)
        if not exists.all():
            row[f"{prefix}no_interval"] = 1 - exists.mean()
    return row


def percentile_intervals(resampled: np.ndarray) -> np.ndarray:
    """Return the percentile intervals [trials, 2] of resampled values [resamples, trials]."""
    return np.asarray(np.quantile(resampled, [LEVEL / 2, 1 - LEVEL / 2], axis=0).T)


# Single cells: all possible data sets.


def single_cells() -> Iterator[Row]:
    """Yield exact rows for the error of a cell, where each image fails with a probability p."""
    probabilities = [p / 1000 for p in range(1, 1000)]
    for images in (20, 50, 100, 200, 1000):
        wrong = (np.arange(images) < np.arange(images + 1)[:, None]).astype(float)
        exact = [clopper_pearson(count, images) for count in range(images + 1)]
        intervals = {
            "": np.array([mean_interval(values) for values in wrong]),
            "bootstrap_": percentile_intervals(resampled_means(wrong.T)),
            "clopper_pearson_": np.array(exact),
        }
        rows = {
            p: coverage_row("error of a cell", images, p, intervals, binomial(images, p))
            for p in probabilities
        }
        yield from (rows[p] for p in (0.02, 0.1, 0.5, 0.98))
        table = pd.DataFrame(rows.values())
        mean = table.drop(columns="truth").mean(numeric_only=True)
        yield {"case": "error of a cell, mean over all p", **mean}
        lowest = table.sort_values("coverage").iloc[0]
        yield {**lowest, "case": "error of a cell, p where it is lowest"}


def clopper_pearson(wrong: int, images: int) -> Interval:
    """Return Clopper and Pearson's exact interval ("The use of confidence limits", 1934)."""
    interval = stats.binomtest(wrong, images).proportion_ci(1 - LEVEL, method="exact")
    return interval.low, interval.high


def binomial(images: int, p: float) -> np.ndarray:
    """Return the probability of 0, 1, … `images` wrong images, [images + 1]."""
    wrong = np.arange(1, images + 1)
    log_ways = np.concatenate([[0.0], np.cumsum(np.log((images + 1 - wrong) / wrong))])
    counts = np.arange(images + 1)
    return np.asarray(np.exp(log_ways + counts * np.log(p) + (images - counts) * np.log1p(-p)))


# Means over images.


def means_over_images() -> Iterator[Row]:
    """Yield rows for flip probabilities, consistency, distances and aggregates."""
    for sizes, images in product(FLIP_SIZES, (20, 50, 100, 200, 1000)):
        case = f"flips in 10% of sequences: {sizes}"
        yield mean_row(case, images, 0.1 * mean_flip_size(sizes), partial(flips, sizes, [0.1]))
    for images in (50, 200, 1000):
        for share in (0.02, 0.3):
            case = f"consistency, below 1 for {share:.0%} of images"
            yield mean_row(case, images, 1 - share / 4, partial(consistency, share))
        yield mean_row("top-5 distance / 18", images, 7 / 47, top5_distances)
        truth = 0.3 * mean_flip_size("few frames")
        sampler = partial(flips, "few frames", [0.3] * 10)
        yield mean_row("mean flip probability, 10 cells", images, truth, sampler)
        truth = true_errors(0.0).mean()
        yield mean_row("mean error, 75 cells", images, truth, partial(errors, [0.0]))


def mean_row(case: str, images: int, truth: float, sampler: Sampler) -> Row:
    """Simulate the interval of a mean over images and cells."""
    trials = simulate(sampler, images)
    intervals = {
        "": np.array([mean_interval(values) for values in trials]),
        "bootstrap_": percentile_intervals(resampled_means(trials.T)),
        "without_unseen_": np.array([wilson(values.mean(), kish(values)) for values in trials]),
    }
    return coverage_row(case, images, truth, intervals)


def kish(values: np.ndarray) -> float:
    """Return the number of effective images without unseen ones, or N if all values are equal."""
    mean, variance = values.mean(), values.var()
    return float(len(values) * mean * (1 - mean) / variance) if variance > 1e-12 else len(values)


def simulate(sampler: Sampler, images: int) -> np.ndarray:
    """Return the values of all data sets, averaged over cells, [TRIALS, images]."""
    random = np.random.default_rng(0)
    chunks = (sampler(random, CHUNK, images) for _ in range(TRIALS // CHUNK))
    return np.concatenate([chunk.reshape(CHUNK, images, -1).mean(axis=-1) for chunk in chunks])


# Differences between two models.


def differences() -> Iterator[Row]:
    """Yield rows for differences; for equal models also the share of p-values below 0.05."""
    for worse, better in DISCORDANT:
        case = f"difference of a cell, of {worse:.0%} and of {better:.0%} of images"
        for images in (20, 50, 100, 200, 1000):
            yield difference_row(case, images, worse - better, partial(discordant, worse, better))
    for sizes, images in product(FLIP_SIZES, (50, 100, 200)):
        case = f"difference of flips in 10% of sequences: {sizes}"
        yield difference_row(case, images, 0.0, partial(flip_differences, sizes))
    for gain, images in product((0.0, 0.2), (50, 200)):
        case = "difference of mean errors, 75 cells"
        truth = (true_errors(0.0) - true_errors(gain)).mean()
        yield difference_row(case, images, truth, partial(error_differences, gain))


def difference_row(case: str, images: int, truth: float, sampler: Sampler) -> Row:
    """Simulate the interval of a difference and its p-value."""
    trials = simulate(sampler, images)
    sums, added = resampled_sums(trials.T)
    results = [
        paired_difference(values, Resampled(sums[:, trial], added))
        for trial, values in enumerate(trials)
    ]
    intervals = {
        "": np.array([(result.low, result.high) for result in results]),
        "bootstrap_": percentile_intervals(resampled_means(trials.T)),
    }
    row = coverage_row(case, images, truth, intervals)
    if truth == 0:
        row["p_below_0.05"] = np.mean([result.p < LEVEL for result in results])
    return row


# Ratios to another model and to constants.


def ratios() -> Iterator[Row]:
    """Yield rows for FR, CE and their means, relative to a worse model or to its true means."""
    for images, (rates, sizes, count) in product((50, 100, 200), FLIP_RATIOS):
        metric = "FR" if count == 1 else "mFR"
        case = f"{metric}, flips in {rates[0]:.0%} and {rates[1]:.0%}: {sizes}"
        cells = [Distortion("perturbation", str(index)) for index in range(count)]
        means = np.outer(rates, np.full(count, mean_flip_size(sizes)))
        sampler = partial(flips, sizes, [*np.repeat(rates, count)])
        yield from ratio_rows({"mfr": case}, images, cells, means, sampler)
    cases = {"mfr": "FR, flips in 10%: few frames, to constants"}
    means = np.outer((0.1, 0.2), [mean_flip_size("few frames")])
    sampler = partial(flips, "few frames", [0.1])
    yield from ratio_rows(cases, 50, [Distortion("perturbation", "0")], means, sampler)
    cases = {"mce": "mCE", "relative_mce": "relative mCE"}
    means = np.array([true_errors(gain, WITH_CLEAN) for gain in (0.2, 0.0)])
    sampler = partial(errors, [0.2, 0.0], thresholds=WITH_CLEAN)
    for images in (50, 100, 200, 1000):
        yield from ratio_rows(cases, images, [*CORRUPTED, CLEAN], means, sampler)


def ratio_rows(
    cases: Mapping[str, str],
    images: int,
    cells: Sequence[Distortion],
    means: np.ndarray,
    sampler: Sampler,
) -> Iterator[Row]:
    """Simulate the intervals of means of ratios. The mFR of a single perturbation is its FR.

    Args:
        cases: name of the case by metric.
        images: number of images in a data set.
        cells: distortions that the metrics need.
        means: true means of the model and of its baseline, [2, cells].
        sampler: function that draws outcomes [1, images, models · cells]. If it draws those of the
            model only, the baseline's true means are the constants.
    """
    model, baseline = (by_kind(CellMeans, cells, values) for values in means)
    truth = normalised_aggregates(model, baseline)
    random = np.random.default_rng(0)
    trials = []
    for _ in range(RATIO_TRIALS):
        outcomes = sampler(random, 1, images).reshape(images, -1, len(cells)).astype(float)
        trials.append(ratio_trial(cells, outcomes.transpose(1, 2, 0), baseline))
    for metric, case in cases.items():
        intervals = {
            "": np.array([bounds[metric] for bounds, _ in trials]),
            "bootstrap_": np.array([percentile_intervals(values[metric]) for _, values in trials]),
        }
        yield coverage_row(case, images, float(truth[metric]), intervals)


def ratio_trial(
    cells: Sequence[Distortion], outcomes: np.ndarray, constants: MeansByKind
) -> tuple[dict[str, Interval], Aggregates]:
    """Return the intervals and the resampled values [resamples] of one data set, by metric.

    Args:
        cells: distortions.
        outcomes: outcomes of the model and, optionally, of a baseline, [1 or 2, cells, images].
        constants: means of the baseline if it has no outcomes.
    """
    model, *baselines = (Sample(by_kind(Outcomes, cells, values)) for values in outcomes)
    baseline: Sample | MeansByKind = baselines[0] if baselines else constants
    resampled = baselines[0].resampled if baselines else constants
    intervals = normalised_intervals(model, baseline, normalised_aggregates)
    return intervals, normalised_aggregates(model.resampled, resampled)


def by_kind(
    table: type[Table], cells: Sequence[Distortion], values: np.ndarray
) -> dict[str, Table]:
    """Return values [cells, ...] as flips of perturbations or as errors under corruptions."""
    by_cell = dict(zip(cells, values, strict=True))
    if cells[0].kind == "perturbation":
        return {"perturbation": table(wrong={}, flips=by_cell)}
    return {"corruption": table(wrong=by_cell)}


@click.command()
def main() -> None:
    """Simulate all cases, and print and write a table with a row for each."""
    rows = [*single_cells(), *means_over_images(), *differences(), *ratios()]
    table = pd.DataFrame(rows).astype({"n": int})
    write_table(table, OUTPUT, digits=4)
    click.echo(table.to_string(index=False, float_format="%.3f", na_rep=""))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()
