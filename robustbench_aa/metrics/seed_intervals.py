"""Intervals of differences between models over training seeds and images together.

An interval over images says how well these networks are measured. It does not say whether other
networks of the same kind, trained with other seeds, would differ in the same way.

With S networks of a model whose values have the variance s², the variance of their mean is s² / S.
The variances of both means and of the mean over images are added. The number of degrees of freedom
follows Welch ("The generalization of 'Student's' problem when several different population
variances are involved", Biometrika 1947). Values of seeds vary by their images too, so that the
interval is a little too wide rather than too short.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from math import sqrt
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.aggregates import aggregates
from robustbench_aa.metrics.bootstrap import Z
from robustbench_aa.metrics.comparison import BY_DISTORTION, values_by_distortion
from robustbench_aa.metrics.estimates import Sample
from robustbench_aa.metrics.per_image import Model, OutcomesByKind
from robustbench_aa.types import kind_of

COLUMNS = ("seeds_low", "seeds_high")
FEWEST = 3
"""The smallest number of training seeds; two say too little about their spread."""
Key = tuple[str, str]
"""A metric and a distortion, which is empty for an aggregate."""


def with_seed_intervals(table: pd.DataFrame, a: Model, b: Model) -> pd.DataFrame:
    """Add the interval over training seeds and images to each difference of `compare`.

    Args:
        table: the result of `compare` for the models.
        a, b: the models.

    Returns:
        The table with the columns `seeds_low` and `seeds_high`, which are NaN unless both models
        have at least three training seeds.
    """
    ours, theirs = _values(a), _values(b)
    bounds = [
        _interval(row, ours.get(key, []), theirs.get(key, []), a.mean)
        for row in table.to_dict("records")
        for key in [(row["metric"], row["distortion"])]
    ]
    return table.assign(**dict(zip(COLUMNS, np.transpose(bounds or np.empty((0, 2))), strict=True)))


def _values(model: Model) -> dict[Key, list[float]]:
    """Return the values of each network of a model."""
    found: dict[Key, list[float]] = {}
    for outcomes in model.seeds.values():
        for key, value in _of_network(outcomes).items():
            found.setdefault(key, []).append(value)
    return found


def _of_network(outcomes: OutcomesByKind) -> dict[Key, float]:
    found = {
        (metric, ""): float(value)
        for metric, value in aggregates(Sample(outcomes).means, {}).items()
    }
    for metric, (kind, table) in BY_DISTORTION.items():
        for key in (key for key in outcomes if kind_of(key) == kind):
            for name, values in values_by_distortion(outcomes[key], table).items():
                found[metric, name] = float(values.mean())
    return found


def _interval(
    row: dict[Hashable, Any], a: Sequence[float], b: Sequence[float], outcomes: OutcomesByKind
) -> tuple[float, float]:
    """Return the interval of a difference.

    Args:
        row: the difference and its interval over images.
        a, b: values of the networks of both models.
        outcomes: outcomes of either model, for the number of images.
    """
    if min(len(a), len(b)) < FEWEST:
        return np.nan, np.nan
    images = max(part.images for part in outcomes.values())
    parts: list[tuple[float, int]] = [
        (((row["high"] - row["low"]) / (2 * Z)) ** 2, images - 1),
        (float(np.var(a, ddof=1)) / len(a), len(a) - 1),
        (float(np.var(b, ddof=1)) / len(b), len(b) - 1),
    ]
    variance = sum(part for part, _ in parts)
    spread = sum(part**2 / max(degrees, 1) for part, degrees in parts)
    half = t_quantile(variance**2 / spread) * sqrt(variance) if spread else 0.0
    return row["difference"] - half, row["difference"] + half


def t_quantile(degrees: float) -> float:
    """Return the 97.5% quantile of Student's t distribution.

    Abramowitz and Stegun, *Handbook of Mathematical Functions* (1964), equation 26.7.5; with two
    degrees of freedom it is 0.8% too small, with three or more less than 0.2%.

    Args:
        degrees: degrees of freedom, at least 2.

    >>> round(t_quantile(4), 2), round(t_quantile(1e9), 2)
    (2.78, 1.96)
    """
    z = Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160,
    )
    return float(z + sum(term / degrees ** (place + 1) for place, term in enumerate(terms)))
