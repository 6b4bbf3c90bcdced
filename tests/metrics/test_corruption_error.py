from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robustbench_aa.metrics.corruption_error import (
    corruption_error,
    mean_error,
    mean_of,
    relative_corruption_error,
)

OURS = pd.DataFrame({1: [0.2, 0.1], 2: [0.4, 0.3]}, index=["fog", "snow"])
BASE = pd.DataFrame({1: [0.4, 0.2], 2: [0.8, 0.2]}, index=["fog", "snow"])

tables = arrays.arrays(float, (3, 5), elements=st.floats(0.01, 1.0)).map(
    lambda a: pd.DataFrame(a, index=["fog", "snow", "frost"], columns=range(1, 6))
)


def test_worked_example_by_hand() -> None:
    assert mean_error(OURS) == pytest.approx((0.3 + 0.2) / 2)
    ce = corruption_error(OURS, BASE)
    assert ce["fog"] == pytest.approx(100 * 0.6 / 1.2)
    assert ce["snow"] == pytest.approx(100 * 0.4 / 0.4)
    assert mean_of(ce) == pytest.approx(75)
    relative = relative_corruption_error(OURS, 0.1, BASE, 0.15)
    assert relative["fog"] == pytest.approx(100 * (0.1 + 0.3) / (0.25 + 0.65))
    assert relative["snow"] == pytest.approx(100 * (0.0 + 0.2) / (0.05 + 0.05))


@given(tables)
def test_a_model_is_at_100_percent_of_itself(table: pd.DataFrame) -> None:
    assert mean_of(corruption_error(table, table)) == pytest.approx(100)
    assert mean_of(relative_corruption_error(table, 0.0, table, 0.0)) == pytest.approx(100)


@given(tables, tables, st.permutations(["fog", "snow", "frost"]), st.permutations(range(1, 6)))
def test_the_order_of_rows_and_columns_does_not_matter(
    ours: pd.DataFrame, base: pd.DataFrame, rows: list[str], columns: list[int]
) -> None:
    shuffled = ours.loc[rows, columns]
    assert mean_error(shuffled) == pytest.approx(mean_error(ours))
    assert mean_of(corruption_error(shuffled, base)) == pytest.approx(
        mean_of(corruption_error(ours, base))
    )


def test_a_missing_cell_empties_the_mean_rather_than_shrinking_it() -> None:
    holed = OURS.copy()
    holed.loc["fog", 2] = np.nan
    assert np.isnan(mean_error(holed))
    ce = corruption_error(holed, BASE)
    assert np.isnan(ce["fog"])
    assert ce["snow"] == pytest.approx(100)
    assert np.isnan(mean_of(ce))


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert np.isnan(corruption_error(OURS, BASE * 0)["fog"])
    # a baseline that gains by a corruption gives no scale for a loss either
    assert np.isnan(relative_corruption_error(OURS, 0.1, BASE, 0.5)["snow"])


def test_errors_of_other_corruptions_are_refused() -> None:
    with pytest.raises(ValueError, match="other corruptions or severities"):
        corruption_error(OURS, BASE.loc[["fog"]])


@pytest.mark.parametrize("function", [mean_error, lambda e: corruption_error(e, e)])
def test_nothing_has_no_mean(function: object) -> None:
    with pytest.raises(ValueError, match="no errors to average"):
        function(pd.DataFrame())  # type: ignore[operator]
