from __future__ import annotations

import numpy as np
import pytest

from robustbench_aa.metrics.intervals import interval, resampled_means


def test_the_spread_is_the_binomial_standard_error() -> None:
    wrong = (np.arange(800) < 200).astype(float)
    means = resampled_means(wrong)
    assert means.mean() == pytest.approx(0.25, abs=0.003)
    assert means.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 800), rel=0.1)


def test_the_interval_holds_the_truth_about_95_times_in_100() -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        low, high = interval(resampled_means((random.random(200) < 0.3).astype(float)))
        held += low <= 0.3 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_the_same_draws_serve_every_figure() -> None:
    values = np.random.default_rng(0).random(100)
    np.testing.assert_allclose(resampled_means(values) + 1, resampled_means(values + 1), rtol=1e-6)


def test_a_missing_cell_has_no_interval() -> None:
    assert np.isnan(interval(resampled_means(np.full(10, np.nan)))).all()


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="no images"):
        resampled_means(np.empty(0))
