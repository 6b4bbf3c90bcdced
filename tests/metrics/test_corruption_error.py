from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robustbench_aa.metrics.corruption_error import (
    corruption_error,
    mean_corruption_error,
    mean_error,
    relative_corruption_error,
)

OURS = np.array([[0.2, 0.4], [0.1, 0.3]])
BASE = np.array([[0.4, 0.8], [0.2, 0.2]])
ONE, TWO = np.array(0.1), np.array(0.15)

tables = arrays.arrays(float, (3, 5), elements=st.floats(0.01, 1.0))


def test_worked_example_by_hand() -> None:
    assert mean_error(OURS) == pytest.approx((0.3 + 0.2) / 2)
    ce = corruption_error(OURS, BASE)
    assert ce == pytest.approx([100 * 0.6 / 1.2, 100 * 0.4 / 0.4])
    assert mean_corruption_error(ce) == pytest.approx(75)
    relative = relative_corruption_error(OURS, ONE, BASE, TWO)
    assert relative == pytest.approx([100 * 0.4 / 0.9, 100 * 0.2 / 0.1])


@given(tables)
def test_a_model_is_at_100_percent_of_itself(table: np.ndarray) -> None:
    zero = np.array(0.0)
    assert mean_corruption_error(corruption_error(table, table)) == pytest.approx(100)
    assert mean_corruption_error(
        relative_corruption_error(table, zero, table, zero)
    ) == pytest.approx(100)


@given(tables, tables, st.permutations(range(3)), st.permutations(range(5)))
def test_the_order_of_corruptions_and_severities_does_not_matter(
    ours: np.ndarray, base: np.ndarray, rows: list[int], columns: list[int]
) -> None:
    shuffled, base_shuffled = (errors[rows][:, columns] for errors in (ours, base))
    assert mean_error(shuffled) == pytest.approx(mean_error(ours))
    assert mean_corruption_error(corruption_error(shuffled, base_shuffled)) == pytest.approx(
        mean_corruption_error(corruption_error(ours, base))
    )


@given(tables, tables, tables)
def test_resamples_are_computed_one_by_one(
    first: np.ndarray, second: np.ndarray, base: np.ndarray
) -> None:
    both, bases, cleans = np.stack((first, second)), np.stack((base, first)), np.array([0.0, 0.005])
    ce = corruption_error(both, bases)
    relative = relative_corruption_error(both, cleans, bases, cleans)
    for place, (ours, theirs, clean) in enumerate(zip(both, bases, cleans, strict=True)):
        np.testing.assert_allclose(mean_error(both)[place], mean_error(ours))
        np.testing.assert_allclose(ce[place], corruption_error(ours, theirs))
        own = relative_corruption_error(ours, clean, theirs, clean)
        np.testing.assert_allclose(relative[place], own)


def test_a_missing_cell_empties_the_mean_rather_than_shrinking_it() -> None:
    holed = OURS.copy()
    holed[0, 1] = np.nan
    assert np.isnan(mean_error(holed))
    ce = corruption_error(holed, BASE)
    assert np.isnan(ce[0])
    assert ce[1] == pytest.approx(100)
    assert np.isnan(mean_corruption_error(ce))


def test_a_share_of_zero_is_not_a_number() -> None:
    assert np.isnan(corruption_error(OURS, BASE * 0)[0])
    # a baseline that gains by a corruption gives no scale for a loss either
    assert np.isnan(relative_corruption_error(OURS, ONE, BASE, np.array(0.5))[1])


@pytest.mark.parametrize("images", [10, 797, 50_000])
def test_a_loss_of_zero_is_not_a_rounding_error(images: int) -> None:
    wrong = np.random.default_rng(0).integers(0, images // 4, (1000, 5))
    clean = np.round(wrong.mean(axis=1))
    wrong[:, 0] += (5 * clean - wrong.sum(axis=1)).astype(int)
    nothing, least = wrong / images, wrong.copy()
    least[:, 0] += 1
    relative = [
        relative_corruption_error(base[:, None] + 0.1, base_clean, base[:, None], base_clean)
        for base, base_clean in ((nothing, clean / images), (least / images, clean / images))
    ]
    assert np.isnan(relative[0]).all()
    assert relative[1].ravel() == pytest.approx(100 * (1 + 0.5 * images))


def test_errors_of_other_corruptions_are_refused() -> None:
    with pytest.raises(ValueError, match="other corruptions or severities"):
        corruption_error(OURS, BASE[:1])


@pytest.mark.parametrize("function", [mean_error, lambda e: corruption_error(e, e)])
def test_no_errors_have_no_mean(function: object) -> None:
    with pytest.raises(ValueError, match="no errors to average"):
        function(np.empty((0, 0)))  # type: ignore[operator]
