"""Flip rate: how often a model changes its mind along a sequence of frames that differ by little.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), section 4.2. Frames of noise are independent of each other, so each is
compared with the first; all others with the one before. True classes do not matter.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pairs = Iterator[tuple[int, int]]
TOP5_LARGEST = 18.0
"""The largest top-5 distance: three classes leave, and the last two take the first places."""
ZIPF_LARGEST = np.pi**2 / 3
"""A bound of the Zipf distance, Σ 1 / i² + Σ 1 / (i · σ(i)), whose sums are π² / 6 at most."""


def compared(frames: int, noise: bool, difficulty: int = 1) -> Pairs:
    """Yield the pairs (earlier, later) of frames that are compared.

    Args:
        frames: of a sequence.
        noise: whether with the first frame.
        difficulty: how many frames lie between, plus one; noise knows no other than 1.

    Raises:
        ValueError: nothing can be compared.
    """
    if frames <= difficulty or difficulty < 1:
        raise ValueError(f"{frames} frames have none that are {difficulty} apart")
    for later in range(1 if noise else difficulty, frames):
        yield (0 if noise else later - difficulty), later


def flip_probability(top1: np.ndarray, noise: bool, difficulty: int = 1) -> np.ndarray:
    """The share of comparisons in which the top-1 class differs, sequence by sequence.

    Args:
        top1: [N, F], whole numbers.
        noise, difficulty: as in `compared`.

    Returns:
        [N] float64 in [0, 1]; FP is its mean.
    """
    pairs = list(compared(top1.shape[1], noise, difficulty))
    flips = sum((top1[:, a] != top1[:, b]).astype(np.float64) for a, b in pairs)
    return np.asarray(flips / len(pairs))


def top5_distance(top5: np.ndarray, noise: bool, difficulty: int = 1) -> np.ndarray:
    """How far the top-5 list moves: the mean over comparisons of Σᵢ |i − σ(i)|, i = 0 … 4.

    σ(i) is the new place of the class that was at place i, or 5 if it left the list.

    Args:
        top5: [N, F, 5], classes, the likeliest first; −1 where there are fewer.
        noise, difficulty: as in `compared`.

    Returns:
        [N] float64 in [0, TOP5_LARGEST]; uT5D is its mean.
    """
    pairs = list(compared(top5.shape[1], noise, difficulty))
    total = np.zeros(len(top5))
    for earlier, later in pairs:
        before, after = top5[:, earlier], top5[:, later]
        for place in range(before.shape[1]):
            same = after == before[:, place, None]
            now = np.where(same.any(axis=1), same.argmax(axis=1), 5)
            total += np.where(before[:, place] >= 0, np.abs(place - now), 0)
    return total / len(pairs)


def zipf_distance(ranking: np.ndarray, noise: bool, difficulty: int = 1) -> np.ndarray:
    """How far the whole ranking moves: the mean over comparisons of Σᵢ |1/i − 1/σ(i)| / i.

    Args:
        ranking: [N, F, K], all classes, the likeliest first.
        noise, difficulty: as in `compared`.

    Returns:
        [N] float64 in [0, ZIPF_LARGEST].
    """
    weight = 1.0 / np.arange(1, ranking.shape[2] + 1)
    pairs = list(compared(ranking.shape[1], noise, difficulty))
    total = np.zeros(len(ranking))
    for earlier, later in pairs:
        now = np.argsort(ranking[:, later], axis=1)  # the place of each class
        sigma = np.take_along_axis(now, ranking[:, earlier], axis=1)
        total += (weight * np.abs(weight - weight[sigma])).sum(axis=1)
    return total / len(pairs)


def mean_rate(figures: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """mFR (of flip probabilities) or mT5D (of top-5 distances), in percent of a baseline's.

    The mean over perturbations of 100 · figure / baseline; NaN where a figure is missing, or where
    the baseline never flips.

    Args:
        figures, baseline: [..., perturbations].

    Returns:
        [...].

    Raises:
        ValueError: there is nothing to average, or the perturbations differ.
    """
    if figures.shape[-1:] != baseline.shape[-1:] or figures.size == 0:
        raise ValueError("the baseline's figures are of other perturbations")
    base = np.where(baseline > 0, baseline, np.nan)
    return np.asarray((100.0 * figures / base).mean(axis=-1))
