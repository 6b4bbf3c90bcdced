"""Flip rate: how often the prediction changes along a sequence of frames that differ by little.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), section 4.2. Frames of noise are independent of each other, so each is
compared with the first frame; all others are compared with the previous one. True classes do not
matter.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

Pairs = Iterator[tuple[int, int]]
TOP5_LARGEST = 18.0
"""The largest top-5 distance: three classes leave the list, and the last two move to its top."""
ZIPF_LARGEST = np.pi**2 / 3
"""An upper bound of the Zipf distance, Σ 1 / i² + Σ 1 / (i · σ(i)): each sum is at most π² / 6."""


def compared_frames(frames: int, noise: bool) -> Pairs:
    """Yield the pairs (earlier, later) of frames that are compared.

    Args:
        frames: number of frames in a sequence.
        noise: whether frames are compared with the first one instead of the previous one.

    Raises:
        ValueError: the sequence is too short to compare frames.
    """
    if frames < 2:
        raise ValueError(f"{frames} frames cannot be compared; a sequence needs 2")
    for later in range(1, frames):
        yield (0 if noise else later - 1), later


def flip_probability(top1: np.ndarray, noise: bool) -> np.ndarray:
    """Return the share of comparisons in which the top-1 class differs, for each sequence.

    Args:
        top1: [N, F], integer.
        noise: as in `compared_frames`.

    Returns:
        [N] float64 in [0, 1]; FP is their mean.
    """
    pairs = list(compared_frames(top1.shape[1], noise))
    flips = sum((top1[:, a] != top1[:, b]).astype(np.float64) for a, b in pairs)
    return np.asarray(flips / len(pairs))


def top5_distance(top5: np.ndarray, noise: bool) -> np.ndarray:
    """Return the mean over comparisons of the top-5 distance Σᵢ |i − σ(i)|, i = 0 … 4.

    σ(i) is the later place of the class at place i, or 5 if the class left the list.

    Args:
        top5: [N, F, 5], classes in order of decreasing probability; −1 where there are fewer.
        noise: as in `compared_frames`.

    Returns:
        [N] float64 in [0, TOP5_LARGEST]; uT5D is their mean.
    """
    pairs = list(compared_frames(top5.shape[1], noise))
    total = np.zeros(len(top5))
    for earlier, later in pairs:
        before, after = top5[:, earlier], top5[:, later]
        for place in range(before.shape[1]):
            same = after == before[:, place, None]
            now = np.where(same.any(axis=1), same.argmax(axis=1), 5)
            total += np.where(before[:, place] >= 0, np.abs(place - now), 0)
    return total / len(pairs)


def zipf_distance(ranking: np.ndarray, noise: bool) -> np.ndarray:
    """Return the mean over comparisons of the Zipf distance Σᵢ |1/i − 1/σ(i)| / i.

    Args:
        ranking: [N, F, K], all classes in order of decreasing probability.
        noise: as in `compared_frames`.

    Returns:
        [N] float64 in [0, ZIPF_LARGEST].
    """
    weight = 1.0 / np.arange(1, ranking.shape[2] + 1)
    pairs = list(compared_frames(ranking.shape[1], noise))
    total = np.zeros(len(ranking))
    for earlier, later in pairs:
        now = np.argsort(ranking[:, later], axis=1)  # the place of each class
        sigma = np.take_along_axis(now, ranking[:, earlier], axis=1)
        total += (weight * np.abs(weight - weight[sigma])).sum(axis=1)
    return total / len(pairs)


def mean_rate(values: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return the mean over perturbations of 100 · value / baseline, in percent: [...].

    It is mFR for flip probabilities and mT5D for top-5 distances. It is NaN where a value is
    missing or where the baseline never flips.

    Args:
        values, baseline: [..., perturbations].

    Raises:
        ValueError: there are no perturbations, or the baseline has others.
    """
    if values.shape[-1:] != baseline.shape[-1:] or values.size == 0:
        raise ValueError("the baseline's values are of other perturbations")
    base = np.where(baseline > 0, baseline, np.nan)
    return np.asarray((100.0 * values / base).mean(axis=-1))
