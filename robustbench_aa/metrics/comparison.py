"""Two models on the same images: what lies between them, and whether it could be chance.

Images are the sampling unit. Two tests are made, which answer different questions and may disagree:

- The paired bootstrap tests the mean difference, which the figures and their ranks are made of.
- The sign test counts images: those on which one model fails more often than the other, by however
  much. Were the models alike, each would have as many. For a single cell, where a model is right or
  wrong, that is McNemar's test ("Note on the sampling error of the difference between correlated
  proportions or percentages", Psychometrika 1947).

A model can win on most images by little, lose on few by much, and be worse in the mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from math import ceil, log10
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.aggregates import figures
from robustbench_aa.metrics.bootstrap import (
    EQUAL,
    LEVEL,
    Resampled,
    interval_and_p,
    paired_difference,
    resampled_sums,
)
from robustbench_aa.metrics.estimates import Sample, values_by_image
from robustbench_aa.metrics.per_image import ByKind
from robustbench_aa.types import CLEAN, Distortion

Row = dict[str, Any]
COLUMNS = (
    *("metric", "distortion", "a", "b", "difference", "low", "high", "p", "p_holm"),
    *("a_better", "b_better", "p_sign"),
)
BY_DISTORTION = {"error": ("corruption", "wrong"), "flip_probability": ("perturbation", "flips")}
"""The figures that are compared distortion by distortion: where their outcomes are."""


def exact_test(a_better: int, b_better: int) -> float:
    """Return the two-sided exact p-value of so many images that speak for either of two models.

    1 where there are none.
    """
    stats = import_module("scipy.stats")  # slow to load
    discordant = a_better + b_better
    return float(stats.binomtest(a_better, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values corrected for their number.

    Below a level, the chance of any false one is below it (Holm, "A simple sequentially rejective
    multiple test procedure", Scandinavian Journal of Statistics 1979).
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors)
    result = np.empty(len(p_values))
    result[order] = np.minimum(corrected, 1.0).round(12)  # 20 · 0.0025 is 0.05
    return result


def compare(a: ByKind, b: ByKind) -> pd.DataFrame:
    """Return the difference a − b in every aggregate and under every corruption and perturbation.

    Returns:
        A row a figure (an aggregate, or `error` or `flip_probability` `of` one distortion) with the
        columns `COLUMNS`: the values of both, their difference, its 95% interval and the p-value
        of the mean difference. For a distortion also Holm's correction of `p` over the distortions
        of the figure, how many images speak for either model, and the p-value of the sign test.
    """
    rows = _aggregates(Sample(a), Sample(b))
    for figure, (kind, of) in BY_DISTORTION.items():
        if kind in a and kind in b:
            rows += _distortions(figure, *(_by_distortion(getattr(m[kind], of)) for m in (a, b)))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"a_better": "Int64", "b_better": "Int64"})


def _aggregates(a: Sample, b: Sample) -> list[Row]:
    ours, theirs = (figures(sample.whole, {}) for sample in (a, b))
    paired = _paired(values_by_image(a), values_by_image(b))
    rows = []
    for figure in (figure for figure in ours if figure in theirs):
        values = {"a": float(ours[figure]), "b": float(theirs[figure])}
        found = paired.get(figure) or _resampled(a, b, figure)
        rows.append({"metric": figure, "distortion": ""} | values | found)
    return rows


def _resampled(a: Sample, b: Sample, figure: str) -> Row:
    """The difference in a figure that is no mean over images, tested by the plain bootstrap."""
    ours, theirs = (figures(sample.whole, {})[figure] for sample in (a, b))
    spread, other = (figures(sample.resampled, {})[figure] for sample in (a, b))
    low, high, p = interval_and_p(spread - other)
    return {"difference": float(ours - theirs), "low": low, "high": high, "p": p}


def _distortions(
    figure: str, a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]
) -> list[Row]:
    found = _paired(a, b)
    corrected = holm([row["p"] for row in found.values()])
    rows = []
    for (name, row), p_holm in zip(found.items(), corrected, strict=True):
        told = {"metric": figure, "distortion": name, "a": a[name].mean(), "b": b[name].mean()}
        rows.append(told | row | {"p_holm": p_holm} | _signs(a[name], b[name]))
    return rows


def _by_distortion(cells: Mapping[Distortion, np.ndarray]) -> dict[str, np.ndarray]:
    """The mean over severities, [N] of each distortion that was measured at all of them."""
    by_name: dict[str, list[np.ndarray]] = {}
    for cell, values in cells.items():
        if cell != CLEAN:
            by_name.setdefault(cell.name, []).append(values)
    found = {name: np.mean(of, axis=0) for name, of in by_name.items()}
    return {name: values for name, values in found.items() if not np.isnan(values).any()}


def _paired(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> dict[str, Row]:
    """The differences a − b in the mean of values image by image, [N] each, and their tests."""
    differences = {name: a[name] - b[name] for name in a if name in b}
    found: dict[str, Row] = {}
    for images in dict.fromkeys(len(of) for of in differences.values()):
        alike = {name: of for name, of in differences.items() if len(of) == images}
        sums, added = resampled_sums(np.stack(list(alike.values()), axis=1))
        for column, (name, of) in enumerate(alike.items()):
            value, low, high, p = paired_difference(of, Resampled(sums[:, column], added))
            found[name] = {"difference": value, "low": low, "high": high, "p": p}
    return {name: found[name] for name in differences}


def _signs(a: np.ndarray, b: np.ndarray) -> Row:
    """The sign test; less is better."""
    a_better, b_better = (int(np.count_nonzero(of > EQUAL)) for of in (b - a, a - b))
    told = {"a_better": a_better, "b_better": b_better}
    return told | {"p_sign": exact_test(a_better, b_better)}


def in_words(table: pd.DataFrame, a: str, b: str) -> str:
    """Return what a comparison says of the models a and b, in a few sentences.

    Each is about the mean difference and its test alone, and names the test. What a test does not
    show is not denied: it may be too small for these images.
    """
    sentences = [*_about_means(table, a, b), *_about_distortions(table, a)]
    return " ".join(sentences) or f"{a} and {b} have no complete figure in common."


VERBS = {
    "mean_error": ("fails", "corrupted images"),
    "mean_error_other": ("fails", "other corrupted images"),
    "mean_flip_probability": ("changes its mind", "comparisons of frames"),
}
"""What a figure counts, and out of what."""


def _about_means(table: pd.DataFrame, a: str, b: str) -> Iterator[str]:
    complete = table[(table["distortion"] == "") & table["metric"].isin(VERBS) & table["p"].notna()]
    for row in complete.to_dict("records"):
        verb, unit = VERBS[row["metric"]]
        apart = row["p"] < LEVEL
        if apart:
            how = "more" if row["low"] > 0 else "less"
            told = f"{a} {verb} {how} often than {b} ({unit})"
        else:
            told = f"These images cannot tell whether {a} or {b} {verb} more often ({unit})"
        difference, low, high = in_points(row["difference"], row["low"], row["high"], apart=apart)
        yield (
            f"{told}: {difference} points, 95% interval {low} to {high}, p = {row['p']:.4f} "
            "(paired bootstrap of the mean)."
        )


def in_points(*values: float, apart: bool) -> list[str]:
    """Return values in percentage points, with a sign but for zero.

    Args:
        values: fractions.
        apart: whether zero is excluded, so that none may look like it; they have as many decimals
            as that takes.
    """
    points = [100 * value for value in values]
    decimals = max(1, ceil(-log10(min(map(abs, points))))) if apart else 1
    told = [f"{value:+.{decimals}f}" for value in points]
    return [text if float(text) else text[1:] for text in told]


def _about_distortions(table: pd.DataFrame, a: str) -> Iterator[str]:
    for figure, noun in (("error", "corruptions"), ("flip_probability", "perturbations")):
        of = table[(table["distortion"] != "") & (table["metric"] == figure)]
        if of.empty:
            continue
        apart = of[of["p_holm"] < LEVEL]
        better = int((apart["high"] < 0).sum())
        yield (
            f"Of {len(of)} {noun}, {a} is better under {better} and worse under "
            f"{len(apart) - better} (paired bootstrap of the mean, p_holm < {LEVEL}); under "
            f"{len(of) - len(apart)} these images cannot tell."
        )
