"""Aggregates of a model with their intervals, from its outcomes on every image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from robustbench_aa.metrics.aggregates import (
    aggregates,
    normalised_aggregates,
    normalised_by_distortion,
)
from robustbench_aa.metrics.bootstrap import (
    NONE,
    Interval,
    bootstrap_interval,
    mean_interval,
    ratio_interval,
    unseen,
)
from robustbench_aa.metrics.cell_means import CellMeans, Cells, MeansByKind, average
from robustbench_aa.metrics.flip_rate import TOP5_LARGEST
from robustbench_aa.metrics.metric import METRICS
from robustbench_aa.metrics.per_image import OutcomesByKind
from robustbench_aa.metrics.shifts import EXTREMES
from robustbench_aa.types import CLEAN

Key = TypeVar("Key", str, tuple[str, str])
"""A metric, or a metric and a distortion."""
Normalise = Callable[[MeansByKind, MeansByKind], dict[Key, np.ndarray]]
"""`normalised_aggregates` or `normalised_by_distortion`."""


@dataclass(frozen=True, eq=False)
class Sample:
    """The outcomes of a model on a sample of images, averaged in several ways.

    The same functions compute a metric from each of these means. Two samples are equal only if they
    are the same object.

    Attributes:
        outcomes: outcomes of each image by kind of data set.
    """

    outcomes: OutcomesByKind

    @cached_property
    def means(self) -> MeansByKind:
        """The means over all images."""
        return average(self.outcomes)

    @cached_property
    def resampled(self) -> MeansByKind:
        """The means over each bootstrap resample of the images."""
        return average(self.outcomes, resampled=True)

    @cached_property
    def by_image(self) -> MeansByKind:
        """The values of each single image."""
        return {
            kind: CellMeans.of_images(part, lambda cells: cells)
            for kind, part in self.outcomes.items()
        }

    @cached_property
    def worst(self) -> MeansByKind:
        """The means of a model that fails on every distorted image and on no clean one."""
        return {kind: _extreme(part, 1.0) for kind, part in self.means.items()}

    @cached_property
    def best(self) -> MeansByKind:
        """The means of a model that fails on no distorted image and on every clean one."""
        return {kind: _extreme(part, 0.0) for kind, part in self.means.items()}

    @cached_property
    def unseen_images(self) -> dict[str | tuple[str, str], tuple[int, tuple[float, float]]]:
        """The number of images and the weights of `unseen` images, by normalised metric.

        They are computed relative to the worst model: which images fail most does not depend on the
        baseline.
        """
        by_image, worst = self.with_clean_error(self.by_image), self.with_clean_error(self.worst)
        values: dict[Any, np.ndarray] = {
            **normalised_aggregates(by_image, worst),
            **normalised_by_distortion(by_image, worst),
        }
        return {key: (len(images), unseen(images)) for key, images in values.items()}

    def with_clean_error(self, means: MeansByKind) -> MeansByKind:
        """Return other means of this model with its mean clean error inserted.

        Clean images may belong to another data set, so that single images cannot be paired.
        """
        return {
            kind: replace(part, wrong={**part.wrong, **_clean(self.means[kind])})
            for kind, part in means.items()
        }


def _clean(means: CellMeans) -> Cells:
    return {cell: mean for cell, mean in means.wrong.items() if cell == CLEAN}


def _extreme(means: CellMeans, failing: float) -> CellMeans:
    def filled(cells: Cells, value: float) -> Cells:
        return {cell: np.full_like(mean, value) for cell, mean in cells.items()}

    clean = dict.fromkeys(_clean(means), np.asarray(1.0 - failing))
    return CellMeans(
        wrong={**filled(means.wrong, failing), **clean},
        flips=filled(means.flips, failing),
        top5_distance=filled(means.top5_distance, failing * TOP5_LARGEST),
        shifts={
            metric: filled(cells, EXTREMES[metric][int(failing)])
            for metric, cells in means.shifts.items()
        },
        selected=means.selected,
        trained_on=means.trained_on,
    )


def values_by_image(sample: Sample) -> dict[str, np.ndarray]:
    """Return the aggregates that are means over images, [N] each, without normalised ones.

    An aggregate is a mean over images if the mean of its values on single images equals its value
    on all of them. A maximum over corruptions, for instance, does not.
    """
    whole = aggregates(sample.means, {})
    return {
        metric: values
        for metric, values in aggregates(sample.by_image, {}).items()
        if np.isclose(values.mean(), whole[metric], rtol=1e-9, atol=1e-12, equal_nan=True)
    }


def aggregate_intervals(sample: Sample) -> dict[str, Interval]:
    """Return the interval of every aggregate of a model, without normalised ones."""
    by_image = values_by_image(sample)
    worst, best = (aggregates(means, {}) for means in (sample.worst, sample.best))
    found = {}
    for metric, value in aggregates(sample.means, {}).items():
        if metric in by_image:
            smallest, largest = sorted((float(worst[metric]), float(best[metric])))
            found[metric] = mean_interval(by_image[metric], largest, smallest)
        else:
            resampled = aggregates(sample.resampled, {})[metric]
            found[metric] = bootstrap_interval(float(value), resampled)
    return found


def normalised_intervals(
    sample: Sample, baseline: Sample | MeansByKind, compute: Normalise[Key]
) -> dict[Key, Interval]:
    """Return the intervals of a model's normalised metrics.

    Args:
        sample: outcomes of the model.
        baseline: outcomes of a model of the run, or means of a published one.
        compute: function that computes the metrics.

    Returns:
        Intervals by metric. They are NaN for a model relative to itself, which is at 100 percent by
        definition.
    """
    if sample is baseline:
        return dict.fromkeys(compute(sample.means, sample.means), NONE)
    means_over_images: dict[Key, np.ndarray] = {}
    if isinstance(baseline, Sample):
        base, resampled = baseline.means, compute(sample.resampled, baseline.resampled)
    else:
        base, resampled = baseline, compute(sample.resampled, baseline)
        by_image = compute(sample.with_clean_error(sample.by_image), baseline)
        # clean images may be others than the distorted ones
        means_over_images = {
            key: values for key, values in by_image.items() if not _uses_clean_error(key)
        }
    worst, best = (
        compute(sample.with_clean_error(means), base) for means in (sample.worst, sample.best)
    )
    found = {}
    for key, value in compute(sample.means, base).items():
        bounds = float(worst[key]), float(best[key])
        if key in means_over_images:
            found[key] = mean_interval(means_over_images[key], *bounds)
        else:
            images, weights = sample.unseen_images[key]
            found[key] = ratio_interval(float(value), resampled[key], images, weights, *bounds)
    return found


def _uses_clean_error(key: str | tuple[str, str]) -> bool:
    return METRICS[key if isinstance(key, str) else key[0]].uses_clean_error
