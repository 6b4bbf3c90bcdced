"""The leaderboard: a row a model, its figures with their intervals, and who can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.metrics.baselines import BASELINES, is_comparable, published_for
from robustbench_aa.metrics.figures import (
    Figures,
    ModelMeans,
    figures,
    means,
    normalised,
    relative_figures,
)
from robustbench_aa.metrics.intervals import interval
from robustbench_aa.metrics.outcomes import ByKind, Model
from robustbench_aa.report.cells import std

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
        fitting = {kind for kind, of in kinds.items() if is_comparable(of, datasets[of])}
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
                low, high = interval(self._spread[name]["mean_error"])
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
        relative_to = self._relative_to(baseline), self._relative_to(baseline, resampled=True)
        rows = []
        for name, resampled in self._resampled.items():
            points = figures(self._points[name], relative_to[0])
            for figure, spread in figures(resampled, relative_to[1]).items():
                low, high = interval(spread)
                told = {"model": name, "figure": figure, "value": float(points[figure])}
                rows.append(told | {"low": low, "high": high})
        return pd.DataFrame(rows)

    def normalised(self, baseline: str | None = None) -> pd.DataFrame:
        """A row a model, baseline, figure and distortion: CE, relative CE, FR and T5D."""
        relative_to = self._relative_to(baseline), self._relative_to(baseline, resampled=True)
        rows = []
        for name, resampled in self._resampled.items():
            for of_baseline, base in relative_to[0].items():
                spread = normalised(resampled, relative_to[1][of_baseline])
                for (figure, of), value in normalised(self._points[name], base).items():
                    low, high = interval(spread[figure, of])
                    told = {"model": name, "baseline": of_baseline, "figure": figure, "of": of}
                    rows.append(told | {"value": float(value), "low": low, "high": high})
        return pd.DataFrame(rows)

    def relative(self) -> pd.DataFrame:
        """A row a model, baseline and normalised aggregate, for each of `baselines`."""
        points, resampled = (self._published | of for of in (self._points, self._resampled))
        rows = []
        for baseline in self.baselines:
            for name, model in self._models.items():
                spread = relative_figures(self._resampled[name], resampled[baseline])
                seeds = [relative_figures(self._points[s], points[baseline]) for s in model.seeds]
                of_model = relative_figures(self._points[name], points[baseline])
                for figure, value in of_model.items():
                    low, high = interval(spread[figure])
                    told = {"model": name, "baseline": baseline, "figure": figure}
                    row = told | {"value": float(value), "low": low, "high": high}
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

    def _relative_to(self, baseline: str | None, resampled: bool = False) -> dict[str, ModelMeans]:
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
        known = self._published | (self._resampled if resampled else self._points)
        return {baseline: known[baseline]} | {n: of for n, of in always.items() if n != baseline}

    @cached_property
    def _points(self) -> dict[str, ModelMeans]:
        """The means over all images, of every model and of every network."""
        return {
            name: means(outcomes)
            for model in self._models.values()
            for name, outcomes in {model.name: model.mean, **model.seeds}.items()
        }

    @cached_property
    def _resampled(self) -> dict[str, ModelMeans]:
        """Every model's means over the same resamples of the images."""
        return {name: means(model.mean, resampled=True) for name, model in self._models.items()}

    @cached_property
    def _spread(self) -> dict[str, Figures]:
        """Every model's figures over the resamples, without those that need a baseline."""
        return {name: figures(of, {}) for name, of in self._resampled.items()}

    def _ranked(self, table: pd.DataFrame) -> pd.DataFrame:
        """Orders rows by the figure that ranks them; those that lack it come last, unranked.

        Models of a `rank_group` are not told apart from its first: the interval of the difference
        includes zero.
        """
        figure = ranking_figure(table)
        rank = table[figure].rank(method="min", ascending=RANKED_BY[figure]).astype("Int64")
        table.insert(0, "rank", rank)
        table = table.sort_values("rank", kind="stable", na_position="last", ignore_index=True)
        groups: list[int | None] = []
        first = None
        for name, rank in zip(table["model"], table["rank"], strict=True):
            if pd.isna(rank):
                groups.append(None)
                continue
            if first is not None:
                difference = self._spread[name][figure] - self._spread[first][figure]
                low, high = interval(difference)
            if first is None or low > 0 or high < 0:
                first = name
                groups.append(int(rank))
            else:
                groups.append(groups[-1])
        place = list(table).index("complete") + 1
        table.insert(place, "rank_group", pd.Series(groups, dtype="Int64"))
        return table


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
