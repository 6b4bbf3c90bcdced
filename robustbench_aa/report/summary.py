"""A run in a few sentences, none of which says more than the intervals allow.

A model is called better than another only if the paired bootstrap says so after Holm's correction
over all comparisons that the sentence makes. Everything else "cannot be told apart".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from robustbench_aa.metrics.bootstrap import LEVEL
from robustbench_aa.metrics.comparison import format_points, holm
from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.literature import own_rows
from robustbench_aa.report.tables import Tables

DEEDS = {
    "mean_error": ("fails on", "corrupted images"),
    "mean_error_subset": ("fails on", "of the chosen corrupted images"),
    "mean_error_other": ("fails on", "corrupted images"),
    "clean_error": ("fails on", "images"),
    "error": ("fails on", "images"),
    "mean_flip_probability": ("changes its answer in", "steps of a sequence"),
    "mean_flip_probability_subset": ("changes its answer in", "steps of the chosen sequences"),
    "consistency": ("gives the same answer for", "pairs of shifts"),
}
"""What a metric that ranks models counts: a verb, and the things counted."""
NAMED = 2
"""The largest number of models that a list names; longer lists are counted."""


@dataclass(frozen=True)
class Difference:
    """The paired difference between two models in one metric, model − other.

    Attributes:
        value, low, high: difference and its 95% interval, as fractions.
        p: p-value of the paired bootstrap.
    """

    value: float
    low: float
    high: float
    p: float


class Comparisons:
    """The paired differences of a run in one metric.

    Args:
        table: `Tables.differences`.
        metric: name of the metric.
    """

    def __init__(self, table: pd.DataFrame, metric: str) -> None:
        found = find_metric(metric)
        self._sign = -1 if found and found.higher_is_better else 1
        self._pairs: dict[tuple[str, str], Difference] = {}
        if table.empty:
            return
        rows = table[(table["metric"] == metric) & (table["distortion"] == "")]
        for row in rows.to_dict("records"):
            value, low, high, p = (row[name] for name in ("difference", "low", "high", "p"))
            self._pairs[row["model"], row["other"]] = Difference(value, low, high, p)
            self._pairs[row["other"], row["model"]] = Difference(-value, -high, -low, p)

    def known(self, model: str, others: Iterable[str]) -> bool:
        """Return whether a model was compared with each of some others."""
        return all((model, other) in self._pairs for other in others)

    def of(self, model: str, other: str) -> Difference:
        """Return the difference model − other."""
        return self._pairs[model, other]

    def verdicts(self, reference: str, models: Sequence[str]) -> dict[str, str]:
        """Return how models compare with a reference: `better`, `worse` or `unclear`.

        The p-values are corrected for the number of models by Holm's method.
        """
        found = [self.of(model, reference) for model in models]
        corrected = holm([difference.p for difference in found])
        verdicts = {}
        for model, difference, p in zip(models, found, corrected, strict=True):
            better = self._sign * difference.value < 0
            verdicts[model] = ("better" if better else "worse") if p < LEVEL else "unclear"
        return verdicts


def summarise_run(tables: Tables) -> list[str]:
    """Return what came out of a run in a few sentences.

    Args:
        tables: tables of the run.

    Returns:
        The headline, which is short and has no interval unless it is the only sentence, and the
        sentences under it.
    """
    board = own_rows(tables.leaderboard)
    metric = ranking_column(board)
    ranked = list(board.dropna(subset="rank")["model"]) if metric else []
    if metric is None or not ranked:
        return ["No model has all the predictions that a ranking needs."]
    comparisons = Comparisons(tables.differences, metric)
    sentences = _compare(metric, ranked, comparisons, tables)
    if unranked := len(board) - len(ranked):
        sentences.append(
            "1 model lacks predictions and has no rank."
            if unranked == 1
            else f"{unranked} models lack predictions and have no rank."
        )
    return sentences


def _compare(
    metric: str, ranked: Sequence[str], comparisons: Comparisons, tables: Tables
) -> list[str]:
    baseline = tables.baseline
    if len(ranked) == 1:
        return [_alone(metric, ranked[0], tables)]
    if baseline is not None and baseline in ranked:
        others = [model for model in ranked if model != baseline]
        if comparisons.known(baseline, others):
            return _against(metric, baseline, others, comparisons, tables)
    return _leader(metric, ranked, comparisons, tables)


def _alone(metric: str, model: str, tables: Tables) -> str:
    verb, things = _deed(metric)
    return f"{model} {verb} {_share(metric, model, tables)} of {things.removeprefix('of ')}."


def _against(
    metric: str, baseline: str, others: Sequence[str], comparisons: Comparisons, tables: Tables
) -> list[str]:
    """Compare all other models with the baseline."""
    verb, things = _deed(metric)
    fewer = "more" if _higher(metric) else "fewer"
    groups = _groups(comparisons.verdicts(baseline, others))
    better = groups["better"]
    if better:
        points = _points(comparisons.of(better[0], baseline))
        sentences = [
            f"{better[0]} is better than {baseline}.",
            f"It {verb} {points} {fewer} {things}.",
        ]
    else:
        sentences = [f"No model is shown to be better than {baseline}."]
    parts = []
    if also := better[1:]:
        parts.append(f"{_list(also)} {_do(also, 'is', 'are')} better too")
    if unclear := groups["unclear"]:
        parts.append(f"these images cannot tell {_list(unclear)} from the baseline")
    if worse := groups["worse"]:
        parts.append(f"{_list(worse)} {_do(worse, 'is', 'are')} worse")
    if parts:
        text = "; ".join(parts) + "."
        # a name at the beginning keeps its case
        sentences.append(text.replace("these images", "These images", 1) if not also else text)
    sentences += _first_place(others, better, comparisons)
    for model in better[:1] or worse[-1:]:  # the largest difference
        difference = comparisons.of(model, baseline)
        sentences += _seeds(metric, (model, baseline), difference, tables)
    return sentences


def _leader(
    metric: str, ranked: Sequence[str], comparisons: Comparisons, tables: Tables
) -> list[str]:
    """Compare the first model of the ranking with all others."""
    leader, *others = ranked
    verb, things = _deed(metric)
    share = f"{_share(metric, leader, tables)} of {things.removeprefix('of ')}"
    if comparisons.known(leader, others):
        tied = _groups(comparisons.verdicts(leader, others))["unclear"]
    else:  # too many models for all pairs: the groups of the ranking
        board = tables.leaderboard.set_index("model")["rank_group"]
        tied = [model for model in others if board[model] == board[leader]]
    if not tied:
        return [f"{leader} is the best of the {len(ranked)} models.", f"It {verb} {share}."]
    return [
        "No model is shown to be the best.",
        f"{leader} {verb} {share}, but these images cannot tell {_list(tied)} from it.",
    ]


def _first_place(
    others: Sequence[str], better: Sequence[str], comparisons: Comparisons
) -> list[str]:
    """Say whether the best of the models that are better than the baseline is the best of all."""
    if len(better) < 2:
        return []
    first = better[0]
    rivals = [model for model in others if model != first]
    if not comparisons.known(first, rivals):
        return []
    groups = _groups(comparisons.verdicts(first, rivals))
    if tied := groups["unclear"]:
        # another model may be ahead of it, though not shown to be better than the baseline
        begin = f"{first} comes first, but these" if first == others[0] else "These"
        end = "it" if first == others[0] else first
        return [f"{begin} images cannot tell {_list(tied)} from {end}."]
    if groups["better"]:
        return []
    return [f"{first} is the best of the {len(others) + 1} models."]


def _seeds(metric: str, models: Sequence[str], difference: Difference, tables: Tables) -> list[str]:
    """Say if training seeds change the metric by more than the difference between two models."""
    board = tables.leaderboard.set_index("model")
    if f"{metric}_std" not in board:
        return []
    spread = board.loc[list(models), f"{metric}_std"].max()
    if pd.isna(spread) or spread <= abs(difference.value):
        return []
    return [
        f"Training seeds matter more (standard deviation {100 * spread:.1f} points): this is about "
        "these networks, and others of the same kind may differ."
    ]


def _groups(verdicts: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the models by their verdict, in their order."""
    return {
        verdict: [model for model, found in verdicts.items() if found == verdict]
        for verdict in ("better", "worse", "unclear")
    }


def _deed(metric: str) -> tuple[str, str]:
    if metric in DEEDS:
        return DEEDS[metric]
    found = find_metric(metric)
    return DEEDS[found.name if found else metric]


def _higher(metric: str) -> bool:
    found = find_metric(metric)
    return found is not None and found.higher_is_better


def _points(difference: Difference) -> str:
    """Return a significant difference in points, without its sign, and its interval."""
    texts = format_points(difference.value, difference.low, difference.high, significant=True)
    value, *bounds = (text.lstrip("+-") for text in texts)
    low, high = sorted(bounds, key=float)
    return f"{value} points ({low} to {high})"


def _share(metric: str, model: str, tables: Tables) -> str:
    """Return a metric in percent with its interval."""
    rows = tables.intervals
    row = rows[(rows["model"] == model) & (rows["metric"] == metric)].to_dict("records")[0]
    value, low, high = (f"{100 * row[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value}% ({low} to {high})"


def _list(models: Sequence[str]) -> str:
    """Return the names of a few models, or the number of many."""
    return " and ".join(models) if len(models) <= NAMED else f"{len(models)} other models"


def _do(models: Sequence[str], one: str, several: str) -> str:
    return one if len(models) == 1 else several
