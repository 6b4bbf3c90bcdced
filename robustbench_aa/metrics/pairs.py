"""The differences between all pairs of models, on the same images.

They are those of `comparison.compare`, but all pairs share one set of resamples, which takes most
of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robustbench_aa.metrics.bootstrap import Resampled, paired_difference, resampled_sums
from robustbench_aa.metrics.comparison import BY_DISTORTION, holm, values_by_distortion
from robustbench_aa.metrics.estimates import Sample, values_by_image
from robustbench_aa.metrics.per_image import OutcomesByKind
from robustbench_aa.types import kind_of

MODELS = 20
"""The largest number of models of which all pairs are compared."""
Key = tuple[str, str, str]
"""A metric, the key of a data set in `OutcomesByKind`, and the name of a distortion.

The last two are empty for an aggregate.
"""


class _Column(NamedTuple):
    """A metric of a model: its value on each image [N], and its resampled sums."""

    by_image: np.ndarray
    resampled: Resampled


def differences(models: Mapping[str, OutcomesByKind], first: str | None = None) -> pd.DataFrame:
    """Return the paired differences of every aggregate and under every distortion.

    Aggregates that are no means over images have no row; `comparison.compare` has them.

    Args:
        models: outcomes by model. Every pair is compared. Of more than `MODELS` models, each is
            compared with `first` alone.
        first: the model that others are compared with, in its pairs; by default the first one.

    Returns:
        One row per pair, metric and `distortion` (empty for an aggregate): `model` and `other`,
        their values `value` and `other_value`, the `difference` value − other_value, its 95%
        interval `low` to `high`, its p-value `p`, and Holm's correction `p_holm` over all
        distortions of the data set.
    """
    names = list(models)
    first = first if first in models else names[0]
    pairs = [(b, a) if a == first else (a, b) for a, b in combinations(names, 2)]
    if len(names) > MODELS:
        pairs = [pair for pair in pairs if first in pair]
    columns = _resample({name: _values(outcomes) for name, outcomes in models.items()})
    rows = [row for pair in pairs for row in _compare(*pair, columns)]
    return pd.DataFrame(rows)


def _values(outcomes: OutcomesByKind) -> dict[Key, np.ndarray]:
    """Return the values of each image, [N] each, of everything that is complete."""
    aggregates = values_by_image(Sample(outcomes)).items()
    found = {
        (metric, "", ""): values for metric, values in aggregates if not np.isnan(values).any()
    }
    for metric, (kind, table) in BY_DISTORTION.items():
        for dataset in (key for key in outcomes if kind_of(key) == kind):
            by_name = values_by_distortion(outcomes[dataset], table).items()
            found |= {(metric, dataset, name): values for name, values in by_name}
    return found


def _resample(
    models: Mapping[str, Mapping[Key, np.ndarray]],
) -> dict[str, dict[Key, _Column]]:
    """Return the columns of every model; those over as many images share their resamples."""
    places = [(name, key) for name, values in models.items() for key in values]
    found: dict[str, dict[Key, _Column]] = {name: {} for name in models}
    for images in dict.fromkeys(len(models[name][key]) for name, key in places):
        alike = [(name, key) for name, key in places if len(models[name][key]) == images]
        sums, added = resampled_sums(np.stack([models[name][key] for name, key in alike], axis=1))
        for place, (name, key) in enumerate(alike):
            found[name][key] = _Column(models[name][key], Resampled(sums[:, place], added))
    return found


def _compare(
    model: str, other: str, columns: Mapping[str, Mapping[Key, _Column]]
) -> Iterator[dict[str, Any]]:
    ours, theirs = columns[model], columns[other]
    shared = [
        key
        for key, column in ours.items()
        if key in theirs and len(column.by_image) == len(theirs[key].by_image)
    ]
    rows = {key: _difference(ours[key], theirs[key]) for key in shared}
    for group in dict.fromkeys(key[:2] for key in shared if key[2]):
        keys = [key for key in shared if key[:2] == group]
        for key, p in zip(keys, holm([rows[key]["p"] for key in keys]), strict=True):
            rows[key]["p_holm"] = float(p)
    for (metric, _, distortion), row in rows.items():
        names = {"model": model, "other": other, "metric": metric, "distortion": distortion}
        yield {**names, **row, "p_holm": row.get("p_holm", float("nan"))}


def _difference(ours: _Column, theirs: _Column) -> dict[str, float]:
    sums = ours.resampled.sums - theirs.resampled.sums
    resampled = Resampled(sums, ours.resampled.added)
    difference, low, high, p = paired_difference(ours.by_image - theirs.by_image, resampled)
    return {
        "value": float(ours.by_image.mean()),
        "other_value": float(theirs.by_image.mean()),
        "difference": difference,
        "low": low,
        "high": high,
        "p": p,
    }
