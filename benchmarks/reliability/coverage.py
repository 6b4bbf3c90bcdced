"""How often intervals contain the truth: `python -m benchmarks.reliability.coverage`.

Data sets are drawn whose truth is known, and intervals are computed by the package's own functions.
Other methods are applied to the same data sets: the percentile bootstrap to all of them, Clopper
and Pearson's exact interval to single cells, and to other means Wilson's interval without `unseen`
images. Of a single cell every possible data set is weighted by its probability, which is exact;
otherwise one or two thousand are drawn, and a coverage of 95% is known to half a point.

Images are hard or easy for all cells and models alike: outcomes are normal variables that share
part of their variance, cut off where the error wants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import click
import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.rows import write_table
from robustbench_aa.metrics.aggregates import CellMeans, MeansByKind, normalised_aggregates
from robustbench_aa.metrics.bootstrap import (
    LEVEL,
    Resampled,
    mean_interval,
    paired_difference,
    resampled_means,
    resampled_sums,
    wilson,
)
from robustbench_aa.metrics.estimates import Sample, normalised_intervals
from robustbench_aa.metrics.per_image import Outcomes
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion

OUTPUT = Path("results/reliability/coverage.csv")
TRIALS = 2000
RATIO_TRIALS = 1000
FRAMES = np.arange(1, 31)
"""How many of 30 comparisons of a sequence differ."""
FLIP_SIZES = {
    "one frame": FRAMES == 1,
    "few frames": 0.5**FRAMES,
    "more frames": 0.8**FRAMES,
    "any number alike": np.ones(30),
    "few or nearly all": 1 / np.sqrt(FRAMES * (31.0 - FRAMES)),
    "one frame, every fifth all": np.select([FRAMES == 1, FRAMES == 30], [0.8, 0.2]),
}
"""By name, in which proportions flips that happen have which size."""
SHARED = 0.6
"""Of the variance of how hard an image is: in all cells and for all models alike."""
CORRUPTED = [Distortion("corruption", *of) for of in product(COUNTED_CORRUPTIONS, range(1, 6))]
THRESHOLDS = np.add.outer(np.linspace(-1.5, -0.2, 15), np.linspace(-0.5, 0.5, 5)).ravel()
"""Below which an image fails, of 15 corruptions at 5 severities: errors of 2% to 62%."""
WITH_CLEAN = np.append(THRESHOLDS, -2.0)
"""The same, and the threshold of clean images: an error of 2%."""
Random = np.random.Generator
Row = dict[str, object]
Draw = Callable[[Random, int, int], np.ndarray]
"""Draws so many trials of so many images, [trials, images, ...]."""


def row(
    what: str,
    n: int,
    truth: float,
    intervals: Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> Row:
    """Return how often intervals contain the truth, and how wide they are.

    Args:
        intervals: by how the names of columns begin, [trials, 2].
        weights: [trials], their probabilities; None if they are alike.
    """
    result: Row = {"what": what, "n": n, "truth": truth, "nominal": 1 - LEVEL}
    for prefix, bounds in intervals.items():
        there = ~np.isnan(bounds).any(axis=1)
        low, high = bounds[there].T
        of = None if weights is None else weights[there]
        result[f"{prefix}coverage"] = np.average((low <= truth) & (truth <= high), weights=of)
        result[f"{prefix}mean_width"] = np.average(high - low, weights=of)
        if not there.all():
            result[f"{prefix}no_interval"] = 1 - there.mean()
    return result


def percentiles(values: np.ndarray) -> np.ndarray:
    """Return the percentile intervals [trials, 2] of resampled values [resamples, trials]."""
    return np.asarray(np.quantile(values, [LEVEL / 2, 1 - LEVEL / 2], axis=0).T)


# single cells: all data sets there are


def single_cells() -> Iterator[Row]:
    """Yield exact rows: an image is classified wrongly with the probability p."""
    chances = [p / 1000 for p in range(1, 1000)]
    for images in (20, 50, 100, 200, 1000):
        wrong = (np.arange(images) < np.arange(images + 1)[:, None]).astype(float)
        ours = np.array([mean_interval(values) for values in wrong])
        found = {"": ours, "bootstrap_": percentiles(resampled_means(wrong.T))}
        exact = [clopper_pearson(count, images) for count in range(images + 1)]
        found["clopper_pearson_"] = np.array(exact)
        rows = {p: row("error of a cell", images, p, found, binomial(images, p)) for p in chances}
        yield from (rows[p] for p in (0.02, 0.1, 0.5, 0.98))
        table = pd.DataFrame(rows.values())
        mean = table.drop(columns="truth").mean(numeric_only=True)
        yield {"what": "error of a cell, mean over all p", **mean}
        lowest = table.sort_values("coverage").iloc[0]
        yield {**lowest, "what": "error of a cell, p where it is lowest"}


def clopper_pearson(wrong: int, images: int) -> tuple[float, float]:
    """Return Clopper and Pearson's exact interval ("The use of confidence limits", 1934)."""
    found = stats.binomtest(wrong, images).proportion_ci(1 - LEVEL, method="exact")
    return found.low, found.high


def binomial(images: int, p: float) -> np.ndarray:
    """Return the probability [images + 1] of so many wrong images."""
    wrong = np.arange(1, images + 1)
    ways = np.concatenate([[0.0], np.cumsum(np.log((images + 1 - wrong) / wrong))])
    counts = np.arange(images + 1)
    return np.asarray(np.exp(ways + counts * np.log(p) + (images - counts) * np.log1p(-p)))


# what is drawn: [trials, images, cells]


def hardness(random: Random, shape: tuple[int, int, int]) -> np.ndarray:
    """Return standard normal variables; the cells of an image share part of their variance."""
    shared = random.normal(scale=SHARED**0.5, size=(*shape[:2], 1))
    return np.asarray(shared + random.normal(scale=(1 - SHARED) ** 0.5, size=shape))


def flips(sizes: str, shares: Sequence[float], random: Random, trials: int, n: int) -> np.ndarray:
    """Draw flip probabilities: of a share of the sequences in each cell, in sizes of that name."""
    thresholds = [NormalDist().inv_cdf(share) for share in shares]
    happen = hardness(random, (trials, n, len(shares))) < thresholds
    weights = FLIP_SIZES[sizes] / np.sum(FLIP_SIZES[sizes])
    return np.asarray(happen * random.choice(FRAMES / 30, size=happen.shape, p=weights))


def mean_size(sizes: str) -> float:
    """Return the mean size of the flips that happen."""
    return float(np.average(FRAMES / 30, weights=FLIP_SIZES[sizes]))


def errors(
    easier: Sequence[float],
    random: Random,
    trials: int,
    n: int,
    thresholds: np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """Draw which images models fail on in each cell, [..., models, cells].

    Args:
        easier: by how much all images are easier to each model.
    """
    hard = hardness(random, (trials, n, len(easier) * len(thresholds)))
    hard = hard.reshape(trials, n, len(easier), len(thresholds))
    return np.asarray(hard < thresholds - np.array(easier)[:, None])


def mean_errors(easier: float, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Return the error in each cell."""
    return np.array([NormalDist().cdf(of - easier) for of in thresholds])


# means over images of other values


def means_over_images() -> Iterator[Row]:
    """Yield rows of flips, consistency, distances and aggregates."""
    for sizes, n in product(FLIP_SIZES, (20, 50, 100, 200, 1000)):
        draw = partial(flips, sizes, [0.1])
        yield of_mean(f"flips in 10% of sequences: {sizes}", n, 0.1 * mean_size(sizes), draw)
    for n in (50, 200, 1000):
        for share in (0.02, 0.3):
            # a Beta(6, 2) variable is 3/4 in the mean
            what = f"consistency, below 1 for {share:.0%} of images"
            yield of_mean(what, n, 1 - share / 4, partial(_consistency, share))
        yield of_mean("top-5 distance / 18", n, 7 / 47, lambda r, *of: r.beta(7, 40, (*of, 1)))
        draw = partial(flips, "few frames", [0.3] * 10)
        truth = 0.3 * mean_size("few frames")
        yield of_mean("mean flip probability, 10 cells", n, truth, draw)
        draw = partial(errors, [0.0])
        yield of_mean("mean error, 75 cells", n, mean_errors(0.0).mean(), draw)


def of_mean(what: str, n: int, truth: float, draw: Draw) -> Row:
    """Simulate the interval of a mean."""
    values = drawn(lambda *of: draw(*of).reshape(*of[1:], -1).mean(axis=-1), n)
    found = {
        "": np.array([mean_interval(of) for of in values]),
        "bootstrap_": percentiles(resampled_means(values.T)),
        "without_unseen_": np.array([wilson(of.mean(), kish(of)) for of in values]),
    }
    return row(what, n, truth, found)


def kish(values: np.ndarray) -> float:
    """Return the effective images without unseen ones; all images where values are alike."""
    mean, variance = values.mean(), values.var()
    return float(len(values) * mean * (1 - mean) / variance) if variance > 1e-12 else len(values)


def drawn(draw: Draw, n: int) -> np.ndarray:
    """Return values [TRIALS, n, ...], drawn in parts that fit into memory."""
    random = np.random.default_rng(0)
    return np.concatenate([draw(random, 100, n) for _ in range(TRIALS // 100)])


def _consistency(share: float, random: Random, trials: int, n: int) -> np.ndarray:
    shape = (trials, n, 1)
    return np.where(random.random(shape) < share, random.beta(6, 2, shape), 1.0)


# differences of two models


def differences() -> Iterator[Row]:
    """Yield rows of differences; of equal models they also tell how often p is below 0.05."""
    for more, less in ((0.01, 0.01), (0.05, 0.05), (0.2, 0.2), (0.05, 0.01), (0.1, 0.0)):
        what = f"difference of a cell, of {more:.0%} and of {less:.0%} of images"
        for n in (20, 50, 100, 200, 1000):
            yield of_difference(what, n, more - less, partial(_discordant, more, less))
    for sizes, n in product(FLIP_SIZES, (50, 100, 200)):
        what = f"difference of flips in 10% of sequences: {sizes}"
        yield of_difference(what, n, 0.0, partial(_flip_difference, sizes))
    for easier, n in product((0.0, 0.2), (50, 200)):
        truth = (mean_errors(0.0) - mean_errors(easier)).mean()
        draw = partial(_error_difference, easier)
        yield of_difference("difference of mean errors, 75 cells", n, truth, draw)


def of_difference(what: str, n: int, truth: float, draw: Draw) -> Row:
    """Simulate the interval of a difference and its p-value."""
    values = drawn(draw, n)
    sums, added = resampled_sums(values.T)
    found = [paired_difference(of, Resampled(sums[:, i], added)) for i, of in enumerate(values)]
    ours = np.array([(of.low, of.high) for of in found])
    others = percentiles(resampled_means(values.T))
    result = row(what, n, truth, {"": ours, "bootstrap_": others})
    if truth == 0:
        result["p_below_0.05"] = np.mean([of.p < LEVEL for of in found])
    return result


def _discordant(more: float, less: float, random: Random, trials: int, n: int) -> np.ndarray:
    place = random.random((trials, n))
    return np.select([place < more, place < more + less], [1.0, -1.0])


def _flip_difference(sizes: str, random: Random, trials: int, n: int) -> np.ndarray:
    found = flips(sizes, [0.1, 0.1], random, trials, n)
    return np.asarray(found[..., 0] - found[..., 1])


def _error_difference(easier: float, random: Random, trials: int, n: int) -> np.ndarray:
    found = errors([0.0, easier], random, trials, n).mean(axis=-1)
    return np.asarray(found[..., 0] - found[..., 1])


# ratios to another model, and to constants


def ratios() -> Iterator[Row]:
    """Yield rows of FR, CE and their means, relative to a worse model and to its true means."""
    for n, (shares, sizes, count) in product(
        (50, 100, 200),
        (
            ((0.1, 0.2), "one frame", 1),
            ((0.1, 0.2), "few frames", 1),
            ((0.1, 0.2), "any number alike", 1),
            ((0.02, 0.1), "few frames", 1),
            ((0.1, 0.2), "few frames", 10),
        ),
    ):
        of = f"{'mFR' if count > 1 else 'FR'}, flips in {shares[0]:.0%} and {shares[1]:.0%}"
        cells = [Distortion("perturbation", str(cell)) for cell in range(count)]
        means = np.outer(shares, np.full(count, mean_size(sizes)))
        draw = partial(flips, sizes, [*np.repeat(shares, count)])
        yield from of_ratios({f"{of}: {sizes}": "mfr"}, n, cells, means, draw)
    name, cells = "FR, flips in 10%: few frames, to constants", [Distortion("perturbation", "0")]
    means = np.outer((0.1, 0.2), [mean_size("few frames")])
    draw = partial(flips, "few frames", [0.1])
    yield from of_ratios({name: "mfr"}, 50, cells, means, draw)
    named = {"mCE": "mce", "relative mCE": "relative_mce"}
    means = np.array([mean_errors(easier, WITH_CLEAN) for easier in (0.2, 0.0)])
    draw = partial(errors, [0.2, 0.0], thresholds=WITH_CLEAN)
    for n in (50, 100, 200, 1000):
        yield from of_ratios(named, n, [*CORRUPTED, CLEAN], means, draw)


def of_ratios(
    named: Mapping[str, str], n: int, cells: Sequence[Distortion], means: np.ndarray, draw: Draw
) -> Iterator[Row]:
    """Simulate the intervals of means of ratios; of one perturbation, mFR is FR.

    Args:
        named: the figures by what rows call them.
        cells: what they are of.
        means: [2, cells], the true means of the model and of its baseline.
        draw: what draws the outcomes, [..., 2 · cells], or [..., cells] where the figures are
            relative to the baseline's true means.
    """
    kind, of = ("corruption", "wrong") if cells[0].severity else ("perturbation", "flips")

    def by_cell(values: np.ndarray) -> dict[str, Any]:
        return {"wrong": {}, of: dict(zip(cells, values, strict=True))}

    own, base = ({kind: CellMeans(**by_cell(part))} for part in means)
    truth = normalised_aggregates(own, base)
    random = np.random.default_rng(0)
    ours, others = [], []
    for _ in range(RATIO_TRIALS):
        values = draw(random, 1, n).reshape(n, -1, len(cells)).astype(float)
        outcomes = ({kind: Outcomes(**by_cell(part))} for part in values.transpose(1, 2, 0))
        model, *baselines = (Sample(of_model) for of_model in outcomes)
        relative_to: Sample | MeansByKind = baselines[0] if baselines else base
        resampled = baselines[0].resampled if baselines else base
        ours.append(normalised_intervals(model, relative_to, normalised_aggregates))
        others.append(normalised_aggregates(model.resampled, resampled))
    for what, figure in named.items():
        found = np.array([of_trial[figure] for of_trial in ours])
        plain = np.array([percentiles(of_trial[figure]) for of_trial in others])
        yield row(what, n, float(truth[figure]), {"": found, "bootstrap_": plain})


@click.command()
def main() -> None:
    """Simulate all cases and write a row for each."""
    rows = [*single_cells(), *means_over_images(), *differences(), *ratios()]
    table = pd.DataFrame(rows).astype({"n": int})
    write_table(table, OUTPUT, digits=4)
    click.echo(table.to_string(index=False, float_format="%.3f", na_rep=""))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()
