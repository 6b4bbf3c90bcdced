from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robustbench_aa.metrics.consistency import (
    circular_consistency,
    consistency_among_correct,
    crop_consistency,
)

predictions = arrays.arrays(
    int, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=st.integers(0, 3)
)


def test_worked_example_by_hand() -> None:
    # three of four shifts agree: (3/4)² + (1/4)²
    assert circular_consistency(np.array([[7, 7, 2, 7], [1, 1, 1, 1]])).tolist() == [0.625, 1.0]


@given(predictions)
def test_consistency_is_the_share_of_agreeing_pairs(top1: np.ndarray) -> None:
    shifts = range(top1.shape[1])
    expected = [np.mean([row[i] == row[j] for i, j in product(shifts, shifts)]) for row in top1]
    np.testing.assert_allclose(circular_consistency(top1), expected)


@given(predictions, st.randoms())
def test_the_order_of_the_shifts_does_not_matter(top1: np.ndarray, random: object) -> None:
    columns = list(range(top1.shape[1]))
    random.shuffle(columns)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        circular_consistency(top1[:, columns]), circular_consistency(top1)
    )


def test_no_predictions_have_no_consistency() -> None:
    with pytest.raises(ValueError, match="no predictions"):
        circular_consistency(np.empty((0, 81), dtype=int))


def test_crops_are_compared_pair_by_pair() -> None:
    top1 = np.array([[1, 1, 2, 3, 4, 4], [5, 6, 5, 6, 5, 6]])
    assert crop_consistency(top1).tolist() == [2 / 3, 0.0]
    for odd in (np.zeros((2, 3), int), np.zeros((0, 2), int)):
        with pytest.raises(ValueError, match="no pairs of predictions"):
            crop_consistency(odd)


def test_consistency_among_correct_excludes_images_that_are_always_wrong() -> None:
    agreement, wrong = np.array([1.0, 0.5, 0.8]), np.array([1.0, 0.5, 0.0])
    assert consistency_among_correct(agreement, wrong) == pytest.approx(0.65)
    assert np.isnan(consistency_among_correct(agreement[:1], wrong[:1]))
