"""Random outcomes of models whose true means are known, for `benchmarks/reliability/coverage.py`.

An image that is hard in one cell tends to be hard in the other cells and for the other models. Each
outcome therefore depends on a normal score: a part of it is the same in all cells and for all
models. An image fails in a cell if its score is below the cell's threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from robustbench_aa.types import COUNTED_CORRUPTIONS, Distortion

FRAMES = np.arange(1, 31)
"""The possible sizes of a flip: the number of a sequence's 30 comparisons that differ."""
FLIP_SIZES = {
    "one frame": FRAMES == 1,
    "few frames": 0.5**FRAMES,
    "more frames": 0.8**FRAMES,
    "any number alike": np.ones(30),
    "few or nearly all": 1 / np.sqrt(FRAMES * (31.0 - FRAMES)),
    "one frame, every fifth all": np.select([FRAMES == 1, FRAMES == 30], [0.8, 0.2]),
}
"""Distributions of the size of flips by name: a weight for each of `FRAMES`, [30]."""
SHARED = 0.6
"""The share of a score's variance that all cells and all models have in common."""
CORRUPTED = [
    Distortion("corruption", name, severity)
    for name in COUNTED_CORRUPTIONS
    for severity in range(1, 6)
]
THRESHOLDS = np.add.outer(np.linspace(-1.5, -0.2, 15), np.linspace(-0.5, 0.5, 5)).ravel()
"""The thresholds of `CORRUPTED`, [75]: errors of 2% to 62%."""
WITH_CLEAN = np.append(THRESHOLDS, -2.0)
"""`THRESHOLDS` and the threshold of clean images, [76]: an error of 2%."""
Random = np.random.Generator
Sampler = Callable[[Random, int, int], np.ndarray]
"""A function of a random generator, a number of trials and a number of images.

It returns outcomes [trials, images, ...].
"""


def scores(random: Random, shape: tuple[int, int, int]) -> np.ndarray:
    """Return standard normal scores that are correlated between the cells of an image.

    Args:
        random: random generator.
        shape: trials, images, cells.
    """
    shared = random.normal(scale=SHARED**0.5, size=(*shape[:2], 1))
    return np.asarray(shared + random.normal(scale=(1 - SHARED) ** 0.5, size=shape))


def flips(
    sizes: str, rates: Sequence[float], random: Random, trials: int, images: int
) -> np.ndarray:
    """Return random flip probabilities of sequences, [trials, images, cells].

    Args:
        sizes: distribution of the size of flips, a key of `FLIP_SIZES`.
        rates: share of the sequences that have flips, by cell.
        random: random generator.
        trials: number of data sets.
        images: number of sequences in a data set.
    """
    thresholds = [NormalDist().inv_cdf(rate) for rate in rates]
    flipped = scores(random, (trials, images, len(rates))) < thresholds
    weights = FLIP_SIZES[sizes] / np.sum(FLIP_SIZES[sizes])
    return np.asarray(flipped * random.choice(FRAMES / 30, size=flipped.shape, p=weights))


def mean_flip_size(sizes: str) -> float:
    """Return the mean flip probability of the sequences that have flips."""
    return float(np.average(FRAMES / 30, weights=FLIP_SIZES[sizes]))


def flip_differences(sizes: str, random: Random, trials: int, images: int) -> np.ndarray:
    """Return the differences of two models with flips in 10% of sequences, [trials, images]."""
    outcomes = flips(sizes, [0.1, 0.1], random, trials, images)
    return np.asarray(outcomes[..., 0] - outcomes[..., 1])


def errors(
    gains: Sequence[float],
    random: Random,
    trials: int,
    images: int,
    thresholds: np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """Return whether models classify images wrongly, [trials, images, models, cells] bool.

    Args:
        gains: amount by which each model lowers all thresholds, [models].
        random: random generator.
        trials: number of data sets.
        images: number of images in a data set.
        thresholds: threshold of each cell, [cells].
    """
    outcomes = scores(random, (trials, images, len(gains) * len(thresholds)))
    outcomes = outcomes.reshape(trials, images, len(gains), len(thresholds))
    return np.asarray(outcomes < thresholds - np.array(gains)[:, None])


def true_errors(gain: float, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Return the true error of a model in each cell, [cells]."""
    return np.array([NormalDist().cdf(threshold - gain) for threshold in thresholds])


def error_differences(gain: float, random: Random, trials: int, images: int) -> np.ndarray:
    """Return the differences of the mean errors of two models, [trials, images]."""
    outcomes = errors([0.0, gain], random, trials, images).mean(axis=-1)
    return np.asarray(outcomes[..., 0] - outcomes[..., 1])


def discordant(worse: float, better: float, random: Random, trials: int, images: int) -> np.ndarray:
    """Return the differences of two models in a single cell, [trials, images] of −1, 0 and 1.

    Args:
        worse: share of the images on which only the first model is wrong.
        better: share of the images on which only the second model is wrong.
        random: random generator.
        trials: number of data sets.
        images: number of images in a data set.
    """
    uniform = random.random((trials, images))
    return np.select([uniform < worse, uniform < worse + better], [1.0, -1.0])


def consistency(share: float, random: Random, trials: int, images: int) -> np.ndarray:
    """Return random consistencies, [trials, images, 1]: 3/4 in the mean for a share, 1 for others.

    The mean of a Beta(6, 2) variable is 3/4.
    """
    shape = (trials, images, 1)
    return np.where(random.random(shape) < share, random.beta(6, 2, shape), 1.0)


def top5_distances(random: Random, trials: int, images: int) -> np.ndarray:
    """Return random top-5 distances divided by 18, [trials, images, 1], with the mean 7/47."""
    return random.beta(7, 40, (trials, images, 1))
