from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_aa.metrics.calibration import expected_calibration_error as ece
from robustbench_aa.metrics.calibration import reliability


def test_the_calibration_error_of_an_example() -> None:
    confidence = np.array([0.95, 0.97, 0.5, 0.5, 1.0])
    correct = np.array([True, False, True, False, True])
    # bins (14/15, 1] and (7/15, 8/15]: |2 − 2.92| and |1 − 1.0|
    assert ece(confidence, correct) == pytest.approx(0.92 / 5)


def test_bins_are_closed_above() -> None:
    edge = np.array([1 / 15, 1 / 15 + 1e-9])  # one in the first bin, one in the second
    assert ece(edge, np.array([True, False])) == pytest.approx((14 / 15 + 1 / 15) / 2)
    assert ece(np.array([0.0]), np.array([False])) == 0.0


def test_no_predictions_have_no_calibration_error() -> None:
    assert np.isnan(ece(np.array([]), np.array([], dtype=bool)))


def test_a_calibrated_model_tends_to_zero() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(size=200_000)
    correct = random.uniform(size=200_000) < confidence
    assert ece(confidence, correct) < 0.005
    assert ece(confidence, np.ones(200_000, bool)) == pytest.approx(0.5, abs=0.01)


@given(st.lists(st.tuples(st.floats(0, 1, width=32), st.booleans()), min_size=1, max_size=50))
def test_the_calibration_error_does_not_depend_on_the_order(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(column) for column in zip(*rows, strict=True))
    value = ece(confidence, correct)
    assert 0 <= value <= 1
    assert value >= abs(correct.mean() - confidence.mean()) - 1e-6
    order = np.random.default_rng(0).permutation(len(rows))
    assert ece(confidence[order], correct[order]) == pytest.approx(value)


def test_a_reliability_diagram_counts_each_prediction_in_its_bin() -> None:
    confidence = np.array([0.95, 0.97, 0.5, 0.0, 1 / 15], dtype=np.float32)
    correct = np.array([True, False, True, False, True])
    bins = reliability(confidence, correct)
    assert bins.shape == (15, 3)
    assert bins[14].tolist() == pytest.approx([2, 1.92, 1], abs=1e-6)
    assert bins[7].tolist() == pytest.approx([1, 0.5, 1])
    assert bins[0].tolist() == pytest.approx([2, 1 / 15, 1])
    gaps = np.abs(bins[:, 2] - bins[:, 1]).sum() / len(confidence)
    assert gaps == pytest.approx(ece(confidence, correct))
