"""Intervals: how much a figure would move with other images.

Images are the sampling unit: a bootstrap (Efron, "Bootstrap methods", 1979) draws them with
replacement and computes the figure again. The same draws serve every cell and every model, so
that differences between models are paired.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

RESAMPLES = 1000
_SEED = 0


def resampled_means(values: np.ndarray) -> np.ndarray:
    """The means over resampled images.

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


def interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of resampled figures [RESAMPLES]: (low, high).

    NaN where a resample has no such figure.
    """
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(low), float(high)


@lru_cache(maxsize=2)
def _resamples(images: int) -> np.ndarray:
    """[RESAMPLES, images] float32: how often each image was drawn."""
    random = np.random.default_rng(_SEED)
    counts = np.empty((RESAMPLES, images), dtype=np.float32)
    for row in counts:
        row[:] = np.bincount(random.integers(images, size=images), minlength=images)
    return counts
