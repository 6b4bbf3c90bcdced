from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustbench_aa.report.rounding import format_full, format_rounded
from robustbench_aa.report.tables import Tables


@pytest.mark.parametrize(
    ("value", "column", "text"),
    [
        (0.12345, "error", "0.1235"),
        (-0.00004, "difference", "0.0000"),
        (-0.0, "difference", "0.0000"),
        (-0.00006, "difference", "-0.0001"),
        (-0.04, "relative_mce_base", "0.0"),
        (-0.06, "relative_mce_base", "-0.1"),
        (np.nan, "error", "–"),
    ],
)
def test_numbers_for_people(value: float, column: str, text: str) -> None:
    assert format_rounded(value, column) == text


def test_numbers_in_files_have_no_sign_where_they_are_zero(tmp_path: Path) -> None:
    assert format_full(-1e-9) == format_full(-0.0) == "0.000000"
    assert format_full(np.nan) == ""
    board = pd.DataFrame({"model": ["a"], "value": [-1e-9], "low": [-0.25], "high": [np.nan]})
    Tables(leaderboard=board).write(tmp_path)
    text = (tmp_path / "leaderboard.csv").read_text()
    assert text == "model,value,low,high\na,0.000000,-0.250000,\n"
