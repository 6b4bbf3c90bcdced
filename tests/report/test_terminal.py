from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from robustbench_aa.report.tables import Tables
from robustbench_aa.report.terminal import (
    Listing,
    dataset_table,
    leaderboard_table,
    profile_table,
    severity_table,
)
from robustbench_aa.types import COUNTED_CORRUPTIONS

BASELINE = "digits:resnet@baseline"
TABLES = Tables(
    leaderboard=pd.DataFrame(
        {
            "rank": pd.array([1, None], dtype="Int64"),
            "model": [BASELINE, "other"],
            "params_m": [0.1, 0.2],
            "mean_error": [0.12345, np.nan],
            "mean_error_low": [0.1, np.nan],
            f"mce_{BASELINE}": [100.0, np.nan],
            "complete": [True, False],
            "mean_error_std": [0.01, np.nan],
            f"mce_{BASELINE}_std": [np.nan, np.nan],
        }
    ),
    corruptions=pd.DataFrame(
        [
            *((model, "clean", 0, 0.01) for model in (BASELINE, "other")),
            *((model, "fog", severity, severity / 10) for model in (BASELINE, "other")
              for severity in range(1, 6)),
            *((BASELINE, "snow", severity, 0.1 + severity / 10) for severity in (1, 3)),
            *(("other", "snow", severity, error) for severity, error in ((1, 0.4), (3, np.nan))),
            *((model, "frost", 1, np.nan) for model in (BASELINE, "other")),
        ],
        columns=["model", "corruption", "severity", "error"],
    ).assign(dataset="digits-c", group="weather"),
    consistency=pd.DataFrame(
        {
            "model": [BASELINE, "other"],
            "dataset": "digits-shift",
            "protocol": "crops",
            "accuracy": [0.25, 0.75],
            "consistency": [0.5, np.nan],
        }
    ),
    baseline=BASELINE,
)  # fmt: skip
METRICS = (
    *("clean_error", "mean_error", "mce_{}", "relative_mce_{}", "mce_alexnet"),
    *("relative_mce_alexnet", "holdout_error", "mean_flip_probability", "mfr_{}", "mt5d_{}"),
    *("mfr_alexnet", "mt5d_alexnet", "consistency_crops", "consistency_circular", "ece"),
)
FOLDER = "/data/checkpoints/of-a-long-experiment/with-many-parameters/resnet50-blur"


def printed(table: Listing | None, width: int = 200) -> list[str]:
    """Return what a console of a width shows, without spaces at the ends of lines."""
    assert table is not None
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table)
    lines = console.export_text().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.rstrip() for line in lines]


def split(lines: list[str]) -> list[list[str]]:
    return [line.split() for line in lines]


def measured(names: list[str]) -> Tables:
    """Return tables with every metric and every corruption of models with these names."""
    baseline = names[0]
    metrics = [metric.format(baseline) for metric in METRICS]
    rng = np.random.default_rng(0)
    board = pd.DataFrame({"rank": range(1, len(names) + 1), "model": names, "params_m": 0.1})
    for metric in metrics:
        board[metric] = rng.uniform(size=len(names))
        board[f"{metric}_std"] = rng.uniform(size=len(names))
    rows = [
        (name, corruption, severity, rng.uniform())
        for name in names
        for corruption in COUNTED_CORRUPTIONS
        for severity in range(1, 6)
    ]
    errors = pd.DataFrame(rows, columns=["model", "corruption", "severity", "error"])
    return Tables(board, corruptions=errors.assign(dataset="digits-c"), baseline=baseline)


def test_the_leaderboard_shows_spread_and_holes() -> None:
    title, header, first, second, blank, *notes = printed(leaderboard_table(TABLES))
    assert title == "leaderboard"
    assert header.split() == ["rank", "model", "mean_error", "mce_baseline", "complete"]
    assert first.split() == ["1", BASELINE, "0.1235", "±", "0.0100", "100.0", "True"]
    assert second.split() == ["–", "other", "–", "–", "False"]
    assert not blank
    assert notes == [
        f"mce_baseline: relative to {BASELINE}",
        "±: standard deviation over training seeds",
        "with params_m, intervals: leaderboard.csv, which the report writes",
    ]
    *_, note = printed(leaderboard_table(TABLES, Path("run/report/leaderboard.csv")))
    assert note == "with params_m, intervals: run/report/leaderboard.csv"


def test_a_table_is_turned_if_only_that_fits() -> None:
    lines = split(printed(leaderboard_table(TABLES), 50))
    assert lines[1] == ["model", BASELINE, "other"]
    assert ["mean_error", "0.1235", "±", "0.0100", "–"] in lines


def test_a_table_that_does_not_fit_continues_below() -> None:
    tables = measured(["a-seed0" * 3, "b-seed0" * 3, "c-seed0" * 3])
    lines = printed(leaderboard_table(tables), 80)
    headers = [line.split() for line in lines if line.startswith("rank")]
    # one value for each kind of data set comes first
    assert headers[0] == ["rank", "model", "clean_error", "mean_error"]
    assert headers[1] == ["rank", "model", "mean_flip_probability", "consistency_crops"]
    assert len(headers) > 3
    assert sum(line.count(" " + "a-seed0" * 3) for line in lines[1:]) == len(headers)


@pytest.mark.parametrize("width", [80, 120, 200])
@pytest.mark.parametrize("count", [1, 4, 12])
@pytest.mark.parametrize("name", ["mine", "torchvision:resnet50@IMAGENET1K_V", f"{FOLDER}/epoch"])
def test_every_metric_is_shown_at_any_width(width: int, count: int, name: str) -> None:
    names = [f"{name}{place:02}" for place in range(count)]
    tables = measured(names)
    lines = printed(leaderboard_table(tables), width)
    text = "\n".join(lines)
    words = set(re.split(r"[\s,:]+", text))
    long = len(names[0]) > len("baseline")
    shown = "baseline" if long else names[0]
    assert {metric.format(shown) for metric in METRICS} <= words
    assert "params_m, intervals: leaderboard.csv" in text
    unbroken = "".join(text.split())
    for row in tables.leaderboard.to_dict("records"):
        assert row["model"] in unbroken
        for metric in METRICS:
            decimals = 1 if metric.startswith(("mce", "relative", "mfr", "mt5d")) else 4
            value = row[metric.format(names[0])]
            assert f"{value:.{decimals}f} ± " in text
    for corruption in COUNTED_CORRUPTIONS:
        rows = [line.split() for line in printed(dataset_table(tables, "digits-c"), width)]
        values = [value for row in rows if row[:1] == [corruption] for value in row[1:]]
        errors = tables.corruptions[tables.corruptions["corruption"] == corruption]
        means = errors.groupby("model")["error"].mean()
        assert values == [f"{means[name]:.4f}" for name in names]


def test_long_names_become_numbers_that_are_explained() -> None:
    names = [f"{FOLDER}/{place}.pth" for place in range(4)]
    tables = measured(names)
    lines = printed(dataset_table(tables, "digits-c"), 90)
    assert lines[1].split() == ["corruption", "[1]", "[2]", "[3]", "[4]"]
    assert [f"[{place + 1}] {name}" for place, name in enumerate(names)] == lines[18:22]
    short = ["mine", *names[1:]]
    rows = [line.split() for line in printed(leaderboard_table(measured(short)), 80)]
    assert {row[1] for row in rows if row[:1] in (["1"], ["2"])} == {"mine", "[1]"}


def test_a_data_set_shows_means_over_severities_with_models_side_by_side() -> None:
    title, header, *rows = printed(dataset_table(TABLES, "digits-c"))
    assert title == "top-1 error on digits-c, mean over severities"
    assert header.split() == ["corruption", BASELINE, "other"]
    assert split(rows[:3]) == [
        ["clean", "0.0100", "0.0100"],
        ["fog", "0.3000", "0.3000"],
        ["snow/1,3", "0.3000", "–"],  # never a mean over fewer severities than another model's
    ]
    assert rows[3:] == [
        "",
        "with each severity (also by --by-severity), intervals: corruptions.csv, which the report "
        "writes",
    ]


def test_other_metrics_of_a_data_set_are_named() -> None:
    lines = printed(dataset_table(TABLES, "digits-shift"))
    assert lines[0] == "consistency on digits-shift"
    assert split(lines[1:3]) == [["protocol", BASELINE, "other"], ["crops", "0.5000", "–"]]
    assert lines[-1] == "with accuracy, intervals: consistency.csv, which the report writes"
    assert dataset_table(TABLES, "digits") is None


def test_each_severity_is_a_column() -> None:
    lines = split(printed(severity_table(TABLES, "digits-c")))
    assert lines[1][:5] == ["model", "corruption", "clean", "severity", "1"]
    assert [BASELINE, "fog", "–", *(f"0.{s}000" for s in range(1, 6))] in lines
    assert severity_table(TABLES, "digits-shift") is None


def test_a_profile_shows_shares_of_the_elapsed_time() -> None:
    lines = split(printed(profile_table({"decode": 1.0, "wall": 4.0})))
    assert ["decode", "1.0000", "0.2500"] in lines
