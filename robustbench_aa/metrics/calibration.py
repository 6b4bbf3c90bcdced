"""Calibration: whether the confidence of a model matches its accuracy.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 2:
the expected calibration error with 15 bins of equal width.
"""

from __future__ import annotations

import numpy as np

BINS = 15


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Return Σ_b (n_b / N) · |accuracy_b − confidence_b| over the bins ((b − 1)/15, b/15].

    With few images the error is biased upwards: even the bins of a perfect model deviate randomly.

    Args:
        confidence: [N], top-1 probabilities in [0, 1].
        correct: [N], whether the top-1 class is the true one.

    Returns:
        A fraction in [0, 1]; NaN if there are no predictions.
    """
    if not len(confidence):
        return float("nan")
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    surplus = np.bincount(place, correct - confidence.astype(np.float64), minlength=BINS)
    return float(np.abs(surplus).sum() / len(confidence))
