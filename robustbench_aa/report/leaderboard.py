"""The leaderboard: a row a model, its figures with their intervals, and who can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import pandas as pd

from robustbench_aa.errors import UnknownName
from robustbench_aa.metrics.baselines import alexnet_for
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
    "mean_flip_probability": True,
    "clean_error": True,
    "consistency_crops": False,
    "consistency_circular": False,
}
"""The first of these figures that a leaderboard has ranks it; True where less is better."""
ON_IMAGENET = ("imagenet-c", "imagenet-c-live", "imagenet-p", "imagenet-p-live")
"""The data sets that AlexNet's published figures are of."""


class Board:
    """The models of a run and their figures.

    Args:
        models: by name.
        kinds: the run's data set of each kind.
        baseline: a model of the run that figures are relative to, if any; `alexnet` for none but
            AlexNet's published figures.

    Raises:
        UnknownName: the run has no such model.
    """

    def __init__(
        self, models: Mapping[str, Model], kinds: Mapping[str, str], baseline: str | None
    ) -> None:
        self._models = models
        first = next(iter(models.values())).mean
        on_imagenet = {kind: of for kind, of in first.items() if kinds[kind] in ON_IMAGENET}
        self._alexnet = {"alexnet": alexnet_for(on_imagenet)} if on_imagenet else {}
        known = [*models, *self._alexnet]
        if baseline is not None and baseline not in known:
            raise UnknownName("baseline (a model of the run)", baseline, known)
        self._baseline = baseline if baseline in models else None  # AlexNet's are always there

    def leaderboard(self) -> pd.DataFrame:
        """A row a model, the best first."""
        rows = []
        for name, model in self._models.items():
            seeds = [self._row(seed, model, of) for seed, of in model.seeds.items()]
            row = self._row(name, model, model.mean)
            if "mean_error" in row:
                low, high = interval(self._resampled[name]["mean_error"])
                row |= {"mean_error_low": low, "mean_error_high": high}
            rows.append(row | _spread(seeds))
        return self._ranked(pd.DataFrame(rows)[_ordered(rows)])

    def seeds(self) -> pd.DataFrame:
        """A row a network, of the models that have several training seeds."""
        rows = [
            self._row(seed, model, of)
            for model in self._models.values()
            for seed, of in model.seeds.items()
            if len(model.seeds) > 1
        ]
        return pd.DataFrame(rows)

    def intervals(self) -> pd.DataFrame:
        """A row a model and figure, with its 95% interval over images."""
        rows = []
        for name, model in self._models.items():
            points = self._figures(means(model.mean))
            for figure, resampled in self._resampled[name].items():
                low, high = interval(resampled)
                told = {"model": name, "figure": figure, "value": float(points[figure])}
                rows.append(told | {"low": low, "high": high})
        return pd.DataFrame(rows)

    def normalised(self) -> pd.DataFrame:
        """A row a model, baseline, figure and distortion: CE, relative CE, FR and T5D."""
        rows = []
        for name, model in self._models.items():
            point, resampled = means(model.mean), self._means[name]
            of_baselines = zip(
                self._baselines(resampled=False).items(),
                self._baselines(resampled=True).values(),
                strict=True,
            )
            for (baseline, base), base_resampled in of_baselines:
                spread = normalised(resampled, base_resampled)
                for (figure, of), value in normalised(point, base).items():
                    low, high = interval(spread[figure, of])
                    told = {"model": name, "baseline": baseline, "figure": figure, "of": of}
                    rows.append(told | {"value": float(value), "low": low, "high": high})
        return pd.DataFrame(rows)

    def relative(self) -> pd.DataFrame:
        """A row a model, baseline and normalised aggregate, for every baseline there could be."""
        rows = []
        of_all = {name: means(model.mean) for name, model in self._models.items()}
        points, resampled = of_all | self._alexnet, self._means | self._alexnet
        for baseline, base in points.items():
            for name, model in self._models.items():
                at = relative_figures(of_all[name], base)
                spread = relative_figures(self._means[name], resampled[baseline])
                seeds = [relative_figures(means(seed), base) for seed in model.seeds.values()]
                for figure, value in at.items():
                    low, high = interval(spread[figure])
                    told = {"model": name, "baseline": baseline, "figure": figure}
                    figures = {"value": float(value), "low": low, "high": high}
                    deviation = std([float(seed[figure]) for seed in seeds])
                    rows.append(told | figures | {"std": deviation})
        return pd.DataFrame(rows)

    def _row(self, name: str, model: Model, outcomes: ByKind) -> Row:
        """The figures of a model, or of one of its training seeds, in the order of the columns."""
        images = max(of.images for of in outcomes.values())
        row: Row = {"model": name, "params_m": model.parameters / 1e6, "images": images}
        found = self._figures(means(outcomes))
        row |= {figure: float(value) for figure, value in found.items()}
        if corrupted := outcomes.get("corruption"):
            row["ece"] = corrupted.mean_ece(corrupted.counted())
        return row | {"complete": all(of.complete for of in outcomes.values())}

    def _figures(self, model: ModelMeans, resampled: bool = False) -> Figures:
        return figures(model, self._baselines(resampled))

    def _baselines(self, resampled: bool) -> dict[str, ModelMeans]:
        """What figures are relative to: the run's baseline, and AlexNet where it fits."""
        if self._baseline is None:
            return self._alexnet
        own = self._means[self._baseline] if resampled else self._point
        return {self._baseline: own} | self._alexnet

    @cached_property
    def _point(self) -> ModelMeans:
        """The baseline's means over all images."""
        assert self._baseline is not None
        return means(self._models[self._baseline].mean)

    @cached_property
    def _means(self) -> dict[str, ModelMeans]:
        """Every model's means over the same resamples of the images."""
        return {name: means(model.mean, resampled=True) for name, model in self._models.items()}

    @cached_property
    def _resampled(self) -> dict[str, Figures]:
        return {name: self._figures(of, resampled=True) for name, of in self._means.items()}

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
                difference = self._resampled[name][figure] - self._resampled[first][figure]
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


def _spread(seeds: Sequence[Row]) -> Row:
    """How far a model's training seeds lie apart: the standard deviation of their figures."""
    told = ("model", "params_m", "images", "complete")
    spread = {f"{f}_std": std([seed[f] for seed in seeds]) for f in seeds[0] if f not in told}
    return {"seeds": len(seeds)} | spread
