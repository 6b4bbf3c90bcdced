"""Calibration: whether the confidence of a model matches its accuracy.

Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks" (ICML 2017), section 2:
the expected calibration error with 15 bins of equal width.
"""

from __future__ import annotations

import numpy as np

BINS = 15


def reliability(confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Return what a reliability diagram shows: predictions by bin of their confidence.

    Args:
        confidence: [N], top-1 probabilities in [0, 1].
        correct: [N], whether the top-1 class is the true one.

    Returns:
        [BINS, 3] float64: the number of predictions in each bin, the sum of their confidences, and
        the number of correct ones.
    """
    place = _bins(confidence)
    weights = (None, confidence.astype(np.float64), correct)
    bins = np.empty((BINS, 3))
    for column, weight in enumerate(weights):
        bins[:, column] = np.bincount(place, weight, minlength=BINS)
    return bins


def _bins(confidence: np.ndarray) -> np.ndarray:
    """Return the bin of each confidence, from 0; bin b − 1 is ((b − 1)/15, b/15]."""
    places: np.ndarray = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return places


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
    surplus = np.bincount(
        _bins(confidence), correct - confidence.astype(np.float64), minlength=BINS
    )
    return float(np.abs(surplus).sum() / len(confidence))
