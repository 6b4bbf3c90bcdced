"""Rows of the literature below one's own, where they are of the same thing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_aa.errors import UsageError
from robustbench_aa.metrics.baselines import CLASSES, SIZE, is_comparable, published

Identity = Mapping[str, Any]


def with_published(leaderboard: pd.DataFrame, datasets: Mapping[str, Identity]) -> pd.DataFrame:
    """A leaderboard with the published rows that have any of its figures, in `source` their origin.

    They come last, have no rank and are not asked whether they are complete. A mean error stands
    beside published ones only where it is of the same corruptions, which is where `mce_alexnet`
    is.

    Args:
        datasets: of the run, as `run.json` has them.

    Raises:
        UsageError: the run is not of ImageNet's photographs as the literature has seen them, or
            nothing was published of what it measures.
    """
    strange = [_told(name, of) for name, of in datasets.items() if not is_comparable(of)]
    if strange:
        raise UsageError(
            f"published figures are of ImageNet's {CLASSES} classes at Resize 256, CenterCrop "
            f"{SIZE}, as ImageNet-C's and ImageNet-P's files have them, and this run measures "
            f"{', '.join(strange)}; leave out --with-published"
        )
    rows = published("leaderboard")
    shared = [column for column in map(str, rows) if column in leaderboard and column != "model"]
    if "alexnet" in set(leaderboard["model"]):  # figures may be relative to that one
        shared = [column for column in shared if not column.endswith("_alexnet")]
    if "mce_alexnet" not in shared and "mean_error" in shared:
        shared.remove("mean_error")
    if not shared:
        raise UsageError(
            f"nothing was published of what this run measures on {', '.join(datasets)}; "
            "leave out --with-published"
        )
    rows = rows.dropna(how="all", subset=shared)
    # types that can be empty
    whole = dict.fromkeys(leaderboard.select_dtypes("int"), "Int64")
    own = leaderboard.astype(whole | {"complete": "boolean"})
    table = pd.concat([own, rows[["model", *shared]]], ignore_index=True)
    table["source"] = pd.Series([None] * len(own) + rows["source"].to_list(), dtype=object)
    return table


def own_rows(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """A leaderboard without its published rows."""
    return leaderboard[leaderboard["source"].isna()] if "source" in leaderboard else leaderboard


def _told(name: str, of: Identity) -> str:
    labels = of["labels"]
    return (
        f"{name} ({labels['present']} of {of['classes']} classes by {labels['rule']}, "
        f"{of['size']} px, {of['geometry']}, pixels by {of['pixels']})"
    )
