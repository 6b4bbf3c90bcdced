"""The aggregates of a model, computed from the means of its cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from robustbench_aa.metrics import corruption_error as ce
from robustbench_aa.metrics.cell_means import (
    CellMeans,
    Cells,
    MeansByKind,
    by_name,
    clean_error,
    has_cells,
    stacked,
    stacked_errors,
    whole,
    with_role,
)
from robustbench_aa.metrics.flip_rate import mean_rate
from robustbench_aa.metrics.metric import METRICS
from robustbench_aa.types import (
    CLEAN,
    COUNTED_CORRUPTIONS,
    HOLDOUT_CORRUPTIONS,
    Distortion,
    column_of,
    kind_of,
)

Aggregates = dict[str, np.ndarray]
"""Values by metric, [...] each, in the order of the leaderboard's columns."""


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
        cells = with_role(corrupted.wrong, role)
        if any(map(corrupted.selects, cells)):
            mean = ce.mean_error(stacked_errors(corrupted, cells))
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
    means = [stacked(cells, same).mean(axis=-1) for same in by_name(chosen).values()]
    return np.asarray(np.mean(means, axis=0))


def _perturbation_aggregates(
    perturbed: CellMeans, baselines: Mapping[str, MeansByKind]
) -> Aggregates:
    if perturbed.subset is not None:
        subset = stacked(perturbed.flips, perturbed.subset)
        return {"mean_flip_probability_subset": subset.mean(axis=-1)}
    counted = with_role(perturbed.flips, "counted")
    found: Aggregates = {"mean_flip_probability": stacked(perturbed.flips, counted).mean(axis=-1)}
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
    counted = with_role(corrupted.wrong, "counted")
    complete = {cell.name for cell in counted} == set(COUNTED_CORRUPTIONS)
    if not complete or not has_cells(baseline, "corruption", "wrong", counted):
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
            *(stacked_errors(means, same) for means in (corrupted, baseline["corruption"]))
        )
        for same in by_name(subset).values()
    ]
    return {"mce_subset": ce.mean_corruption_error(np.concatenate(errors, axis=-1))}


def _normalised_flips(perturbed: CellMeans, baseline: MeansByKind) -> Aggregates:
    found: Aggregates = {}
    if perturbed.subset is not None:
        return found
    counted = with_role(perturbed.flips, "counted")
    for metric, table in (("mfr", "flips"), ("mt5d", "top5_distance")):
        if has_cells(baseline, "perturbation", table, counted):
            theirs = stacked(getattr(baseline["perturbation"], table), counted)
            found[metric] = mean_rate(stacked(getattr(perturbed, table), counted), theirs)
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
    errors, base = (stacked_errors(means["corruption"], cells) for means in (model, baseline))
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
            cells = whole(model["corruption"], with_role(model["corruption"].wrong, role))
            if cells and has_cells(baseline, "corruption", "wrong", cells):
                names = list(dict.fromkeys(cell.name for cell in cells))
                for metric, values in corruption_errors(model, baseline, cells).items():
                    found |= {(metric, name): values[..., i] for i, name in enumerate(names)}
    if perturbed := model.get("perturbation"):
        counted = whole(perturbed, with_role(perturbed.flips, "counted"))
        for metric, table in (("fr", "flips"), ("t5d", "top5_distance")):
            if not has_cells(baseline, "perturbation", table, counted):
                continue
            ours, theirs = getattr(perturbed, table), getattr(baseline["perturbation"], table)
            for cell in counted:
                # the mean rate over a single perturbation is the rate of that perturbation
                rate = mean_rate(ours[cell][..., None], theirs[cell][..., None])
                found[metric, cell.name] = rate
    order = list(METRICS)
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))
