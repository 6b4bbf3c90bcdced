from __future__ import annotations

import io

import numpy as np
import pandas as pd
from rich.console import Console

from robustbench_aa.report.tables import Tables
from robustbench_aa.report.terminal import dataset_table, leaderboard_table

TABLES = Tables(
    leaderboard=pd.DataFrame(
        {
            "rank": pd.array([1, None], dtype="Int64"),
            "model": ["digits:resnet@baseline", "other"],
            "params_m": [0.1, 0.2],
            "mean_error": [0.12345, np.nan],
            "mean_error_low": [0.1, np.nan],
            "mce_digits:resnet@baseline": [100.0, np.nan],
            "complete": [True, False],
            "mean_error_std": [0.01, np.nan],
            "mce_digits:resnet@baseline_std": [np.nan, np.nan],
        }
    ),
    corruptions=pd.DataFrame(
        {
            "model": "a",
            "dataset": "digits-c",
            "corruption": ["clean", "fog", "fog", "frost"],
            "severity": [0, 1, 2, 1],
            "error": [0.01, 0.2, 0.3, np.nan],
        }
    ),
    consistency=pd.DataFrame(
        {"model": ["a", "b"], "dataset": "digits-shift", "accuracy": [0.5, np.nan]}
    ),
)


def printed(table: object, width: int = 200) -> list[list[str]]:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    return [line.split() for line in console.export_text().splitlines()]


def test_the_leaderboard_shows_spread_and_holes() -> None:
    title, header, first, second = printed(leaderboard_table(TABLES))
    assert title == ["leaderboard"]
    assert header == ["rank", "model", "mean_error", "mce_digits:resnet@baseline", "complete"]
    assert first == ["1", "digits:resnet@baseline", "0.1235", "±", "0.0100", "100.0", "True"]
    assert second == ["–", "other", "–", "–", "False"]


def test_a_narrow_terminal_folds_headers_but_neither_names_nor_values() -> None:
    text = " ".join(" ".join(line) for line in printed(leaderboard_table(TABLES), 75))
    assert "digits:resnet@baseline" in text
    assert "0.1235 ± 0.0100" in text


def test_a_data_set_shows_what_was_measured_on_it() -> None:
    _, header, row = printed(dataset_table(TABLES, "digits-c"))[:3]
    assert header[:3] == ["model", "corruption", "clean"]
    assert row == ["a", "clean", "0.0100", "–", "–"]
    assert ["a", "fog", "–", "0.2000", "0.3000"] in printed(dataset_table(TABLES, "digits-c"))
    assert "frost" not in str(printed(dataset_table(TABLES, "digits-c")))
    shifts = printed(dataset_table(TABLES, "digits-shift"))
    assert shifts[0] == ["consistency", "on", "digits-shift"]
    assert [row[0] for row in shifts[2:]] == ["a"]
    assert printed(dataset_table(TABLES, "digits"))[0] == ["leaderboard"]
