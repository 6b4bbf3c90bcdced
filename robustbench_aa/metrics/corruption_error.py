"""Corruption error: how often a model fails under ImageNet-C's corruptions.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), section 4.1. E(c, s) is the top-1 error under corruption c at severity
s. Errors are arrays [..., corruptions, severities] of fractions in [0, 1], whose leading axes are
images or resamples of them. A cell that was not measured is NaN, and so is every value that depends
on it.
"""

from __future__ import annotations

import numpy as np

NOTHING = 1e-6
"""A sum of errors below it is zero, apart from rounding: it is less than one image in a million."""


def mean_error(errors: np.ndarray) -> np.ndarray:
    """Return the mean over corruptions of the mean over severities of E(c, s), unnormalised: [...].

    Raises:
        ValueError: there are no errors.
    """
    return np.asarray(_filled(errors).mean(axis=(-2, -1)))


def corruption_error(errors: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Return CE(c) = 100 · Σ_s E(c, s) / Σ_s E_baseline(c, s), in percent: [..., corruptions].

    CE is NaN where the baseline makes no error.

    Raises:
        ValueError: there are no errors, or the baseline's are of other cells.
    """
    return _ratio(*_alike(errors, baseline))


def relative_corruption_error(
    errors: np.ndarray,
    clean_error: np.ndarray,
    baseline: np.ndarray,
    baseline_clean_error: np.ndarray,
) -> np.ndarray:
    """Return the relative CE, in percent of the baseline's loss: [..., corruptions].

    Relative CE(c) = 100 · Σ_s (E(c, s) − E_clean) / Σ_s (E_baseline(c, s) − E_baseline,clean). It
    is NaN where the baseline loses nothing: a share of no loss, or of a gain, has no meaning.

    Args:
        errors, baseline: [..., corruptions, severities].
        clean_error, baseline_clean_error: [...].

    Raises:
        ValueError: there are no errors, or the baseline's are of other cells.
    """
    ours, theirs = _alike(errors, baseline)
    clean, base_clean = (
        np.asarray(error)[..., None, None] for error in (clean_error, baseline_clean_error)
    )
    return _ratio(ours - clean, theirs - base_clean)


def mean_corruption_error(corruption_errors: np.ndarray) -> np.ndarray:
    """Return the mean of CE or relative CE over corruptions (mCE, relative mCE): [...].

    Raises:
        ValueError: there are no errors.
    """
    return np.asarray(_filled(corruption_errors).mean(axis=-1))


def _ratio(numerators: np.ndarray, denominators: np.ndarray) -> np.ndarray:
    below = denominators.sum(axis=-1)
    return np.asarray(100.0 * numerators.sum(axis=-1) / np.where(below > NOTHING, below, np.nan))


def _alike(errors: np.ndarray, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if errors.shape[-2:] != baseline.shape[-2:]:
        raise ValueError("the baseline's errors are of other corruptions or severities")
    return _filled(errors), baseline


def _filled(errors: np.ndarray) -> np.ndarray:
    if errors.size == 0:
        raise ValueError("no errors to average")
    return errors
