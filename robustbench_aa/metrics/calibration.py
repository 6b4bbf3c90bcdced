"""Calibration: whether a model is right as often as it is sure.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 2:
the expected calibration error with 15 bins of equal width.
"""

from __future__ import annotations

import numpy as np

BINS = 15


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Σ_b (n_b / N) · |accuracy_b − confidence_b| over the bins ((b − 1)/15, b/15].

    With few images it is biased upwards: even a perfect model's bins deviate by chance.

    Args:
        confidence: [N], the top-1 probabilities, in [0, 1].
        correct: [N], whether the top-1 class is the true one.

    Returns:
        A fraction in [0, 1]; NaN for no predictions.
    """
    if not len(confidence):
        return float("nan")
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    surplus = np.bincount(place, correct - confidence.astype(np.float64), minlength=BINS)
    return float(np.abs(surplus).sum() / len(confidence))
