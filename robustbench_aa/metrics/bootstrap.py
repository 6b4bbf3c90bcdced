"""Intervals: how much a metric would change with other images.

Images are the sampling unit, and the level of every interval is 95%. There are three kinds:

- `mean_interval` for a mean over images: Wilson's score interval, which rare events do not shorten;
- `paired_difference` for two models on the same images: a bootstrap with two added images, which
  also gives a p-value;
- `ratio_interval` for a metric relative to another model: a bias-corrected bootstrap.

`benchmarks/reliability/coverage.py` simulates how often each contains the true value;
docs/metrics.md has the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import ceil
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import numpy as np

LEVEL = 0.05
"""The significance level: how often an interval may miss the true value."""
NORMAL = NormalDist()
Z = NORMAL.inv_cdf(1 - LEVEL / 2)
RESAMPLES = 1000
"""Resamples for a bootstrap interval."""
PAIRED_RESAMPLES = 3999
"""Resamples for the test of a difference: p-values are multiples of 0.0005, exact in 4 decimals."""
EQUAL = 1e-9
"""Values that are closer to each other than this differ only by rounding."""
_SEED = 0
_ROWS = 64  # resamples at a time: their counts take 26 MB for 50,000 images

Key = TypeVar("Key")
Interval = tuple[float, float]
NONE: Interval = (float("nan"), float("nan"))


def mean_interval(values: np.ndarray, largest: float = 1.0, smallest: float = 0.0) -> Interval:
    """Return the interval of a mean over images of bounded values.

    It is Wilson's interval for a proportion among `effective_images`. Where all values are 0 or 1,
    these are the images themselves.

    Args:
        values: [N], value of each image.
        largest, smallest: bounds of possible values.

    Returns:
        Two different bounds within the possible values, which contain the mean; NaN if a value is
        missing.

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
        share: share of the images that have a property.
        images: number of images, not necessarily whole.
    """
    centre = images * share + Z**2 / 2
    half = Z * (images * share * (1 - share) + Z**2 / 4) ** 0.5
    # rounding may move a bound at 0 or 1 beyond the share
    low = min(max((centre - half) / (images + Z**2), 0.0), share)
    high = max(min((centre + half) / (images + Z**2), 1.0), share)
    return low, high


def mean_and_p(
    values: np.ndarray, margin: float, largest: float = 1.0, smallest: float = 0.0
) -> Difference:
    """Return a mean over images with the interval of `mean_interval`, and its test.

    Wilson's interval contains the values that the score test does not reject, so that the p-value
    is below `LEVEL` if and only if the interval excludes the margin.

    Args:
        values: [N], value of each image, all known.
        margin: the tested value of the mean.
        largest, smallest: bounds of possible values.
    """
    shares, scale = (values - smallest) / (largest - smallest), largest - smallest
    share, tested = float(shares.mean()), (margin - smallest) / scale
    if abs(share - tested) < EQUAL:
        p = 1.0
    elif not 0 < tested < 1:  # the mean cannot be there unless all values are
        p = 0.0
    else:
        spread = (tested * (1 - tested) / effective_images(shares)) ** 0.5
        p = 2 * NORMAL.cdf(-abs(share - tested) / spread)
    return Difference(float(values.mean()), *mean_interval(values, largest, smallest), p)


def effective_images(shares: np.ndarray) -> float:
    """Return how many images with values 0 and 1 would determine a mean as precisely.

    It is N divided by the design effect of the values, var / (m · (1 − m)) (Kish, "Survey
    Sampling", 1965; for Wilson's interval Franco et al., "Comparative study of confidence intervals
    for proportions in complex sample surveys", JSSAM 2019). The variance and the mean m include
    `unseen` images: without them, a few small values would pass for proof that there are no large
    ones.

    Args:
        shares: [N], values in [0, 1].
    """
    top, bottom = unseen(shares)
    images = len(shares) + top + bottom
    mean = (shares.sum() + top) / images
    squares = ((shares - mean) ** 2).sum() + top * (1 - mean) ** 2 + bottom * mean**2
    return float(len(shares) * mean * (1 - mean) * images / squares)


def unseen(values: np.ndarray) -> tuple[float, float]:
    """Return the weights of unseen images with the largest and with the smallest possible value.

    Suppose that k of N images exceed the least value seen. If images are exchangeable, the next
    image above the least value exceeds all k with probability 1 / (k + 1), and may have the largest
    possible value. Its weight is (1 − k / N) / (k + 1): one image if all values are equal, and
    almost none if all differ. The same holds for the smallest possible value. This weight is our
    own choice; simulations show that it is needed.

    Args:
        values: [N], value of each image.

    Returns:
        The weights of the largest and of the smallest possible value, in images.
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
    """Return the interval of a metric relative to another model.

    It is the interval of the bootstrap, extended to the value that Z² times the `unseen` images
    would lead to. Where no image fails, Wilson's upper bound is that of Z² more images that fail.

    Args:
        value: value of the metric.
        resampled: [RESAMPLES], values on resampled images. NaN counts as infinite: the baseline
            never fails, or loses nothing.
        images: number of images.
        weights: weights of `unseen` images with the largest and with the smallest value.
        largest, smallest: values for a model that always fails and for one that never fails.

    Returns:
        Two bounds that contain the value; NaN if the bootstrap has no interval.
    """
    low, high = bootstrap_interval(value, np.where(np.isnan(resampled), np.inf, resampled))
    top, bottom = (Z**2 * weight for weight in weights)
    low = min(low, (images * value + bottom * smallest) / (images + bottom))
    high = max(high, (images * value + top * largest) / (images + top))
    return low, high


def bootstrap_interval(value: float, resampled: np.ndarray) -> Interval:
    """Return the bias-corrected percentile interval of a metric.

    Efron, "Nonparametric standard errors and confidence intervals" (Canadian Journal of Statistics
    1981). Ratios are biased upwards, and resampling biases them a second time.

    Args:
        value: value of the metric.
        resampled: [R], values on resampled images.

    Returns:
        Two bounds that contain the value; NaN if the value or one of the resampled values is
        missing, or if the upper bound is infinite.
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
    """A difference between two models: `p` is below `LEVEL` if `low` to `high` excludes zero.

    If a margin is tested, `p` is below `LEVEL` if `low` to `high` excludes the margin.
    """

    value: float
    low: float
    high: float
    p: float


class Resampled(NamedTuple):
    """Sums over resamples of N images and of two added ones, N + 2 drawn with replacement.

    Attributes:
        sums: [R] or [R, K], sums over the N images.
        added: [R], draws of the first added image minus draws of the second.
    """

    sums: np.ndarray
    added: np.ndarray


def resampled_sums(values: np.ndarray) -> Resampled:
    """Return the sums over resampled images, for `paired_difference`.

    All columns share their draws, so that differences of sums are those of paired resamples.

    Args:
        values: [N] or [N, K], values of each image.
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


def resampled_columns(values: Mapping[Key, np.ndarray]) -> dict[Key, Resampled]:
    """Return the sums over resampled images of several columns, for `paired_difference`.

    Args:
        values: [N] each; columns over as many images share their draws.
    """
    found: dict[Key, Resampled] = {}
    for images in dict.fromkeys(map(len, values.values())):
        names = [name for name, column in values.items() if len(column) == images]
        sums, added = resampled_sums(np.stack([values[name] for name in names], axis=1))
        found |= {name: Resampled(sums[:, place], added) for place, name in enumerate(names)}
    return found


def paired_difference(
    differences: np.ndarray, resampled: Resampled, largest: float = 1.0, margin: float = 0.0
) -> Difference:
    """Return the mean difference between two models on the same images, and its test.

    It is a bootstrap of the images and of two more, each in favour of one model. On these two, the
    models differ by the largest difference that was seen, or by the largest possible one if they
    never differ. For a single cell, Agresti and Min ("Simple improved confidence intervals for
    comparing matched proportions", Statistics in Medicine 2005) and Bonett and Price ("Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired data", JEBS
    2012) adjust Wald's interval in this way, and the p-value comes close to McNemar's exact one.

    Args:
        differences: [N], difference on each image.
        resampled: resampled sums of the differences, [R].
        largest: largest possible difference.
        margin: the tested value of the mean difference.
    """
    # keep its sign: exchanging the models then changes only the signs of the result
    step = float(differences[np.abs(differences).argmax()])
    if abs(step) < EQUAL:
        step = largest
    means = (resampled.sums + step * resampled.added) / (len(differences) + 2)
    low, high, p = interval_and_p(means - margin)
    return Difference(float(differences.mean()) + 0.0, low + margin, high + margin, p)


def interval_and_p(differences: np.ndarray) -> tuple[float, float, float]:
    """Return the interval of resampled differences and the two-sided p-value of zero.

    Both use the same order statistics, so that the p-value is below `LEVEL` if and only if the
    interval excludes zero (Davison and Hinkley, "Bootstrap Methods and their Application", 1997,
    section 4.4: a p-value counts the observation as one more resample).

    Args:
        differences: [R], difference in each resample.

    Returns:
        low, high, p; NaN if a resample has no difference.
    """
    if np.isnan(differences).any():
        return *NONE, float("nan")
    # rounding errors must not turn zero into another value; −0 becomes 0
    ordered = np.sort(np.round(differences, 12) + 0.0)
    count = len(ordered) + 1
    place = ceil(count * LEVEL / 2) - 1
    low, high = float(ordered[place - 1]), float(ordered[-place])
    beyond = min(np.count_nonzero(ordered <= 0), np.count_nonzero(ordered >= 0)) + 1
    return low, high, float(min(1.0, 2 * beyond / count))


def resampled_means(values: np.ndarray) -> np.ndarray:
    """Return the means over resampled images (Efron, "Bootstrap methods", 1979).

    All cells and all models share the same draws.

    Args:
        values: [N] or [N, K], values of each image.

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
    # in the precision of the counts: a product of mixed types would copy them
    means = (counts @ np.where(missing, 0.0, values).astype(np.float32)) / np.float64(len(values))
    return np.where(missing, np.nan, means)


@lru_cache(maxsize=2)
def _resamples(images: int) -> np.ndarray:
    """Return how often each image is drawn, [RESAMPLES, images] float32."""
    random = np.random.default_rng(_SEED)
    counts = np.empty((RESAMPLES, images), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(random.integers(images, size=images), minlength=images)
    return counts
