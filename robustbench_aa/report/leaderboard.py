"""The leaderboard: a row a model, its figures with their intervals, and who can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.metrics.aggregates import (
    ModelMeans,
    figures,
    means,
    normalised,
    relative_figures,
)
from robustbench_aa.metrics.baselines import BASELINES, is_comparable, published_for
from robustbench_aa.metrics.bootstrap import (
    Interval,
    Resampled,
    paired_difference,
    resampled_sums,
)
from robustbench_aa.metrics.estimates import (
    Sample,
    figure_intervals,
    relative_intervals,
    values_by_image,
)
from robustbench_aa.metrics.per_image import ByKind, Model
from robustbench_aa.report.cell_tables import std

Row = dict[str, Any]

RANKED_BY = {
    "mean_error": True,
    "mean_error_other": True,
    "mean_flip_probability": True,
    "clean_error": True,
    "consistency_crops": False,
    "consistency_circular": False,
}
"""The first of these figures that a leaderboard has ranks it; True where less is better."""
ALWAYS = ("alexnet",)
"""The published baselines that need not be asked for."""


class Board:
    """The models of a run and their figures, relative to any baseline.

    Resampling the images is what takes time; it is done once for all baselines.

    Args:
        models: by name.
        kinds: the run's data set of each kind.
        datasets: by name, as `run.json` has them.
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
        fitting = {kind for kind, of in kinds.items() if is_comparable(datasets[of])}
        on_imagenet = {kind: of for kind, of in first.mean.items() if kind in fitting}
        self._published = {
            name: of
            for name, of in published_for(on_imagenet).items()
            if normalised(self._points[first.name], of)
        }

    @property
    def baselines(self) -> tuple[str, ...]:
        """What figures can be relative to: the run's models and the published ones that fit."""
        return tuple(dict.fromkeys([*self._models, *self._published]))

    def leaderboard(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a model, the best first.

        Args:
            baseline: one of `baselines`, for the normalised figures; AlexNet's are there anyway
                where they fit. In the tables below likewise.

        Raises:
            UnknownName: neither a model of the run nor a published baseline.
            UsageError: a published baseline is not of what the run measures.
        """
        relative_to = self._relative_to(baseline)
        rows = []
        for name, model in self._models.items():
            seeds = [self._row(seed, model, of, relative_to) for seed, of in model.seeds.items()]
            row = self._row(name, model, model.mean, relative_to)
            if "mean_error" in row:
                low, high = self._intervals[name]["mean_error"]
                row |= {"mean_error_low": low, "mean_error_high": high}
            rows.append(row | _seed_spread(seeds))
        return self._ranked(pd.DataFrame(rows)[_ordered(rows)])

    def seeds(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a network, of the models that have several training seeds."""
        relative_to = self._relative_to(baseline)
        rows = [
            self._row(seed, model, of, relative_to)
            for model in self._models.values()
            for seed, of in model.seeds.items()
            if len(model.seeds) > 1
        ]
        return pd.DataFrame(rows)

    def intervals(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a model and figure, with its 95% interval over images."""
        relative_to = self._relative_to(baseline)
        rows = []
        for name, sample in self._samples.items():
            found = dict(self._intervals[name])
            for of_baseline in relative_to:
                base = self._baseline(of_baseline)
                for figure, bounds in relative_intervals(sample, base, relative_figures).items():
                    found[f"{figure}_{of_baseline}"] = bounds
            for figure, value in figures(sample.whole, relative_to).items():
                rows.append({"model": name, "figure": figure} | _told(value, found[figure]))
        return pd.DataFrame(rows)

    def normalised(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a model, baseline, figure and distortion: CE, relative CE, FR and T5D."""
        rows = []
        for name, sample in self._samples.items():
            for of_baseline, means_of_baseline in self._relative_to(baseline).items():
                found = relative_intervals(sample, self._baseline(of_baseline), normalised)
                values = normalised(sample.whole, means_of_baseline)
                for (figure, of), value in values.items():
                    told = {"model": name, "baseline": of_baseline, "figure": figure, "of": of}
                    rows.append(told | _told(value, found[figure, of]))
        return pd.DataFrame(rows)

    def relative(self) -> pd.DataFrame:
        """A row a model, baseline and normalised aggregate, for each of `baselines`."""
        points = self._published | self._points
        rows = []
        for baseline in self.baselines:
            for name, model in self._models.items():
                sample = self._samples[name]
                found = relative_intervals(sample, self._baseline(baseline), relative_figures)
                seeds = [relative_figures(self._points[s], points[baseline]) for s in model.seeds]
                for figure, value in relative_figures(sample.whole, points[baseline]).items():
                    told = {"model": name, "baseline": baseline, "figure": figure}
                    row = told | _told(value, found[figure])
                    rows.append(row | {"std": std([float(seed[figure]) for seed in seeds])})
        return pd.DataFrame(rows)

    def _row(
        self, name: str, model: Model, outcomes: ByKind, relative_to: Mapping[str, ModelMeans]
    ) -> Row:
        """The figures of a model, or of one of its training seeds, in the order of the columns."""
        images = max(of.images for of in outcomes.values())
        row: Row = {"model": name, "params_m": model.parameters / 1e6, "images": images}
        found = figures(self._points[name], relative_to)
        row |= {figure: float(value) for figure, value in found.items()}
        if corrupted := outcomes.get("corruption"):
            row["ece"] = corrupted.mean_ece(corrupted.counted())
        return row | {"complete": all(of.complete for of in outcomes.values())}

    def _relative_to(self, baseline: str | None) -> dict[str, ModelMeans]:
        """The means of a baseline, and those of AlexNet where they fit."""
        always = {name: of for name, of in self._published.items() if name in ALWAYS}
        if baseline is None:
            return always
        if baseline not in self.baselines:
            if baseline in BASELINES:
                raise UsageError(
                    f"baseline {baseline} is published for the distortions of ImageNet-C and "
                    f"ImageNet-P alone, and this run measures {', '.join(self._datasets)}; name a "
                    f"model of the run: {', '.join(self._models)}"
                )
            raise UnknownName("baseline (a model of the run)", baseline, self.baselines)
        known = self._published | self._points
        return {baseline: known[baseline]} | {n: of for n, of in always.items() if n != baseline}

    @cached_property
    def _points(self) -> dict[str, ModelMeans]:
        """The means over all images, of every model and of every network."""
        return {
            name: means(outcomes)
            for model in self._models.values()
            for name, outcomes in {model.name: model.mean, **model.seeds}.items()
        }

    def _baseline(self, name: str) -> Sample | ModelMeans:
        """A model of the run, or the published means of one."""
        return self._samples[name] if name in self._samples else self._published[name]

    @cached_property
    def _samples(self) -> dict[str, Sample]:
        """What every model did on every image."""
        return {name: Sample(model.mean) for name, model in self._models.items()}

    @cached_property
    def _intervals(self) -> dict[str, dict[str, Interval]]:
        """Every model's intervals, without those of figures that need a baseline."""
        return {name: figure_intervals(sample) for name, sample in self._samples.items()}

    def _ranked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Order rows by the figure that ranks them; those that lack it come last, unranked."""
        figure = ranking_figure(table)
        rank = table[figure].rank(method="min", ascending=RANKED_BY[figure]).astype("Int64")
        table.insert(0, "rank", rank)
        table = table.sort_values("rank", kind="stable", na_position="last", ignore_index=True)
        ranks = dict(zip(table["model"], table["rank"], strict=True))
        groups = self._rank_groups(figure, [name for name in ranks if not pd.isna(ranks[name])])
        place = list(table).index("complete") + 1
        of_row = [ranks[groups[name]] if name in groups else None for name in ranks]
        table.insert(place, "rank_group", pd.Series(of_row, dtype="Int64"))
        return table

    def _rank_groups(self, figure: str, names: Sequence[str]) -> dict[str, str]:
        """The first model of every ranked model's group.

        A model begins a group where its difference to the first of the group before is beyond
        chance: the interval excludes zero.
        """
        groups = {name: name for name in names[:1]}
        if len(names) < 2:
            return groups
        values = np.stack([values_by_image(self._samples[name])[figure] for name in names], axis=1)
        sums, added = resampled_sums(values)
        first = 0
        for place in range(1, len(names)):
            resampled = Resampled(sums[:, place] - sums[:, first], added)
            found = paired_difference(values[:, place] - values[:, first], resampled)
            if found.low > 0 or found.high < 0:
                first = place
            groups[names[place]] = names[first]
        return groups


def _told(value: np.ndarray, bounds: Interval) -> Row:
    return {"value": float(value), "low": bounds[0], "high": bounds[1]}


def ranking_figure(leaderboard: pd.DataFrame) -> str:
    """The column that ranks a leaderboard's rows."""
    return next(column for column in RANKED_BY if column in leaderboard)


def _ordered(rows: Sequence[Row]) -> list[str]:
    """The columns of the contract in its order, each interval after its figure."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    for bound in ("mean_error_high", "mean_error_low"):
        if bound in columns:
            columns.remove(bound)
            columns.insert(columns.index("mean_error") + 1, bound)
    return columns


def _seed_spread(seeds: Sequence[Row]) -> Row:
    """How far a model's training seeds lie apart: the standard deviation of their figures."""
    told = ("model", "params_m", "images", "complete")
    spread = {f"{f}_std": std([seed[f] for seed in seeds]) for f in seeds[0] if f not in told}
    return {"seeds": len(seeds)} | spread
