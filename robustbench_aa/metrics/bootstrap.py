"""Intervals: how much a figure would move with other images.

Images are the sampling unit, and every interval is one of 95%. There are three kinds:

- `mean_interval`, of a mean over images: Wilson's score interval, which rare events do not shorten;
- `paired_difference`, between two models on the same images: a bootstrap with two added images,
  which also gives the p-value;
- `ratio_interval`, of figures relative to another model: a bootstrap that corrects for bias.

`benchmarks/reliability/coverage.py` simulates how often each contains the truth; docs/metrics.md
has the table.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

LEVEL = 0.05
"""How often an interval may miss, and the p-value below which a difference is not chance."""
NORMAL = NormalDist()
Z = NORMAL.inv_cdf(1 - LEVEL / 2)
RESAMPLES = 1000
"""Of a bootstrap interval."""
PAIRED_RESAMPLES = 3999
"""Of the test of a difference. Its p-values are multiples of 0.0005, which four decimals show."""
EQUAL = 1e-9
"""Values that are closer to each other differ by rounding alone."""
_SEED = 0
_ROWS = 64  # of a matrix of counts, which then takes 26 MB for 50,000 images

Interval = tuple[float, float]
NONE: Interval = (float("nan"), float("nan"))


def mean_interval(values: np.ndarray, largest: float = 1.0, smallest: float = 0.0) -> Interval:
    """Return the interval of a mean over images of something bounded.

    It is Wilson's interval for a proportion of `effective_images`, which are the images themselves
    where values are 0 or 1.

    Args:
        values: [N], of each image, between the smallest and the largest possible value.

    Returns:
        Two different bounds between the smallest and the largest value, which contain the mean; NaN
        where a value is missing.

    Raises:
        ValueError: there are no images.
    """
    if len(values) == 0:
        raise ValueError("no images to average")
    if np.isnan(values).any():
        return NONE
    scale = largest - smallest
    shares = (values - smallest) / scale
    low, high = wilson(float(shares.mean()), effective_images(shares))
    return smallest + scale * low, smallest + scale * high


def wilson(share: float, images: float) -> Interval:
    """Return Wilson's score interval of a proportion.

    Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927).

    Args:
        share: of the images that have a property.
        images: how many there are; any positive number.
    """
    centre = images * share + Z**2 / 2
    half = Z * (images * share * (1 - share) + Z**2 / 4) ** 0.5
    # rounding may move a bound at 0 or 1 beyond the share
    low = min(max((centre - half) / (images + Z**2), 0.0), share)
    high = max(min((centre + half) / (images + Z**2), 1.0), share)
    return low, high


def effective_images(shares: np.ndarray) -> float:
    """Return how many images of values 0 and 1 would tell a mean as precisely.

    The N images by the design effect, var / (m · (1 − m)), of their values (Kish, "Survey
    Sampling", 1965; for Wilson's interval Franco et al., "Comparative study of confidence intervals
    for proportions in complex sample surveys", JSSAM 2019). The variance and m are those of the
    values and of `unseen` images: without these, a handful of small values would pass for proof
    that there are no large ones.

    Args:
        shares: [N], in [0, 1].
    """
    top, bottom = unseen(shares)
    images = len(shares) + top + bottom
    mean = (shares.sum() + top) / images
    squares = ((shares - mean) ** 2).sum() + top * (1 - mean) ** 2 + bottom * mean**2
    return float(len(shares) * mean * (1 - mean) * images / squares)


def unseen(values: np.ndarray) -> tuple[float, float]:
    """Return how many images of the largest and of the smallest possible value go unseen.

    Where k of N images lie above the others, which show the least value, the next one to lie above
    them exceeds all k with the probability 1 / (k + 1), if images are exchangeable; it may then
    have the largest possible value. It is counted as far as images of the least value hide it,
    (1 − k / N) / (k + 1): as one image if all values are alike, and as hardly any if all differ.
    Likewise for the smallest value. The weight is ours; simulation shows that it is needed.

    Args:
        values: [N].
    """
    images = len(values)
    above = np.count_nonzero(values > values.min() + EQUAL)
    below = np.count_nonzero(values < values.max() - EQUAL)
    return (1 - above / images) / (above + 1), (1 - below / images) / (below + 1)


def ratio_interval(
    value: float,
    resampled: np.ndarray,
    images: int,
    weights: tuple[float, float],
    largest: float,
    smallest: float,
) -> Interval:
    """Return the interval of a figure relative to another model.

    The bootstrap's, extended to what Z² `unseen` images would make of the figure. Z² further images
    that all fail are what Wilson's upper bound amounts to where none has failed.

    Args:
        value: the figure.
        resampled: [RESAMPLES], the same of resampled images; NaN where the baseline never fails, or
            loses nothing, which counts as infinite.
        images: how many there are.
        weights: of `unseen` images of the largest and of the smallest value.
        largest, smallest: the figure of a model that always fails, and of one that never does.

    Returns:
        Two bounds, which contain the value; NaN where the bootstrap has none.
    """
    low, high = bootstrap_interval(value, np.where(np.isnan(resampled), np.inf, resampled))
    top, bottom = (Z**2 * weight for weight in weights)
    low = min(low, (images * value + bottom * smallest) / (images + bottom))
    high = max(high, (images * value + top * largest) / (images + top))
    return low, high


def bootstrap_interval(value: float, resampled: np.ndarray) -> Interval:
    """Return the bias-corrected percentile interval of a figure.

    Efron, "Nonparametric standard errors and confidence intervals" (Canadian Journal of Statistics
    1981). Ratios are biased upwards, and resampling them a second time.

    Args:
        value: the figure.
        resampled: [R], the same of resampled images.

    Returns:
        Two bounds, which contain the value; NaN where there is no value, where a resample has none,
        or where so many are infinite that the upper bound is.
    """
    if np.isnan([value, *resampled]).any():
        return NONE
    alike = np.isclose(resampled, value, rtol=1e-6, atol=0)
    below = np.count_nonzero((resampled < value) & ~alike) + np.count_nonzero(alike) / 2
    bias = NORMAL.inv_cdf((below + 0.5) / (len(resampled) + 1))
    ends = [NORMAL.cdf(2 * bias - Z), NORMAL.cdf(2 * bias + Z)]
    low, high = (float(bound) for bound in np.quantile(resampled, ends, method="nearest"))
    return (min(low, value), max(high, value)) if high < np.inf else NONE


class Difference(NamedTuple):
    """What lies between two models: `p` is below `LEVEL` where `low` to `high` excludes zero."""

    value: float
    low: float
    high: float
    p: float


class Resampled(NamedTuple):
    """Sums over resamples of N images and of two added ones, N + 2 drawn with replacement.

    Attributes:
        sums: [R] or [R, K], over the N images.
        added: [R], how much oftener the first added image was drawn than the second.
    """

    sums: np.ndarray
    added: np.ndarray


def resampled_sums(values: np.ndarray) -> Resampled:
    """Return the sums over resampled images, for `paired_difference`.

    The same draws serve all columns, so that the sums' differences are those of paired resamples.

    Args:
        values: [N] or [N, K].
    """
    images = len(values)
    random = np.random.default_rng(_SEED)
    sums, added = [], []
    for start in range(0, PAIRED_RESAMPLES, _ROWS):
        counts = np.empty((min(_ROWS, PAIRED_RESAMPLES - start), images + 2))
        for row in counts:
            draws = random.integers(images + 2, size=images + 2, dtype=np.int32)
            row[:] = np.bincount(draws, minlength=images + 2)
        sums.append(counts[:, :images] @ values)
        added.append(counts[:, images] - counts[:, images + 1])
    return Resampled(np.concatenate(sums), np.concatenate(added))


def paired_difference(
    differences: np.ndarray, resampled: Resampled, largest: float = 1.0
) -> Difference:
    """Return the mean difference between two models on the same images, and its test.

    A bootstrap of the images and of two more, on which the models differ by the largest difference
    that was seen, once in favour of either; by the largest possible one if they never differed. For
    a single cell that is how Agresti and Min ("Simple improved confidence intervals for comparing
    matched proportions", Statistics in Medicine 2005) and Bonett and Price ("Adjusted Wald
    confidence interval for a difference of binomial proportions based on paired data", JEBS 2012)
    adjust Wald's interval, and the p-value comes close to McNemar's exact one.

    Args:
        differences: [N], image by image.
        resampled: their sums, [R].
        largest: the largest possible difference.
    """
    # with its sign, so that exchanging the models changes the signs alone
    step = float(differences[np.abs(differences).argmax()])
    if abs(step) < EQUAL:
        step = largest
    means = (resampled.sums + step * resampled.added) / (len(differences) + 2)
    return Difference(float(differences.mean()) + 0.0, *interval_and_p(means))


def interval_and_p(differences: np.ndarray) -> tuple[float, float, float]:
    """Return the interval of resampled differences and the two-sided p-value of zero.

    Both are of the same order statistics, so that the p-value is below `LEVEL` if and only if zero
    is outside (Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 4.4:
    a p-value counts what was observed as one resample more).

    Args:
        differences: [R].

    Returns:
        low, high, p; NaN where a resample has no difference.
    """
    if np.isnan(differences).any():
        return *NONE, float("nan")
    # what is zero must not be something else by rounding; −0 becomes 0
    ordered = np.sort(np.round(differences, 12) + 0.0)
    count = len(ordered) + 1
    place = ceil(count * LEVEL / 2) - 1
    low, high = float(ordered[place - 1]), float(ordered[-place])
    beyond = min(np.count_nonzero(ordered <= 0), np.count_nonzero(ordered >= 0)) + 1
    return low, high, float(min(1.0, 2 * beyond / count))


def resampled_means(values: np.ndarray) -> np.ndarray:
    """Return the means over resampled images (Efron, "Bootstrap methods", 1979).

    The same draws serve every cell and every model.

    Args:
        values: [N] or [N, K], measurements of each image.

    Returns:
        [RESAMPLES] or [RESAMPLES, K] float64.

    Raises:
        ValueError: there are no images.
    """
    if len(values) == 0:
        raise ValueError("no images to resample")
    missing = np.isnan(values).any(axis=0)
    if missing.all():
        return np.full((RESAMPLES, *missing.shape), np.nan)
    counts = _resamples(len(values))
    # in the counts' precision: a product with mixed types would make a copy of them
    means = (counts @ np.where(missing, 0.0, values).astype(np.float32)) / np.float64(len(values))
    return np.where(missing, np.nan, means)


@lru_cache(maxsize=2)
def _resamples(images: int) -> np.ndarray:
    """[RESAMPLES, images] float32: how often each image was drawn."""
    random = np.random.default_rng(_SEED)
    counts = np.empty((RESAMPLES, images), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(random.integers(images, size=images), minlength=images)
    return counts
