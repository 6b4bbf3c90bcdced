"""Figures of a model with their intervals, from what it did on every image."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np

from robustbench_aa.metrics.aggregates import (
    Cells,
    Means,
    ModelMeans,
    figures,
    means,
    normalised,
    relative_figures,
)
from robustbench_aa.metrics.bootstrap import (
    NONE,
    Interval,
    bootstrap_interval,
    mean_interval,
    ratio_interval,
    unseen,
)
from robustbench_aa.metrics.flip_rate import TOP5_LARGEST
from robustbench_aa.metrics.per_image import ByKind
from robustbench_aa.types import CLEAN

Key = TypeVar("Key", bound=Hashable)
Relative = Callable[[ModelMeans, ModelMeans], dict[Key, np.ndarray]]
"""Figures of a model relative to a baseline: `relative_figures` or `normalised`."""


@dataclass(frozen=True, eq=False)
class Sample:
    """A model's cells in several forms, of which the same functions make figures.

    Two samples are the same if they are one object.

    Attributes:
        outcomes: by kind of data set, of each image.
    """

    outcomes: ByKind

    @cached_property
    def whole(self) -> ModelMeans:
        """The means over all images."""
        return means(self.outcomes)

    @cached_property
    def resampled(self) -> ModelMeans:
        """The means over each resample."""
        return means(self.outcomes, resampled=True)

    @cached_property
    def images(self) -> ModelMeans:
        """The values of each image: the means over one image."""
        return {
            kind: Means(of.wrong, of.agreement, of.flips, of.top5_distance)
            for kind, of in self.outcomes.items()
        }

    @cached_property
    def worst(self) -> ModelMeans:
        """The means of a model that always fails when images are distorted, and never otherwise."""
        return {kind: _extreme(of, 1.0) for kind, of in self.whole.items()}

    @cached_property
    def best(self) -> ModelMeans:
        """The means of a model that never fails when images are distorted, and always otherwise."""
        return {kind: _extreme(of, 0.0) for kind, of in self.whole.items()}

    @cached_property
    def unseen_images(self) -> dict[Hashable, tuple[int, tuple[float, float]]]:
        """How many images the relative figures are of, and how many of either extreme go unseen.

        Relative to a model that always fails: no baseline changes which images fail most.
        """
        images, worst = self.with_clean_error(self.images), self.with_clean_error(self.worst)
        found = [*relative_figures(images, worst).items(), *normalised(images, worst).items()]
        return {key: (len(values), unseen(values)) for key, values in found}

    def with_clean_error(self, of: ModelMeans) -> ModelMeans:
        """Return other means with this model's clean error in the place of theirs.

        Clean images may be of another data set, which no image of this one can be joined with.
        """
        return {
            kind: replace(part, wrong={**part.wrong, **_clean(self.whole[kind])})
            for kind, part in of.items()
        }


def _clean(of: Means) -> Cells:
    return {cell: mean for cell, mean in of.wrong.items() if cell == CLEAN}


def _extreme(of: Means, failing: float) -> Means:
    def filled(cells: Cells, value: float) -> Cells:
        return {cell: np.full_like(mean, value) for cell, mean in cells.items()}

    clean = dict.fromkeys(_clean(of), np.asarray(1.0 - failing))
    return Means(
        wrong={**filled(of.wrong, failing), **clean},
        agreement=filled(of.agreement, 1.0 - failing),
        flips=filled(of.flips, failing),
        top5_distance=filled(of.top5_distance, failing * TOP5_LARGEST),
    )


def values_by_image(sample: Sample) -> dict[str, np.ndarray]:
    """Return the figures that are means over images, [N] each, without those of a baseline.

    A figure is one of them if the mean of what it would be of every single image is what it is of
    all. A maximum over corruptions, for instance, is not.
    """
    whole = figures(sample.whole, {})
    return {
        figure: values
        for figure, values in figures(sample.images, {}).items()
        if np.isclose(values.mean(), whole[figure], rtol=1e-9, atol=1e-12, equal_nan=True)
    }


def figure_intervals(sample: Sample) -> dict[str, Interval]:
    """Return the interval of every figure of a model, without those of a baseline."""
    by_image = values_by_image(sample)
    worst, best = (figures(of, {}) for of in (sample.worst, sample.best))
    found = {}
    for figure, value in figures(sample.whole, {}).items():
        if figure in by_image:
            smallest, largest = sorted((float(worst[figure]), float(best[figure])))
            found[figure] = mean_interval(by_image[figure], largest, smallest)
        else:
            resampled = figures(sample.resampled, {})[figure]
            found[figure] = bootstrap_interval(float(value), resampled)
    return found


def relative_intervals(
    sample: Sample, baseline: Sample | ModelMeans, compute: Relative[Key]
) -> dict[Key, Interval]:
    """Return the intervals of a model's figures relative to a baseline.

    Args:
        baseline: a model of the run, or the published means of one.
        compute: the figures.

    Returns:
        By figure; NaN for a model relative to itself, which is at 100 percent by definition.
    """
    if sample is baseline:
        return dict.fromkeys(compute(sample.whole, sample.whole), NONE)
    if isinstance(baseline, Sample):
        base, resampled = baseline.whole, compute(sample.resampled, baseline.resampled)
        means_over_images = {}
    else:
        base, resampled = baseline, compute(sample.resampled, baseline)
        by_image = compute(sample.with_clean_error(sample.images), baseline)
        means_over_images = {key: of for key, of in by_image.items() if not _needs_clean(key)}
    worst, best = (compute(sample.with_clean_error(of), base) for of in (sample.worst, sample.best))
    found = {}
    for key, value in compute(sample.whole, base).items():
        ends = float(worst[key]), float(best[key])
        if key in means_over_images:
            found[key] = mean_interval(means_over_images[key], *ends)
        else:
            counted = sample.unseen_images[key]
            found[key] = ratio_interval(float(value), resampled[key], *counted, *ends)
    return found


def _needs_clean(key: Hashable) -> bool:
    """Whether a figure depends on the clean error too, which may be of other images."""
    figure = key[0] if isinstance(key, tuple) else key
    return str(figure).startswith("relative")
