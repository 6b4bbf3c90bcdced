"""Comparison of two models on the same images: their differences, and whether they are significant.

Images are the sampling unit. Two tests answer different questions and may disagree:

- The paired bootstrap tests the mean difference, on which the metrics and their ranks rest.
- The sign test counts the images on which one model fails more often than the other, by any amount.
  If the models were alike, each would win on as many. For a single cell, in which a model is right
  or wrong on an image, it is McNemar's test ("Note on the sampling error of the difference between
  correlated proportions or percentages", Psychometrika 1947).

A model can win on most images by little, lose on few by much, and be worse in the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, exp, lgamma, log, log10
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.aggregates import aggregates
from robustbench_aa.metrics.bootstrap import (
    EQUAL,
    LEVEL,
    interval_and_p,
    paired_difference,
    resampled_columns,
)
from robustbench_aa.metrics.estimates import Sample, values_by_image
from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.metrics.per_image import Outcomes, OutcomesByKind
from robustbench_aa.types import CLEAN, Distortion, format_cells, kind_of

COLUMNS = (
    *("metric", "distortion", "a", "b", "difference", "low", "high", "p", "p_holm"),
    *("a_better", "b_better", "p_sign"),
)
BY_DISTORTION = {"error": ("corruption", "wrong"), "flip_probability": ("perturbation", "flips")}
"""The metrics compared under each distortion: their kind of data set and their outcomes."""


def sign_test(a_better: int, b_better: int) -> float:
    """Return the two-sided exact p-value of the sign test.

    Args:
        a_better, b_better: numbers of images on which either model is better.

    Returns:
        Twice the probability that a fair coin, tossed `a_better + b_better` times, shows a side at
        most as often as the smaller number; at most 1.
    """
    tosses, fewest = a_better + b_better, min(a_better, b_better)
    if tosses - 2 * fewest <= 1:
        return 1.0
    # the largest term of the tail by logarithms, the others by their ratio to the one above
    largest = lgamma(tosses + 1) - lgamma(fewest + 1) - lgamma(tosses - fewest + 1)
    places = np.arange(fewest, 0, -1)
    ratios = np.cumprod(places / (tosses + 1 - places))
    return float(min(1.0, 2 * exp(largest - tosses * log(2)) * (1 + ratios.sum())))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for multiple tests.

    If those below a level count as significant, the probability of any false one is below that
    level (Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 1979).
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors)
    result = np.empty(len(p_values))
    result[order] = np.minimum(corrected, 1.0).round(12)  # 20 · 0.0025 is 0.05
    return result


def compare(a: OutcomesByKind, b: OutcomesByKind) -> pd.DataFrame:
    """Return the difference a − b in every aggregate and under every corruption and perturbation.

    Returns:
        One row per aggregate, and one per `error` or `flip_probability` under each `distortion`,
        with the columns `COLUMNS`: the values of both models, their difference, its 95% interval
        and the p-value of the mean difference. Rows of a distortion also have Holm's correction of
        `p` over all distortions, the numbers of images on which either model is better, and the
        p-value of the sign test.
    """
    rows = _aggregate_rows(Sample(a), Sample(b))
    for metric, (kind, name) in BY_DISTORTION.items():
        for key in (key for key in a if kind_of(key) == kind and key in b):
            outcomes = (values_by_distortion(model[key], name) for model in (a, b))
            rows += _distortion_rows(metric, *outcomes)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"a_better": "Int64", "b_better": "Int64"})


def _aggregate_rows(a: Sample, b: Sample) -> list[dict[str, Any]]:
    ours, theirs = (aggregates(sample.means, {}) for sample in (a, b))
    tests = _paired_tests(values_by_image(a), values_by_image(b))
    rows = []
    for metric in (metric for metric in ours if metric in theirs):
        values = {"a": float(ours[metric]), "b": float(theirs[metric])}
        test = tests.get(metric) or _bootstrap_test(a, b, metric)
        rows.append({"metric": metric, "distortion": "", **values, **test})
    return rows


def _bootstrap_test(a: Sample, b: Sample, metric: str) -> dict[str, float]:
    """Test the difference in a metric that is not a mean over images by the plain bootstrap."""
    ours, theirs = (aggregates(sample.means, {})[metric] for sample in (a, b))
    resampled, others = (aggregates(sample.resampled, {})[metric] for sample in (a, b))
    low, high, p = interval_and_p(resampled - others)
    return {"difference": float(ours - theirs), "low": low, "high": high, "p": p}


def _distortion_rows(
    metric: str, a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
    tests = _paired_tests(a, b)
    corrected = holm([test["p"] for test in tests.values()])
    rows: list[dict[str, Any]] = []
    for (name, test), p_holm in zip(tests.items(), corrected, strict=True):
        row = {"metric": metric, "distortion": name, "a": a[name].mean(), "b": b[name].mean()}
        rows.append({**row, **test, "p_holm": p_holm, **_count_better(a[name], b[name])})
    return rows


def values_by_distortion(outcomes: Outcomes, table: str) -> dict[str, np.ndarray]:
    """Return the means over severities, [N] each, of the distortions that are complete.

    The name of a distortion is followed by its severities if the run did not ask for all of them.
    """
    by_name: dict[str, list[Distortion]] = {}
    cells: Mapping[Distortion, np.ndarray] = getattr(outcomes, table)
    for cell in cells:
        if cell != CLEAN:
            by_name.setdefault(cell.name, []).append(cell)
    means = {}
    for name, same in by_name.items():
        chosen = [cell for cell in same if outcomes.selects(cell)]
        if chosen:
            label = name if len(chosen) == len(same) else format_cells(chosen)
            means[label] = np.mean([cells[cell] for cell in chosen], axis=0)
    return {name: values for name, values in means.items() if not np.isnan(values).any()}


def _paired_tests(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Return the mean differences a − b and their tests, from values image by image, [N] each."""
    differences = {name: a[name] - b[name] for name in a if name in b}
    resampled = resampled_columns(differences)
    found: dict[str, dict[str, float]] = {}
    for name, values in differences.items():
        value, low, high, p = paired_difference(values, resampled[name])
        found[name] = {"difference": value, "low": low, "high": high, "p": p}
    return found


def _count_better(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Count the images on which either model is better, that is lower, and test the counts."""
    a_better, b_better = (int(np.count_nonzero(gain > EQUAL)) for gain in (b - a, a - b))
    counts = {"a_better": a_better, "b_better": b_better}
    return counts | {"p_sign": sign_test(a_better, b_better)}


def summarise(table: pd.DataFrame, a: str, b: str) -> str:
    """Summarise a comparison of the models a and b in a few sentences.

    Each sentence is about the mean difference and names its test. A difference that is not
    significant is not denied: the images may be too few to show it.
    """
    sentences = [*_summarise_means(table, a, b), *_summarise_distortions(table, a)]
    return " ".join(sentences) or f"{a} and {b} have no complete metric in common."


VERBS = {
    "clean_error": ("fails", "clean images"),
    "mean_error": ("fails", "corrupted images"),
    "mean_error_subset": ("fails", "corrupted images of the subset"),
    "mean_error_other": ("fails", "other corrupted images"),
    "mean_flip_probability": ("changes its mind", "comparisons of frames"),
    "mean_flip_probability_subset": ("changes its mind", "comparisons of frames of the subset"),
}
"""The verb for the events that a metric counts, and the unit in which they occur."""
VERBS_OF_SHIFTS = {
    "accuracy_worst": "is right at every shift",
    "fooled": "is fooled by one step",
}
"""The verb for a metric of shifts, whose unit is an image under a protocol."""


def _verb(column: str) -> tuple[str, str] | None:
    """Return the verb and the unit of a metric; None if it has none.

    >>> _verb("fooled_neighbours")
    ('is fooled by one step', 'images under neighbours')
    """
    metric = find_metric(column)
    if metric is None or metric.name not in VERBS_OF_SHIFTS:
        return VERBS.get(column)
    return VERBS_OF_SHIFTS[metric.name], f"images under {column.removeprefix(metric.name + '_')}"


def _summarise_means(table: pd.DataFrame, a: str, b: str) -> Iterator[str]:
    for row in table[(table["distortion"] == "") & table["p"].notna()].to_dict("records"):
        words = _verb(row["metric"])
        if words is None:
            continue
        verb, unit = words
        significant = row["p"] < LEVEL
        if significant:
            how = "more" if row["low"] > 0 else "less"
            claim = f"{a} {verb} {how} often than {b} ({unit})"
        else:
            claim = f"These images cannot tell whether {a} or {b} {verb} more often ({unit})"
        difference, low, high = format_points(
            row["difference"], row["low"], row["high"], significant=significant
        )
        yield (
            f"{claim}: {difference} points, 95% interval {low} to {high}, p = {row['p']:.4f} "
            "(paired bootstrap of the mean)."
        )


def format_points(*values: float, significant: bool) -> list[str]:
    """Return values in percentage points, with a sign unless they are zero.

    Args:
        values: fractions.
        significant: whether the values exclude zero. They then have enough decimals that none looks
            like zero.
    """
    points = [100 * value for value in values]
    decimals = max(1, ceil(-log10(min(map(abs, points))))) if significant else 1
    texts = [f"{value:+.{decimals}f}" for value in points]
    return [text if float(text) else text[1:] for text in texts]


def _summarise_distortions(table: pd.DataFrame, a: str) -> Iterator[str]:
    for metric, noun in (("error", "corruptions"), ("flip_probability", "perturbations")):
        rows = table[(table["distortion"] != "") & (table["metric"] == metric)]
        if rows.empty:
            continue
        significant = rows[rows["p_holm"] < LEVEL]
        better = int((significant["high"] < 0).sum())
        yield (
            f"Of {len(rows)} {noun}, {a} is better under {better} and worse under "
            f"{len(significant) - better} (paired bootstrap of the mean, p_holm < {LEVEL}); under "
            f"{len(rows) - len(significant)} these images cannot tell."
        )
