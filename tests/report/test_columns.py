from __future__ import annotations

import pandas as pd

from robustbench_aa.report.columns import value_columns


def test_bounds_and_spreads_are_left_out_but_no_column_of_a_model_with_such_a_name() -> None:
    names = ["mean_error", "mean_error_low", "mean_error_high", "mce_my_low", "mce_my_low_std"]
    assert value_columns(pd.DataFrame(columns=names)) == ["mean_error", "mce_my_low"]
    assert value_columns(pd.DataFrame(columns=["value", "low", "high"])) == ["value", "low", "high"]
