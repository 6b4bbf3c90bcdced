from __future__ import annotations

import pandas as pd

from robustbench_aa.report.columns import results_first, value_columns


def test_bounds_and_spreads_are_left_out_but_no_column_of_a_model_with_such_a_name() -> None:
    names = ["mean_error", "mean_error_low", "mean_error_high", "mce_my_low", "mce_my_low_std"]
    assert value_columns(pd.DataFrame(columns=names)) == ["mean_error", "mce_my_low"]
    assert value_columns(pd.DataFrame(columns=["value", "low", "high"])) == ["value", "low", "high"]


def test_results_come_before_what_was_measured() -> None:
    columns = [
        *("rank", "model", "params_m", "images", "classes", "clean_error", "mean_error"),
        *("mean_error_low", "mean_error_high", "ece", "complete", "rank_group", "seeds"),
        *("clean_error_std", "mean_error_std", "ece_std", "source"),
    ]
    board = pd.DataFrame([range(len(columns))], columns=columns)
    ordered = results_first(board)
    assert list(ordered) == [
        *("model", "mean_error", "rank", "mean_error_low", "mean_error_high", "clean_error", "ece"),
        *("mean_error_std", "clean_error_std", "ece_std"),
        *("complete", "rank_group", "seeds", "params_m", "images", "classes", "source"),
    ]
    assert ordered[columns].equals(board)


def test_a_narrow_terminal_shows_the_metric_that_ranks() -> None:
    columns = [
        *("rank", "model", "images", "clean_error", "mean_error", "mean_error_low"),
        *("mean_error_high", "holdout_error", "mean_flip_probability", "ece"),
    ]
    board = pd.DataFrame([range(len(columns))], columns=columns)
    board["model"] = "digits:resnet@lpf3-seed0"
    with pd.option_context("display.width", 80, "display.max_columns", 4):
        shown = str(results_first(board))
    assert "mean_error " in shown
    assert "images" in shown
