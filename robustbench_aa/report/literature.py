"""Published results in the leaderboard, where they are comparable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_aa.errors import UsageError
from robustbench_aa.metrics.baselines import CLASSES, SIZE, column, is_comparable, published_table
from robustbench_aa.metrics.metric import is_normalised


def append_published(
    leaderboard: pd.DataFrame, datasets: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Append the comparable published results, with their `source`.

    They come last, without a rank. Published mean errors are included only where `mce_alexnet`
    exists, because only then the mean is over the same corruptions.

    Args:
        leaderboard: leaderboard of the run.
        datasets: descriptions of the run's data sets in `run.json`.

    Raises:
        UsageError: published results are not comparable with the run, or there are none for its
            metrics.
    """
    others = [
        _describe(name, dataset)
        for name, dataset in datasets.items()
        if not is_comparable(dataset) and not column(dataset)
    ]
    if others:
        raise UsageError(
            f"published results are for all {CLASSES} classes of ImageNet at Resize 256, "
            f"CenterCrop {SIZE}, as in the files of ImageNet-C and ImageNet-P, but this run uses "
            f"{', '.join(others)}; leave out --with-published"
        )
    rows = published_table("leaderboard")
    shared = [column for column in map(str, rows) if column in leaderboard and column != "model"]
    if "alexnet" in set(leaderboard["model"]):  # columns may be relative to that model instead
        shared = [column for column in shared if not is_normalised(column)]
    if "mce_alexnet" not in shared and "mean_error" in shared:
        shared.remove("mean_error")
    if not shared:
        raise UsageError(
            f"there are no published results for the metrics of this run on {', '.join(datasets)}; "
            "leave out --with-published"
        )
    rows = rows.dropna(how="all", subset=shared)
    # column types that allow missing values
    whole = dict.fromkeys(leaderboard.select_dtypes("int"), "Int64")
    own = leaderboard.astype(whole | {"complete": "boolean"})
    table = pd.concat([own, rows[["model", *shared]]], ignore_index=True)
    table["source"] = pd.Series([None] * len(own) + rows["source"].to_list(), dtype=object)
    return table


def own_rows(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """Return a leaderboard without its published rows."""
    return leaderboard[leaderboard["source"].isna()] if "source" in leaderboard else leaderboard


def _describe(name: str, dataset: Mapping[str, Any]) -> str:
    labels = dataset["labels"]
    return (
        f"{name} ({labels['present']} of {dataset['classes']} classes by {labels['rule']}, "
        f"{dataset['size']} px, {dataset['geometry']}, pixels by {dataset['pixels']})"
    )
