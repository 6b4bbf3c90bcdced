"""Corruption error: how often a model fails under ImageNet-C's corruptions.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), section 4.1. E(c, s) is the top-1 error under corruption c at severity
s. Errors are tables of corruptions (rows) × severities (columns), fractions in [0, 1]; a cell that
was not measured is NaN, and so is whatever depends on it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd


def mean_error(errors: pd.DataFrame) -> float:
    """The mean over corruptions of the mean over severities of E(c, s), unnormalised.

    Raises:
        ValueError: the table is empty.
    """
    return float(_filled(errors).mean(axis=1, skipna=False).mean(skipna=False))


def corruption_error(errors: pd.DataFrame, baseline: pd.DataFrame) -> pd.Series:
    """CE(c) = 100 · Σ_s E(c, s) / Σ_s E_baseline(c, s), in percent of the baseline.

    NaN where the baseline makes no error at all.

    Raises:
        ValueError: a table is empty, or the two differ in corruptions or severities.
    """
    return _ratio(*_aligned(errors, baseline))


def relative_corruption_error(
    errors: pd.DataFrame, clean_error: float, baseline: pd.DataFrame, baseline_clean_error: float
) -> pd.Series:
    """Relative CE(c) = 100 · Σ_s (E(c, s) − E_clean) / Σ_s (E_baseline(c, s) − E_baseline,clean).

    How much a model loses by a corruption, in percent of what the baseline loses. NaN where the
    baseline loses nothing: a share of nothing, or of a gain, says nothing.

    Raises:
        ValueError: a table is empty, or the two differ in corruptions or severities.
    """
    ours, theirs = _aligned(errors, baseline)
    return _ratio(ours - clean_error, theirs - baseline_clean_error)


def mean_of(corruption_errors: pd.Series) -> float:
    """mCE, the mean of CE over corruptions (or relative mCE, that of relative CE), in percent.

    Raises:
        ValueError: there is nothing to average.
    """
    if corruption_errors.empty:
        raise ValueError("no corruption errors to average")
    return float(corruption_errors.mean(skipna=False))


def _ratio(numerators: pd.DataFrame, denominators: pd.DataFrame) -> pd.Series:
    below = denominators.sum(axis=1, skipna=False)
    return 100.0 * numerators.sum(axis=1, skipna=False) / below.where(below > 0, np.nan)


def _aligned(errors: pd.DataFrame, baseline: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    if set(errors.index) != set(baseline.index) or set(errors.columns) != set(baseline.columns):
        raise ValueError("the baseline's errors are of other corruptions or severities")
    return _filled(errors), baseline.loc[errors.index, errors.columns]


def _filled(errors: pd.DataFrame) -> pd.DataFrame:
    if errors.empty:
        raise ValueError("no errors to average")
    return errors
