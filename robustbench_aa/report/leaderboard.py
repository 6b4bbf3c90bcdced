"""The leaderboard: one row per model with its metrics, their intervals and the rank groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.metrics.aggregates import (
    aggregates,
    normalised_aggregates,
    normalised_by_distortion,
)
from robustbench_aa.metrics.baselines import BASELINES, is_comparable, published_means
from robustbench_aa.metrics.bootstrap import (
    Interval,
    Resampled,
    paired_difference,
    resampled_sums,
)
from robustbench_aa.metrics.cell_means import MeansByKind, average
from robustbench_aa.metrics.estimates import (
    Sample,
    aggregate_intervals,
    normalised_intervals,
    values_by_image,
)
from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.metrics.per_image import Model, OutcomesByKind
from robustbench_aa.report.cell_tables import std

RANKED_BY = (
    *("mean_error", "mean_error_subset", "mean_error_other"),
    *("mean_flip_probability", "mean_flip_probability_subset", "clean_error"),
    *("consistency_crops", "consistency_circular", "consistency_neighbours"),
    *("consistency_circular32", "consistency_halfpixel"),
)
"""The first of these metrics that a leaderboard contains ranks its rows.

If it has none of them, the first error on a data set with columns of its own does.
"""
ALWAYS = ("alexnet",)
"""The published baselines whose columns are always included where they are comparable."""
BOUNDED = ("mean_error", "mean_error_subset", "mean_error_unseen")
"""Metrics whose intervals the leaderboard shows."""
STATISTICS_ENDS = ("_low", "_high", "_std")
"""Ends of columns that describe another one."""
NO_SPREAD = ("model", "params_m", "images", "complete")
"""Columns without a standard deviation over training seeds."""


class Leaderboard:
    """The models of a run and their metrics, relative to any baseline.

    Resampling the images takes most of the time. It is done once for all baselines.

    Args:
        models: models of the run by name.
        kinds: data sets of the run by kind.
        datasets: descriptions of the data sets in `run.json`, by name.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        kinds: Mapping[str, str],
        datasets: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._models = models
        self._datasets = list(kinds.values())
        first = next(iter(models.values()))
        comparable = {kind for kind, name in kinds.items() if is_comparable(datasets[name])}
        outcomes = {kind: part for kind, part in first.mean.items() if kind in comparable}
        self._published = {
            name: means
            for name, means in published_means(outcomes).items()
            if normalised_by_distortion(self._means[first.name], means)
        }

    @property
    def baselines(self) -> tuple[str, ...]:
        """The possible baselines: the models of the run and the comparable published ones."""
        return tuple(dict.fromkeys([*self._models, *self._published]))

    def table(self, baseline: str | None = None) -> pd.DataFrame:
        """Return the leaderboard: one row per model, the best first.

        Args:
            baseline: one of `baselines`, for the normalised metrics; None for none. Columns
                relative to AlexNet are always included where they are comparable.

        Raises:
            UnknownName: the baseline is neither a model of the run nor a published one.
            UsageError: the published baseline is not comparable with the run.
        """
        baselines = self._select(baseline)
        rows = []
        for name, model in self._models.items():
            seeds = [self._row(seed, model, part, baselines) for seed, part in model.seeds.items()]
            row = self._row(name, model, model.mean, baselines)
            for metric in (metric for metric in BOUNDED if metric in row):
                low, high = self._intervals[name][metric]
                row |= {f"{metric}_low": low, f"{metric}_high": high}
            rows.append(row | _seed_spread(seeds))
        return self._ranked(pd.DataFrame(rows)[_ordered_columns(rows)])

    def seeds(self, baseline: str | None = None) -> pd.DataFrame:
        """Return one row per network of the models with several training seeds.

        Args:
            baseline: as in `table`.
        """
        baselines = self._select(baseline)
        rows = [
            self._row(seed, model, outcomes, baselines)
            for model in self._models.values()
            for seed, outcomes in model.seeds.items()
            if len(model.seeds) > 1
        ]
        return pd.DataFrame(rows)

    def intervals(self, baseline: str | None = None) -> pd.DataFrame:
        """Return one row per model and metric, with its 95% interval over images.

        Args:
            baseline: as in `table`.
        """
        baselines = self._select(baseline)
        rows = []
        for name, sample in self._samples.items():
            intervals = dict(self._intervals[name])
            for base, means in baselines.items():
                relative_to = self._base(base, means)
                normalised = normalised_intervals(sample, relative_to, normalised_aggregates)
                intervals |= {f"{metric}_{base}": bounds for metric, bounds in normalised.items()}
            for metric, value in aggregates(sample.means, baselines).items():
                rows.append({"model": name, "metric": metric} | _estimate(value, intervals[metric]))
        return pd.DataFrame(rows)

    def normalised(self, baseline: str | None = None) -> pd.DataFrame:
        """Return one row per model, baseline, metric and distortion: CE, relative CE, FR and T5D.

        Args:
            baseline: as in `table`.
        """
        rows = []
        for name, sample in self._samples.items():
            for base, means in self._select(baseline).items():
                relative_to = self._base(base, means)
                intervals = normalised_intervals(sample, relative_to, normalised_by_distortion)
                for key, value in normalised_by_distortion(sample.means, means).items():
                    row = {"model": name, "baseline": base, "metric": key[0], "distortion": key[1]}
                    rows.append(row | _estimate(value, intervals[key]))
        return pd.DataFrame(rows)

    def relative(self) -> pd.DataFrame:
        """Return one row per model, baseline and normalised aggregate, for all `baselines`."""
        all_means = self._published | self._means
        rows = []
        for base in self.baselines:
            means = all_means[base]
            for name, model in self._models.items():
                sample = self._samples[name]
                relative_to = self._base(base, means)
                intervals = normalised_intervals(sample, relative_to, normalised_aggregates)
                seeds = [normalised_aggregates(self._means[seed], means) for seed in model.seeds]
                for metric, value in normalised_aggregates(sample.means, means).items():
                    row = {"model": name, "baseline": base, "metric": metric}
                    spread = std([float(seed[metric]) for seed in seeds])
                    rows.append(row | _estimate(value, intervals[metric]) | {"std": spread})
        return pd.DataFrame(rows)

    def _row(
        self,
        name: str,
        model: Model,
        outcomes: OutcomesByKind,
        baselines: Mapping[str, MeansByKind],
    ) -> dict[str, Any]:
        """Return the metrics of a model, or of one of its networks, in the order of columns."""
        images = max(part.images for part in outcomes.values())
        row: dict[str, Any] = {"model": name, "params_m": model.parameters / 1e6, "images": images}
        values = aggregates(self._means[name], baselines)
        row |= {column: float(value) for column, value in values.items() if _is_listed(column)}
        if (corrupted := outcomes.get("corruption")) and (cells := corrupted.counted()):
            row["ece" if corrupted.subset is None else "ece_subset"] = corrupted.mean_ece(cells)
        return row | {"complete": all(part.complete for part in outcomes.values())}

    def _select(self, baseline: str | None) -> dict[str, MeansByKind]:
        """Return the means of a baseline, and those of AlexNet where they are comparable."""
        always = {name: means for name, means in self._published.items() if name in ALWAYS}
        if baseline is None:
            return always
        if baseline not in self.baselines:
            if baseline in BASELINES:
                raise UsageError(
                    f"baseline {baseline} is published only for the distortions of ImageNet-C and "
                    f"ImageNet-P, and this run uses {', '.join(self._datasets)}; name a model of "
                    f"the run: {', '.join(self._models)}"
                )
            raise UnknownName("baseline (a model of the run)", baseline, self.baselines)
        return {baseline: (self._published | self._means)[baseline]} | {
            name: means for name, means in always.items() if name != baseline
        }

    @cached_property
    def _means(self) -> dict[str, MeansByKind]:
        """The means over all images, of every model and of every network."""
        return {
            name: average(outcomes)
            for model in self._models.values()
            for name, outcomes in {model.name: model.mean, **model.seeds}.items()
        }

    def _base(self, name: str, means: MeansByKind) -> Sample | MeansByKind:
        """Return the outcomes behind a baseline's means, or the means of a published one.

        A model of the run may have the name of a published baseline.
        """
        return self._samples[name] if means is self._means.get(name) else means

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        """The outcomes of every model on every image."""
        return {name: Sample(model.mean) for name, model in self._models.items()}

    @cached_property
    def _intervals(self) -> dict[str, dict[str, Interval]]:
        """The intervals of every model, without normalised metrics."""
        return {name: aggregate_intervals(sample) for name, sample in self._samples.items()}

    def _ranked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Sort rows by the ranking metric. Rows without it come last and have no rank."""
        column = ranking_column(table)
        if column is None:
            nothing = pd.Series([None] * len(table), dtype="Int64")
            table.insert(0, "rank", nothing)
            return table.assign(rank_group=nothing)
        metric = find_metric(column)
        lower_is_better = not (metric and metric.higher_is_better)
        # sums of the same values in another order differ in the last bit
        values = table[column].round(12)
        rank = values.rank(method="min", ascending=lower_is_better).astype("Int64")
        table.insert(0, "rank", rank)
        table = table.sort_values("rank", kind="stable", na_position="last", ignore_index=True)
        ranks = dict(zip(table["model"], table["rank"], strict=True))
        groups = self._rank_groups(column, [name for name in ranks if not pd.isna(ranks[name])])
        place = list(table).index("complete") + 1
        group_ranks = [ranks[groups[name]] if name in groups else None for name in ranks]
        table.insert(place, "rank_group", pd.Series(group_ranks, dtype="Int64"))
        return table

    def _rank_groups(self, metric: str, names: Sequence[str]) -> dict[str, str]:
        """Return the first model of every ranked model's group.

        A model starts a new group if it differs significantly from the first model of the previous
        group: the interval of the difference excludes zero.
        """
        groups = {name: name for name in names[:1]}
        if len(names) < 2:
            return groups
        values = np.stack([values_by_image(self._samples[name])[metric] for name in names], axis=1)
        sums, added = resampled_sums(values)
        first = 0
        for place in range(1, len(names)):
            resampled = Resampled(sums[:, place] - sums[:, first], added)
            difference = paired_difference(values[:, place] - values[:, first], resampled)
            if difference.low > 0 or difference.high < 0:
                first = place
            groups[names[place]] = names[first]
        return groups


def _is_listed(column: str) -> bool:
    metric = find_metric(column)
    return metric is None or metric.on_leaderboard


def ranking_column(leaderboard: pd.DataFrame) -> str | None:
    """Return the column that ranks a leaderboard's rows; None if it has no such metric."""
    named = [column for column in map(str, leaderboard) if _is_named_error(column)]
    return next((column for column in (*RANKED_BY, *named) if column in leaderboard), None)


def _is_named_error(column: str) -> bool:
    """Return whether a column is an error on a data set with columns of its own."""
    statistic = column.endswith(STATISTICS_ENDS)
    return column.startswith(("error_", "mean_error_")) and not statistic


def _estimate(value: np.ndarray, interval: Interval) -> dict[str, Any]:
    return {"value": float(value), "low": interval[0], "high": interval[1]}


def _ordered_columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows in order, with the bounds of a metric after it."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for metric, bound in product(BOUNDED, ("high", "low")):
        if (column := f"{metric}_{bound}") in columns:
            columns.remove(column)
            columns.insert(columns.index(metric) + 1, column)
    return columns


def _seed_spread(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the number of training seeds and the standard deviations of their metrics."""
    metrics = [column for column in seeds[0] if column not in NO_SPREAD]
    spread = {f"{metric}_std": std([seed[metric] for seed in seeds]) for metric in metrics}
    return {"seeds": len(seeds)} | spread
