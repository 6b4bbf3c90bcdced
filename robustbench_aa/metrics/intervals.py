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


def bootstrap_means(values: np.ndarray) -> np.ndarray:
    """The means over resampled images.

    Args:
        values: [N], a measurement of each image.

    Returns:
        [RESAMPLES] float64.

    Raises:
        ValueError: there are no images.
    """
    if len(values) == 0:
        raise ValueError("no images to resample")
    means: np.ndarray = _resamples(len(values)) @ values / len(values)
    return means


def interval(resampled: np.ndarray) -> tuple[float, float]:
    """The 95% percentile interval of resampled figures [RESAMPLES]: (low, high)."""
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
