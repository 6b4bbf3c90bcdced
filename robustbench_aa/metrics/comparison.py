"""Two models on the same images: what lies between them, and whether it could be chance.

Images are the sampling unit. Differences have paired bootstrap intervals; tests are exact. An
image on which one model is wrong more often than the other speaks for the other; were the models
alike, each would be spoken for equally often (the sign test). For a single cell, where a model is
right or wrong, that is McNemar's test ("Note on the sampling error of the difference between
correlated proportions or percentages", Psychometrika 1947).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.figures import figures, means
from robustbench_aa.metrics.intervals import interval, resampled_means
from robustbench_aa.metrics.outcomes import ByKind
from robustbench_aa.types import CLEAN, Distortion

LEVEL = 0.05
COLUMNS = (
    *("figure", "of", "a", "b", "difference", "low", "high"),
    *("a_better", "b_better", "p", "p_holm"),
)


def exact_test(a_better: int, b_better: int) -> float:
    """The two-sided exact p-value of so many images that speak for either of two models.

    1 where there are none.
    """
    stats = import_module("scipy.stats")  # slow to load
    discordant = a_better + b_better
    return float(stats.binomtest(a_better, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values corrected for their number: below a level, the chance of any false one is below it.

    Holm, "A simple sequentially rejective multiple test procedure" (1979).
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors)
    result = np.empty(len(p_values))
    result[order] = np.minimum(corrected, 1.0)
    return result


def compare(a: ByKind, b: ByKind) -> pd.DataFrame:
    """The difference a − b in every aggregate and under every corruption and perturbation.

    Returns:
        A row a figure (an aggregate, or `error` or `flip_probability` `of` one distortion) with the
        columns `COLUMNS`: the values of both, their difference with its 95% interval and, for a
        distortion, how many images speak for either model, the exact p-value, and Holm's
        correction of it over the distortions of the figure.
    """
    rows = [*_aggregates(a, b)]
    for kind, figure, of in (
        ("corruption", "error", "wrong"),
        ("perturbation", "flip_probability", "flips"),
    ):
        if kind in a and kind in b:
            each = [*_by_distortion(figure, getattr(a[kind], of), getattr(b[kind], of))]
            for row, p in zip(each, holm([row["p"] for row in each]), strict=True):
                rows.append(row | {"p_holm": p})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"a_better": "Int64", "b_better": "Int64"})


def _aggregates(a: ByKind, b: ByKind) -> list[dict[str, object]]:
    points = [figures(means(of), {}) for of in (a, b)]
    resampled = [figures(means(of, resampled=True), {}) for of in (a, b)]
    rows = []
    for figure in points[0].keys() & points[1].keys():
        ours, theirs = (float(of[figure]) for of in points)
        low, high = interval(resampled[0][figure] - resampled[1][figure])
        told = {"figure": figure, "of": "", "a": ours, "b": theirs, "difference": ours - theirs}
        rows.append(told | {"low": low, "high": high})
    order = list(points[0])
    return sorted(rows, key=lambda row: order.index(str(row["figure"])))


def _by_distortion(
    figure: str, a: dict[Distortion, np.ndarray], b: dict[Distortion, np.ndarray]
) -> list[dict[str, Any]]:
    by_name: dict[str, list[Distortion]] = {}
    for cell in a:
        if cell in b and cell != CLEAN:
            by_name.setdefault(cell.name, []).append(cell)
    rows: list[dict[str, Any]] = []
    for name, cells in by_name.items():
        ours, theirs = (np.mean([of[cell] for cell in cells], axis=0) for of in (a, b))
        if np.isnan(ours).any() or np.isnan(theirs).any():
            continue  # not all of its severities were measured
        low, high = interval(resampled_means(ours - theirs))
        told = {"figure": figure, "of": name, "a": ours.mean(), "b": theirs.mean()}
        told |= {"difference": (ours - theirs).mean(), "low": low, "high": high}
        rows.append(told | _signs(ours, theirs))
    return rows


def _signs(a: np.ndarray, b: np.ndarray) -> dict[str, object]:
    """Less is better."""
    difference = np.round(a - b, 9)  # means of thirds are not exact
    a_better, b_better = int((difference < 0).sum()), int((difference > 0).sum())
    return {"a_better": a_better, "b_better": b_better, "p": exact_test(a_better, b_better)}


def in_words(table: pd.DataFrame, a: str, b: str) -> str:
    """What a comparison says, in a sentence or two."""
    sentences = []
    for figure, verb, unit in (
        ("mean_error", "fails", "corrupted images"),
        ("mean_flip_probability", "changes its mind", "comparisons of frames"),
    ):
        found = table[(table["figure"] == figure) & (table["of"] == "")]
        if found.empty or pd.isna(found["low"].iloc[0]):
            continue
        row = found.iloc[0]
        points, low, high = (100 * float(row[key]) for key in ("difference", "low", "high"))
        if low <= 0 <= high:
            told = f"{a} and {b} cannot be told apart in how often each {verb} ({unit})"
        else:
            told = f"{a} {verb} {'more' if points > 0 else 'less'} often than {b} ({unit})"
        sentences.append(f"{told}: {points:+.1f} points, 95% interval {low:+.1f} to {high:+.1f}.")
    parts = table[table["of"] != ""]
    for figure, noun in (("error", "corruptions"), ("flip_probability", "perturbations")):
        of = parts[parts["figure"] == figure]
        if not of.empty:
            sure = of[of["p_holm"] < LEVEL]
            better = int((sure["difference"] < 0).sum())
            sentences.append(
                f"Of {len(of)} {noun}, {a} is better under {better} and worse under "
                f"{len(sure) - better} beyond chance."
            )
    return " ".join(sentences) or f"{a} and {b} have no complete figure in common."
