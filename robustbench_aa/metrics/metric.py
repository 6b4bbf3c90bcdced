"""The metrics of the tables: name, title, unit and direction.

A column of a table is named after its metric. The baseline of a normalised metric follows, as in
`mce_alexnet`, or the protocol of a consistency, as in `consistency_crops`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A metric of the tables.

    Attributes:
        name: start of the column's name.
        title: name in headings.
        normalised: whether values are percent of a baseline's value. All others are fractions,
            except for distances.
        uses_clean_error: whether a normalised value depends on the error on clean images too.
        higher_is_better: whether a larger value is a better one.
        on_leaderboard: whether the leaderboard lists it. Other tables list every metric.
    """

    name: str
    title: str
    normalised: bool = False
    uses_clean_error: bool = False
    higher_is_better: bool = False
    on_leaderboard: bool = True


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("clean_error", "clean error"),
        Metric("error", "error"),
        Metric("mean_error", "mean error"),
        Metric("mean_error_subset", "mean error subset"),
        Metric("mean_error_unseen", "mean error unseen"),
        Metric("mean_error_other", "mean error other"),
        Metric("holdout_error", "holdout error"),
        Metric("ce", "CE", normalised=True),
        Metric("relative_ce", "relative CE", normalised=True, uses_clean_error=True),
        Metric("mce", "mCE", normalised=True),
        Metric("mce_subset", "mCE subset", normalised=True),
        Metric("relative_mce", "relative mCE", normalised=True, uses_clean_error=True),
        Metric("flip_probability", "flip probability"),
        Metric("top5_distance", "top-5 distance"),
        Metric("zipf_distance", "Zipf distance"),
        Metric("mean_flip_probability", "mean flip probability"),
        Metric("mean_flip_probability_subset", "mean flip probability subset"),
        Metric("fr", "FR", normalised=True),
        Metric("t5d", "T5D", normalised=True),
        Metric("mfr", "mFR", normalised=True),
        Metric("mt5d", "mT5D", normalised=True),
        Metric("consistency", "consistency", higher_is_better=True),
        Metric("accuracy_worst", "worst-case accuracy", higher_is_better=True),
        Metric("fooled", "fooled by one step"),
        Metric("accuracy_drop", "accuracy drop", on_leaderboard=False),
        Metric("probability_change", "probability change", on_leaderboard=False),
        Metric("accuracy", "accuracy", higher_is_better=True),
        Metric("ece", "ECE"),
        Metric("ece_subset", "ECE subset"),
    )
}
"""Metrics by name, in the order in which tables list them."""


def find_metric(column: str) -> Metric | None:
    """Return the metric of a column; None for a column of something else.

    >>> find_metric("relative_mce_alexnet").title
    'relative mCE'
    >>> find_metric("mean_error_low").title
    'mean error'
    >>> find_metric("images")
    """
    words = column.split("_")
    starts = ("_".join(words[:count]) for count in range(len(words), 0, -1))
    return next((METRICS[start] for start in starts if start in METRICS), None)


def is_normalised(column: str) -> bool:
    """Return whether the values of a column are percent of a baseline's value."""
    metric = find_metric(column)
    return metric is not None and metric.normalised
