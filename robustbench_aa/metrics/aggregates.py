"""The aggregates of a model, computed from the means of its cells.

A cell is one distortion of a data set. Means are arrays whose leading axes, if any, are images or
resamples of the images, so that the same code computes an aggregate and its interval.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from robustbench_aa.metrics import corruption_error as ce
from robustbench_aa.metrics.bootstrap import resampled_means
from robustbench_aa.metrics.flip_rate import mean_rate
from robustbench_aa.metrics.metric import METRICS
from robustbench_aa.metrics.per_image import Outcomes, OutcomesByKind, subset_of
from robustbench_aa.metrics.shifts import METRICS_OF_SHIFTS
from robustbench_aa.types import (
    CLEAN,
    COUNTED_CORRUPTIONS,
    HOLDOUT_CORRUPTIONS,
    Distortion,
    column_of,
    kind_of,
)

Cells = Mapping[Distortion, np.ndarray]
"""Means by cell, [...] each."""
Aggregates = dict[str, np.ndarray]
"""Values by metric, [...] each, in the order of the leaderboard's columns."""


@dataclass(frozen=True)
class CellMeans:
    """The outcomes of a model on one data set, averaged over images.

    Attributes:
        wrong, flips, top5_distance: as in `Outcomes`, without the axis of the images.
        shifts: the metrics of `metrics/shifts.py` by name, each by shift protocol.
        selected, trained_on: as in `Outcomes`.
    """

    wrong: Cells
    flips: Cells = field(default_factory=dict)
    top5_distance: Cells = field(default_factory=dict)
    shifts: Mapping[str, Cells] = field(default_factory=dict)
    selected: Collection[Distortion] | None = None
    trained_on: Collection[str] = ()

    @property
    def subset(self) -> list[Distortion] | None:
        """The distortions of a subset, as `subset_of` returns them; None for a whole data set."""
        others = chain(self.flips, *self.shifts.values())  # images may have no labels
        return subset_of(self.wrong or dict.fromkeys(others), self.selected)

    def selects(self, cell: Distortion) -> bool:
        """Return whether the run asked for a distortion."""
        return self.selected is None or cell in self.selected

    @classmethod
    def of_images(cls, part: Outcomes, change: Callable[[Cells], Cells]) -> CellMeans:
        """Return the outcomes of each image after a change to each table."""
        return cls(
            change(part.wrong),
            change(part.flips),
            change(part.top5_distance),
            {name: change(getattr(part, name)) for name in METRICS_OF_SHIFTS},
            part.selected,
            part.trained_on,
        )


MeansByKind = Mapping[str, CellMeans]
"""Means by kind of data set. A published baseline has only the means that were published."""


def average(outcomes: OutcomesByKind, resampled: bool = False) -> MeansByKind:
    """Return the means of a model's cells over all images.

    Args:
        outcomes: outcomes of each image.
        resampled: whether to return the means over each bootstrap resample of the images instead.
    """

    def averaged(cells: Cells) -> Cells:
        if not resampled or not cells:
            return {cell: np.asarray(values.mean()) for cell, values in cells.items()}
        columns = resampled_means(np.stack(list(cells.values()), axis=1))
        return dict(zip(cells, columns.T, strict=True))

    return {kind: CellMeans.of_images(part, averaged) for kind, part in outcomes.items()}


def aggregates(model: MeansByKind, baselines: Mapping[str, MeansByKind]) -> Aggregates:
    """Return every aggregate of a model.

    Args:
        model: means of the model.
        baselines: means of the baselines by name. Each adds a column per normalised metric.
    """
    found: Aggregates = {}
    clean = clean_error(model)
    if clean is not None:
        found["clean_error"] = clean
    if "corruption" in model:
        found |= _corruption_aggregates(model, baselines)
    if "perturbation" in model:
        found |= _perturbation_aggregates(model["perturbation"], baselines)
    if shifted := model.get("shift"):
        for metric, cells in shifted.shifts.items():
            for cell in filter(shifted.selects, cells):
                found[f"{metric}_{cell.name}"] = cells[cell]
    for key, means in model.items():
        if column := column_of(key):
            named = _aggregates_of_named(kind_of(key), means)
            found |= {f"{metric}_{column}": value for metric, value in named.items()}
    return found


def _aggregates_of_named(kind: str, means: CellMeans) -> Aggregates:
    """Return the aggregates of a data set whose metrics have columns of their own."""
    if kind == "clean":
        return {"error": means.wrong[CLEAN]}
    whole, part = [cell for cell in means.wrong if cell != CLEAN], means.subset
    metric, cells = ("mean_error", whole) if part is None else ("mean_error_subset", part)
    return {metric: _mean_over_names(means.wrong, cells)} if cells else {}


MEAN_ERRORS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "mean_error": ("counted", COUNTED_CORRUPTIONS),
    "holdout_error": ("holdout", HOLDOUT_CORRUPTIONS),
    "mean_error_other": ("other", ()),
}
"""The mean errors: the role of their corruptions, and the corruptions that must all be there.

A published mean is always over all of its published corruptions. A data set with only some of them
has no such mean. `mean_error_other` is the mean over all other corruptions of a data set.
"""


def _corruption_aggregates(model: MeansByKind, baselines: Mapping[str, MeansByKind]) -> Aggregates:
    corrupted = model["corruption"]
    if corrupted.subset is not None:
        return _subset_aggregates(model, baselines)
    found: Aggregates = {}
    for metric, (role, names) in MEAN_ERRORS.items():
        cells = _with_role(corrupted.wrong, role)
        if any(map(corrupted.selects, cells)):
            mean = ce.mean_error(_errors(corrupted, cells))
            complete = not names or {cell.name for cell in cells} == set(names)
            found[metric] = mean if complete else np.full_like(mean, np.nan)
        if metric == "mean_error":
            found |= _unseen(corrupted, cells)
            for name, baseline in baselines.items():
                normalised = _normalised_errors(model, baseline)
                found |= {f"{key}_{name}": value for key, value in normalised.items()}
    return found


def _subset_aggregates(model: MeansByKind, baselines: Mapping[str, MeansByKind]) -> Aggregates:
    """Return the mean error over a subset, and its mCE relative to models of the run."""
    corrupted = model["corruption"]
    if not corrupted.subset:
        return {}
    found: Aggregates = {"mean_error_subset": _mean_over_names(corrupted.wrong, corrupted.subset)}
    found |= _unseen(corrupted, corrupted.subset)
    for name, baseline in baselines.items():
        normalised = _normalised_errors(model, baseline)
        found |= {f"{key}_{name}": value for key, value in normalised.items()}
    return found


def _unseen(corrupted: CellMeans, cells: Iterable[Distortion]) -> Aggregates:
    """Return the mean error over the corruptions that no model of the run was trained on."""
    others = [cell for cell in cells if cell.name not in corrupted.trained_on]
    if not corrupted.trained_on or not others:
        return {}
    return {"mean_error_unseen": _mean_over_names(corrupted.wrong, others)}


def _mean_over_names(cells: Cells, chosen: Iterable[Distortion]) -> np.ndarray:
    """Return the mean over corruptions of the mean over the chosen severities of each, [...]."""
    means = [_stacked(cells, same).mean(axis=-1) for same in _by_name(chosen).values()]
    return np.asarray(np.mean(means, axis=0))


def _perturbation_aggregates(
    perturbed: CellMeans, baselines: Mapping[str, MeansByKind]
) -> Aggregates:
    if perturbed.subset is not None:
        subset = _stacked(perturbed.flips, perturbed.subset)
        return {"mean_flip_probability_subset": subset.mean(axis=-1)}
    counted = _with_role(perturbed.flips, "counted")
    found: Aggregates = {"mean_flip_probability": _stacked(perturbed.flips, counted).mean(axis=-1)}
    rates = {name: _normalised_flips(perturbed, baseline) for name, baseline in baselines.items()}
    for metric in ("mfr", "mt5d"):
        for name, by_metric in rates.items():
            if metric in by_metric:
                found[f"{metric}_{name}"] = by_metric[metric]
    return found


def normalised_aggregates(model: MeansByKind, baseline: MeansByKind) -> Aggregates:
    """Return `mce`, `relative_mce`, `mfr` and `mt5d`, in percent of a baseline's, or `mce_subset`.

    A metric is left out if the model or the baseline lacks a cell that it needs.
    """
    found: Aggregates = {}
    if "corruption" in model:
        found |= _normalised_errors(model, baseline)
    if "perturbation" in model:
        found |= _normalised_flips(model["perturbation"], baseline)
    return found


def _normalised_errors(model: MeansByKind, baseline: MeansByKind) -> Aggregates:
    corrupted = model["corruption"]
    if corrupted.subset is not None:
        return _subset_errors(corrupted, baseline)
    counted = _with_role(corrupted.wrong, "counted")
    complete = {cell.name for cell in counted} == set(COUNTED_CORRUPTIONS)
    if not complete or not _has(baseline, "corruption", "wrong", counted):
        return {}
    means = {"ce": "mce", "relative_ce": "relative_mce"}
    errors = corruption_errors(model, baseline, counted)
    return {means[metric]: ce.mean_corruption_error(values) for metric, values in errors.items()}


def _subset_errors(corrupted: CellMeans, baseline: MeansByKind) -> Aggregates:
    """Return `mce_subset` if the baseline is a model of the same run.

    Some published baselines have errors only as sums over all severities.
    """
    subset = corrupted.subset
    if not subset or "corruption" not in baseline or baseline["corruption"].subset != subset:
        return {}
    errors = [
        ce.corruption_error(
            *(_errors(means, same) for means in (corrupted, baseline["corruption"]))
        )
        for same in _by_name(subset).values()
    ]
    return {"mce_subset": ce.mean_corruption_error(np.concatenate(errors, axis=-1))}


def _normalised_flips(perturbed: CellMeans, baseline: MeansByKind) -> Aggregates:
    found: Aggregates = {}
    if perturbed.subset is not None:
        return found
    counted = _with_role(perturbed.flips, "counted")
    for metric, table in (("mfr", "flips"), ("mt5d", "top5_distance")):
        if _has(baseline, "perturbation", table, counted):
            theirs = _stacked(getattr(baseline["perturbation"], table), counted)
            found[metric] = mean_rate(_stacked(getattr(perturbed, table), counted), theirs)
    return found


def corruption_errors(
    model: MeansByKind, baseline: MeansByKind, cells: Sequence[Distortion]
) -> Aggregates:
    """Return `ce` and, where both sides have a clean error, `relative_ce`.

    Args:
        model, baseline: means that contain all of the cells.
        cells: corruptions at all of their severities.

    Returns:
        [..., corruptions] each, in the order of the cells.
    """
    errors, base = (_errors(means["corruption"], cells) for means in (model, baseline))
    found = {"ce": ce.corruption_error(errors, base)}
    clean, base_clean = (clean_error(means, corrupted_first=True) for means in (model, baseline))
    if clean is not None and base_clean is not None:
        found["relative_ce"] = ce.relative_corruption_error(errors, clean, base, base_clean)
    return found


def normalised_by_distortion(
    model: MeansByKind, baseline: MeansByKind
) -> dict[tuple[str, str], np.ndarray]:
    """Return `ce`, `relative_ce`, `fr` and `t5d` of each distortion, in percent of a baseline's.

    Hold-outs are left out, and so are distortions that the baseline lacks or that the run did not
    ask for at every severity.

    Returns:
        By metric and name of the distortion, [...] each.
    """
    found: dict[tuple[str, str], np.ndarray] = {}
    if "corruption" in model:
        for role in ("counted", "other"):
            cells = _whole(model["corruption"], _with_role(model["corruption"].wrong, role))
            if cells and _has(baseline, "corruption", "wrong", cells):
                names = list(dict.fromkeys(cell.name for cell in cells))
                for metric, values in corruption_errors(model, baseline, cells).items():
                    found |= {(metric, name): values[..., i] for i, name in enumerate(names)}
    if perturbed := model.get("perturbation"):
        counted = _whole(perturbed, _with_role(perturbed.flips, "counted"))
        for metric, table in (("fr", "flips"), ("t5d", "top5_distance")):
            if not _has(baseline, "perturbation", table, counted):
                continue
            ours, theirs = getattr(perturbed, table), getattr(baseline["perturbation"], table)
            for cell in counted:
                # the mean rate over a single perturbation is the rate of that perturbation
                rate = mean_rate(ours[cell][..., None], theirs[cell][..., None])
                found[metric, cell.name] = rate
    order = list(METRICS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))


def clean_error(model: MeansByKind, corrupted_first: bool = False) -> np.ndarray | None:
    """Return the error on clean images; None if a run has no clean images.

    A run may contain clean images twice: as a data set of their own, and as part of a set of
    corrupted images. The data set of their own comes first, in whatever order they were evaluated.

    Args:
        model: means of the model.
        corrupted_first: whether the clean images of the corrupted set come first, which is what a
            relative corruption error compares with. If they are incomplete, the others count.
    """
    sets = [model[kind] for kind in CLEAN_KINDS if kind in model]
    found = [one.wrong[CLEAN] for one in sets if CLEAN in one.wrong and one.selects(CLEAN)]
    if corrupted_first:
        found = [error for error in found[::-1] if not np.isnan(error).any()] or found[::-1]
    return found[0] if found else None


CLEAN_KINDS = ("clean", "corruption")
"""The kinds of data sets that contain clean images."""


def _with_role(cells: Cells, role: str) -> list[Distortion]:
    """Return the distortions that have a role in published means."""
    return [cell for cell in cells if cell.role == role and cell != CLEAN]


def _whole(means: CellMeans, cells: Iterable[Distortion]) -> list[Distortion]:
    """Return the distortions that the run asked for at all of their severities."""
    by_name = _by_name(cells).values()
    return [cell for same in by_name if all(map(means.selects, same)) for cell in same]


def _by_name(cells: Iterable[Distortion]) -> dict[str, list[Distortion]]:
    found: dict[str, list[Distortion]] = {}
    for cell in cells:
        found.setdefault(cell.name, []).append(cell)
    return found


def _has(baseline: MeansByKind, kind: str, table: str, cells: Iterable[Distortion]) -> bool:
    return kind in baseline and set(cells) <= set(getattr(baseline[kind], table))


def _errors(means: CellMeans, cells: Iterable[Distortion]) -> np.ndarray:
    """Return the errors as [..., corruptions, severities]."""
    return np.stack([_stacked(means.wrong, same) for same in _by_name(cells).values()], axis=-2)


def _stacked(cells: Cells, chosen: Iterable[Distortion]) -> np.ndarray:
    return np.stack([cells[cell] for cell in chosen], axis=-1)
